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
//! 3. The watcher looks, for a job that nobody has called for. While a worker is stalled, which may be
//!    waiting in rayon for the others, it does so at the next tick, and then at intervals that grow with
//!    the time in which no job was found, up to [`MOST_TICKS`]. Then it passes the watch to the worker
//!    that has been idle for longest, so that each has its turn: between the parts of one broadcast, too,
//!    the thread that gives them out may be interrupted, after others have called and answered.
//!    While others get on it does so every [`BUSY_TICKS`], and once more when all have come to rest, with a call
//!    if there were jobs since that was so. A worker that is the only one has no watcher: it looks
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
use crate::pool::worker_pool::{Host, TICK, WorkerPool};
use rayon::{ThreadPool, Yield};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Instant;

/// The longest time between two looks while somebody is stalled.
const MOST_TICKS: u32 = 100;

/// How often the watcher looks while others get on.
const BUSY_TICKS: u32 = 200;

/// Comes before every other moment at which jobs have their turn: it is their turn whatever the worker knows.
pub(super) const NOW: u64 = 0;

/// What a worker has answered that has not looked, or has found something.
const NOTHING: u64 = 0;

/// What the workers of a pool know of jobs.
#[derive(Debug)]
pub(super) struct Jobs {
    /// Counts the calls; begins with 1.
    calls: AtomicU64,
    /// How many ticks after the last look the next is due, while somebody is stalled.
    ticks: AtomicU32,
    /// How many pieces of work had been begun when all had come to rest and somebody looked, and how many calls
    /// had been made.
    begun_at_rest: AtomicU64,
    calls_at_rest: AtomicU64,
}

/// What a worker has of its own.
#[derive(Debug)]
pub(super) struct Answers {
    /// The last call that it has answered.
    answered: AtomicU64,
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
    /// What the only worker had begun when it looked at rest.
    begun_at_rest: Cell<u64>,
}

impl Jobs {
    pub(super) fn new() -> Self {
        Self {
            calls: AtomicU64::new(1),
            ticks: AtomicU32::new(1),
            begun_at_rest: AtomicU64::new(0),
            calls_at_rest: AtomicU64::new(1),
        }
    }
}

impl Answers {
    pub(super) fn new() -> Self {
        Self { answered: AtomicU64::new(1) }
    }
}

impl Caller {
    pub(super) fn new(threads: Option<Arc<ThreadPool>>) -> Self {
        THREADS.set(threads.clone());
        Self { threads, woke: Cell::new(None), begun_at_rest: Cell::new(0) }
    }

    /// True if this worker has spawned a job that is still with it.
    #[inline]
    pub(super) fn has_spawned(&self) -> bool {
        let threads = self.threads.as_ref();
        threads.and_then(|threads| threads.current_thread_has_pending_tasks()) == Some(true)
    }

    /// True if the only worker, which has begun so much, has yet to look at rest.
    pub(super) fn must_look_at_rest(&self, begun: u64) -> bool {
        self.begun_at_rest.get() != begun
    }

    pub(super) fn looks_at_rest(&self, begun: u64) {
        self.begun_at_rest.set(begun);
    }

    /// True if there may be somebody to wake: more often than at each tick that is not worth it.
    fn may_wake(&self) -> bool {
        let is_due = self.woke.get().is_none_or(|woke| has_passed(TICK / 2, woke));
        if is_due {
            self.woke.set(Some(Instant::now()));
        }
        is_due
    }
}

fn has_spawned() -> bool {
    let of = |threads: &RefCell<Option<Arc<ThreadPool>>>| {
        threads.borrow().as_ref().and_then(|threads| threads.current_thread_has_pending_tasks())
    };
    // A thread that ends is no worker.
    THREADS.try_with(of).ok().flatten() == Some(true)
}

impl Drop for Caller {
    fn drop(&mut self) {
        THREADS.set(None);
    }
}

