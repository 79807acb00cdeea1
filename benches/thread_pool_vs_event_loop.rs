//! Thread pool against event loop: echo round trips of 64 bytes over 1, 16 and 128 connections.
//!
//! The servers differ only in where a pending receive waits: on a worker (`blocking`), in the
//! readiness queue (`readiness`), and, as the floor, in a loop of raw mio without any runtime. One
//! client, the same for all, in this process: a single thread that sends on every connection and
//! then takes the echoes as they come. What is timed is such a round; throughput counts round trips.
//!
//! Closed loop, client and server on the same machine, wall time only: good for comparing the
//! servers with one another in one run, not for absolute figures.

use aio_core::{AsyncResult, Completion, Engine, Runtime, Socket, op};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread::{self, JoinHandle};

const MESSAGE: usize = 64;
/// Longer than a message, as a server's buffer is: a short receive tells that there is no more.
const BUFFER: usize = 4096;
const WORKERS: usize = 2;

fn echo(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo 64 B");
    for connections in [1, 16, 128] {
        group.throughput(Throughput::Elements(connections as u64));
        for engine in [Engine::Blocking, Engine::Readiness] {
            let server = AioServer::start(engine).expect("a server on a free port");
            let mut client = Client::connect(server.address, connections).expect("connections");
            group.bench_function(BenchmarkId::new(engine.to_string(), connections), |bencher| {
                bencher.iter(|| client.round().expect("every byte comes back"));
            });
        }
        let server = MioServer::start().expect("a server on a free port");
        let mut client = Client::connect(server.address, connections).expect("connections");
        group.bench_function(BenchmarkId::new("raw mio", connections), |bencher| {
            bencher.iter(|| client.round().expect("every byte comes back"));
        });
    }
    group.finish();
}

criterion_group!(benches, echo);
criterion_main!(benches);

/// The echo server as a user of aio-core writes it.
struct AioServer {
    _runtime: Runtime,
    address: SocketAddr,
}

impl AioServer {
    fn start(engine: Engine) -> io::Result<Self> {
        let runtime = Runtime::builder().engine(engine).workers(WORKERS).build()?;
        let listener = runtime.tcp_v4()?;
        listener.bind(loopback())?;
        listener.listen(1024)?;
        let address = listener.local_addr()?;
        listener.begin_accept(accept_callback, listener.clone());
        Ok(Self { _runtime: runtime, address })
    }
}

fn accept_callback(ar: AsyncResult<op::Accept, Socket>) {
    let listener = ar.async_state().clone();
    if let Ok(connection) = listener.end_accept(ar).result {
        let nodelay = connection.with_socket(|socket| socket.set_tcp_nodelay(true));
        nodelay.and_then(|set| set).expect("a TCP socket");
        connection.begin_receive(vec![0; BUFFER], receive_callback, connection.clone());
        listener.begin_accept(accept_callback, listener.clone());
    }
}

fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, Socket>) {
    let connection = ar.async_state().clone();
    let Completion { result, mut buffer, .. } = connection.end_receive(ar);
    if let Ok(received @ 1..) = result {
        buffer.truncate(received);
        connection.begin_send(buffer, send_callback, connection.clone());
    }
}

fn send_callback(ar: AsyncResult<op::Send<Vec<u8>>, Socket>) {
    let connection = ar.async_state().clone();
    let Completion { result, mut buffer, .. } = connection.end_send(ar);
    if result.is_ok() {
        buffer.resize(BUFFER, 0);
        connection.begin_receive(buffer, receive_callback, connection.clone());
    }
}

/// The floor: one thread, one loop, no allocation, no hand-over.
struct MioServer {
    address: SocketAddr,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

const LISTENER: Token = Token(usize::MAX - 1);
const STOP: Token = Token(usize::MAX);

impl MioServer {
    fn start() -> io::Result<Self> {
        let mut poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), STOP)?;
        let mut listener = TcpListener::bind(loopback())?;
        let address = listener.local_addr()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let thread = thread::spawn(move || {
            serve(&mut poll, &listener).expect("the loop ends when it is told to");
        });
        Ok(Self { address, waker, thread: Some(thread) })
    }
}

impl Drop for MioServer {
    fn drop(&mut self) {
        self.waker.wake().expect("the loop is there");
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(poll: &mut Poll, listener: &TcpListener) -> io::Result<()> {
    let mut events = Events::with_capacity(256);
    let mut connections = Vec::new();
    let mut buffer = [0; BUFFER];
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                STOP => return Ok(()),
                LISTENER => {
                    while let Some((mut stream, _)) = unless_blocked(listener.accept())? {
                        stream.set_nodelay(true)?;
                        let token = Token(connections.len());
                        poll.registry().register(&mut stream, token, Interest::READABLE)?;
                        connections.push(stream);
                    }
                }
                Token(index) => {
                    // A short read has emptied the stream.
                    let received = unless_blocked(connections[index].read(&mut buffer));
                    if let Ok(Some(received @ 1..)) = received {
                        connections[index].write_all(&buffer[..received])?;
                    }
                }
            }
        }
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Sends a message on every connection, then takes the echoes as they come.
struct Client {
    poll: Poll,
    events: Events,
    connections: Vec<(TcpStream, usize)>,
}

impl Client {
    fn connect(address: SocketAddr, connections: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut streams = Vec::with_capacity(connections);
        for index in 0..connections {
            let stream = std::net::TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
            streams.push((stream, 0));
        }
        Ok(Self { poll, events: Events::with_capacity(256), connections: streams })
    }

    fn round(&mut self) -> io::Result<()> {
        for (stream, received) in &mut self.connections {
            *received = 0;
            stream.write_all(&[7; MESSAGE])?;
        }
        let mut left = self.connections.len();
        let mut buffer = [0; MESSAGE];
        while left > 0 {
            self.poll.poll(&mut self.events, None)?;
            for event in &self.events {
                let (stream, received) = &mut self.connections[event.token().0];
                while *received < MESSAGE {
                    let Some(n) = unless_blocked(stream.read(&mut buffer[*received..]))? else {
                        break;
                    };
                    if n == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    assert!(buffer[*received..*received + n].iter().all(|byte| *byte == 7));
                    *received += n;
                    left -= usize::from(*received == MESSAGE);
                }
            }
        }
        Ok(())
    }
}
