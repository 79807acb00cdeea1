//! The deadlines of what is pending: operations, registered waits.
//!
//! What has a deadline is entered before it starts and taken out when it is over, so that the deadlines
//! of what is over cost no memory. One idle worker, the *timekeeper*, lets its wait end at a time that is
//! *arranged*; whoever comes back from a wait sees to what is due.
//!
//! 1. A worker that is about to wait alone (`worker_pool.rs`) becomes the timekeeper if there is none, and only
//!    then takes the lock and arranges the time: the first deadline or, if that is earlier, the time that is
//!    arranged already and not over. If there are no times, it does neither.
//! 2. A thread that enters a deadline does so under the lock, and there looks for the timekeeper and the arranged
//!    time. If the deadline is earlier, it arranges the deadline, and wakes the timekeeper.
//! 3. So no deadline is slept through. If the timekeeper has the lock of 1 last, it sees the deadline. If the other
//!    thread has it last, it sees the timekeeper and the arranged time, which is one at which the timekeeper
//!    comes back, or for which another thread is about to wake it.
//!    A timekeeper that finds no times does not take the lock. It becomes the timekeeper and
//!    then reads `times`; the other thread stores `times` and then looks for the
//!    timekeeper. Between the two steps of each is a sequentially consistent fence, so one sees the other.
//! 4. A deadline that is taken out leaves the arranged time as it is. The timekeeper may come back for nothing,
//!    once for each time that is arranged. In return a connection that gets an answer to each request before its
//!    deadline, and so enters and takes out a first deadline each time, wakes the timekeeper once for
//!    each of these times, and not once for each request.
//! 5. Canceling an operation for its deadline's sake is canceling: one that has done its work completes
//!    with it, and one that has not has taken nothing (I2).

use crate::base::sync::{AtomicUsize, Mutex, MutexGuard, Ordering, fence};
use std::collections::BTreeMap;
use std::mem;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// No worker keeps the time.
const NOBODY: usize = usize::MAX;

#[derive(Debug)]
pub(crate) struct Timer<E> {
    state: Mutex<State<E>>,
    /// What there is, readable without the lock: twice the number of entries, and one more if a time is arranged.
    times: AtomicUsize,
    /// Given up without the lock, so that a thread with the lock may wake a worker that has just done so.
    keeper: AtomicUsize,
}

#[derive(Debug)]
struct State<E> {
    /// By deadline, then by the entry's identity.
    entries: BTreeMap<(Instant, usize), E>,
    /// When the timekeeper comes back, if there is one.
    arranged: Option<Instant>,
}

impl<E> State<E> {
    fn first(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((deadline, _), _)| *deadline)
    }
}

impl<E> Timer<E> {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State { entries: BTreeMap::new(), arranged: None }),
            times: AtomicUsize::new(0),
            keeper: AtomicUsize::new(NOBODY),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<E>> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what there is, after a change.
    #[inline]
    fn note(&self, state: &State<E>) {
        let times = 2 * state.entries.len() + usize::from(state.arranged.is_some());
        self.times.store(times, Ordering::Relaxed);
    }

    /// Enters something; `identity` tells it apart from everything else that is entered. Returns the
    /// worker that must be woken to take note.
    pub(crate) fn enter(&self, deadline: Instant, identity: usize, entry: E) -> Option<usize> {
        let mut state = self.state();
        state.entries.insert((deadline, identity), entry);
        self.note(&state);
        fence(Ordering::SeqCst);
        let keeper = self.keeper.load(Ordering::Relaxed);
        if keeper == NOBODY || state.arranged.is_some_and(|arranged| arranged <= deadline) {
            return None;
        }
        state.arranged = Some(deadline);
        self.note(&state);
        Some(keeper)
    }

    /// Takes out what is over.
    pub(crate) fn remove(&self, deadline: Instant, identity: usize) {
        let removed = {
            let mut state = self.state();
            let removed = state.entries.remove(&(deadline, identity));
            self.note(&state);
            removed
        };
        // Not the last handle, but if it were, what it drops would not be dropped under the lock.
        drop(removed);
    }

    /// Takes out what is due.
    pub(crate) fn due(&self) -> Vec<E> {
        if self.times.load(Ordering::Relaxed) < 2 {
            return Vec::new();
        }
        let now = Instant::now();
        let mut state = self.state();
        if state.first().is_none_or(|first| first > now) {
            return Vec::new();
        }
        // Everything at this very moment is due too: no identity is as great.
        let later = state.entries.split_off(&(now, usize::MAX));
        let due = mem::replace(&mut state.entries, later);
        self.note(&state);
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
        if self.times.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut state = self.state();
        let now = Instant::now();
        let arranged = state.arranged.filter(|arranged| *arranged > now);
        state.arranged = state.first().into_iter().chain(arranged).min();
        self.note(&state);
        Some(state.arranged?.saturating_duration_since(now))
    }

    /// Ends the timekeeping of `worker`.
    pub(crate) fn release(&self, worker: usize) {
        // Fails if it is not the timekeeper.
        let _ = self.keeper.compare_exchange(worker, NOBODY, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A time so far away that no test comes to it.
    fn hours(from: Instant, hours: u64) -> Instant {
        from + Duration::from_secs(hours * 3600)
    }

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

    /// As a client does it whose every call has the same timeout.
    #[test]
    fn deadlines_that_are_entered_and_taken_out_wake_the_timekeeper_once() {
        let (timer, base) = (Timer::new(), Instant::now());
        assert_eq!(timer.keep(1), None);
        let mut woken = 0;
        for call in 0..100 {
            let deadline = hours(base, 2) + Duration::from_millis(call);
            if timer.enter(deadline, 0, ()).is_some() {
                woken += 1;
                timer.release(1);
                assert!(timer.keep(1).is_some());
            }
            timer.remove(deadline, 0);
            // A report of the engine ends its wait in between, now and then.
            if call % 3 == 0 {
                timer.release(1);
                assert!(timer.keep(1).is_some());
            }
        }
        assert_eq!(woken, 1);
        assert_eq!(timer.enter(hours(base, 1), 0, ()), Some(1));
    }

    #[test]
    fn an_arranged_time_that_is_over_is_forgotten() {
        let timer = Timer::new();
        let deadline = Instant::now();
        assert_eq!(timer.keep(1), None);
        assert_eq!(timer.enter(deadline, 0, ()), Some(1));
        timer.release(1);
        assert_eq!(timer.due().len(), 1);
        assert_eq!(timer.keep(1), None);
        assert_eq!(timer.enter(hours(deadline, 1), 0, ()), Some(1));
    }
}
