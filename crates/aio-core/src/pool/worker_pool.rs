//! The worker pool: rayon's threads in a loop of our own, which take work from queues and wait for
//! more where the pool's [`Host`] makes them wait. Knows nothing of sockets.
//!
//! # Queues
//!
//! A piece of work that may run inside another one which waits is *nestable*: a turn, a step, what a wait
//! has found. A callback is not. A worker has a queue for each of the two, and others can steal from both. What
//! it posts while it runs something goes there and is run after what it runs now; nobody is woken for it. So
//! does what its waits find. Work that other threads post goes to the shared queue, and an idle worker is woken
//! for it.
//!
//! Code of a user's runs in pieces of work alone, never in a wait: a worker that is in the host's wait is
//! entered as idle, and relied upon to come back from it (invariants 1, 2 and 5). So a wait only *finds*.
//!
//! # Who is awake
//!
//! A worker is *running* or *idle*: in the host's wait, or on the way into or out of it. The roster
//! tells, under its lock. One idle worker at most is the *watcher*: its waits end after a [`TICK`].
//! At each tick it looks for running workers that are *stalled*: in the same piece of work since the
//! tick before. It marks them, takes over what they would wait for, and runs what lies in their
//! queues. So a callback that blocks delays what is queued behind it by two ticks at most, as long
//! as a worker is free (I4), and nobody is woken for work that its worker will get to in time.
//! A worker may also be *late*: it gets on with its work, but has not come to wait since the tick
//! before. Then the watcher looks for what a wait would find in its place, and helps if more is
//! queued than was done in that tick. While nobody is idle, the busy look for the stalled.
//!
//! 1. While a worker that is not marked stalled is running and another is idle, there is a watcher:
//!    whoever goes idle or leaves appoints one under the roster's lock, and a watcher resigns only
//!    when nobody is running. A worker's mark is taken away before it runs anything else.
//! 2. To wake an idle worker for work is to *claim* it: to take it out of the idle under the lock.
//!    A claimed worker notes the wake-up (clears `waking`) before it looks at the queues. Until then
//!    other posts rely on it. So one wake-up at a time is under way, and none is spent on a worker
//!    that has become busy. A running worker that has run out of what other threads post *looks out*
//!    (`lookout.rs`) before it goes idle: it takes `waking`, unless it is taken, as if it had been
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
//! A piece of work may have to wait for another one ([`wait_inside`]). Its worker then *steps aside*: it counts
//! as stalled, so that others run what lies with it, and waits in the host's wait as an idle one does. It runs
//! what is nestable, one piece at a time: of its own, and while nobody is idle, of the shared queue and
//! of the stalled, whom it looks for then. So with a single worker, too, what it waits for can come about.
//!
//! 6. A worker that has stepped aside steps back before it runs anything, and when its wait is over. So
//!    code of a user's is watched there as everywhere, and by 1 there is a watcher.
//! 7. It keeps nothing to itself: a piece that it does not run at once lies where others can steal it, and
//!    where a wait inside the piece that it does run finds it. It takes out of its own queues only what it
//!    runs. Of the shared queue it must look behind callbacks, so these move to its own, once each;
//!    they are for whoever is free first, and by 4 who is idle is told.
//!
//! What is watched costs a timer every tick while there is work, and nothing when there is none. While some are
//! stalled and nobody is at work, the watcher *dozes*: it comes back only to look for jobs (`jobs.rs`). Whoever goes
//! on or begins to run wakes it, under the roster's lock, under which it has found nobody at work.

mod jobs;
#[expect(unsafe_code, reason = "a run queue's own end is used on one thread alone")]
mod run_queue;

use crate::base::spin::Lookout;
use crate::base::sync::{
    AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, Queue, fence, has_passed,
};
use aio_sync::ManualResetEvent;
use crossbeam::utils::CachePadded;
use jobs::{Answers, Caller, Jobs};
use rayon::{ThreadPool, ThreadPoolBuilder};
use run_queue::{OwnEnd, RunQueue};
use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU32 as StdAtomicU32;
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Two of these are how long a blocked callback can delay what is queued behind it.
const TICK: Duration = Duration::from_micros(500);

/// How often a worker that waits inside its work looks whether it has to attend to something.
const INSIDE_TICK: Duration = Duration::from_millis(1);

/// For how many ticks without any work a watcher stays: waking it again costs more than this does.
const QUIET_TICKS: u32 = 20;

/// A worker that looks out looks, as often as that, at what a wait would find.
const LOOKS_PER_WAIT: u32 = 8;

/// After so long the only worker looks for jobs at rest.
const REST: Duration = Duration::from_millis(10);

/// How many pieces of work may be queued with a running worker before the watcher lends a hand.
const BACKLOG: usize = 64;

/// After so many pieces of work a worker looks for new work elsewhere even if it has some left:
/// at what is nestable before callbacks, at the shared queue, and, when it has not waited for so long, at
/// what a wait would find.
const NESTABLE_INTERVAL: u64 = 16;
const SHARED_INTERVAL: u64 = 64;
const WAIT_INTERVAL: u64 = 256;

