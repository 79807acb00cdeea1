//! The deadlines of what is pending: operations, registered waits.
//!
//! What has a deadline is entered before it starts and taken out when it is over, so that the deadlines
//! of what is over cost no memory. One idle worker, the *timekeeper*, lets its wait end at the first
//! deadline; whoever comes back from a wait sees to what is due.
//!
//! 1. A worker that is about to wait alone (`worker_pool.rs`) becomes the timekeeper if there is none,
//!    and only then looks at the first deadline. A thread that enters a new first deadline looks only
//!    then for the timekeeper, and wakes it. Both put a sequentially consistent fence in between, so
//!    that one of the two sees the other: no deadline is slept through.
//! 2. Canceling an operation for its deadline's sake is canceling: one that has done its work completes
//!    with it, and one that has not has taken nothing (I2).

use std::collections::BTreeMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// No worker keeps the time.
const NOBODY: usize = usize::MAX;

#[derive(Debug)]
pub(crate) struct Timer<E> {
    /// By deadline, then by the entry's identity.
    entries: Mutex<BTreeMap<(Instant, usize), E>>,
    /// How many there are; readable without the lock.
    count: AtomicUsize,
    keeper: AtomicUsize,
}

impl<E> Timer<E> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
            count: AtomicUsize::new(0),
            keeper: AtomicUsize::new(NOBODY),
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<(Instant, usize), E>> {
        // Nothing that can panic runs under the lock.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters something; `identity` tells it apart from everything else that is entered. Returns the
    /// worker that must be woken to take note.
    pub(crate) fn enter(&self, deadline: Instant, identity: usize, entry: E) -> Option<usize> {
        let key = (deadline, identity);
        let is_first = {
            let mut entries = self.entries();
            entries.insert(key, entry);
            self.count.store(entries.len(), Ordering::Relaxed);
            entries.first_key_value().is_some_and(|(first, _)| *first == key)
        };
        if !is_first {
            return None;
        }
        fence(Ordering::SeqCst);
        Some(self.keeper.load(Ordering::Relaxed)).filter(|keeper| *keeper != NOBODY)
    }

    /// Takes out what is over.
    pub(crate) fn remove(&self, deadline: Instant, identity: usize) {
        let removed = {
            let mut entries = self.entries();
            let removed = entries.remove(&(deadline, identity));
            self.count.store(entries.len(), Ordering::Relaxed);
            removed
        };
        // Not the last handle, but if it were, what it drops would not be dropped under the lock.
        drop(removed);
    }

    /// Takes out what is due.
    pub(crate) fn due(&self) -> Vec<E> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let now = Instant::now();
        let mut entries = self.entries();
        if entries.first_key_value().is_none_or(|((first, _), _)| *first > now) {
            return Vec::new();
        }
        // Everything at this very moment is due too: no identity is as great.
        let later = entries.split_off(&(now, usize::MAX));
        let due = mem::replace(&mut *entries, later);
        self.count.store(entries.len(), Ordering::Relaxed);
        due.into_values().collect()
    }

    /// Makes `worker` the timekeeper, if there is none. Returns for how long it may wait at most.
    pub(crate) fn keep(&self, worker: usize) -> Option<Duration> {
        let claim =
            self.keeper.compare_exchange(NOBODY, worker, Ordering::Relaxed, Ordering::Relaxed);
        if claim.is_err() {
            return None;
        }
        fence(Ordering::SeqCst);
        let first = self.entries().first_key_value().map(|((deadline, _), _)| *deadline)?;
        Some(first.saturating_duration_since(Instant::now()))
    }

    /// Ends the timekeeping of `worker`.
    pub(crate) fn release(&self, worker: usize) {
        // Fails if it is not the timekeeper.
        let _ = self.keeper.compare_exchange(worker, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_keeps_the_time() {
        let timer = Timer::<()>::new();
        assert_eq!(timer.keep(1), None);
        assert_eq!(timer.keeper.load(Ordering::Relaxed), 1);
        assert_eq!(timer.keep(2), None);
        timer.release(2);
        assert_eq!(timer.keeper.load(Ordering::Relaxed), 1);
        timer.release(1);
        assert_eq!(timer.keeper.load(Ordering::Relaxed), NOBODY);
        assert!(timer.due().is_empty());
    }
}
