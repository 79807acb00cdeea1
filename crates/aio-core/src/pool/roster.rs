//! The roster of a pool: which workers are running, idle or stalled, which idle one is the monitor, and which
//! one is woken. Knows neither work nor queues. The invariants are those of `worker_pool.rs`; this file keeps
//! 1, 2 and the roster's part of 3 and 4.

use crate::base::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence};
use crossbeam::utils::CachePadded;
use std::mem;
use std::sync::PoisonError;

#[derive(Debug)]
pub(super) struct Roster {
    workers: Box<[CachePadded<Status>]>,
    idle: Mutex<Idle>,
    /// How many workers are entered as idle; readable without the lock.
    idle_count: AtomicUsize,
    /// True while a worker has been claimed and has not noted it yet.
    waking: AtomicBool,
}

/// How a worker is getting on.
#[derive(Debug)]
pub(super) struct Status {
    /// Counts the pieces of work that this worker has begun; written by the worker alone.
    begun: AtomicU64,
    /// Counts how often this worker has come to wait, or to poll for what a wait would find; written by the
    /// worker alone.
    waits: AtomicU64,
    /// True from the tick at which this worker was found to be stalled until it begins something
    /// else.
    stalled: AtomicBool,
    /// True exactly when this worker is not entered as idle. Written under the roster's lock.
    running: AtomicBool,
}

#[derive(Debug, Default)]
struct Idle {
    /// Most recently idle last. It has room for all: nothing is allocated under the lock.
    workers: Vec<usize>,
    monitor: Option<usize>,
    /// True if the monitor waits for longer than a tick, since nobody is at work.
    is_dozing: bool,
    /// True if the last monitor had seen nobody at work for long, and left only to look for a job.
    is_quiet: bool,
}

/// How an idle worker is to wait.
#[derive(Clone, Copy)]
pub(super) struct Role {
    pub(super) is_monitor: bool,
    pub(super) is_alone: bool,
    /// It is the monitor, but nobody is at work: some workers are only stalled.
    pub(super) is_dozing: bool,
    /// The last monitor had seen nobody at work for long.
    pub(super) was_quiet: bool,
}

/// How a worker has left the idle.
pub(super) struct Return {
    /// True if it was claimed. Then it must note the wake-up.
    pub(super) was_claimed: bool,
    /// The worker that must be woken to monitor.
    pub(super) to_wake: Option<usize>,
}

impl Status {
    fn new() -> Self {
        Self {
            begun: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            stalled: AtomicBool::new(false),
            running: AtomicBool::new(true),
        }
    }

