//! tokio, three ways: its multi-thread runtime, its current-thread runtime, and a job on its blocking
//! pool for each operation, which is what a completion over a thread pool comes to.

use super::{Service, on_a_thread};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::spawn_blocking;

pub(super) fn start_multi_thread(listener: TcpListener, service: Service) -> io::Result<()> {
    let runtime = multi_thread(service.workers)?;
    runtime.spawn(accept(listener, move |stream| {
        tokio::spawn(echo(stream, service));
    }));
    std::mem::forget(runtime);
    Ok(())
}

pub(super) fn start_current_thread(listener: TcpListener, service: Service) -> io::Result<()> {
    let runtime = || Builder::new_current_thread().enable_io().build();
    on_a_thread(runtime, move |runtime| {
        runtime.block_on(accept(listener, move |stream| {
            tokio::spawn(echo(stream, service));
        }));
    })
}

/// The blocking pool has tokio's default size, 512 threads.
pub(super) fn start_spawn_blocking(listener: TcpListener, service: Service) -> io::Result<()> {
    let runtime = multi_thread(service.workers)?;
    runtime.spawn(accept(listener, move |stream| {
        let stream = stream.into_std().and_then(|stream| {
            stream.set_nonblocking(false)?;
            Ok(stream)
        });
        if let Ok(stream) = stream {
            tokio::spawn(echo_in_jobs(stream, service));
        }
    }));
    std::mem::forget(runtime);
    Ok(())
}

fn multi_thread(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(workers).enable_io().build()
}

async fn accept(listener: TcpListener, serve: impl Fn(TcpStream)) {
    let listener =
        listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return super::failed("tokio", &error),
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            serve(stream);
        }
    }
}

async fn echo(mut stream: TcpStream, service: Service) {
    let mut buffer = vec![0; service.buffer];
    while let Ok(received @ 1..) = stream.read(&mut buffer).await {
        service.handle(&buffer[..received]);
        if stream.write_all(&buffer[..received]).await.is_err() {
            break;
        }
    }
}

async fn echo_in_jobs(mut stream: std::net::TcpStream, service: Service) {
    let mut buffer = vec![0; service.buffer];
    let mut result;
    loop {
        let receive = move || (stream.read(&mut buffer), stream, buffer);
        let Ok(received) = spawn_blocking(receive).await else { return };
        (result, stream, buffer) = received;
        let Ok(length @ 1..) = result else { return };
        service.handle(&buffer[..length]);
        let send = move || (stream.write_all(&buffer[..length]), stream, buffer);
        let Ok((Ok(()), stream_back, buffer_back)) = spawn_blocking(send).await else { return };
        (stream, buffer) = (stream_back, buffer_back);
    }
}
