//! Every operation a blocking job on a rayon pool. A pending receive holds a worker, so a pool serves as
//! many connections as it has workers, and no more.
//!
//! Written in two ways: with a job that ends by spawning the next, which stays on its worker and costs
//! next to nothing; and as completions, where a job posts what it did to a queue, and the thread that
//! takes it from there decides what comes next.

use super::Service;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Sender};
use std::thread;

pub(super) fn start(listener: TcpListener, service: Service) -> io::Result<()> {
    accept(listener, service, |connection| connection.echo())
}

pub(super) fn start_with_a_queue(listener: TcpListener, service: Service) -> io::Result<()> {
    let (queue, completions) = mpsc::channel();
    thread::Builder::new().name("handler".to_owned()).spawn(move || {
        for completion in completions {
            match completion {
                Completion::Received(posting, length @ 1..) => {
                    service.handle(&posting.connection.buffer[..length]);
                    posting.send(length);
                }
                Completion::Sent(posting) => posting.receive(),
                // The peer has closed.
                Completion::Received(..) => {}
            }
        }
    })?;
    accept(listener, service, move |connection| {
        Posting { connection, queue: queue.clone() }.receive();
    })
}

fn accept(
    listener: TcpListener,
    service: Service,
    serve: impl Fn(Connection) + Send + 'static,
) -> io::Result<()> {
    let pool = ThreadPoolBuilder::new().num_threads(service.workers).build();
    let pool: &'static ThreadPool = Box::leak(Box::new(pool.map_err(io::Error::other)?));
    thread::Builder::new().name("acceptor".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            let buffer = vec![0; service.buffer];
            serve(Connection { pool, stream, buffer, service });
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
    fn echo(mut self) {
        self.pool.spawn_fifo(move || {
            if let Ok(received @ 1..) = self.stream.read(&mut self.buffer) {
                self.service.handle(&self.buffer[..received]);
                self.send_back(received);
            }
        });
    }

    fn send_back(mut self, length: usize) {
        self.pool.spawn_fifo(move || {
            if self.stream.write_all(&self.buffer[..length]).is_ok() {
                self.echo();
            }
        });
    }
}

/// What has happened, and where.
enum Completion {
    Received(Posting, usize),
    Sent(Posting),
}

/// A connection whose jobs post what they did. A failed operation ends it.
struct Posting {
    connection: Connection,
    queue: Sender<Completion>,
}

impl Posting {
    fn receive(mut self) {
        self.connection.pool.spawn_fifo(move || {
            let Connection { stream, buffer, .. } = &mut self.connection;
            if let Ok(received) = stream.read(buffer) {
                let queue = self.queue.clone();
                let _ = queue.send(Completion::Received(self, received));
            }
        });
    }

    fn send(mut self, length: usize) {
        self.connection.pool.spawn_fifo(move || {
            let Connection { stream, buffer, .. } = &mut self.connection;
            if stream.write_all(&buffer[..length]).is_ok() {
                let queue = self.queue.clone();
                let _ = queue.send(Completion::Sent(self));
            }
        });
    }
}
