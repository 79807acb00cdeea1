//! A thread for each connection, in blocking calls: the classic, and the simplest of all.

use super::Service;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

/// Enough for an echo; a default of 2 MiB of address space is not touched either way.
const STACK: usize = 64 * 1024;

pub(super) fn start(listener: TcpListener, service: Service) -> io::Result<()> {
    thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = thread::Builder::new().stack_size(STACK);
            if let Err(error) = connection.spawn(move || echo(stream, service)) {
                super::failed("thread per connection", &error);
            }
        }
    })?;
    Ok(())
}

fn echo(mut stream: TcpStream, service: Service) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; service.buffer];
    while let Ok(received @ 1..) = stream.read(&mut buffer) {
        service.handle(&buffer[..received]);
        if stream.write_all(&buffer[..received]).is_err() {
            break;
        }
    }
}
