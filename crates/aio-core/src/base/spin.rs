//! Looking out for a while before going to sleep. Knows nothing of what is looked for, nor of how anybody
//! sleeps.
//!
//! To put a thread to sleep and to wake it takes longer than what is waited for often does. So a thread looks
//! [`POLLS`] times whether it has come, and between lets run whoever else wants its processor, who may be
//! about to bring it. A thread whose looks were in vain leaves them out the next time, then three times, and
//! so on up to 31 times. So where something comes seldom this costs little, and a thread that waits for long
//! nothing.
//!
//! Where others keep the processor for long, a thread that lets them run waits for its turn, which a thread
//! that sleeps and is woken gets sooner. So it stops looking when [`LONGEST`] has passed.

use std::{cell::Cell, ops::ControlFlow, time::Duration};
use system::{Moment, yield_now};

/// How often a thread looks out at a time, which takes a part of the time that it takes to wake it.
#[cfg(not(loom))]
const POLLS: u32 = 32;
/// In a model other threads may do any number of things before the one look.
#[cfg(loom)]
const POLLS: u32 = 1;

/// For how long a thread looks out at a time, but for its last turn.
const LONGEST: Duration = Duration::from_micros(500);

/// A thread that never looks out with success does so every 32nd time.
const MOST_MISSES: u32 = 5;

/// What a thread remembers of its looking out.
#[derive(Debug, Default)]
pub(crate) struct Spinner {
    /// How often it was in vain since it had success, [`MOST_MISSES`] at most.
    misses: Cell<u32>,
    /// How often it was left out since it was done.
    omitted: Cell<u32>,
}

impl Spinner {
    /// Returns true if it is to be done now: after *n* vain tries in a row, every 2ⁿth time that this is asked.
    pub(crate) fn should_spin(&self) -> bool {
        let asked = self.omitted.get() + 1;
        let is_due = asked >> self.misses.get() > 0;
        self.omitted.set(if is_due { 0 } else { asked });
        is_due
    }

    /// Looks, for a while at most, until `poll` says whether to break with success or not, and returns that.
    /// Only running out of looks or time is a miss.
    pub(crate) fn spin(&self, mut poll: impl FnMut() -> ControlFlow<bool>) -> bool {
        let begun = Moment::now();
        for _ in 0..POLLS {
            if let ControlFlow::Break(success) = poll() {
                if success {
                    self.misses.set(0);
                }
                return success;
            }
            yield_now();
            if begun.elapsed() > LONGEST {
                break;
            }
        }
        self.misses.set(MOST_MISSES.min(self.misses.get() + 1));
        false
    }
}

#[cfg(not(loom))]
mod system {
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::time::Instant as Moment;
}

/// Nothing can come about in a model by letting others run after the last look, and no time passes.
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

    /// Between how many askings it is due, each time that it is, when it is always in vain.
    fn gaps(spinner: &Spinner, times: usize) -> Vec<usize> {
        let gap = || (0..).take_while(|_| !spinner.should_spin()).count();
        (0..times).map(|_| (gap(), spinner.spin(|| ControlFlow::Continue(()))).0).collect()
    }

    #[test]
    fn what_is_in_vain_is_left_out_for_longer_and_longer_until_it_has_success() {
        let spinner = Spinner::default();
        assert_eq!(gaps(&spinner, 8), [0, 1, 3, 7, 15, 31, 31, 31]);
        assert!(spinner.spin(|| ControlFlow::Break(true)));
        assert_eq!(gaps(&spinner, 3), [0, 1, 3]);
    }

    #[test]
    fn to_be_told_to_stop_is_neither_success_nor_a_miss() {
        let spinner = Spinner::default();
        assert!(!spinner.spin(|| ControlFlow::Break(false)));
        assert!(spinner.should_spin() && spinner.should_spin());
    }

    #[test]
    fn a_thread_that_gets_no_turn_for_long_stops_looking() {
        let spinner = Spinner::default();
        let mut looks = 0;
        assert!(!spinner.spin(|| {
            looks += 1;
            std::thread::sleep(LONGEST);
            ControlFlow::Continue(())
        }));
        assert_eq!(looks, 1);
    }
}
