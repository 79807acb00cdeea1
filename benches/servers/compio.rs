//! compio on one thread, over io_uring or over its polling driver.

use super::{Service, on_a_thread};
use compio::BufResult;
use compio::buf::{IntoInner, IoBuf};
use compio::driver::{DriverType, ProactorBuilder};
use compio::io::{AsyncRead, AsyncWriteExt};
use compio::net::TcpStream;
use compio::runtime::{Runtime, RuntimeBuilder, spawn};
use std::io;
use std::net::TcpListener;

pub(super) fn start_uring(listener: TcpListener, service: Service) -> io::Result<()> {
    start(DriverType::IoUring, listener, service)
}

pub(super) fn start_poll(listener: TcpListener, service: Service) -> io::Result<()> {
    start(DriverType::Poll, listener, service)
}

fn start(driver: DriverType, listener: TcpListener, service: Service) -> io::Result<()> {
    let runtime = move || {
        let mut proactor = ProactorBuilder::new();
        proactor.driver_type(driver);
        let runtime = RuntimeBuilder::new().with_proactor(proactor).build()?;
        let got = runtime.driver_type();
        if got != driver {
            return Err(io::Error::other(format!("asked for {driver:?}, compio chose {got:?}")));
        }
        Ok(runtime)
    };
    on_a_thread(runtime, move |runtime: Runtime| {
        runtime.block_on(async move {
            if let Err(error) = accept(listener, service).await {
                super::failed("compio", &error);
            }
        });
    })
}

async fn accept(listener: TcpListener, service: Service) -> io::Result<()> {
    let listener = compio::net::TcpListener::from_std(listener)?;
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            spawn(echo(stream, service)).detach();
        }
    }
}

async fn echo(mut stream: TcpStream, service: Service) {
    let mut buffer = vec![0; service.buffer];
    loop {
        let BufResult(Ok(received @ 1..), full) = stream.read(buffer).await else { return };
        service.handle(&full[..received]);
        let BufResult(Ok(()), slice) = stream.write_all(full.slice(..received)).await else {
            return;
        };
        buffer = slice.into_inner();
    }
}
