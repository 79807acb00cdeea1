//! [`Faults`]: which faults there are to be, how often, and which call meets which.

use super::random::SplitMix64;
use super::record::Record;
use super::{Fault, Injected, Injection};
use crate::base::kind::Purpose;
use std::sync::Arc;
use std::time::Duration;

/// A call that would always be refused would never be made.
const MOST_PUT_OFF: f64 = 0.9;

/// Which faults a runtime injects, and how often: see the [module](super).
///
/// Without further calls none. Each takes a probability, from 0 (never) to 1 (whenever it applies). A
/// clone counts and logs together with the original: keep one to ask what was
/// [injected](Self::injected).
///
/// ```
/// use aio_core::{Runtime, testing::Faults};
/// use std::time::Duration;
///
/// let faults = Faults::seeded(7)
///     .short_transfers(0.3)
///     .would_block(0.2)
///     .delays(0.1, Duration::from_millis(1));
/// let runtime = Runtime::builder().faults(faults.clone()).build()?;
/// # drop(runtime);
/// println!("{}", faults.injected());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a runtime has them once its builder was given them"]
pub struct Faults {
    pub(super) seed: u64,
    pub(super) probabilities: Probabilities,
    pub(super) longest_delay: Duration,
    pub(super) record: Arc<Record>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Probabilities {
    would_block: f64,
    interruptions: f64,
    short_sends: f64,
    short_receives: f64,
    resets: f64,
    timeouts: f64,
    out_of_descriptors: f64,
    no_buffers: f64,
    aborted_connections: f64,
    broken_connections: f64,
    pub(super) unable_to_wait: f64,
    pub(super) spurious_reports: f64,
    pub(super) late_cancels: f64,
    pub(super) early_deadlines: f64,
    pub(super) delays: f64,
}

impl Faults {
    /// Returns none yet, to be decided on by `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            probabilities: Probabilities::default(),
            longest_delay: Duration::ZERO,
            record: Arc::default(),
        }
    }

    /// Returns everything that is benign, to be decided on by `seed`: no operation fails for it, and no
    /// program may notice. A suite of tests can be run with these.
    pub fn benign(seed: u64) -> Self {
        Self::seeded(seed)
            .would_block(0.3)
            .interruptions(0.1)
            .short_transfers(0.3)
            .spurious_reports(0.2)
            .late_cancels(0.5)
            .delays(0.1, Duration::from_micros(500))
    }

    /// A call that could make progress is put off as if it would block. The operation waits, is
    /// reported ready, and is tried again. More than 0.9 is taken for 0.9. Nothing is put off once a socket is
    /// known to be shut down for receiving: there, a receive or an accept that would block has come to the end.
    ///
    /// # Panics
    ///
    /// If it is no probability; so do all these.
    pub fn would_block(mut self, probability: f64) -> Self {
        self.probabilities.would_block = checked(probability).min(MOST_PUT_OFF);
        self
    }

    /// A call other than connect is interrupted by a signal, and is made again. More than 0.9 is taken
    /// for 0.9.
    pub fn interruptions(mut self, probability: f64) -> Self {
        self.probabilities.interruptions = checked(probability).min(MOST_PUT_OFF);
        self
    }

    /// A call on a stream sends or receives less than it could, but at least one byte.
    pub fn short_transfers(self, probability: f64) -> Self {
        self.short_sends(probability).short_receives(probability)
    }

    /// The sending half of [`short_transfers`](Self::short_transfers): no completion shows it.
    pub fn short_sends(mut self, probability: f64) -> Self {
        self.probabilities.short_sends = checked(probability);
        self
    }

    /// The receiving half of [`short_transfers`](Self::short_transfers).
    pub fn short_receives(mut self, probability: f64) -> Self {
        self.probabilities.short_receives = checked(probability);
        self
    }

    /// A send, a receive or a connect on a stream fails with `ECONNRESET`.
    pub fn resets(mut self, probability: f64) -> Self {
        self.probabilities.resets = checked(probability);
        self
    }

    /// A send, a receive or a connect on a stream fails with `ETIMEDOUT`.
    pub fn timeouts(mut self, probability: f64) -> Self {
        self.probabilities.timeouts = checked(probability);
        self
    }

    /// An accept fails with `EMFILE`.
    pub fn out_of_descriptors(mut self, probability: f64) -> Self {
        self.probabilities.out_of_descriptors = checked(probability);
        self
    }

    /// A call of any kind fails with `ENOBUFS`.
    pub fn no_buffers(mut self, probability: f64) -> Self {
        self.probabilities.no_buffers = checked(probability);
        self
    }

    /// An accept fails with `ECONNABORTED`.
    pub fn aborted_connections(mut self, probability: f64) -> Self {
        self.probabilities.aborted_connections = checked(probability);
        self
    }

    /// A TCP connection is reset in earnest when a call sends or receives: that call and every later one
    /// fails, and so do the peer's.
    pub fn broken_connections(mut self, probability: f64) -> Self {
        self.probabilities.broken_connections = checked(probability);
        self
    }

    /// The engine cannot wait for a socket on which an operation has to: what waits there fails with
    /// `ENOMEM`.
    pub fn unable_to_wait(mut self, probability: f64) -> Self {
        self.probabilities.unable_to_wait = checked(probability);
        self
    }

    /// An operation that has just begun to wait is reported ready, which it need not be. More than 0.9
    /// is taken for 0.9.
    pub fn spurious_reports(mut self, probability: f64) -> Self {
        self.probabilities.spurious_reports = checked(probability).min(MOST_PUT_OFF);
        self
    }

    /// A cancel, or a deadline, comes when the operation is being attempted once more: it has lost if there
    /// is something to do by then.
    pub fn late_cancels(mut self, probability: f64) -> Self {
        self.probabilities.late_cancels = checked(probability);
        self
    }

    /// The deadline of an operation that has one passes while the operation is being attempted.
    pub fn early_deadlines(mut self, probability: f64) -> Self {
        self.probabilities.early_deadlines = checked(probability);
        self
    }

    /// An operation that a worker has got done and that is about to complete, a completed operation's
    /// callback, a turn of a socket or a report that it is ready is kept back
    /// until later work has overtaken it, or `longest` at most has passed (longer if no worker is
    /// free). Reports that the system makes at one time are shuffled.
    pub fn delays(mut self, probability: f64, longest: Duration) -> Self {
        self.probabilities.delays = checked(probability);
        self.longest_delay = longest;
        self
    }

    /// Returns how often each fault was injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        self.record.injected()
    }

    /// Returns the injections so far but for delays, and but for those after the first few thousands.
    #[must_use]
    pub fn log(&self) -> Vec<Injection> {
        self.record.log().clone()
    }

    /// Decides what becomes of that call of a socket.
    pub(super) fn decide(
        &self,
        socket: u64,
        call: u64,
        purpose: Purpose,
        bytes: usize,
        is_stream: bool,
    ) -> Option<Fault> {
        use Purpose::{Accept, Connect, Receive, Send};
        let mut random = SplitMix64::at([self.seed, socket, purpose.direction() as u64, call]);
        let moves = matches!(purpose, Receive | Send);
        let Probabilities { short_sends, short_receives, .. } = self.probabilities;
        let short = if purpose == Send { short_sends } else { short_receives };
        let faults = [
            (self.probabilities.would_block, true, Fault::WouldBlock),
            (self.probabilities.resets, is_stream && purpose != Accept, Fault::Reset),
            (self.probabilities.timeouts, is_stream && purpose != Accept, Fault::TimedOut),
            (self.probabilities.out_of_descriptors, purpose == Accept, Fault::OutOfDescriptors),
            (self.probabilities.no_buffers, true, Fault::NoBuffers),
            (self.probabilities.aborted_connections, purpose == Accept, Fault::Aborted),
            (short, is_stream && moves && bytes > 1, Fault::Short(short_of(&mut random, bytes))),
            (self.probabilities.interruptions, purpose != Connect, Fault::Interrupted),
            (self.probabilities.broken_connections, is_stream && moves, Fault::Broken),
        ];
        // Each draws a number, applicable or not, so that the probability of one fault leaves the others where they
        // are.
        let mut decided = None;
        for (probability, applies, fault) in faults {
            if random.chance(probability) && applies && decided.is_none() {
                decided = Some(fault);
            }
        }
        decided
    }
}

