//! Waiting inside a piece of work: the worker steps aside, and runs what is nestable. The invariants are 6 and 7
//! of `worker_pool.rs`.

use crate::base::sync::{Ordering, fence, has_passed};
use crate::pool::run_queue::OwnEnds;
use crate::pool::stall_detector::StallDetector;
use crate::pool::worker_pool::{Hooks, Wait, WorkerPool};
use std::time::{Duration, Instant};

/// How often a worker that waits inside its work looks whether it has to attend to something.
pub(super) const INSIDE_TICK: Duration = Duration::from_millis(1);

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
pub(crate) fn wait_inside<H: Hooks>(
    hooks: &H,
    me: usize,
    inside: Inside,
    deadline: Option<Instant>,
    is_over: impl Fn() -> bool,
) {
    let pool = hooks.pool();
    let own = pool.queues[me].own();
    let mut ready = Vec::new();
    let mut detector = StallDetector::new(pool.workers());
    let mut looked_after = Instant::now();
    pool.step_aside(hooks, me);
    while !is_over() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        if pool.is_stopping() {
            // What this worker was waiting for when the pool was stopped was out of reach then.
            pool.step_back(hooks, me);
            hooks.abort();
            pool.step_aside(hooks, me);
        }
        let leaves_it = inside == Inside::NestableIfNobodyElse && pool.roster.are_others_free(me);
        let next = || own.nestable.pop().or_else(|| pool.next_unattended(hooks, me, &own));
        if let Some(work) = if leaves_it { None } else { next() } {
            pool.begin(hooks, me);
            hooks.run_inside(work);
            pool.step_aside(hooks, me);
            continue;
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Others may become stuck and leave unattended what this worker then has to attend.
        let timeout = Some(left.map_or(INSIDE_TICK, |left| left.min(INSIDE_TICK)));
        hooks.wait(me, Wait { timeout, alone: true }, &mut ready);
        let is_for_others = leaves_it || ready.len() > 1;
        own.keep(ready.drain(..));
        if is_for_others {
            pool.offer(hooks, me);
        }
        if has_passed(INSIDE_TICK, looked_after) {
            looked_after = Instant::now();
            pool.look_after_others(hooks, me, &mut detector);
        }
    }
    // What it waits for, and when, is now for others to attend to.
    pool.step_back(hooks, me);
}

impl<W: Send + 'static> WorkerPool<W> {
    /// `me` is about to wait inside a piece of its work: others see to what lies with it.
    fn step_aside(&self, hooks: &impl Hooks<Work = W>, me: usize) {
        self.roster.worker(me).set_stalled(true);
        self.offer(hooks, me);
        self.call_if_spawned(hooks);
    }

    /// Has an idle worker, if there is one, come for what lies with `me`, which is marked stalled.
    fn offer(&self, hooks: &impl Hooks<Work = W>, me: usize) {
        // Between a push or the mark, and the look at who is idle: invariants 3 and 4.
        fence(Ordering::SeqCst);
        if !self.queues[me].is_empty() && self.idle_workers() > 0 {
            self.wake_one(hooks);
        }
    }

    /// Takes a nestable piece of work that only an idle worker would get to soon, if nobody is idle.
    fn next_unattended(
        &self,
        hooks: &impl Hooks<Work = W>,
        me: usize,
        own: &OwnEnds<'_, W>,
    ) -> Option<W> {
        if self.idle_workers() > 0 {
            return None;
        }
        let mut has_moved = false;
        let mut next = None;
        // No more than lie there now: others may post without end.
        for _ in 0..self.shared.len() {
            match self.shared.pop() {
                Some(work) if !hooks.is_nestable(&work) => {
                    own.callbacks.push(work);
                    has_moved = true;
                }
                taken => {
                    next = taken;
                    break;
                }
            }
        }
        if has_moved {
            self.offer(hooks, me);
        }
        let stealable = || self.roster.stalled_others(me);
        next.or_else(|| stealable().find_map(|other| self.queues[other].nestable.steal()))
    }
}
