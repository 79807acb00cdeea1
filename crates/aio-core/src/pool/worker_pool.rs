//! The worker pool: rayon's threads in a loop of our own, which take work from queues and wait for
//! more where the pool's [`Hooks`] make them wait. Knows nothing of sockets. This file has what the workers share,
//! and posting; the loop is in `worker.rs`, the wait inside a piece of work in `inside.rs`.
//!
//! # Queues
//!
//! A piece of work that may run inside another one which waits is *nestable*: a turn, a step, what a wait
//! has found. A callback is not. A worker has a queue for each of the two, and others can steal from both. What
//! it posts while it runs something goes there and is run after what it runs now; nobody is woken for it. So
//! does what its waits find, except the first piece, which it runs at once. Work that other threads post goes to the shared queue, and an idle worker is woken
//! for it.
//!
//! Code of a user's runs in pieces of work alone, never in a wait: a worker that is in the hooks' wait is
//! entered as idle, and relied upon to come back from it (invariants 1, 2 and 5). So a wait only *finds*.
//!
//! # Who is awake
//!
//! A worker is *running* or *idle*: in the hooks' wait, or on the way into or out of it. The roster
//! tells, under its lock. One idle worker at most is the *monitor*: its waits end after a
//! tick (`TICK`).
//! At each tick it looks for running workers that are *stalled*: in the same piece of work since the
//! tick before. It marks them, takes over what they would wait for, and runs what lies in their
//! queues. So a callback that blocks delays what is queued behind it by two ticks at most, as long
//! as a worker is free (I4), and nobody is woken for work that its worker will get to in time.
//! A worker may also be *late*: it gets on with its work, but has not come to wait since the tick
//! before. Then the monitor looks for what a wait would find in its place, and helps if more is
//! queued than was done in that tick. While nobody is idle, the busy look for the stalled.
//!
//! 1. While a worker that is not marked stalled is running and another is idle, there is a monitor:
//!    whoever goes idle or leaves appoints one under the roster's lock, and a monitor resigns only
//!    when nobody is running. A worker's mark is taken away before it runs anything else.
//! 2. To wake an idle worker for work is to *claim* it: to take it out of the idle under the lock.
//!    A claimed worker notes the wake-up (clears `waking`) before it looks at the queues. Until then
//!    other posts rely on it. So one wake-up at a time is under way, and none is spent on a worker
//!    that has become busy. A running worker that has run out of what other threads post *spins*
//!    (`spin.rs`) before it goes idle: it takes `waking`, unless it is taken, as if it had been
//!    claimed, and gives it back before it looks at the queues for the last time.
//! 3. A push to the shared queue is followed by a sequentially consistent fence and a look at `idle`
//!    and `waking`; an entry in `idle`, like the clearing of `waking`, by such a fence and a look at
//!    the queue. Of two threads doing these at once, one sees the other: no work is left behind.
//! 4. The mark of a stalled worker and a push to that worker's own queue are a pair of the same
//!    kind: after the mark the marker looks at the queue, and after the push the worker, if it sees
//!    the mark, claims somebody. Every worker that goes idle looks at the queues of the stalled.
//! 5. A worker waits *alone* when no other is running that is not marked stalled. If all are idle,
//!    the last that became so waits alone; if some are stalled, whoever marked them does, or
//!    another after it. What must not be left unattended is attended by who waits alone.
//!
//! A piece of work may have to wait for another one (`inside.rs`). Its worker then *steps aside*: it counts
//! as stalled, so that others run what lies with it, and waits in the hooks' wait as an idle one does. It runs
//! what is nestable, one piece at a time: of its own, and while nobody is idle, of the shared queue and
//! of the stalled, whom it looks for then. So with a single worker, too, what it waits for can come about.
//!
//! 6. A worker that has stepped aside steps back before it runs anything, and when its wait is over. So
//!    code of a user's is watched there as everywhere, and by 1 there is a monitor.
//! 7. It keeps nothing to itself: a piece that it does not run at once lies where others can steal it, and
//!    where a wait inside the piece that it does run finds it. It takes out of its own queues only what it
//!    runs. Of the shared queue it must look behind callbacks, so these move to its own, once each;
//!    they are for whoever is free first, and by 4 who is idle is told.
//!
//! What is watched costs a timer every tick while there is work, and nothing when there is none. While some are
//! stalled and nobody is at work, the monitor *dozes*: it comes back only to look for jobs (`jobs.rs`). Whoever goes
//! on or begins to run wakes it, under the roster's lock, under which it has found nobody at work.

