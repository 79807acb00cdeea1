//! A worker's loop: it runs pieces of work, waits for more, and ends with the pool. The invariants are those of
//! `worker_pool.rs`; rayon's jobs have their turn by the rules of `jobs.rs`.

use crate::base::spin::Spinner;
use crate::pool::current::Current;
use crate::pool::jobs::Caller;
use crate::pool::roster::{Role, Status};
use crate::pool::run_queue::OwnEnds;
use crate::pool::stall_detector::{Finding, StallDetector, TICK};
use crate::pool::worker_pool::{Hooks, Wait, WorkerPool};
use rayon::ThreadPool;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// After so many pieces of work a worker looks for new work elsewhere even if it has some left:
/// at what is nestable before callbacks, at the shared queue, and, when it has not waited for so long, at
/// what a wait would find.
const NESTABLE_INTERVAL: u64 = 16;
const SHARED_INTERVAL: u64 = 64;
const WAIT_INTERVAL: u64 = 256;

/// As so many pieces of work counts a job, which is seldom small.
const JOB_WEIGHT: u64 = 16;

/// Comes before every other moment at which jobs have their turn: it is their turn whatever the worker knows.
const NOW: u64 = 0;

/// Of so many polls of a spinning worker, one looks at what a wait would find.
const POLLS_PER_WAIT: u32 = 8;

/// After so long the only worker looks for jobs at rest.
const REST: Duration = Duration::from_millis(10);

/// Runs worker `me` on the calling thread until the pool ends.
pub(super) fn run<H: Hooks>(hooks: &H, me: usize, threads: Option<Arc<ThreadPool>>) {
    Current::new(hooks.pool().id, me).set();
    hooks.enter(me);
    Worker::new(hooks, me, Caller::new(threads)).run();
    Current::NONE.set();
}

pub(super) struct Worker<'a, H: Hooks> {
    hooks: &'a H,
    pool: &'a WorkerPool<H::Work>,
    me: usize,
    status: &'a Status,
    queues: OwnEnds<'a, H::Work>,
    caller: Caller,
    spinner: Spinner,
    detector: StallDetector,
    /// What a wait has found; empty between waits.
    ready: Vec<H::Work>,
    /// How much it had begun when it last waited or polled.
    begun_at_wait: u64,
    /// How much it had begun when it last ended what may be waited for, in a pool that stops.
    begun_at_abort: Option<u64>,
    /// How much the only worker had begun when it looked for jobs at rest.
    begun_at_rest: u64,
    /// When it has begun so much, jobs have their turn.
    jobs_at: u64,
    /// True if this worker has just run what another thread posted, and that may go on.
    is_posted_to: bool,
}

impl<'a, H: Hooks> Worker<'a, H> {
    /// The calling thread is worker `me`.
    pub(super) fn new(hooks: &'a H, me: usize, caller: Caller) -> Self {
        let pool = hooks.pool();
        Self {
            hooks,
            pool,
            me,
            status: pool.roster.worker(me),
            queues: pool.queues[me].own(),
            caller,
            spinner: Spinner::default(),
            detector: StallDetector::new(pool.workers()),
            ready: Vec::new(),
            begun_at_wait: 0,
            begun_at_abort: None,
            begun_at_rest: 0,
            jobs_at: NOW,
            is_posted_to: false,
        }
    }

    fn run(&mut self) {
        loop {
            let begun = self.status.begun();
            if begun.wrapping_sub(self.begun_at_wait) >= WAIT_INTERVAL {
                self.poll_in_turn(begun);
            }
            if begun >= self.jobs_at {
                self.look_in_turn(begun);
            }
            if let Some(work) = self.next(begun) {
                self.run_piece(work);
                continue;
            }
            if self.caller.has_spawned() {
                self.jobs_at = NOW;
                continue;
            }
            if self.pool.is_ending() {
                self.hooks.abort();
                if !self.look_for_job() && self.pool.leave(self.me) {
                    break;
                }
                continue;
            }
            if self.pool.is_stopping() && self.begun_at_abort != Some(begun) {
                // What this worker was waiting for when the pool was stopped was out of reach then. Not in
                // its wait, where nobody would watch it.
                self.begun_at_abort = Some(begun);
                self.hooks.abort();
                continue;
            }
            self.begun_at_wait = begun;
            if mem::take(&mut self.is_posted_to) && self.spinner.should_spin() {
                self.spin();
                continue;
            }
            if let Some(work) = self.idle() {
                self.run_piece(work);
            }
        }
    }

