//! [`Injector`]: the faults of one runtime. Numbers its sockets, delays its work and brings reports out of order.
//!
//! It does not know what work is. What a worker would run is `W`; the runtime says which of it may be late.

use super::random::SplitMix64;
use super::{Faults, SocketFaults};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Injects the faults of one runtime.
#[derive(Debug)]
pub(crate) struct Injector<W> {
    faults: Arc<Faults>,
    /// How many sockets the runtime has made.
    sockets: AtomicU64,
    /// How many decisions on delays and on order there were.
    decisions: AtomicU64,
    delayed: Mutex<Vec<W>>,
}

impl<W> Injector<W> {
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            faults: Arc::new(faults),
            sockets: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
            delayed: Mutex::default(),
        }
    }

    /// Returns the faults of the socket that is made next.
    pub(crate) fn next_socket(&self, is_stream: bool, is_tcp: bool) -> SocketFaults {
        let number = self.sockets.fetch_add(1, Ordering::Relaxed);
        SocketFaults::new(self.faults.clone(), number, is_stream, is_tcp)
    }

    /// Delays `work`, and returns until when at most; or returns it. What is delayed when `is_over` becomes true is
    /// still [taken](Self::take_delayed) after that.
    pub(crate) fn delay(&self, work: W, is_over: impl FnOnce() -> bool) -> Result<Instant, W> {
        let mut random = self.decision();
        if !random.chance(self.faults.probabilities.delays) {
            return Err(work);
        }
        let mut delayed = self.delayed();
        if is_over() {
            return Err(work);
        }
        delayed.push(work);
        drop(delayed);
        self.faults.record.add_delay();
        let longest = u64::try_from(self.faults.longest_delay.as_nanos()).unwrap_or(u64::MAX);
        Ok(Instant::now() + Duration::from_nanos(random.below(longest)))
    }

    /// True if later work has overtaken what is delayed, which is to be [taken](Self::take_delayed) now.
    pub(crate) fn has_been_overtaken(&self) -> bool {
        self.faults.probabilities.delays > 0.0 && self.decision().chance(0.5)
    }

    /// Returns what was delayed, in no order.
    pub(crate) fn take_delayed(&self) -> Vec<W> {
        let mut taken = mem::take(&mut *self.delayed());
        self.decision().shuffle(&mut taken);
        taken
    }

    /// Brings what the system has reported at one time into another order.
    pub(crate) fn reorder(&self, found: &mut [W]) {
        if self.faults.probabilities.delays > 0.0 {
            self.decision().shuffle(found);
        }
    }

    fn decision(&self) -> SplitMix64 {
        let decision = self.decisions.fetch_add(1, Ordering::Relaxed);
        SplitMix64::at([self.faults.seed, u64::MAX, decision])
    }

    fn delayed(&self) -> MutexGuard<'_, Vec<W>> {
        self.delayed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
