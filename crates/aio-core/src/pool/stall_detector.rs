//! Finds the workers that are stalled: in the same piece of work for a whole tick. Knows neither work nor queues,
//! only how many pieces lie in them.

use crate::base::sync::has_passed;
use crate::pool::roster::{Roster, Status};
use std::time::{Duration, Instant};

/// Two of these are how long a blocked callback can delay what is queued behind it.
pub(super) const TICK: Duration = Duration::from_micros(500);

/// For how many ticks without any work a monitor stays: waking it again costs more than this does.
const QUIET_TICKS: u32 = 20;

/// A monitor that was interrupted for less than this goes on with what it saw at its last tick.
const LONGEST_GAP: Duration = TICK.saturating_mul(8);

/// How many pieces of work may be queued with a running worker before the monitor lends a hand.
const BACKLOG: usize = 64;

/// What the monitor saw at its last tick.
pub(super) struct StallDetector {
    snapshots: Box<[Snapshot]>,
    last: Instant,
    quiet_ticks: u32,
    /// Since somebody has looked for jobs.
    ticks: u32,
    is_any_stalled: bool,
}

#[derive(Clone, Default)]
struct Snapshot {
    begun: u64,
    waits: u64,
    is_at_work: bool,
}

impl Snapshot {
    fn of(worker: &Status) -> Self {
        Self { begun: worker.begun(), waits: worker.waits(), is_at_work: worker.is_at_work() }
    }
}

/// What the monitor finds at a tick.
pub(super) enum Finding {
    /// All workers make progress.
    Progress,
    /// Some do not, or one has more queued than it will get to soon. The `late` make progress, but have not
    /// waited for a tick.
    NeedsHelp { stalled: Vec<usize>, late: Vec<usize>, backlog: bool },
    /// Nobody has had work for long.
    Quiet,
}

impl StallDetector {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            snapshots: vec![Snapshot::default(); workers].into(),
            last: Instant::now(),
            quiet_ticks: 0,
            ticks: 0,
            is_any_stalled: false,
        }
    }

    /// Begins to monitor, nobody who is at work if it is `quiet`.
    pub(super) fn start(&mut self, roster: &Roster, quiet: bool) {
        // A monitor whose waits never last for a tick, since I/O ends them, monitors all the same.
        if !quiet && !self.is_quiet() && !has_passed(LONGEST_GAP, self.last) {
            return;
        }
        for (worker, snapshot) in roster.workers().zip(&mut self.snapshots) {
            *snapshot = Snapshot::of(worker);
        }
        self.last = Instant::now();
        self.quiet_ticks = if quiet { QUIET_TICKS } else { 0 };
        self.ticks = 0;
    }

    /// True if nobody has been at work for long.
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet_ticks >= QUIET_TICKS
    }

    /// True if a worker was marked as stalled at the last tick.
    pub(super) fn is_any_stalled(&self) -> bool {
        self.is_any_stalled
    }

    /// How many ticks it has monitored.
    pub(super) fn ticks(&self) -> u32 {
        self.ticks
    }

    /// True if a tick has passed since the last one; sooner, it would take everybody for stalled.
    pub(super) fn is_due(&self) -> bool {
        has_passed(TICK, self.last)
    }

    /// `ticks`: for how many the monitor has waited. `queued`: how many pieces of work lie with a worker.
    pub(super) fn tick(
        &mut self,
        roster: &Roster,
        ticks: u32,
        queued: impl Fn(usize) -> usize,
    ) -> Finding {
        self.ticks = self.ticks.saturating_add(ticks);
        self.last = Instant::now();
        let mut stalled = Vec::new();
        let mut late = Vec::new();
        let mut backlog = false;
        let mut quiet = true;
        let mut is_any_stalled = false;
        for (index, (worker, seen)) in roster.workers().zip(&mut self.snapshots).enumerate() {
            let now = Snapshot::of(worker);
            let begun = now.begun - seen.begun;
            quiet &= !now.is_at_work && begun == 0;
            if now.is_at_work {
                let queued = queued(index);
                backlog |= queued > BACKLOG;
                // A worker that has waited in between has begun nothing, and is not stuck.
                if seen.is_at_work && seen.waits == now.waits {
                    if begun == 0 { &mut stalled } else { &mut late }.push(index);
                    backlog |= begun > 0 && queued as u64 > begun;
                }
            }
            is_any_stalled |= worker.is_stalled();
            *seen = now;
        }
        self.is_any_stalled = is_any_stalled;
        self.quiet_ticks = if quiet { self.quiet_ticks + 1 } else { 0 };
        if backlog || !stalled.is_empty() || !late.is_empty() {
            Finding::NeedsHelp { stalled, late, backlog }
        } else if self.is_quiet() {
            Finding::Quiet
        } else {
            Finding::Progress
        }
    }
}