/// Decides how many of `all` bytes a short transfer moves: as often a few as any number.
fn short_of(random: &mut SplitMix64, all: usize) -> usize {
    let most = all.saturating_sub(1).max(1);
    let most = if random.chance(0.5) { most.min(8) } else { most };
    1 + random.below(most as u64) as usize
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
    probability
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(faults: &Faults) -> Vec<Option<Fault>> {
        (0..1000).map(|call| faults.decide(3, call, Purpose::Send, 100, true)).collect()
    }

    #[test]
    fn the_seed_decides() {
        let faults = |seed| Faults::seeded(seed).would_block(0.2).short_transfers(0.3).resets(0.1);
        assert_eq!(decided(&faults(1)), decided(&faults(1)));
        assert_ne!(decided(&faults(1)), decided(&faults(2)));
        let other_socket = faults(1).decide(4, 0, Purpose::Send, 100, true);
        let all: Vec<_> =
            (0..64).map(|socket| faults(1).decide(socket, 0, Purpose::Send, 100, true)).collect();
        assert!(all.iter().any(|one| *one != other_socket));
    }

    #[test]
    fn a_probability_is_kept() {
        let decided = decided(&Faults::seeded(5).short_transfers(0.3));
        let shorts = decided.iter().filter(|fault| fault.is_some()).count();
        assert!((200..400).contains(&shorts), "{shorts} of 1000");
        for fault in decided.into_iter().flatten() {
            assert!(matches!(fault, Fault::Short(1..100)), "{fault:?}");
        }
    }

    #[test]
    fn what_one_fault_is_set_to_leaves_the_others_where_they_are() {
        let resets = |decided: Vec<Option<Fault>>| -> Vec<_> {
            decided.into_iter().map(|fault| fault == Some(Fault::Reset)).collect()
        };
        let faults = Faults::seeded(9).resets(0.1);
        assert_eq!(resets(decided(&faults)), resets(decided(&faults.clone().short_sends(0.5))));
    }

    #[test]
    #[should_panic(expected = "no probability")]
    fn more_than_certain_is_refused() {
        let _ = Faults::seeded(0).resets(1.5);
    }
}