    /// Returns how many pieces of work the worker has begun.
    #[inline]
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn count_begun(&self) {
        self.begun.store(self.begun() + 1, Ordering::Relaxed);
    }

    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn count_wait(&self) {
        self.waits.store(self.waits() + 1, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// True if this worker will come to wait soon, as far as anybody knows.
    #[inline]
    pub(super) fn is_at_work(&self) -> bool {
        self.is_running() && !self.is_stalled()
    }
}

impl Roster {
    /// All workers are running.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| CachePadded::new(Status::new())).collect(),
            idle: Mutex::new(Idle { workers: Vec::with_capacity(workers), ..Idle::default() }),
            idle_count: AtomicUsize::new(0),
            waking: AtomicBool::new(false),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    #[inline]
    pub(super) fn worker(&self, worker: usize) -> &Status {
        &self.workers[worker]
    }

    pub(super) fn workers(&self) -> impl Iterator<Item = &Status> {
        self.workers.iter().map(|worker| &**worker)
    }

    /// The workers other than `me`, from the next one on.
    pub(super) fn others(&self, me: usize) -> impl Iterator<Item = usize> {
        (me + 1..self.len()).chain(0..me)
    }

    pub(super) fn stalled_others(&self, me: usize) -> impl Iterator<Item = usize> {
        self.others(me).filter(|other| self.workers[*other].is_stalled())
    }

    /// True if a worker other than `me` is idle, or will be soon, as far as anybody knows.
    pub(super) fn are_others_free(&self, me: usize) -> bool {
        self.others(me).any(|other| !self.workers[other].is_stalled())
    }

    #[inline]
    pub(super) fn idle_count(&self) -> usize {
        self.idle_count.load(Ordering::Relaxed)
    }

    pub(super) fn is_all_idle(&self) -> bool {
        self.idle().workers.len() == self.len()
    }

    pub(super) fn idle_workers(&self) -> Vec<usize> {
        self.idle().workers.clone()
    }

    #[inline]
    fn idle(&self) -> MutexGuard<'_, Idle> {
        // Nothing that can panic runs under the lock.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes `waking`, unless it is taken: until it is given back, no worker is claimed.
    pub(super) fn begin_wake(&self) -> bool {
        !self.waking.swap(true, Ordering::SeqCst)
    }

    /// Notes the wake-up, or gives `waking` back. The caller looks at the queues after it.
    pub(super) fn note_wake(&self) {
        self.waking.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Claims an idle worker, unless one is being woken. The caller must wake it.
    pub(super) fn claim(&self) -> Option<usize> {
        if !self.begin_wake() {
            return None;
        }
        let mut idle = self.idle();
        let claimed = idle.workers.last().copied();
        match claimed {
            Some(worker) => self.remove(&mut idle, worker),
            // All are running again, and look at the queues before they wait.
            None => self.waking.store(false, Ordering::SeqCst),
        }
        claimed
    }

    /// Enters `worker` as running.
    #[inline]
    fn remove(&self, idle: &mut Idle, worker: usize) {
        idle.workers.retain(|idle| *idle != worker);
        self.idle_count.store(idle.workers.len(), Ordering::Relaxed);
        self.workers[worker].running.store(true, Ordering::Relaxed);
    }

    /// Enters `me` as idle.
    #[inline]
    pub(super) fn go_idle(&self, me: usize) -> Role {
        let mut idle = self.idle();
        let status = self.worker(me);
        status.set_stalled(false);
        status.running.store(false, Ordering::Relaxed);
        idle.workers.push(me);
        self.idle_count.store(idle.workers.len(), Ordering::Relaxed);
        if idle.monitor.is_none() && idle.workers.len() < self.len() {
            idle.monitor = Some(me);
        }
        let role = self.role_in(&mut idle, me, false);
        drop(idle);
        fence(Ordering::SeqCst);
        role
    }

    /// Enters `me` as running, and leaves the monitoring to another.
    ///
    /// `is_quiet`: it only looks for a job, and has seen nobody at work for long.
    #[inline]
    pub(super) fn leave_idle(&self, me: usize, is_quiet: bool) -> Return {
        let mut idle = self.idle();
        let was_claimed = self.workers[me].is_running();
        if !was_claimed {
            self.remove(&mut idle, me);
        }
        if idle.monitor == Some(me) {
            idle.monitor = None;
            idle.is_dozing = false;
            idle.is_quiet = is_quiet;
        }
        Return { was_claimed, to_wake: Self::appoint_in(&mut idle) }
    }

    /// Sees to it that there is a monitor if anybody is idle. Returns the worker that must be woken for this.
    pub(super) fn appoint(&self) -> Option<usize> {
        Self::appoint_in(&mut self.idle())
    }

    #[inline]
    fn appoint_in(idle: &mut Idle) -> Option<usize> {
        if idle.monitor.is_some() {
            return if mem::take(&mut idle.is_dozing) { idle.monitor } else { None };
        }
        // The last to be claimed for work; and every monitor has its turn to look for jobs. It may be in a wait
        // without end.
        idle.monitor = idle.workers.first().copied();
        idle.monitor
    }

    /// `is_quiet`: as far as `me` has seen.
    pub(super) fn role(&self, me: usize, is_quiet: bool) -> Role {
        self.role_in(&mut self.idle(), me, is_quiet)
    }

    #[inline]
    fn role_in(&self, idle: &mut Idle, me: usize, is_quiet: bool) -> Role {
        let is_alone = !self.others(me).any(|other| self.workers[other].is_at_work());
        let is_monitor = idle.monitor == Some(me);
        let is_dozing = is_monitor && is_alone && is_quiet;
        if is_monitor {
            idle.is_dozing = is_dozing;
        }
        Role { is_monitor, is_alone, is_dozing, was_quiet: idle.is_quiet }
    }

    /// Ends the monitoring of `me` if nobody is running.
    pub(super) fn resign(&self, me: usize) {
        let mut idle = self.idle();
        if idle.workers.len() == self.len() && idle.monitor == Some(me) {
            idle.monitor = None;
            idle.is_dozing = false;
        }
    }
}
