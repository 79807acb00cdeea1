//! What becomes of an error of the system call that an engine waits with.
//!
//! It may be over in a moment, as a shortage of memory is: the worker pauses, longer each time, and comes back.
//! One that stays is an *outage*: what waits fails with it, and so does what would have to wait, until a call
//! succeeds. So the worker neither spins nor panics, and no operation waits for ever.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// After so many failures in a row, some 50 ms, an error is taken to stay.
const TOLERATED: u32 = 7;

const LONGEST_PAUSE: Duration = Duration::from_millis(16);

/// How often the call has failed in a row.
#[derive(Debug, Default)]
pub(crate) struct Failures(u32);

impl Failures {
    /// The call has failed: for so long the worker pauses.
    pub(crate) fn pause(&mut self) -> Duration {
        self.0 = self.0.saturating_add(1);
        Duration::from_millis(1 << self.0.min(4)).min(LONGEST_PAUSE)
    }

    /// True if the error is taken to stay.
    pub(crate) fn last(&self) -> bool {
        self.0 >= TOLERATED
    }

    pub(crate) fn end(&mut self) {
        self.0 = 0;
    }
}

/// The system's error, while there is an outage; else 0.
#[derive(Debug, Default)]
pub(crate) struct Outage(AtomicI32);

impl Outage {
    pub(crate) fn begin(&self, error: io::Error) {
        // One that the system has no number for is not the system's.
        self.0.store(error.raw_os_error().unwrap_or(i32::MAX), Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        // Others read it: it is written only when it changes.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// # Errors
    ///
    /// The system's, while there is an outage.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}
