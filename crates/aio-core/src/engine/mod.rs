//! Engines: where a pending operation waits.
//!
//! # The contract
//!
//! An engine is a [`Driver`]. Its contract is at the level of completions, so that an engine which
//! hands operations to the kernel (io_uring, Windows' completion ports) can meet it as well as one
//! which waits for readiness.
//!
//! 1. [`start`](Driver::start) takes an operation and never blocks. From then on the engine owes
//!    it exactly one completion (I1), on whatever thread it likes, through
//!    [`Owner::complete`](crate::in_flight::Owner::complete). Operations of one socket and
//!    direction take effect in the order of the calls (I5).
//! 2. [`cancel`](Driver::cancel) is a wish. An operation that has done its work completes with it;
//!    one that has done nothing completes as aborted and has taken nothing (I2).
//! 3. [`close`](Driver::close) completes everything pending on a socket as aborted. The descriptor
//!    is closed when the last call on it has left (I6).
//! 4. [`wait`](Driver::wait) is called by a worker that has nothing to run. It returns the work it
//!    found as soon as there is some, and returns when the worker is woken or the time is over.
//!    Work that belongs to a worker that does not come to wait can be taken over by another.
//! 5. [`wake`](Driver::wake) ends a worker's wait, or its next one if it is not waiting. It never
//!    waits for anything (I9).
//!
//! Engines that try an operation's call and wait for readiness when it would block differ only in
//! where they wait; what they share is in [`try_first`].

mod blocking;
mod failing;
mod outage;
mod own_thread;
#[cfg(unix)]
mod readiness;
mod try_first;
mod wake;

use crate::in_flight::{Handle, Owner};
use crate::op::Direction;
use crate::operation_queue::Ticket;
use crate::runtime::Work;
use crate::socket::SocketInner;
use crate::worker_pool::Wait;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) use failing::Failing;
pub(crate) use own_thread::wait;
pub(crate) use try_first::{
    concerns, given_back, look_again, ready, refuse_accepts, release, stop, take_turn,
};
pub(crate) use wake::Holder;

/// Where a pending operation waits.
///
/// Parses from its name: `auto`, `blocking` or `readiness`.
///
/// ```
/// use aio_core::Engine;
///
/// assert_eq!("blocking".parse(), Ok(Engine::Blocking));
/// let error = "threads".parse::<Engine>().unwrap_err();
/// assert_eq!(error.to_string(), "unknown engine `threads`; the engines are auto, blocking, readiness");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Engine {
    /// The best engine that this system has: today [`Readiness`](Self::Readiness) on Unix and
    /// [`Blocking`](Self::Blocking) elsewhere.
    #[default]
    Auto,
    /// A pending operation waits on its worker: the classic thread pool. When more operations are
    /// pending than there are workers, a worker waits for several.
    Blocking,
    /// A pending operation waits in the operating system's readiness queue and holds no thread.
    Readiness,
}

impl Engine {
    const NAMED: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("blocking", Self::Blocking), ("readiness", Self::Readiness)];
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMED.iter().find(|(_, engine)| engine == self);
        let (name, _) = named.expect("every engine has a name");
        f.pad(name)
    }
}

impl FromStr for Engine {
    type Err = ParseEngineError;

    fn from_str(name: &str) -> Result<Self, ParseEngineError> {
        match Self::NAMED.iter().find(|(known, _)| *known == name) {
            Some((_, engine)) => Ok(*engine),
            None => Err(ParseEngineError(name.to_owned())),
        }
    }
}

/// The name of an [`Engine`] that does not exist; its message lists those that do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseEngineError(String);

impl fmt::Display for ParseEngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown engine `{}`; the engines are ", self.0)?;
        let names: Vec<_> = Engine::NAMED.iter().map(|(name, _)| *name).collect();
        f.write_str(&names.join(", "))
    }
}

impl std::error::Error for ParseEngineError {}

/// An engine at work. The contract is in the module's documentation.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    /// Its name.
    fn engine(&self) -> Engine;

    fn start(&self, socket: &Arc<SocketInner>, operation: Owner) {
        try_first::start(socket, operation);
    }

    fn cancel(&self, socket: &Arc<SocketInner>, direction: Direction, operation: &Handle) {
        try_first::cancel(socket, direction, operation);
    }

    fn close(&self, socket: &SocketInner) {
        try_first::close(socket);
    }

    /// Arranges for a [`Work::Ready`] when `direction` can make progress, if it is still in this
    /// wait then. For engines that wait for readiness.
    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        ticket: Ticket,
    ) -> io::Result<()>;

    /// A wait of this socket has ended early. For engines that keep something for it.
    fn wait_ended(&self, _socket: &SocketInner) {}

    /// The socket's descriptor is about to be closed.
    fn forget(&self, _socket: &SocketInner) {}

    /// Waits for work and adds it to `found`.
    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Work>);

    /// Ends the wait of `worker`, or its next one.
    fn wake(&self, worker: usize);

    /// `from` has been running the same callback for long: what it would wait for is now waited
    /// for by `to`.
    fn take_over(&self, _from: usize, _to: usize) {}
}

/// Makes the driver of `engine` for that many workers.
pub(crate) fn driver(engine: Engine, workers: usize) -> io::Result<Box<dyn Driver>> {
    match engine {
        Engine::Blocking => Ok(Box::new(blocking::Blocking::new(workers)?)),
        #[cfg(unix)]
        Engine::Auto | Engine::Readiness => Ok(Box::new(readiness::Readiness::new(workers)?)),
        #[cfg(not(unix))]
        Engine::Auto => Ok(Box::new(blocking::Blocking::new(workers)?)),
        #[cfg(not(unix))]
        Engine::Readiness => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the readiness engine does not run on this system yet; use `blocking` or `auto`",
        )),
    }
}
