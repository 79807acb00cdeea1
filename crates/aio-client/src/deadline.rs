//! The time that a call may take, however many operations it is made of.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    timeout: Duration,
    /// `None` exactly when that is beyond what the clock can tell.
    at: Option<Instant>,
}

impl Deadline {
    pub(crate) fn after(timeout: Duration) -> Self {
        Self { timeout, at: Instant::now().checked_add(timeout) }
    }

    /// Returns the time that was given in all.
    pub(crate) fn timeout(self) -> Duration {
        self.timeout
    }

    /// Returns when the time is over, unless that is beyond what the clock can tell.
    pub(crate) fn at(self) -> Option<Instant> {
        self.at
    }

    pub(crate) fn remaining(self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    pub(crate) fn is_over(self) -> bool {
        self.remaining().is_zero()
    }
}
