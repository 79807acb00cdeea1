//! Engines: where a pending operation waits.
//!
//! The contract is in `state/driver.rs`. Engines that try an operation's call and wait for readiness when it would
//! block differ only in where they wait: each is a [`WaitSource`](turns::WaitSource). What they share is in
//! [`turns`].

mod blocking;
mod failing;
mod outage;
mod own_thread;
#[cfg(unix)]
mod readiness;
mod turns;

use crate::base::engine::Engine;
use crate::state::driver::Driver;
use blocking::Blocking;
#[cfg(unix)]
use readiness::Readiness;
use std::io;
use turns::TryFirst;

/// Makes the driver of `engine` for that many workers.
pub(crate) fn driver(engine: Engine, workers: usize) -> io::Result<Box<dyn Driver>> {
    match engine {
        Engine::Blocking => Ok(Box::new(TryFirst::new(Blocking::new(workers)?))),
        #[cfg(unix)]
        Engine::Auto | Engine::Readiness => Ok(Box::new(TryFirst::new(Readiness::new(workers)?))),
        #[cfg(not(unix))]
        Engine::Auto => Ok(Box::new(TryFirst::new(Blocking::new(workers)?))),
        #[cfg(not(unix))]
        Engine::Readiness => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the readiness engine does not run on this system yet; use `blocking` or `auto`",
        )),
    }
}
