//! The jobs that code of a user's gives to rayon, whose threads the workers are.
//!
//! The workers run a loop of ours inside a job of rayon's that does not end, so rayon's own loop, which would
//! run what is spawned there, never has its turn. The workers *look* for jobs in its place: a look is one
//! `rayon::yield_now`, which runs one job, or finds none.
//!
//! A job lies with the worker that has spawned it, where every other can steal it. The parts of a broadcast lie
//! each with the worker that is to run it, where nobody else finds it. rayon tells nobody that there is a job.
//! It tells a worker cheaply whether it has spawned one that is still there; any other look takes some fences. So:
//!
//! 1. A worker asks whether it has spawned something before it looks for other workers' work, and after every few
//!    pieces. If so it looks.
//! 2. A worker that has run a job *calls*: it counts up `calls`, and wakes the idle. A worker that has
//!    found none has *answered* the calls that it had seen before. None goes to sleep before it has answered
//!    all, so where there is one job, all look for more: for what they can steal, and for their parts of
//!    a broadcast.
//! 3. The monitor looks, for a job that nobody has called for. While a worker is stalled, which may be
//!    waiting in rayon for the others, it does so at the next tick, and then at intervals that grow with
//!    the time in which no job was found, up to [`MOST_TICKS`]. Then the worker that has been idle for longest
//!    becomes the monitor, so that each has its turn: between the parts of one broadcast, too, the thread that
//!    gives them out may be interrupted, after others have called and answered.
//!    While others make progress it does so every [`BUSY_TICKS`], and once more when all have come to rest, with a call
//!    if there were jobs since that was so. A worker that is the only one has no monitor: it looks
//!    when it has waited for as long.
//! 4. A job is code of a user's: a worker looks when it counts as running, so that it is watched. It looks
//!    once between two pieces of work, so that jobs without end leave others their turns.
//! 5. None leaves before it has looked in vain, when all others have come to rest.
//!
//! A drain waits until there are no jobs. They are over if, after some moment, each worker has answered a call
//! made after it, no call has been made since, and no callback has run: a worker that looks for a job or runs
//! one has answered nothing yet; one whose callback leaves a job while there is a drain calls before
//! that callback is counted as delivered; and a job that is stolen is with the thief before its owner finds
//! nothing.

use crate::base::sync::{AtomicU32, AtomicU64, Ordering, has_passed};
use crate::pool::stall_detector::TICK;
use crossbeam::utils::CachePadded;
use rayon::ThreadPool;
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

/// The longest time between two looks while somebody is stalled.
const MOST_TICKS: u32 = 100;

/// How often the monitor looks while others make progress.
const BUSY_TICKS: u32 = 200;

/// What a worker has answered that has not looked, or has found something.
const NOTHING: u64 = 0;

/// What the workers of a pool know of jobs.
#[derive(Debug)]
pub(super) struct Jobs {
    /// Counts the calls; begins with 1.
    calls: AtomicU64,
    /// The last call that each worker has answered.
    answered: Box<[CachePadded<AtomicU64>]>,
    /// How many ticks after the last look the next is due, while somebody is stalled.
    ticks: AtomicU32,
    /// How many pieces of work had been begun when all had come to rest and somebody looked, and how many calls
    /// had been made.
    begun_at_rest: AtomicU64,
    calls_at_rest: AtomicU64,
}

/// What is to be done when all have come to rest.
pub(super) struct AtRest {
    /// One worker looks once more.
    pub(super) must_look: bool,
    /// There has been a call: the idle must be woken.
    pub(super) has_called: bool,
}

impl Jobs {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            calls: AtomicU64::new(1),
            answered: (0..workers).map(|_| CachePadded::new(AtomicU64::new(1))).collect(),
            ticks: AtomicU32::new(1),
            begun_at_rest: AtomicU64::new(0),
            calls_at_rest: AtomicU64::new(1),
        }
    }

    /// How many calls have been made.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Has all workers look. The caller wakes the idle.
    pub(super) fn call(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }

    /// True if `worker` has answered all calls.
    #[inline]
    pub(super) fn has_answered(&self, worker: usize) -> bool {
        self.answered[worker].load(Ordering::Relaxed) == self.calls.load(Ordering::Relaxed)
    }

    /// True if the last call that `worker` has answered is `call`.
    pub(super) fn has_answered_call(&self, worker: usize, call: u64) -> bool {
        self.answered[worker].load(Ordering::SeqCst) == call
    }

    /// Worker `me` looks: `run` runs a job and returns true, or finds none.
    pub(super) fn look(&self, me: usize, run: impl FnOnce() -> bool) -> bool {
        let call = self.calls();
        self.answered[me].store(NOTHING, Ordering::SeqCst);
        let has_run = run();
        if has_run {
            self.expect();
            self.call();
        } else {
            self.answered[me].store(call, Ordering::SeqCst);
        }
        has_run
    }

    /// After how many ticks the monitor looks, if somebody is stalled or if all make progress.
    pub(super) fn ticks_between_looks(&self, is_any_stalled: bool) -> u32 {
        if is_any_stalled { self.ticks.load(Ordering::Relaxed) } else { BUSY_TICKS }
    }

    /// The monitor is about to look.
    pub(super) fn put_off_next_look(&self) {
        let ticks = self.ticks.load(Ordering::Relaxed);
        self.ticks.store((ticks + ticks / 2 + 1).min(MOST_TICKS), Ordering::Relaxed);
    }

    /// Somebody has been found to be stalled, or a job has been run: the next look is at the next tick.
    pub(super) fn expect(&self) {
        self.ticks.store(1, Ordering::Relaxed);
    }

    /// All have come to rest, after so many pieces of work.
    pub(super) fn come_to_rest(&self, begun: u64) -> AtRest {
        let calls = self.calls.load(Ordering::Relaxed);
        let has_called = self.calls_at_rest.load(Ordering::Relaxed) != calls;
        if has_called {
            self.calls_at_rest.store(calls + 1, Ordering::Relaxed);
            self.call();
        }
        let must_look = self.begun_at_rest.swap(begun, Ordering::Relaxed) != begun;
        AtRest { must_look, has_called }
    }
}

thread_local! {
    /// Whose worker this thread is.
    static THREADS: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// What a worker's thread keeps.
pub(super) struct Caller {
    /// `None` in a model.
    threads: Option<Arc<ThreadPool>>,
    /// When it woke the others last.
    woke: Cell<Option<Instant>>,
}

impl Caller {
    pub(super) fn new(threads: Option<Arc<ThreadPool>>) -> Self {
        THREADS.set(threads.clone());
        Self { threads, woke: Cell::new(None) }
    }

    /// True if this worker has spawned a job that is still with it.
    #[inline]
    pub(super) fn has_spawned(&self) -> bool {
        self.threads.as_deref().is_some_and(has_pending_jobs)
    }

    /// True if there may be somebody to wake: more often than at each tick that is not worth it.
    pub(super) fn may_wake(&self) -> bool {
        let is_due = self.woke.get().is_none_or(|woke| has_passed(TICK / 2, woke));
        if is_due {
            self.woke.set(Some(Instant::now()));
        }
        is_due
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        THREADS.set(None);
    }
}

/// True if the calling thread is a worker that has spawned a job that is still with it.
pub(super) fn has_spawned() -> bool {
    // A thread that ends is no worker.
    THREADS
        .try_with(|threads| threads.borrow().as_deref().is_some_and(has_pending_jobs))
        .unwrap_or(false)
}

#[inline]
fn has_pending_jobs(threads: &ThreadPool) -> bool {
    threads.current_thread_has_pending_tasks() == Some(true)
}
