//! smol: async-io's reactor and async-executor, on as many threads as there are workers.

use super::Service;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::{Async, Executor};
use std::future::pending;
use std::net::{TcpListener, TcpStream};
use std::{io, thread};

pub(super) fn start(listener: TcpListener, service: Service) -> io::Result<()> {
    let executor: &'static Executor<'static> = Box::leak(Box::new(Executor::new()));
    let listener = Async::new(listener)?;
    executor.spawn(accept(executor, listener, service)).detach();
    for _ in 0..service.workers {
        let worker = thread::Builder::new().name("smol".to_owned());
        worker.spawn(|| smol::block_on(executor.run(pending::<()>())))?;
    }
    Ok(())
}

async fn accept(
    executor: &'static Executor<'static>,
    listener: Async<TcpListener>,
    service: Service,
) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.get_ref().set_nodelay(true);
            executor.spawn(echo(stream, service)).detach();
        }
    }
}

async fn echo(mut stream: Async<TcpStream>, service: Service) {
    let mut buffer = vec![0; service.buffer];
    while let Ok(received @ 1..) = stream.read(&mut buffer).await {
        service.handle(&buffer[..received]);
        if stream.write_all(&buffer[..received]).await.is_err() {
            break;
        }
    }
}
