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
//!    [`Owner::complete`](crate::state::in_flight::Owner::complete). Operations of one socket and
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
pub(crate) mod failing;
mod outage;
pub(crate) mod own_thread;
#[cfg(unix)]
mod readiness;
pub(crate) mod try_first;

use crate::base::engine::Engine;
use crate::state::driver::Driver;
pub(crate) use own_thread::wait;
use std::io;

pub(crate) use try_first::{
    concerns, given_back, look_again, ready, refuse_accepts, release, start_later, stop, take_turn,
};

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
