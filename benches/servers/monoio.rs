//! monoio on one thread, over io_uring or over its legacy driver (epoll).

use super::{Service, on_a_thread};
use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::io::{self, ErrorKind};
use std::net::TcpListener;

pub(super) fn start_uring(listener: TcpListener, service: Service) -> io::Result<()> {
    let runtime = || {
        if !monoio::utils::detect_uring() {
            return Err(io::Error::new(ErrorKind::Unsupported, "the system has no io_uring"));
        }
        RuntimeBuilder::<IoUringDriver>::new().build()
    };
    on_a_thread(runtime, move |mut runtime| runtime.block_on(accept(listener, service)))
}

pub(super) fn start_poll(listener: TcpListener, service: Service) -> io::Result<()> {
    // This driver makes the call and then waits if it would have blocked; io_uring waits itself.
    listener.set_nonblocking(true)?;
    let runtime = || RuntimeBuilder::<LegacyDriver>::new().build();
    on_a_thread(runtime, move |mut runtime| runtime.block_on(accept(listener, service)))
}

async fn accept(listener: TcpListener, service: Service) {
    let listener = match monoio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return super::failed("monoio", &error),
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            monoio::spawn(echo(stream, service));
        }
    }
}

async fn echo(mut stream: TcpStream, service: Service) {
    let mut buffer = vec![0; service.buffer];
    loop {
        // The whole buffer, whatever its length was left at.
        let (Ok(received @ 1..), slice) = stream.read(buffer.slice_mut(..)).await else { return };
        let full = slice.into_inner();
        service.handle(&full[..received]);
        let (Ok(_), slice) = stream.write_all(full.slice(..received)).await else { return };
        buffer = slice.into_inner();
    }
}