impl<W: Send + 'static> WorkerPool<W> {
    /// True if `me` has answered all calls.
    #[inline]
    pub(super) fn has_answered(&self, me: usize) -> bool {
        let answered = self.workers[me].answers.answered.load(Ordering::Relaxed);
        answered == self.jobs.calls.load(Ordering::Relaxed)
    }

    /// Runs a job, if there is one.
    #[cold]
    pub(super) fn look_for_job(
        &self,
        host: &impl Host<Work = W>,
        me: usize,
        caller: &Caller,
    ) -> bool {
        let answers = &self.workers[me].answers;
        let call = self.jobs.calls.load(Ordering::SeqCst);
        answers.answered.store(NOTHING, Ordering::SeqCst);
        self.unmark(host, me);
        let has_run = host.run_job(me, || rayon::yield_now() == Some(Yield::Executed));
        if has_run {
            // What it did is a piece of work.
            self.begin(host, me);
            self.expect_jobs();
            self.jobs.calls.fetch_add(1, Ordering::SeqCst);
            if caller.may_wake() {
                self.wake_idle(host);
            }
        } else {
            answers.answered.store(call, Ordering::SeqCst);
        }
        has_run
    }

    /// Has all workers look.
    #[cold]
    pub(crate) fn call(&self, host: &impl Host<Work = W>) {
        self.jobs.calls.fetch_add(1, Ordering::SeqCst);
        self.wake_idle(host);
    }

    /// The same if the calling worker has spawned a job that is still with it.
    pub(crate) fn call_if_spawned(&self, host: &impl Host<Work = W>) {
        if has_spawned() {
            self.call(host);
        }
    }

    fn wake_idle(&self, host: &impl Host<Work = W>) {
        let idle = self.roster().idle.clone();
        idle.into_iter().for_each(|worker| host.wake(worker));
    }

    /// After how many ticks the watcher looks, if somebody is stalled or if all get on.
    pub(super) fn ticks_between_looks(&self, is_somebody_stalled: bool) -> u32 {
        if is_somebody_stalled { self.jobs.ticks.load(Ordering::Relaxed) } else { BUSY_TICKS }
    }

    /// The watcher is about to look.
    pub(super) fn put_off_next_look(&self) {
        let ticks = self.jobs.ticks.load(Ordering::Relaxed);
        self.jobs.ticks.store((ticks + ticks / 2 + 1).min(MOST_TICKS), Ordering::Relaxed);
    }

    /// Somebody has been found to be stalled, or a job has been run: the next look is at the next tick.
    pub(super) fn expect_jobs(&self) {
        self.jobs.ticks.store(1, Ordering::Relaxed);
    }

    /// All have come to rest: true if one is to look once more. The others are called if there were jobs.
    pub(super) fn must_look_at_rest(&self, host: &impl Host<Work = W>) -> bool {
        let begun = self.workers.iter().map(|worker| worker.begun()).sum();
        let calls = self.jobs.calls.load(Ordering::Relaxed);
        let is_later = self.jobs.begun_at_rest.swap(begun, Ordering::Relaxed) != begun;
        if self.jobs.calls_at_rest.load(Ordering::Relaxed) != calls {
            self.jobs.calls_at_rest.store(calls + 1, Ordering::Relaxed);
            self.call(host);
        }
        is_later
    }

    /// How many calls have been made.
    pub(crate) fn calls(&self) -> u64 {
        self.jobs.calls.load(Ordering::SeqCst)
    }

    /// The same, if all workers but `others` have answered them: then there is no job, as
    /// long as nothing else runs and no call has been made. Wakes those that have not answered.
    pub(crate) fn calls_answered(
        &self,
        host: &impl Host<Work = W>,
        others: &[usize],
    ) -> Option<u64> {
        let calls = self.calls();
        let mut all = true;
        for (index, worker) in self.workers.iter().enumerate() {
            if !others.contains(&index) && worker.answers.answered.load(Ordering::SeqCst) != calls {
                all = false;
                host.wake(index);
            }
        }
        all.then_some(calls)
    }
}