    #[inline]
    fn run_piece(&self, work: H::Work) {
        self.pool.begin(self.hooks, self.me);
        self.hooks.run(work);
    }

    /// What is waited for gets its turn even if what is queued never ends.
    #[cold]
    fn poll_in_turn(&mut self, begun: u64) {
        self.begun_at_wait = begun;
        self.status.count_wait();
        self.hooks.wait(self.me, Wait::POLL, &mut self.ready);
        self.keep_ready();
        self.pool.look_after_others(self.hooks, self.me, &mut self.detector);
        self.jobs_at = NOW;
    }

    /// So do jobs.
    #[cold]
    fn look_in_turn(&mut self, begun: u64) {
        let must_look = self.jobs_at == NOW
            || self.caller.has_spawned()
            || !self.pool.jobs.has_answered(self.me);
        self.jobs_at = begun + NESTABLE_INTERVAL;
        if must_look && self.look_for_job() {
            self.begun_at_wait = self.begun_at_wait.wrapping_sub(JOB_WEIGHT);
        }
    }

    fn look_for_job(&self) -> bool {
        self.pool.look_for_job(self.hooks, self.me, &self.caller)
    }

    /// Takes the next piece of work that is rightly this worker's, or that nobody else may get to.
    #[inline]
    pub(super) fn next(&mut self, begun: u64) -> Option<H::Work> {
        if begun % NESTABLE_INTERVAL == 0 {
            if let Some(work) = self.next_in_turn(begun) {
                return Some(work);
            }
        }
        if let Some(work) = self.queues.callbacks.pop().or_else(|| self.queues.nestable.pop()) {
            self.is_posted_to = false;
            return Some(work);
        }
        self.next_shared().or_else(|| self.steal())
    }

    /// Takes a piece of work that others must not hold up without end.
    #[cold]
    fn next_in_turn(&mut self, begun: u64) -> Option<H::Work> {
        let is_shared_turn = begun % SHARED_INTERVAL == 0;
        if is_shared_turn {
            if let Some(work) = self.next_shared() {
                return Some(work);
            }
        }
        let rescued = if is_shared_turn { self.pool.rescue(self.me) } else { None };
        let work = rescued.or_else(|| self.queues.nestable.pop());
        self.is_posted_to &= work.is_none();
        work
    }

    #[inline]
    fn next_shared(&mut self) -> Option<H::Work> {
        let work = self.pool.pop_shared();
        self.is_posted_to |= work.is_some();
        work
    }

    fn steal(&mut self) -> Option<H::Work> {
        let work = self.pool.steal(self.me);
        self.is_posted_to &= work.is_none();
        work
    }

    /// Queues what a wait has found.
    fn keep_ready(&mut self) {
        self.queues.keep(self.ready.drain(..));
    }

    /// Takes out the first that a wait has found, and queues the others.
    #[inline]
    fn first_ready(&mut self) -> Option<H::Work> {
        let last = self.ready.pop()?;
        if self.ready.is_empty() {
            return Some(last);
        }
        let mut ready = self.ready.drain(..).chain([last]);
        let first = ready.next();
        self.queues.keep(ready);
        first
    }

    /// Polls for a while whether more is posted to this worker, which has nothing to run, and whether a wait would
    /// find something.
    fn spin(&mut self) {
        let Self { hooks, pool, me, .. } = *self;
        // Nobody is woken for what this worker is about to see: invariant 2.
        if !pool.roster.begin_wake() {
            return;
        }
        self.status.count_wait();
        let mut polls = 0;
        self.spinner.spin(|| {
            if polls % POLLS_PER_WAIT == 0 {
                hooks.wait(me, Wait::POLL, &mut self.ready);
            }
            polls += 1;
            if !pool.shared.is_empty() {
                ControlFlow::Break(true)
            } else if !self.ready.is_empty() || pool.is_stopping() {
                ControlFlow::Break(false)
            } else {
                ControlFlow::Continue(())
            }
        });
        self.keep_ready();
        pool.roster.note_wake();
    }