use crate::base::sync::{AtomicBool, AtomicUsize, Ordering, Queue, fence};
use crate::pool::current::Current;
use crate::pool::jobs::{Caller, Jobs, has_spawned};
use crate::pool::roster::Roster;
use crate::pool::run_queue::Queues;
use crate::pool::stall_detector::{Finding, StallDetector};
use aio_sync::ManualResetEvent;
use crossbeam::utils::CachePadded;
use rayon::Yield;
use std::any::Any;
use std::fmt;
use std::sync::atomic::AtomicU32 as StdAtomicU32;
use std::time::Duration;

/// What the workers of a pool run, and where they wait.
pub(crate) trait Hooks: Send + Sync + 'static {
    type Work: Send + 'static;

    fn pool(&self) -> &WorkerPool<Self::Work>;

    /// Called once by each worker, on its thread, before it does anything else.
    fn enter(&self, _worker: usize) {}

    /// Runs a piece of work. Does not panic.
    fn run(&self, work: Self::Work);

    /// True if `work` may run inside another piece, one that waits.
    fn is_nestable(&self, work: &Self::Work) -> bool;

    /// Runs a nestable piece of work inside another one.
    fn run_inside(&self, work: Self::Work);

    /// Runs a job of rayon's on `worker`, or finds none: what `look` returns. Does not panic.
    fn run_job(&self, worker: usize, look: impl FnOnce() -> bool) -> bool;

    /// A job that nobody waits for has panicked.
    fn job_panicked(&self, payload: Box<dyn Any + Send>);

    /// Waits for work or a wake-up; adds the work, which is nestable, to `ready`. Runs nothing of a user's.
    fn wait(&self, worker: usize, wait: Wait, ready: &mut Vec<Self::Work>);

    /// Ends the wait of `worker`, or its next one.
    fn wake(&self, worker: usize);

    /// `from` is stalled: `to` waits for what `from` would wait for.
    fn take_over(&self, from: usize, to: usize);

    /// The pool is stopping: whatever may still be waited for ends now. Code of a user's may run.
    fn abort(&self);
}

/// How a worker is to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// For how long at most; without end if `None`.
    pub(crate) timeout: Option<Duration>,
    /// True if no other worker will wait soon, so that this one must watch what must not be left unattended.
    pub(crate) alone: bool,
}

impl Wait {
    /// Only looks for what is there already.
    pub(super) const POLL: Self = Self { timeout: Some(Duration::ZERO), alone: true };
}

pub(crate) struct WorkerPool<W> {
    /// Tells pools apart in thread-locals; not 0.
    pub(super) id: u32,
    /// From threads that are not workers of this pool, and from stalled workers.
    pub(super) shared: Queue<W>,
    pub(super) queues: Box<[CachePadded<Queues<W>>]>,
    pub(super) roster: Roster,
    pub(super) jobs: Jobs,
    stopping: AtomicBool,
    /// How many threads are ending what is waited for, in [`WorkerPool::stop`]. No worker leaves meanwhile: what
    /// they end is the workers' to deliver.
    aborting: AtomicUsize,
    /// True once all workers were idle after that: they may leave.
    ending: AtomicBool,
    /// How many workers have not left their loop.
    alive: AtomicUsize,
    /// Set when the last worker has left its loop.
    ended: ManualResetEvent,
}