/// As so many pieces of work counts a job, which is seldom small.
const JOB_WEIGHT: u64 = 16;

/// What a pool works for.
pub(crate) trait Host: Send + Sync + 'static {
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

    /// Waits for work or a wake-up; adds the work, which is nestable, to `found`. Runs nothing of a user's.
    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Self::Work>);

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
    /// True if no other worker is about to come to wait soon: what must always be attended is this
    /// worker's to attend.
    pub(crate) alone: bool,
}

impl Wait {
    /// Only looks for what is there already.
    const LOOK: Self = Self { timeout: Some(Duration::ZERO), alone: true };
}

pub(crate) struct WorkerPool<W> {
    /// Tells pools apart in thread-locals; not 0.
    id: u32,
    /// From threads that are not workers of this pool, and from stalled workers.
    shared: Queue<W>,
    workers: Box<[CachePadded<Worker<W>>]>,
    roster: Mutex<Roster>,
    /// How many workers are entered as idle; readable without the roster's lock.
    idle: AtomicUsize,
    /// True while a worker has been claimed and has not noted it yet.
    waking: AtomicBool,
    stopping: AtomicBool,
    /// How many threads are ending what is waited for, in [`Threads::stop`]. No worker leaves meanwhile: what they
    /// end is the workers' to deliver.
    aborting: AtomicUsize,
    /// True once all workers were idle after that: they may leave.
    ending: AtomicBool,
    /// How many workers have not left their loop.
    alive: AtomicUsize,
    /// Set when the last worker has left its loop.
    ended: ManualResetEvent,
    jobs: Jobs,
}

struct Worker<W> {
    /// What this worker has posted that must not run inside another piece of work.
    callbacks: RunQueue<W>,
    /// What it has posted and its waits have found that may.
    nestable: RunQueue<W>,
    /// Counts the pieces of work that this worker has begun; written by the worker alone.
    begun: AtomicU64,
    /// Counts how often this worker has come to wait, or to look for what a wait would find.
    waits: AtomicU64,
    /// True from the tick at which this worker was found to be stalled until it begins something
    /// else.
    stalled: AtomicBool,
    /// True exactly when this worker is not entered as idle. Written under the roster's lock.
    running: AtomicBool,
    answers: Answers,
}

/// For a worker's own thread.
struct OwnEnds<'a, W> {
    callbacks: OwnEnd<'a, W>,
    nestable: OwnEnd<'a, W>,
}

impl<W> Worker<W> {
    fn own_ends(&self) -> OwnEnds<'_, W> {
        OwnEnds { callbacks: self.callbacks.own(), nestable: self.nestable.own() }
    }

    fn has_queued(&self) -> bool {
        !(self.callbacks.is_empty() && self.nestable.is_empty())
    }

    fn queued(&self) -> usize {
        self.callbacks.len() + self.nestable.len()
    }

    /// For everybody.
    fn steal(&self) -> Option<W> {
        self.nestable.steal().or_else(|| self.callbacks.steal())
    }

    /// How many pieces of work it has begun.
    fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// True if this worker will come to wait soon, as far as anybody knows.
    fn is_at_work(&self) -> bool {
        self.running.load(Ordering::Relaxed) && !self.stalled.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
struct Roster {
    /// Most recently idle last.
    idle: Vec<usize>,
    watcher: Option<usize>,
    /// True if the watcher waits for longer than a tick, since nobody is at work.
    is_dozing: bool,
    /// True if the watch was passed on by one who had seen nobody at work for long, and only looks for a job.
    is_quiet: bool,
}

/// The worker that a thread is, if it is one.
///
/// One number, the pool's and the worker's, since it is looked at several times for each operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Current(u64);

#[cfg(not(loom))]
thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::NOBODY) };
}
#[cfg(loom)]
loom::thread_local! {
    static CURRENT: Cell<Current> = Cell::new(Current::NOBODY);
}

impl Current {
    const NOBODY: Self = Self(0);

    /// `pool` is not 0.
    fn new(pool: u32, worker: usize) -> Self {
        Self(u64::from(pool) << 32 | worker as u64)
    }

    fn get() -> Self {
        CURRENT.with(Cell::get)
    }

    /// The index of the current thread among the workers of `pool`.
    pub(crate) fn worker_of<W>(pool: &WorkerPool<W>) -> Option<usize> {
        let Self(current) = Self::get();
        (current >> 32 == u64::from(pool.id)).then_some(current as u32 as usize)
    }
}

