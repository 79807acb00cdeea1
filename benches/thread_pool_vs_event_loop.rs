//! Thread pool against event loop: echo round trips of 64 bytes over 1, 16 and 128 connections.
//!
//! aio's servers differ only in where a pending receive waits: on a worker (`blocking`), or in the
//! readiness queue (`readiness`). Beside them stand those of `servers/`, the same that the lab compares.
//! One client, the same for all, in this process: a single thread that sends on every connection and
//! then takes the echoes as they come. What is timed is such a round; throughput counts round trips.
//!
//! Closed loop, client and server on the same machine, wall time only: good for comparing the
//! servers with one another in one run, not for absolute figures.
#![allow(clippy::print_stderr, reason = "a benchmark says what it leaves out")]

use aio_core::Engine;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use servers::{Server, Service};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

const MESSAGE: usize = 64;
const SERVICE: Service = Service {
    port: 0,
    workers: 2,
    // Longer than a message, as a server's buffer is: a short receive tells that there is no more.
    buffer: 4096,
    slow: Duration::ZERO,
};

fn echo(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("echo 64 B");
    let engines = [Engine::Blocking, Engine::Readiness].map(Server::Aio);
    // On two workers, rayon's jobs would serve the first two connections and no other.
    let peers = Server::PEERS.into_iter().filter(|peer| !peer.starves());
    let servers = engines.into_iter().chain(peers).filter_map(|server| {
        let address = servers::start(server, SERVICE);
        let say = |error| eprintln!("without {}: {error}", server.title());
        Some((server.title(), address.map_err(say).ok()?))
    });
    let servers: Vec<(String, SocketAddr)> = servers.collect();
    for connections in [1, 16, 128] {
        group.throughput(Throughput::Elements(connections as u64));
        for (server, address) in &servers {
            let mut client = Client::connect(*address, connections).expect("connections");
            group.bench_function(BenchmarkId::new(server, connections), |bencher| {
                bencher.iter(|| client.round().expect("every byte comes back"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, echo);
criterion_main!(benches);

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
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
