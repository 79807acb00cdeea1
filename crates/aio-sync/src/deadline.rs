//! The moment at which a wait gives up.

use std::time::{Duration, Instant};

/// The moment at which a wait gives up, or never.
///
/// There is one absolute moment per wait: a spurious wake-up never makes a wait longer. A moment that
/// the clock cannot represent is never.
#[cfg(not(any(loom, shuttle)))]
#[derive(Clone, Debug)]
pub(crate) struct Deadline(Option<Instant>);

#[cfg(not(any(loom, shuttle)))]
impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    pub(crate) fn at(moment: Instant) -> Self {
        Self(Some(moment))
    }

    pub(crate) fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// Returns the moment, if it is not never.
    pub(crate) fn moment(&self) -> Option<Instant> {
        self.0
    }

    /// Returns the time that is left: `None` if that is unlimited, zero when the moment has come.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.0.map(|moment| moment.saturating_duration_since(Instant::now()))
    }
}

/// Under a model checker time is another thread: a deadline comes when that thread says so.
#[cfg(any(loom, shuttle))]
#[derive(Clone, Debug)]
pub(crate) struct Deadline(pub(crate) Option<crate::parker::Expiry>);

#[cfg(any(loom, shuttle))]
impl Deadline {
    pub(crate) const NEVER: Self = Self(None);

    pub(crate) fn at(_moment: Instant) -> Self {
        Self::NEVER
    }

    pub(crate) fn after(_timeout: Duration) -> Self {
        Self::NEVER
    }

    pub(crate) fn has_come(&self) -> bool {
        self.0.as_ref().is_some_and(crate::parker::Expiry::has_come)
    }
}
