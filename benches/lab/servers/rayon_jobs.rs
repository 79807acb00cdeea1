//! Every operation a blocking job on a rayon pool. A pending receive holds a worker, so a pool serves as
//! many connections as it has workers, and no more.

use super::Service;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

pub(super) fn start(listener: TcpListener, service: Service) -> io::Result<()> {
    let pool = ThreadPoolBuilder::new().num_threads(service.workers).build();
    let pool: &'static ThreadPool = Box::leak(Box::new(pool.map_err(io::Error::other)?));
    thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let buffer = vec![0; service.buffer];
            Connection { pool, stream, buffer, service }.receive();
        }
    })?;
    Ok(())
}

struct Connection {
    pool: &'static ThreadPool,
    stream: TcpStream,
    buffer: Vec<u8>,
    service: Service,
}

impl Connection {
    /// First in, first out: a job that a worker spawns last would otherwise run first.
    fn receive(mut self) {
        self.pool.spawn_fifo(move || {
            if let Ok(received @ 1..) = self.stream.read(&mut self.buffer) {
                self.service.handle(&self.buffer[..received]);
                self.send(received);
            }
        });
    }

    fn send(mut self, length: usize) {
        self.pool.spawn_fifo(move || {
            if self.stream.write_all(&self.buffer[..length]).is_ok() {
                self.receive();
            }
        });
    }
}
