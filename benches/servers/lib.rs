//! The servers under test: the same echo, a file for each way to write it.
//!
//! All of them listen on a loopback address with the same backlog, set `TCP_NODELAY`, and receive into a
//! buffer of the same size, one for each connection; only the raw loop needs a single one. A server runs
//! as long as its process: the lab gives each one of its own, `thread_pool_vs_event_loop` has them all in
//! its own.

mod aio;
mod compio;
mod monoio;
mod raw_mio;
mod rayon_jobs;
mod smol;
mod thread_per_connection;
mod tokio;

use aio_core::Engine;
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

/// In a message: its handler blocks, for as long as the [`Service`] says.
pub const SLOW: u8 = 255;

/// A way to write the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    Aio(Engine),
    RawMio,
    TokioMultiThread,
    TokioCurrentThread,
    TokioSpawnBlocking,
    Smol,
    CompioUring,
    CompioPoll,
    MonoioUring,
    MonoioPoll,
    ThreadPerConnection,
    RayonJobs,
    RayonAndAQueue,
}

impl Server {
    pub const PEERS: [Self; 12] = [
        Self::RawMio,
        Self::TokioMultiThread,
        Self::TokioCurrentThread,
        Self::TokioSpawnBlocking,
        Self::Smol,
        Self::CompioUring,
        Self::CompioPoll,
        Self::MonoioUring,
        Self::MonoioPoll,
        Self::ThreadPerConnection,
        Self::RayonJobs,
        Self::RayonAndAQueue,
    ];

    /// What it is called on the lab's command line.
    pub fn name(self) -> String {
        let name = match self {
            Self::Aio(engine) => return engine.to_string(),
            Self::RawMio => "mio",
            Self::TokioMultiThread => "tokio",
            Self::TokioCurrentThread => "tokio-current-thread",
            Self::TokioSpawnBlocking => "tokio-spawn-blocking",
            Self::Smol => "smol",
            Self::CompioUring => "compio",
            Self::CompioPoll => "compio-poll",
            Self::MonoioUring => "monoio",
            Self::MonoioPoll => "monoio-poll",
            Self::ThreadPerConnection => "threads",
            Self::RayonJobs => "rayon",
            Self::RayonAndAQueue => "rayon-queue",
        };
        name.to_owned()
    }

    /// The server of that name; an engine's name means aio's.
    pub fn named(name: &str) -> Result<Self, String> {
        if let Some(peer) = Self::PEERS.into_iter().find(|peer| peer.name() == name) {
            return Ok(peer);
        }
        name.parse().map(Self::Aio).map_err(|_| format!("there is no server `{name}`"))
    }

    /// Whether the number of workers is for us to choose.
    pub fn has_workers(self) -> bool {
        matches!(
            self,
            Self::Aio(_)
                | Self::TokioMultiThread
                | Self::TokioSpawnBlocking
                | Self::Smol
                | Self::RayonJobs
                | Self::RayonAndAQueue
        )
    }

    /// Whether a pending receive holds one of its workers: then it serves as many connections as these.
    pub fn starves(self) -> bool {
        matches!(self, Self::RayonJobs | Self::RayonAndAQueue)
    }

    /// What it is called in tables and charts.
    pub fn title(self) -> String {
        let title = match self {
            Self::Aio(engine) => return format!("aio {engine}"),
            Self::RawMio => "raw mio",
            Self::TokioMultiThread => "tokio multi-thread",
            Self::TokioCurrentThread => "tokio current-thread",
            Self::TokioSpawnBlocking => "tokio spawn_blocking",
            Self::Smol => "smol",
            Self::CompioUring => "compio io_uring",
            Self::CompioPoll => "compio poll",
            Self::MonoioUring => "monoio io_uring",
            Self::MonoioPoll => "monoio epoll",
            Self::ThreadPerConnection => "thread per connection",
            Self::RayonJobs => "rayon jobs",
            Self::RayonAndAQueue => "rayon jobs + queue",
        };
        title.to_owned()
    }
}

/// What a server is asked to do.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    pub port: u16,
    pub workers: usize,
    /// Size of a connection's buffer, in bytes.
    pub buffer: usize,
    /// How long the handler of a message blocks its thread, if the message is marked as slow.
    pub slow: Duration,
}

impl Service {
    /// The work of a handler, the same in each server: nothing, but for messages marked as slow.
    fn handle(self, received: &[u8]) {
        if !self.slow.is_zero() && received.contains(&SLOW) {
            thread::sleep(self.slow);
        }
    }
}

/// Starts a server, which then runs until its process ends.
pub fn start(server: Server, service: Service) -> io::Result<SocketAddr> {
    let listener = listen(service.port)?;
    let address = listener.local_addr()?;
    match server {
        Server::Aio(engine) => aio::start(engine, listener, service),
        Server::RawMio => raw_mio::start(listener, service),
        Server::TokioMultiThread => tokio::start_multi_thread(listener, service),
        Server::TokioCurrentThread => tokio::start_current_thread(listener, service),
        Server::TokioSpawnBlocking => tokio::start_spawn_blocking(listener, service),
        Server::Smol => smol::start(listener, service),
        Server::CompioUring => compio::start_uring(listener, service),
        Server::CompioPoll => compio::start_poll(listener, service),
        Server::MonoioUring => monoio::start_uring(listener, service),
        Server::MonoioPoll => monoio::start_poll(listener, service),
        Server::ThreadPerConnection => thread_per_connection::start(listener, service),
        Server::RayonJobs => rayon_jobs::start(listener, service),
        Server::RayonAndAQueue => rayon_jobs::start_with_a_queue(listener, service),
    }?;
    Ok(address)
}

/// As many as the system admits, so that no connection waits for a retransmission.
const BACKLOG: i32 = 4096;

/// A listener on the loopback interface; on a port that the system chooses, if `port` is 0.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    listener.set_reuse_address(true)?;
    listener.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    listener.listen(BACKLOG)?;
    Ok(listener.into())
}

/// Runs `serve` on a thread of its own with what `prepare` has made there, and returns what `prepare` did.
fn on_a_thread<T>(
    prepare: impl FnOnce() -> io::Result<T> + Send + 'static,
    serve: impl FnOnce(T) + Send + 'static,
) -> io::Result<()> {
    let (sender, prepared) = mpsc::channel();
    thread::Builder::new().name("server".to_owned()).spawn(move || match prepare() {
        Ok(runtime) => {
            let _ = sender.send(Ok(()));
            serve(runtime);
        }
        Err(error) => drop(sender.send(Err(error))),
    })?;
    prepared.recv().map_err(|_| io::Error::other("the server's thread has panicked"))?
}

/// Says on standard error why a server cannot go on. The lab sees that no echo comes.
fn failed(server: &str, error: &io::Error) {
    let _ = writeln!(io::stderr(), "lab: {server}: {error}");
}