impl<W: Send + 'static> WorkerPool<W> {
    pub(crate) fn new(workers: usize) -> Self {
        static POOLS: StdAtomicU32 = StdAtomicU32::new(1);
        let id = POOLS.fetch_add(1, Ordering::Relaxed);
        assert!(id != 0, "a process makes fewer than 2^32 pools");
        let worker = |worker| {
            let current = Current::new(id, worker);
            CachePadded::new(Worker {
                callbacks: RunQueue::new(current),
                nestable: RunQueue::new(current),
                begun: AtomicU64::new(0),
                waits: AtomicU64::new(0),
                stalled: AtomicBool::new(false),
                running: AtomicBool::new(true),
                answers: Answers::new(),
            })
        };
        Self {
            id,
            shared: Queue::new(),
            workers: (0..workers).map(worker).collect(),
            roster: Mutex::new(Roster::default()),
            idle: AtomicUsize::new(0),
            waking: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            aborting: AtomicUsize::new(0),
            ending: AtomicBool::new(false),
            alive: AtomicUsize::new(workers),
            ended: ManualResetEvent::new(false),
            jobs: Jobs::new(),
        }
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
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

    /// How many workers are idle.
    pub(crate) fn idle_workers(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// How many pieces of work are queued.
    pub(crate) fn queued(&self) -> usize {
        self.shared.len() + self.workers.iter().map(|worker| worker.queued()).sum::<usize>()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Lets the workers end if the pool is stopping and none of them is running. Until then those
    /// that are idle stay: a callback that is running may wait for what only they can do.
    fn end_if_idle(&self, host: &impl Host<Work = W>) {
        // Against `Threads::stop`, which says so and then looks at the roster, as this does after a
        // worker was entered there: under the lock, one of the two sees what the other did.
        let may_end = self.is_stopping() && self.aborting.load(Ordering::SeqCst) == 0;
        if !may_end || self.roster().idle.len() < self.workers.len() {
            return;
        }
        if !self.ending.swap(true, Ordering::SeqCst) {
            (0..self.workers.len()).for_each(|worker| host.wake(worker));
        }
    }

    fn is_ending(&self) -> bool {
        self.ending.load(Ordering::SeqCst)
    }

    /// Queues `work`. Never waits for anything but another thread's few instructions (I9). Returns
    /// the work if no worker will ever run it.
    pub(crate) fn post(&self, host: &impl Host<Work = W>, work: W) -> Result<(), W> {
        if let Some(me) = Current::worker_of(self) {
            let me = &self.workers[me];
            let queue = if host.is_nestable(&work) { &me.nestable } else { &me.callbacks };
            queue.own().push(work);
            fence(Ordering::SeqCst);
            if me.stalled.load(Ordering::Relaxed) {
                self.wake_one(host);
            }
            return Ok(());
        }
        self.shared.push(work);
        fence(Ordering::SeqCst);
        if self.idle.load(Ordering::Relaxed) > 0 {
            self.wake_one(host);
        } else if self.alive.load(Ordering::Relaxed) == 0 {
            // The last worker looked at the queue after it had said that it leaves. What it did not
            // see is here, be it this work or another thread's.
            return self.shared.pop().map_or(Ok(()), Err);
        }
        Ok(())
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        // Nothing that can panic runs under the lock.
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims and wakes an idle worker, unless one is being woken.
    fn wake_one(&self, host: &impl Host<Work = W>) {
        if self.waking.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut roster = self.roster();
        match roster.idle.last().copied() {
            Some(worker) => {
                self.run(&mut roster, worker);
                drop(roster);
                host.wake(worker);
            }
            // Everybody is running again, and looks at the queues before waiting.
            None => self.waking.store(false, Ordering::SeqCst),
        }
    }

    /// Enters `worker` as running.
    fn run(&self, roster: &mut Roster, worker: usize) {
        roster.idle.retain(|idle| *idle != worker);
        self.idle.store(roster.idle.len(), Ordering::Relaxed);
        self.workers[worker].running.store(true, Ordering::Relaxed);
    }

    /// Enters `me` as idle, and says how it is to wait.
    fn go_idle(&self, me: usize) -> Stance {
        let mut roster = self.roster();
        self.workers[me].stalled.store(false, Ordering::Relaxed);
        self.workers[me].running.store(false, Ordering::Relaxed);
        roster.idle.push(me);
        self.idle.store(roster.idle.len(), Ordering::Relaxed);
        if roster.watcher.is_none() && roster.idle.len() < self.workers.len() {
            roster.watcher = Some(me);
        }
        let stance = self.stance_in(&mut roster, me, false);
        drop(roster);
        fence(Ordering::SeqCst);
        stance
    }

    /// Enters `me` as running, and leaves the watch to another. Returns true if `me` was claimed.
    ///
    /// `is_quiet`: it only looks for a job, and has seen nobody at work for long.
    fn leave_idle(&self, host: &impl Host<Work = W>, me: usize, is_quiet: bool) -> bool {
        let mut roster = self.roster();
        let claimed = self.workers[me].running.load(Ordering::Relaxed);
        self.run(&mut roster, me);
        if roster.watcher == Some(me) {
            roster.watcher = None;
            roster.is_dozing = false;
            roster.is_quiet = is_quiet;
        }
        self.appoint(host, roster);
        claimed
    }

    /// Sees to it that there is a watcher if anybody is idle.
    fn appoint(&self, host: &impl Host<Work = W>, mut roster: MutexGuard<'_, Roster>) {
        if let Some(watcher) = roster.watcher {
            if mem::take(&mut roster.is_dozing) {
                drop(roster);
                host.wake(watcher);
            }
            return;
        }
        // The last to be claimed for work; and whoever watches has its turn to look for jobs.
        let Some(watcher) = roster.idle.first().copied() else { return };
        roster.watcher = Some(watcher);
        drop(roster);
        // It may be in a wait without end.
        host.wake(watcher);
    }

    /// `is_quiet`: as far as `me` has seen.
    fn stance(&self, me: usize, is_quiet: bool) -> Stance {
        self.stance_in(&mut self.roster(), me, is_quiet)
    }

    fn stance_in(&self, roster: &mut Roster, me: usize, is_quiet: bool) -> Stance {
        let mut others = self.workers.iter().enumerate().filter(|(index, _)| *index != me);
        let alone = !others.any(|(_, worker)| worker.is_at_work());
        let watching = roster.watcher == Some(me);
        let dozing = watching && alone && is_quiet;
        if watching {
            roster.is_dozing = dozing;
        }
        Stance { watching, alone, dozing, was_quiet: roster.is_quiet }
    }

    /// True if another worker is idle, or will be soon, as far as anybody knows.
    fn are_others_free(&self, me: usize) -> bool {
        let mut others = self.workers.iter().enumerate().filter(|(index, _)| *index != me);
        others.any(|(_, worker)| !worker.stalled.load(Ordering::Relaxed))
    }

    /// True if all workers are idle.
    fn is_at_rest(&self) -> bool {
        self.idle.load(Ordering::Relaxed) == self.workers.len()
    }

    /// Ends the watch of `me` if nobody is running.
    fn resign(&self, me: usize) {
        let mut roster = self.roster();
        if roster.idle.len() == self.workers.len() && roster.watcher == Some(me) {
            roster.watcher = None;
            roster.is_dozing = false;
        }
    }

    /// Takes the next piece of work that is rightly `me`'s, or that nobody else may get to.
    fn next(&self, me: usize, mine: &OwnEnds<'_, W>, begun: u64) -> Option<Next<W>> {
        if begun % NESTABLE_INTERVAL == 0 {
            if begun % SHARED_INTERVAL == 0 {
                if let Some(next) = self.next_shared().or_else(|| self.rescue(me).map(Next::kept)) {
                    return Some(next);
                }
            }
            if let Some(work) = mine.nestable.pop() {
                return Some(Next::kept(work));
            }
        }
        let own = mine.callbacks.pop().or_else(|| mine.nestable.pop()).map(Next::kept);
        own.or_else(|| self.next_shared()).or_else(|| self.steal(me).map(Next::kept))
    }

    fn next_shared(&self) -> Option<Next<W>> {
        self.shared.pop().map(|work| Next { work, was_shared: true })
    }

    /// Takes a piece of work from another worker's queues.
    fn steal(&self, me: usize) -> Option<W> {
        let others = self.workers.len();
        (1..others).find_map(|step| self.workers[(me + step) % others].steal())
    }

    /// Takes a piece of work that is stuck with a stalled worker.
    fn rescue(&self, me: usize) -> Option<W> {
        self.stalled_others(me).find_map(Worker::steal)
    }

    fn stalled_others(&self, me: usize) -> impl Iterator<Item = &Worker<W>> {
        let workers = self.workers.len();
        let others = (1..workers).map(move |step| &*self.workers[(me + step) % workers]);
        others.filter(|other| other.stalled.load(Ordering::Relaxed))
    }

    /// Takes a nestable piece of work that only an idle worker would get to soon, if nobody is idle.
    fn next_unattended(
        &self,
        host: &impl Host<Work = W>,
        me: usize,
        mine: &OwnEnds<'_, W>,
    ) -> Option<W> {
        if self.idle.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let mut has_moved = false;
        let mut next = None;
        // No more than lie there now: others may post without end.
        for _ in 0..self.shared.len() {
            match self.shared.pop() {
                Some(work) if !host.is_nestable(&work) => {
                    mine.callbacks.push(work);
                    has_moved = true;
                }
                taken => {
                    next = taken;
                    break;
                }
            }
        }
        if has_moved {
            self.offer(host, me);
        }
        next.or_else(|| self.stalled_others(me).find_map(|other| other.nestable.steal()))
    }

    /// Has an idle worker, if there is one, come for what lies with `me`, which is marked stalled.
    fn offer(&self, host: &impl Host<Work = W>, me: usize) {
        // Between a push or the mark, and the look at who is idle: invariants 3 and 4.
        fence(Ordering::SeqCst);
        if self.workers[me].has_queued() && self.idle.load(Ordering::Relaxed) > 0 {
            self.wake_one(host);
        }
    }

    /// `me` is about to wait inside a piece of its work: others see to what lies with it.
    fn step_aside(&self, host: &impl Host<Work = W>, me: usize) {
        self.workers[me].stalled.store(true, Ordering::Relaxed);
        self.offer(host, me);
        self.call_if_spawned(host);
    }

    /// `me` goes on: it is to be watched again.
    fn step_back(&self, host: &impl Host<Work = W>, me: usize) {
        self.workers[me].stalled.store(false, Ordering::Relaxed);
        self.appoint(host, self.roster());
    }

    /// Before `me` runs something: takes its mark away, if it has one.
    fn unmark(&self, host: &impl Host<Work = W>, me: usize) {
        if self.workers[me].stalled.load(Ordering::Relaxed) {
            self.step_back(host, me);
        }
    }

    /// True if there is work that a worker on its way to idleness must not leave.
    fn has_work(&self) -> bool {
        !self.shared.is_empty()
            || self
                .workers
                .iter()
                .any(|worker| worker.stalled.load(Ordering::Relaxed) && worker.has_queued())
    }

    /// True if a wait of `me` has brought work, or ended by a claim.
    fn has_brought(&self, me: usize, found: &[W]) -> bool {
        !found.is_empty() || self.workers[me].running.load(Ordering::Relaxed)
    }

    /// Before `me` begins a piece of work.
    fn begin(&self, host: &impl Host<Work = W>, me: usize) {
        let mine = &self.workers[me];
        mine.begun.store(mine.begun() + 1, Ordering::Relaxed);
        self.unmark(host, me);
    }
}

impl<W> fmt::Debug for WorkerPool<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerPool")
            .field("workers", &self.workers.len())
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

/// A piece of work to run, and whether it was in the shared queue.
struct Next<W> {
    work: W,
    was_shared: bool,
}

impl<W> Next<W> {
    fn kept(work: W) -> Self {
        Self { work, was_shared: false }
    }
}

/// How an idle worker stands to the others.
#[derive(Clone, Copy)]
struct Stance {
    watching: bool,
    alone: bool,
    /// It watches, but nobody is at work: only some are stalled.
    dozing: bool,
    /// Nobody was at work for long when the watch was passed on.
    was_quiet: bool,
}

/// What the watcher saw at its last tick.
struct Watch {
    workers: Box<[Seen]>,
    last: Instant,
    quiet_ticks: u32,
    /// Since somebody has looked for jobs.
    ticks: u32,
    /// True if a worker was marked as stalled.
    is_marked: bool,
}

#[derive(Clone, Default)]
struct Seen {
    /// What the worker had begun last.
    begun: u64,
    /// How often it had come to wait.
    waits: u64,
    /// True if it was at work.
    at_work: bool,
}

impl Seen {
    fn now<W>(worker: &Worker<W>) -> Self {
        Self {
            begun: worker.begun(),
            waits: worker.waits.load(Ordering::Relaxed),
            at_work: worker.is_at_work(),
        }
    }
}

/// What the watcher finds at a tick.
enum Sight {
    /// Everybody gets on with their work.
    AllWell,
    /// Some do not; or one has more queued than it will get to soon.
    NeedsHelp { stalled: Vec<usize>, late: Vec<usize>, backlog: bool },
    /// Nobody has had work for long.
    Quiet,
}

impl Watch {
    fn new(workers: usize) -> Self {
        let workers = vec![Seen::default(); workers].into();
        Self { workers, last: Instant::now(), quiet_ticks: 0, ticks: 0, is_marked: false }
    }

    /// Begins a watch, of nobody who is at work if it is `quiet`.
    fn start<W>(&mut self, pool: &WorkerPool<W>, quiet: bool) {
        // One that was broken off a moment ago goes on: a watcher whose waits never last for a tick, since I/O ends
        // them, watches all the same.
        if !quiet && !self.is_quiet() && !has_passed(TICK * 8, self.last) {
            return;
        }
        for (worker, seen) in pool.workers.iter().zip(&mut self.workers) {
            *seen = Seen::now(worker);
        }
        self.last = Instant::now();
        self.quiet_ticks = if quiet { QUIET_TICKS } else { 0 };
        self.ticks = 0;
    }

    /// True if nobody has been at work for long.
    fn is_quiet(&self) -> bool {
        self.quiet_ticks >= QUIET_TICKS
    }

    /// True if jobs are to be looked for.
    fn must_look_for_jobs<W: Send + 'static>(&self, pool: &WorkerPool<W>) -> bool {
        (self.is_marked || !self.is_quiet())
            && self.ticks >= pool.ticks_between_looks(self.is_marked)
    }

    /// For how many ticks to wait before the next look.
    fn ticks_to_wait<W: Send + 'static>(&self, pool: &WorkerPool<W>, stance: Stance) -> u32 {
        if stance.dozing {
            pool.ticks_between_looks(true).saturating_sub(self.ticks).max(1)
        } else {
            1
        }
    }

    /// True if a tick has passed since the last look; sooner, it would take everybody for stalled.
    fn is_due(&self) -> bool {
        has_passed(TICK, self.last)
    }

    /// `ticks`: for how many the watcher has waited.
    fn look<W>(&mut self, pool: &WorkerPool<W>, ticks: u32) -> Sight {
        self.ticks = self.ticks.saturating_add(ticks);
        self.last = Instant::now();
        let mut stalled = Vec::new();
        let mut late = Vec::new();
        let mut backlog = false;
        let mut quiet = true;
        let mut is_marked = false;
        for (index, (worker, seen)) in pool.workers.iter().zip(&mut self.workers).enumerate() {
            let now = Seen::now(worker);
            quiet &= !now.at_work && now.begun == seen.begun;
            if now.at_work {
                let queued = worker.queued();
                backlog |= queued > BACKLOG;
                // A worker that has waited in between has begun nothing, and is not stuck.
                if seen.at_work && seen.begun == now.begun && seen.waits == now.waits {
                    stalled.push(index);
                } else if seen.at_work && seen.waits == now.waits {
                    late.push(index);
                    backlog |= queued as u64 > now.begun - seen.begun;
                }
            }
            is_marked |= worker.stalled.load(Ordering::Relaxed);
            *seen = now;
        }
        self.is_marked = is_marked;
        self.quiet_ticks = if quiet { self.quiet_ticks + 1 } else { 0 };
        if backlog || !stalled.is_empty() || !late.is_empty() {
            Sight::NeedsHelp { stalled, late, backlog }
        } else if self.is_quiet() {
            Sight::Quiet
        } else {
            Sight::AllWell
        }
    }
}

/// The threads of a pool.
#[derive(Debug)]
pub(crate) struct Threads {
    /// Its threads run our loops; when the loops have ended, too, and this is dropped, they are let go.
    rayon: Option<Arc<ThreadPool>>,
    handles: Vec<JoinHandle<()>>,
}

impl Threads {
    /// Starts the workers of `host`'s pool.
    pub(crate) fn start<H: Host>(
        host: &Arc<H>,
        name: &str,
        stack_size: Option<usize>,
    ) -> io::Result<Self> {
        let mut handles = Vec::with_capacity(host.pool().workers());
        let of_panics = host.clone();
        let built = ThreadPoolBuilder::new()
            .num_threads(host.pool().workers())
            .panic_handler(move |payload| of_panics.job_panicked(payload))
            .spawn_handler(|thread| {
                let mut builder = thread::Builder::new().name(format!("{name}-{}", thread.index()));
                if let Some(size) = stack_size {
                    builder = builder.stack_size(size);
                }
                handles.push(builder.spawn(|| thread.run())?);
                Ok(())
            })
            .build();
        match built {
            Ok(rayon) => {
                let (host, rayon) = (host.clone(), Arc::new(rayon));
                let threads = rayon.clone();
                rayon.spawn_broadcast(move |context| {
                    work(&*host, context.index(), Some(threads.clone()));
                });
                Ok(Self { rayon: Some(rayon), handles })
            }
            Err(error) => {
                // rayon has told the threads that were made to end.
                for handle in handles {
                    let _ = handle.join();
                }
                Err(io::Error::other(format!("cannot start the worker threads: {error}")))
            }
        }
    }

    /// Tells the workers to run what is queued, and what that leads to, and end; none ends while
    /// another is running.
    pub(crate) fn stop<H: Host>(host: &H) {
        let pool = host.pool();
        pool.aborting.fetch_add(1, Ordering::SeqCst);
        pool.stopping.store(true, Ordering::SeqCst);
        host.abort();
        pool.aborting.fetch_sub(1, Ordering::SeqCst);
        (0..pool.workers()).for_each(|worker| host.wake(worker));
        pool.end_if_idle(host);
    }

    /// Waits until the threads have ended.
    pub(crate) fn join(&mut self) {
        self.rayon = None;
        for handle in self.handles.drain(..) {
            // A worker does not panic; if it did, it has ended all the same.
            let _ = handle.join();
        }
    }
}

/// A worker's life.
fn work<H: Host>(host: &H, me: usize, threads: Option<Arc<ThreadPool>>) {
    let pool = host.pool();
    let caller = Caller::new(threads);
    CURRENT.with(|current| current.set(Current::new(pool.id, me)));
    host.enter(me);
    let mut found = Vec::new();
    let mut watch = Watch::new(pool.workers());
    let own = &*pool.workers[me];
    let mine = own.own_ends();
    let mut begun_at_wait = 0_u64;
    // What this worker had begun when it last ended what may be waited for, in a pool that stops.
    let mut begun_at_abort = None;
    // When it has begun so much, jobs have their turn.
    let mut jobs_at = jobs::NOW;
    // True if this worker has just run what another thread posted, and that may go on.
    let mut is_posted_to = false;
    let lookout = Lookout::default();
    loop {
        let begun = own.begun();
        // What is waited for gets its turn even if what is queued never ends.
        if begun.wrapping_sub(begun_at_wait) >= WAIT_INTERVAL {
            begun_at_wait = begun;
            own.waits.fetch_add(1, Ordering::Relaxed);
            host.wait(me, Wait::LOOK, &mut found);
            keep(&mine, &mut found);
            look_after_others(host, me, &mut watch);
            jobs_at = jobs::NOW;
        }
        if begun >= jobs_at {
            let must_look = jobs_at == jobs::NOW || caller.has_spawned() || !pool.has_answered(me);
            jobs_at = begun + NESTABLE_INTERVAL;
            if must_look && pool.look_for_job(host, me, &caller) {
                begun_at_wait = begun_at_wait.wrapping_sub(JOB_WEIGHT);
            }
        }
        if let Some(next) = pool.next(me, &mine, begun) {
            pool.begin(host, me);
            host.run(next.work);
            is_posted_to = next.was_shared;
            continue;
        }
        if caller.has_spawned() {
            jobs_at = jobs::NOW;
            continue;
        }
        if pool.is_ending() {
            host.abort();
            if pool.look_for_job(host, me, &caller) {
                continue;
            }
            if leave(pool, me) {
                break;
            }
            continue;
        }
        if pool.is_stopping() && begun_at_abort != Some(begun) {
            // What this worker was waiting for when the pool was stopped was out of reach then. Not in
            // its wait, where nobody would watch it.
            begun_at_abort = Some(begun);
            host.abort();
            continue;
        }
        begun_at_wait = begun;
        if mem::take(&mut is_posted_to) && lookout.is_due() {
            look_out(host, me, &lookout, &mine, &mut found);
            continue;
        }
        let is_aborted = begun_at_abort.is_some();
        if idle(host, me, is_aborted, (&mine, &caller), &mut watch, &mut found) {
            jobs_at = jobs::NOW;
        }
    }
    CURRENT.with(|current| current.set(Current::NOBODY));
}

/// Queues what a worker's wait has found.
fn keep<W>(mine: &OwnEnds<'_, W>, found: &mut Vec<W>) {
    match found.pop() {
        None => return,
        // As below, in fewer instructions.
        Some(only) if found.is_empty() => mine.nestable.push(only),
        Some(last) => found.drain(..).chain([last]).for_each(|work| mine.nestable.push(work)),
    }
    // Before a look at this worker's mark: see invariant 4.
    fence(Ordering::SeqCst);
}

/// Looks for a while whether more is posted to `me`, which has nothing to run, and whether a wait would find
/// something.
fn look_out<H: Host>(
    host: &H,
    me: usize,
    lookout: &Lookout,
    mine: &OwnEnds<'_, H::Work>,
    found: &mut Vec<H::Work>,
) {
    let pool = host.pool();
    // Nobody is woken for what this worker is about to see: invariant 2.
    if pool.waking.swap(true, Ordering::SeqCst) {
        return;
    }
    pool.workers[me].waits.fetch_add(1, Ordering::Relaxed);
    let mut looks = 0;
    lookout.watch(|| {
        if looks % LOOKS_PER_WAIT == 0 {
            host.wait(me, Wait::LOOK, found);
        }
        looks += 1;
        if !pool.shared.is_empty() {
            ControlFlow::Break(true)
        } else if !found.is_empty() || pool.is_stopping() {
            ControlFlow::Break(false)
        } else {
            ControlFlow::Continue(())
        }
    });
    keep(mine, found);
    pool.waking.store(false, Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

/// Waits until there is something to run, or the pool stops and what is waited for has not been aborted by `me`,
/// or it must look for jobs: then returns true.
fn idle<H: Host>(
    host: &H,
    me: usize,
    is_aborted: bool,
    (mine, caller): (&OwnEnds<'_, H::Work>, &Caller),
    watch: &mut Watch,
    found: &mut Vec<H::Work>,
) -> bool {
    let pool = host.pool();
    let own = &*pool.workers[me];
    own.waits.fetch_add(1, Ordering::Relaxed);
    let mut stance = pool.go_idle(me);
    let mut watched = false;
    let mut must_look = false;
    let rests = pool.workers() == 1 && caller.must_look_at_rest(own.begun());
    pool.end_if_idle(host);
    while !pool.has_work()
        && !pool.is_ending()
        && (is_aborted || !pool.is_stopping())
        && pool.has_answered(me)
    {
        if stance.watching && !watched {
            watch.start(pool, stance.alone || stance.was_quiet);
            stance = pool.stance(me, watch.is_quiet());
        }
        watched = stance.watching;
        let ticks = if watched { watch.ticks_to_wait(pool, stance) } else { 0 };
        let timeout = if watched { Some(TICK * ticks) } else { rests.then_some(REST) };
        host.wait(me, Wait { timeout, alone: stance.alone }, found);
        let has_brought = pool.has_brought(me, found);
        // A tick that is due is not left out for what a wait has brought.
        if has_brought && !(watched && watch.is_due()) {
            break;
        }
        if rests && !has_brought {
            caller.looks_at_rest(own.begun());
            must_look = true;
            break;
        }
        if watched && watch.is_due() {
            match watch.look(pool, ticks) {
                Sight::AllWell => {}
                Sight::Quiet => {
                    if pool.is_at_rest() {
                        if pool.must_look_at_rest(host) {
                            must_look = true;
                            break;
                        }
                        pool.resign(me);
                    }
                }
                Sight::NeedsHelp { stalled, late, backlog } => {
                    take_over(host, me, &stalled);
                    if backlog || !stalled.is_empty() {
                        // It may be waiting in rayon for the others.
                        must_look = !stalled.is_empty();
                        break;
                    }
                    for worker in late {
                        host.take_over(worker, me);
                    }
                    host.wait(me, Wait::LOOK, found);
                    if pool.has_brought(me, found) {
                        break;
                    }
                }
            }
            if watch.must_look_for_jobs(pool) {
                pool.put_off_next_look();
                must_look = true;
                break;
            }
        }
        if has_brought {
            break;
        }
        stance = pool.stance(me, watch.is_quiet());
    }
    let claimed = pool.leave_idle(host, me, must_look && watch.is_quiet());
    keep(mine, found);
    if claimed {
        pool.waking.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
    must_look || !pool.has_answered(me)
}

/// What a worker that waits inside a piece of its work runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inside {
    /// Whatever is nestable: what it waits for is known to be of the runtime's doing.
    Nestable,
    /// The same, but nothing while there is another worker that is not stalled: what it waits for may have nothing
    /// to do with it, and what it holds meanwhile may be needed there.
    NestableIfNobodyElse,
}

/// Waits, on the worker `me` and inside a piece of its work, until `is_over` or the deadline.
///
/// Whatever makes `is_over` true has to wake `me`.
pub(crate) fn wait_inside<H: Host>(
    host: &H,
    me: usize,
    inside: Inside,
    deadline: Option<Instant>,
    is_over: impl Fn() -> bool,
) {
    let pool = host.pool();
    let mine = pool.workers[me].own_ends();
    let mut found = Vec::new();
    let mut watch = Watch::new(pool.workers());
    let mut stood_in = Instant::now();
    pool.step_aside(host, me);
    while !is_over() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        if pool.is_stopping() {
            // What this worker was waiting for when the pool was stopped was out of reach then.
            pool.step_back(host, me);
            host.abort();
            pool.step_aside(host, me);
        }
        let leaves_it = inside == Inside::NestableIfNobodyElse && pool.are_others_free(me);
        let next = || mine.nestable.pop().or_else(|| pool.next_unattended(host, me, &mine));
        if let Some(work) = if leaves_it { None } else { next() } {
            pool.begin(host, me);
            host.run_inside(work);
            pool.step_aside(host, me);
            continue;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Others may become stuck and leave unattended what this worker then has to attend.
        let timeout = Some(left.map_or(INSIDE_TICK, |left| left.min(INSIDE_TICK)));
        host.wait(me, Wait { timeout, alone: true }, &mut found);
        let is_for_others = leaves_it || found.len() > 1;
        keep(&mine, &mut found);
        if is_for_others {
            pool.offer(host, me);
        }
        if has_passed(INSIDE_TICK, stood_in) {
            stood_in = Instant::now();
            look_after_others(host, me, &mut watch);
        }
    }
    // What it waits for, and when, is now for others to attend to.
    pool.step_back(host, me);
}

/// Marks those workers as stalled; `me` waits for what they would wait for.
fn take_over<H: Host>(host: &H, me: usize, stalled: &[usize]) {
    if !stalled.is_empty() {
        host.pool().expect_jobs();
    }
    for &worker in stalled {
        host.pool().workers[worker].stalled.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        host.take_over(worker, me);
    }
}

/// Does, for a worker that is never idle, what a watcher would, while nobody is there to watch: a
/// worker that blocks must not hold up what is with it for as long as the others have work.
fn look_after_others<H: Host>(host: &H, me: usize, watch: &mut Watch) {
    let pool = host.pool();
    if pool.workers() == 1 || pool.idle.load(Ordering::Relaxed) > 0 || !watch.is_due() {
        return;
    }
    if let Sight::NeedsHelp { mut stalled, .. } = watch.look(pool, 1) {
        stalled.retain(|worker| *worker != me);
        take_over(host, me, &stalled);
    }
}

/// Ends a worker, unless there is still something to run.
fn leave<W>(pool: &WorkerPool<W>, me: usize) -> bool {
    // No other thread adds to its own queue: what is there is there before the worker says that it leaves.
    if pool.workers[me].has_queued() {
        return false;
    }
    // It is not one that is free to run what another worker leaves to it.
    pool.workers[me].stalled.store(true, Ordering::Relaxed);
    let others = pool.alive.fetch_sub(1, Ordering::SeqCst) - 1;
    fence(Ordering::SeqCst);
    if pool.shared.is_empty() {
        if others == 0 {
            pool.ended.set();
        }
        return true;
    }
    pool.alive.fetch_add(1, Ordering::SeqCst);
    false
}

#[cfg(all(test, loom))]
mod models;
