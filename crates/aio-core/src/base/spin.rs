//! Adaptive spinning before a thread parks. Knows neither what is polled for nor how the thread parks.
//!
//! Parking and waking a thread often takes longer than the wait itself. So a thread polls [`POLLS`] times, and
//! yields its processor between polls, since the thread that it waits for may need it. A thread whose polls fail
//! skips the next chance to spin, then three, and so on up to 31. So where something comes seldom spinning
//! costs little, and a thread that waits for long pays nothing.
//!
//! Where other threads keep the processors busy, a thread that yields waits longer for its turn than a
//! thread that is parked and woken. So a thread stops spinning after [`LONGEST`].

use std::{cell::Cell, ops::ControlFlow, time::Duration};
use system::{Moment, yield_now};

/// How often a thread polls at a time. That takes a fraction of the time of a wake-up.
#[cfg(not(loom))]
const POLLS: u32 = 32;
/// In a model other threads may do any number of things before the one poll.
#[cfg(loom)]
const POLLS: u32 = 1;

/// For how long a thread spins at a time, except the last yield.
const LONGEST: Duration = Duration::from_micros(500);

/// A thread that never succeeds spins every 32nd time.
const MOST_FAILURES: u32 = 5;

/// What a thread remembers of its spinning.
#[derive(Debug, Default)]
pub(crate) struct Spinner {
    /// How often it has failed since its last success, [`MOST_FAILURES`] at most.
    failures: Cell<u32>,
    /// How many chances it has skipped since it last spun.
    omitted: Cell<u32>,
}

impl Spinner {
    /// Returns true if the thread is to spin now: after *n* failures in a row, every 2ⁿth time that it asks.
    pub(crate) fn should_spin(&self) -> bool {
        let asked = self.omitted.get() + 1;
        let is_due = asked >> self.failures.get() > 0;
        self.omitted.set(if is_due { 0 } else { asked });
        is_due
    }

    /// Polls, for a while at most, until `poll` breaks with success or without, and returns which.
    /// Only running out of polls or time is a failure.
    pub(crate) fn spin(&self, mut poll: impl FnMut() -> ControlFlow<bool>) -> bool {
        let begun = Moment::now();
        for _ in 0..POLLS {
            if let ControlFlow::Break(success) = poll() {
                if success {
                    self.failures.set(0);
                }
                return success;
            }
            yield_now();
            if begun.elapsed() > LONGEST {
                break;
            }
        }
        self.failures.set(MOST_FAILURES.min(self.failures.get() + 1));
        false
    }
}

#[cfg(not(loom))]
mod system {
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::time::Instant as Moment;
}

/// In a model a yield after the last poll changes nothing, and no time passes.
#[cfg(loom)]
mod system {
    use std::time::Duration;

    pub(crate) fn yield_now() {}

    pub(crate) struct Moment;

    impl Moment {
        pub(crate) fn now() -> Self {
            Self
        }

        pub(crate) fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How many chances a thread skips before each time that it spins, if it always fails.
    fn gaps(spinner: &Spinner, times: usize) -> Vec<usize> {
        let gap = || (0..).take_while(|_| !spinner.should_spin()).count();
        (0..times).map(|_| (gap(), spinner.spin(|| ControlFlow::Continue(()))).0).collect()
    }

    #[test]
    fn spinning_backs_off_until_it_succeeds() {
        let spinner = Spinner::default();
        assert_eq!(gaps(&spinner, 8), [0, 1, 3, 7, 15, 31, 31, 31]);
        assert!(spinner.spin(|| ControlFlow::Break(true)));
        assert_eq!(gaps(&spinner, 3), [0, 1, 3]);
    }

    #[test]
    fn a_break_without_success_is_no_failure() {
        let spinner = Spinner::default();
        assert!(!spinner.spin(|| ControlFlow::Break(false)));
        assert!(spinner.should_spin() && spinner.should_spin());
    }

    #[test]
    fn a_thread_that_waits_long_for_its_processor_stops_spinning() {
        let spinner = Spinner::default();
        let mut polls = 0;
        assert!(!spinner.spin(|| {
            polls += 1;
            std::thread::sleep(LONGEST);
            ControlFlow::Continue(())
        }));
        assert_eq!(polls, 1);
    }
}