impl<W: Send + 'static> WorkerPool<W> {
    pub(crate) fn new(workers: usize) -> Self {
        static POOLS: StdAtomicU32 = StdAtomicU32::new(1);
        let id = POOLS.fetch_add(1, Ordering::Relaxed);
        assert!(id != 0, "a process makes fewer than 2^32 pools");
        let queues = |worker| CachePadded::new(Queues::new(Current::new(id, worker)));
        Self {
            id,
            shared: Queue::new(),
            queues: (0..workers).map(queues).collect(),
            roster: Roster::new(workers),
            jobs: Jobs::new(workers),
            stopping: AtomicBool::new(false),
            aborting: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            alive: AtomicUsize::new(workers),
            ended: ManualResetEvent::new(false),
        }
    }

    pub(crate) fn workers(&self) -> usize {
        self.queues.len()
    }

    /// Returns the index of the current thread among the workers, if it is one.
    #[inline]
    pub(crate) fn current_worker(&self) -> Option<usize> {
        Current::get().worker_of(self.id)
    }

    /// How many workers are idle.
    pub(crate) fn idle_workers(&self) -> usize {
        self.roster.idle_count()
    }

    /// How many pieces of work are queued.
    pub(crate) fn queued(&self) -> usize {
        self.shared.len() + self.queues.iter().map(|queues| queues.len()).sum::<usize>()
    }

    /// Queues `work`. Never waits for anything but another thread's few instructions (I9). Returns
    /// the work if no worker will ever run it.
    pub(crate) fn post(&self, hooks: &impl Hooks<Work = W>, work: W) -> Result<(), W> {
        if let Some(me) = self.current_worker() {
            let queues = &self.queues[me];
            let queue = if hooks.is_nestable(&work) { &queues.nestable } else { &queues.callbacks };
            queue.own().push(work);
            fence(Ordering::SeqCst);
            if self.roster.worker(me).is_stalled() {
                self.wake_one(hooks);
            }
            return Ok(());
        }
        self.shared.push(work);
        fence(Ordering::SeqCst);
        if self.idle_workers() > 0 {
            self.wake_one(hooks);
        } else if self.alive.load(Ordering::Relaxed) == 0 {
            // The last worker looked at the queue after it had said that it leaves. What it did not
            // see is here, be it this work or another thread's.
            return self.shared.pop().map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Claims and wakes an idle worker, unless one is being woken.
    pub(super) fn wake_one(&self, hooks: &impl Hooks<Work = W>) {
        if let Some(claimed) = self.roster.claim() {
            hooks.wake(claimed);
        }
    }

    /// True if there is work that `me`, on its way to idleness, must not leave.
    #[inline]
    pub(super) fn has_work_for(&self, me: usize) -> bool {
        let mut stalled = self.roster.stalled_others(me);
        !self.shared.is_empty() || stalled.any(|other| !self.queues[other].is_empty())
    }

    #[inline]
    pub(super) fn pop_shared(&self) -> Option<W> {
        // To pop from an empty queue costs a fence.
        if self.shared.is_empty() { None } else { self.shared.pop() }
    }

    /// Takes a piece of work from another worker's queues.
    #[inline]
    pub(super) fn steal(&self, me: usize) -> Option<W> {
        self.roster.others(me).find_map(|other| self.queues[other].steal())
    }

    /// Takes a piece of work that is stuck with a stalled worker.
    pub(super) fn rescue(&self, me: usize) -> Option<W> {
        self.roster.stalled_others(me).find_map(|other| self.queues[other].steal())
    }

    /// Before `me` begins a piece of work.
    #[inline]
    pub(super) fn begin(&self, hooks: &impl Hooks<Work = W>, me: usize) {
        self.roster.worker(me).count_begun();
        self.unmark(hooks, me);
    }

    /// Before `me` runs something: takes its mark away, if it has one.
    #[inline]
    fn unmark(&self, hooks: &impl Hooks<Work = W>, me: usize) {
        if self.roster.worker(me).is_stalled() {
            self.step_back(hooks, me);
        }
    }

    /// `me` makes progress again: it is to be watched again.
    #[cold]
    pub(super) fn step_back(&self, hooks: &impl Hooks<Work = W>, me: usize) {
        self.roster.worker(me).set_stalled(false);
        if let Some(monitor) = self.roster.appoint() {
            hooks.wake(monitor);
        }
    }

    /// Marks those workers as stalled; `me` waits for what they would wait for.
    pub(super) fn take_over(&self, hooks: &impl Hooks<Work = W>, me: usize, stalled: &[usize]) {
        if !stalled.is_empty() {
            self.jobs.expect();
        }
        for &worker in stalled {
            self.roster.worker(worker).set_stalled(true);
            fence(Ordering::SeqCst);
            hooks.take_over(worker, me);
        }
    }

    /// Does, for a worker that is never idle, what a monitor would, while there is none: a
    /// worker that blocks must not hold up what is with it for as long as the others have work.
    pub(super) fn look_after_others(
        &self,
        hooks: &impl Hooks<Work = W>,
        me: usize,
        detector: &mut StallDetector,
    ) {
        if self.workers() == 1 || self.idle_workers() > 0 || !detector.is_due() {
            return;
        }
        let queued = |worker: usize| self.queues[worker].len();
        if let Finding::NeedsHelp { mut stalled, .. } = detector.tick(&self.roster, 1, queued) {
            stalled.retain(|worker| *worker != me);
            self.take_over(hooks, me, &stalled);
        }
    }
}

/// rayon's jobs: see `jobs.rs`.
impl<W: Send + 'static> WorkerPool<W> {
    /// Runs a job, if there is one.
    #[cold]
    pub(super) fn look_for_job(
        &self,
        hooks: &impl Hooks<Work = W>,
        me: usize,
        caller: &Caller,
    ) -> bool {
        let look = || hooks.run_job(me, || rayon::yield_now() == Some(Yield::Executed));
        self.unmark(hooks, me);
        let has_run = self.jobs.look(me, look);
        if has_run {
            // What it did is a piece of work.
            self.begin(hooks, me);
            if caller.may_wake() {
                self.wake_idle(hooks);
            }
        }
        has_run
    }

    /// Has all workers look.
    #[cold]
    pub(crate) fn call(&self, hooks: &impl Hooks<Work = W>) {
        self.jobs.call();
        self.wake_idle(hooks);
    }

    /// The same if the calling worker has spawned a job that is still with it.
    pub(crate) fn call_if_spawned(&self, hooks: &impl Hooks<Work = W>) {
        if has_spawned() {
            self.call(hooks);
        }
    }

    fn wake_idle(&self, hooks: &impl Hooks<Work = W>) {
        self.roster.idle_workers().into_iter().for_each(|worker| hooks.wake(worker));
    }

    /// All have come to rest: true if one is to look once more. The others are called if there were jobs.
    pub(super) fn must_look_at_rest(&self, hooks: &impl Hooks<Work = W>) -> bool {
        let begun = self.roster.workers().map(|worker| worker.begun()).sum();
        let at_rest = self.jobs.come_to_rest(begun);
        if at_rest.has_called {
            self.wake_idle(hooks);
        }
        at_rest.must_look
    }

    /// How many calls have been made.
    pub(crate) fn calls(&self) -> u64 {
        self.jobs.calls()
    }

    /// The same, if all workers but `others` have answered them: then there is no job, as
    /// long as nothing else runs and no call has been made. Wakes those that have not answered.
    pub(crate) fn calls_answered(
        &self,
        hooks: &impl Hooks<Work = W>,
        others: &[usize],
    ) -> Option<u64> {
        let calls = self.calls();
        let mut all = true;
        for worker in 0..self.workers() {
            if !others.contains(&worker) && !self.jobs.has_answered_call(worker, calls) {
                all = false;
                hooks.wake(worker);
            }
        }
        all.then_some(calls)
    }
}

