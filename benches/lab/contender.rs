//! Who is compared: a way to write the server, and on how many workers it runs.

use aio_core::Engine;
use std::fmt;

/// A way to write the server. Named on the command line as [`name`](Self::name) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Server {
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
    pub(crate) const PEERS: [Self; 12] = [
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

    pub(crate) fn name(self) -> String {
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
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if let Some(peer) = Self::PEERS.into_iter().find(|peer| peer.name() == name) {
            return Ok(peer);
        }
        name.parse().map(Self::Aio).map_err(|_| format!("there is no server `{name}`"))
    }

    /// Whether the number of workers is for us to choose.
    pub(crate) fn has_workers(self) -> bool {
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

    pub(crate) fn title(self) -> String {
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Contender {
    pub(crate) server: Server,
    pub(crate) workers: usize,
}

impl Contender {
    /// `workers` counts where it is for us to choose.
    pub(crate) fn new(server: Server, workers: usize) -> Self {
        Self { server, workers: if server.has_workers() { workers } else { 1 } }
    }

    /// Whether it is one of ours.
    pub(crate) fn is_aio(self) -> bool {
        matches!(self.server, Server::Aio(_))
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server.title())?;
        if self.server.has_workers() { write!(f, " ×{}", self.workers) } else { Ok(()) }
    }
}
