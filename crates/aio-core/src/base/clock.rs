//! The time by which a runtime tells how old something is.
//!
//! It is read for every operation and every callback, so it is the system's coarse clock, which costs a few
//! nanoseconds and is off by some milliseconds; or the exact one, for a runtime that measures latencies.
//! (rustix has the former without unsafe code, but crashes under valgrind when it looks for the vDSO.)

use std::time::{Duration, Instant};

/// Nanoseconds on a [`Clock`]; never 0.
pub(crate) type Moment = u64;

#[derive(Debug)]
pub(crate) struct Clock {
    /// `None` for the coarse clock.
    start: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(exact: bool) -> Self {
        let has_coarse = cfg!(any(target_os = "linux", target_os = "android"));
        Self { start: (exact || !has_coarse).then(Instant::now) }
    }

    pub(crate) fn now(&self) -> Moment {
        match self.start {
            // Enough for 584 years.
            Some(start) => start.elapsed().as_nanos() as Moment + 1,
            None => coarse(),
        }
    }

    /// How long ago `moment` was.
    pub(crate) fn since(&self, moment: Moment) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(moment))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn coarse() -> Moment {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that may be written. (It fails for a clock that does not exist.)
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    // Since the system was started.
    (time.tv_sec as Moment).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as Moment) | 1
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn coarse() -> Moment {
    unreachable!("this system has no coarse clock")
}