    /// Waits until there is something to run, or the pool stops and what is waited for has not been aborted by
    /// this worker, or it must look for jobs. Returns what it is to run at once.
    pub(super) fn idle(&mut self) -> Option<H::Work> {
        let Self { hooks, pool, me, .. } = *self;
        self.status.count_wait();
        let mut role = pool.roster.go_idle(me);
        let mut is_monitor = false;
        let mut must_look = false;
        let rests = pool.workers() == 1 && self.begun_at_rest != self.status.begun();
        if pool.is_stopping() {
            pool.end_if_idle(hooks);
        }
        loop {
            if !pool.jobs.has_answered(me) {
                must_look = true;
                break;
            }
            if !self.may_wait() {
                break;
            }
            if role.is_monitor && !is_monitor {
                self.detector.start(&pool.roster, role.is_alone || role.was_quiet);
                role = pool.roster.role(me, self.detector.is_quiet());
            }
            is_monitor = role.is_monitor;
            let ticks = if is_monitor { self.ticks_to_wait(role) } else { 0 };
            let timeout = if is_monitor { Some(TICK * ticks) } else { rests.then_some(REST) };
            hooks.wait(me, Wait { timeout, alone: role.is_alone }, &mut self.ready);
            // A tick that is due is not left out for what a wait has brought.
            if is_monitor && self.detector.is_due() {
                match self.tick(ticks) {
                    Tick::Wait => {}
                    Tick::Work => break,
                    Tick::LookForJobs => {
                        must_look = true;
                        break;
                    }
                }
            }
            if self.has_work_or_claim() {
                break;
            }
            if rests {
                self.begun_at_rest = self.status.begun();
                must_look = true;
                break;
            }
            role = pool.roster.role(me, self.detector.is_quiet());
        }
        let back = pool.roster.leave_idle(me, must_look && self.detector.is_quiet());
        if let Some(monitor) = back.to_wake {
            hooks.wake(monitor);
        }
        let first = if must_look {
            self.jobs_at = NOW;
            // Jobs have their turn before it.
            self.keep_ready();
            None
        } else {
            self.first_ready()
        };
        if back.was_claimed {
            pool.roster.note_wake();
        }
        first
    }

    /// True if an idle worker has nothing to come back for.
    #[inline]
    fn may_wait(&self) -> bool {
        let is_aborted = self.begun_at_abort.is_some();
        !self.pool.has_work_for(self.me)
            && !self.pool.is_ending()
            && (is_aborted || !self.pool.is_stopping())
    }

    /// True if a wait has found work, or ended by a claim.
    #[inline]
    fn has_work_or_claim(&self) -> bool {
        !self.ready.is_empty() || self.status.is_running()
    }

    /// For how many ticks the monitor waits before the next one.
    fn ticks_to_wait(&self, role: Role) -> u32 {
        if role.is_dozing {
            let ticks = self.pool.jobs.ticks_between_looks(true);
            ticks.saturating_sub(self.detector.ticks()).max(1)
        } else {
            1
        }
    }

    /// As the monitor, sees to the workers that need help. It has waited for `ticks`.
    fn tick(&mut self, ticks: u32) -> Tick {
        let Self { hooks, pool, me, .. } = *self;
        let queued = |worker: usize| pool.queues[worker].len();
        match self.detector.tick(&pool.roster, ticks, queued) {
            Finding::Progress => {}
            Finding::Quiet if !pool.roster.is_all_idle() => {}
            Finding::Quiet => {
                if pool.must_look_at_rest(hooks) {
                    return Tick::LookForJobs;
                }
                pool.roster.resign(me);
            }
            Finding::NeedsHelp { stalled, late, backlog } => {
                pool.take_over(hooks, me, &stalled);
                if !stalled.is_empty() {
                    // It may be waiting in rayon for the others.
                    return Tick::LookForJobs;
                }
                if backlog {
                    return Tick::Work;
                }
                for worker in late {
                    hooks.take_over(worker, me);
                }
                hooks.wait(me, Wait::POLL, &mut self.ready);
                if self.has_work_or_claim() {
                    return Tick::Work;
                }
            }
        }
        let is_any_stalled = self.detector.is_any_stalled();
        let between = pool.jobs.ticks_between_looks(is_any_stalled);
        if (is_any_stalled || !self.detector.is_quiet()) && self.detector.ticks() >= between {
            pool.jobs.put_off_next_look();
            return Tick::LookForJobs;
        }
        Tick::Wait
    }
}

/// What a monitor does after a tick.
enum Tick {
    /// It waits on.
    Wait,
    /// There is work to run.
    Work,
    LookForJobs,
}
