//! What does a client pay to connect, send 64 bytes, receive 64 and close (P9, from the client's side)?
//!
//! Through aio-client under each engine, through std's blocking calls, and in a task of tokio's
//! current-thread runtime; one connection after another, to the same server: a thread of this process
//! that echoes one connection at a time. Wall time, which is mostly the two handshakes and the server's
//! thread being woken; what the lab calls P9 is the server's side of this.

use aio_client::{Client, Framing};
use aio_core::{Engine, Runtime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MESSAGE: [u8; 64] = [7; 64];

fn flow(criterion: &mut Criterion) {
    let server = start_server().expect("a server on a free port");
    let mut group = criterion.benchmark_group("connect, send, receive, close");
    group.throughput(Throughput::Elements(1));
    for engine in [Engine::Readiness, Engine::Blocking] {
        let runtime = Runtime::builder().engine(engine).workers(2).build().expect("a runtime");
        group.bench_function(format!("aio-client, {engine}"), |bencher| {
            bencher.iter(|| aio_client_flow(&runtime, server).expect("an echo"));
        });
    }
    group.bench_function("std", |bencher| {
        bencher.iter(|| std_flow(server).expect("an echo"));
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let runtime = runtime.expect("a runtime");
    group.bench_function("tokio", |bencher| {
        bencher.iter(|| runtime.block_on(tokio_flow(server)).expect("an echo"));
    });
    group.finish();
}

criterion_group!(benches, flow);
criterion_main!(benches);

fn aio_client_flow(runtime: &Runtime, server: SocketAddr) -> Result<(), aio_client::Error> {
    let client = Client::builder()
        .runtime(runtime)
        .framing(Framing::Fixed(MESSAGE.len()))
        .nodelay(true)
        .connect(server)?;
    client.send(MESSAGE)?;
    assert_eq!(client.receive()?, MESSAGE);
    client.close();
    Ok(())
}

fn std_flow(server: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_nodelay(true)?;
    stream.write_all(&MESSAGE)?;
    let mut echo = [0; MESSAGE.len()];
    stream.read_exact(&mut echo)?;
    assert_eq!(echo, MESSAGE);
    Ok(())
}

async fn tokio_flow(server: SocketAddr) -> io::Result<()> {
    let mut stream = tokio::net::TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&MESSAGE).await?;
    let mut echo = [0; MESSAGE.len()];
    stream.read_exact(&mut echo).await?;
    assert_eq!(echo, MESSAGE);
    Ok(())
}

fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A reset once the client has closed: its port is free again at once.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            let _ = echo(stream);
        }
    });
    Ok(address)
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            received => stream.write_all(&buffer[..received])?,
        }
    }
}
