//! Who is compared: a way to write the server, and on how many workers it runs.

use servers::Server;
use std::fmt;

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
