//! How long a wait spins, and when it gives up.

use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::parker;

/// How long a wait spins before its thread sleeps, and when it gives up.
///
/// ```
/// use std::time::Duration;
/// use aio_sync::{ManualResetEvent, WaitOptions};
///
/// let event = ManualResetEvent::new(false);
/// let patient_but_idle = WaitOptions::new().spins(0).timeout(Duration::from_millis(1));
/// assert!(!event.wait_with(&patient_but_idle));
/// ```
#[derive(Clone, Debug)]
pub struct WaitOptions {
    spins: u32,
    deadline: Deadline,
}

impl WaitOptions {
    /// Spins as long as it takes to look at an event about a hundred times, one to three microseconds:
    /// a small part of what it costs to put a thread to sleep and to wake it.
    const DEFAULT_SPINS: u32 = 100;

    /// Makes the options of `wait_one`: some spinning, no deadline.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitOptions};
    ///
    /// assert!(ManualResetEvent::new(true).wait_with(&WaitOptions::new()));
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { spins: Self::DEFAULT_SPINS, deadline: Deadline::NEVER }
    }

    /// Looks at the event up to `spins` times before the thread sleeps.
    ///
    /// Zero sleeps at once, which is best where the signal is known to be far away. A wait never spins on a
    /// machine, or in a process, that has one processor only, nor behind other waiters.
    ///
    /// ```
    /// use aio_sync::{AutoResetEvent, WaitOptions};
    ///
    /// let event = AutoResetEvent::new(true);
    /// assert!(event.wait_with(&WaitOptions::new().spins(10_000)));
    /// ```
    #[must_use]
    pub const fn spins(mut self, spins: u32) -> Self {
        self.spins = spins;
        self
    }

    /// Gives up at `deadline`.
    ///
    /// ```
    /// use std::time::Instant;
    /// use aio_sync::{AutoResetEvent, WaitOptions};
    ///
    /// let event = AutoResetEvent::new(false);
    /// assert!(!event.wait_with(&WaitOptions::new().deadline(Instant::now())));
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Deadline::at(deadline);
        self
    }

    /// Gives up when `timeout` has passed, counted from this call. A time that the clock cannot represent
    /// is for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aio_sync::{AutoResetEvent, WaitOptions};
    ///
    /// let event = AutoResetEvent::new(true);
    /// assert!(event.wait_with(&WaitOptions::new().timeout(Duration::MAX)));
    /// ```
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.deadline = Deadline::after(timeout);
        self
    }

    /// Gives up when a thread of the model says so.
    #[cfg(any(loom, shuttle))]
    #[must_use]
    pub fn expiry(mut self, expiry: &crate::Expiry) -> Self {
        self.deadline = Deadline(Some(expiry.clone()));
        self
    }

    pub(crate) fn moment(&self) -> &Deadline {
        &self.deadline
    }

    /// The number of looks that make sense in this process.
    pub(crate) fn useful_spins(&self) -> u32 {
        if self.spins > 0 && parker::spinning_helps() { self.spins } else { 0 }
    }
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self::new()
    }
}