/// The end of the pool.
impl<W: Send + 'static> WorkerPool<W> {
    /// Tells the workers to run what is queued, and what that leads to, and end; none ends while
    /// another is running.
    pub(crate) fn stop(&self, hooks: &impl Hooks<Work = W>) {
        self.aborting.fetch_add(1, Ordering::SeqCst);
        self.stopping.store(true, Ordering::SeqCst);
        hooks.abort();
        self.aborting.fetch_sub(1, Ordering::SeqCst);
        (0..self.workers()).for_each(|worker| hooks.wake(worker));
        self.end_if_idle(hooks);
    }

    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets the workers end if the pool is stopping and none of them is running. Until then those
    /// that are idle stay: a callback that is running may wait for what only they can do.
    pub(super) fn end_if_idle(&self, hooks: &impl Hooks<Work = W>) {
        // Against `stop`, which says so and then looks at the roster, as this does after a
        // worker was entered there: under the lock, one of the two sees what the other did.
        let may_end = self.is_stopping() && self.aborting.load(Ordering::SeqCst) == 0;
        if may_end && self.roster.is_all_idle() && !self.ending.swap(true, Ordering::SeqCst) {
            (0..self.workers()).for_each(|worker| hooks.wake(worker));
        }
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Ends worker `me`, unless there is still something to run.
    pub(super) fn leave(&self, me: usize) -> bool {
        // No other thread adds to its own queues: what is there is there before the worker says that it leaves.
        if !self.queues[me].is_empty() {
            return false;
        }
        // It is not one that is free to run what another worker leaves to it.
        self.roster.worker(me).set_stalled(true);
        let others = self.alive.fetch_sub(1, Ordering::SeqCst) - 1;
        fence(Ordering::SeqCst);
        if self.shared.is_empty() {
            if others == 0 {
                self.ended.set();
            }
            return true;
        }
        self.alive.fetch_add(1, Ordering::SeqCst);
        false
    }

    /// Waits until every worker has left its loop; false if `limit` is over before.
    pub(crate) fn wait_until_ended(&self, limit: Duration) -> bool {
        self.ended.wait_timeout(limit)
    }

    /// True once every worker has left its loop.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_set()
    }

    /// How many workers have not left; one that is leaving may find something to run and stay.
    pub(crate) fn present_workers(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

impl<W> fmt::Debug for WorkerPool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool")
            .field("workers", &self.queues.len())
            .field("idle", &self.roster.idle_count())
            .finish_non_exhaustive()
    }
}
