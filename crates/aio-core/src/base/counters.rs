//! How many operations of a runtime have begun, completed and been delivered, by kind.
//!
//! Each worker has a shard, and all other threads share a few, so that no cache line is written by all threads.
//!
//! An operation passes three points, in this order, and is counted once at each:
//!
//! ```text
//! begun ──▶ completed, or aborted: its result is set ──▶ delivered: its callback has returned
//! ```
//!
//! An operation without a callback is delivered before a thread that waits for it learns that it has completed.
//!
//! 1. Only the worker writes its shard, so a load and a store make an addition. The other shards are added to
//!    atomically, each by some of the other threads.
//! 2. An operation moves from the thread that counts it at one point to the thread that counts it at the
//!    next, so the first count happens before the second. Counts are stored with release and read with
//!    acquire: a thread that has read a count of a later point then reads at least what was counted
//!    before it. So [`Counters::totals`], which reads all deliveries, then all completions, then
//!    all begins, never finds more delivered than completed, or more completed than begun.
//! 3. Counts only grow. If the deliveries that were read first equal the begins that were read after
//!    them, there was a moment in between at which nothing was pending: what was read as delivered is
//!    at most what was delivered then, which is at most what was begun then, which is at most what
//!    was read as begun. So a drain can tell that all is done without stopping a thread.

use crate::base::kind::OperationKind;
use crate::base::sync::{AtomicU64, Ordering};
use crossbeam::utils::CachePadded;
use std::cell::Cell;
use std::iter::Sum;
use std::ops::{Add, Sub};

/// How many shards the threads have that are not workers.
#[cfg(not(loom))]
const FOREIGN_SHARDS: usize = 8;
#[cfg(loom)]
const FOREIGN_SHARDS: usize = 1;

#[derive(Debug)]
pub(crate) struct Counters {
    /// Of the workers, then of the other threads.
    shards: Box<[CachePadded<Shard>]>,
    workers: usize,
}

/// By kind.
type Shard = [Counts; OperationKind::COUNT];

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    completed: AtomicU64,
    aborted: AtomicU64,
    delivered: AtomicU64,
}

/// A point that operations pass.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Point {
    Begun,
    Completed,
    Aborted,
    Delivered,
}

/// The counts of one kind, or of all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) begun: u64,
    pub(crate) completed: u64,
    pub(crate) aborted: u64,
    pub(crate) delivered: u64,
}

impl Totals {
    /// How many operations have begun and have not completed.
    pub(crate) fn pending(&self) -> u64 {
        self.begun - self.completed - self.aborted
    }

    /// How many operations have completed and have not been delivered.
    pub(crate) fn undelivered(&self) -> u64 {
        self.completed + self.aborted - self.delivered
    }
}

impl Add for Totals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            begun: self.begun + other.begun,
            completed: self.completed + other.completed,
            aborted: self.aborted + other.aborted,
            delivered: self.delivered + other.delivered,
        }
    }
}

impl Sub for Totals {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            begun: self.begun - earlier.begun,
            completed: self.completed - earlier.completed,
            aborted: self.aborted - earlier.aborted,
            delivered: self.delivered - earlier.delivered,
        }
    }
}

impl Sum for Totals {
    fn sum<I: Iterator<Item = Self>>(totals: I) -> Self {
        totals.fold(Self::default(), Add::add)
    }
}

impl Counters {
    pub(crate) fn new(workers: usize) -> Self {
        let shards = (0..workers + FOREIGN_SHARDS).map(|_| CachePadded::default()).collect();
        Self { shards, workers }
    }

    /// Counts an operation of `kind` at `point`. `worker`: the calling thread's number, if it is a worker.
    #[inline]
    pub(crate) fn count(&self, worker: Option<usize>, kind: OperationKind, point: Point) {
        match worker {
            Some(worker) => {
                let count = self.shards[worker][kind as usize].at(point);
                count.store(count.load(Ordering::Relaxed) + 1, Ordering::Release);
            }
            None => {
                let shard = self.workers + foreign_shard();
                self.shards[shard][kind as usize].at(point).fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Returns the counts of each kind, by its number.
    pub(crate) fn totals_by_kind(&self) -> [Totals; OperationKind::COUNT] {
        let mut totals = [Totals::default(); OperationKind::COUNT];
        // In this order: invariant 2.
        for point in [Point::Delivered, Point::Aborted, Point::Completed, Point::Begun] {
            for (kind, totals) in totals.iter_mut().enumerate() {
                *totals.at(point) = self
                    .shards
                    .iter()
                    .map(|shard| shard[kind].at(point).load(Ordering::Acquire))
                    .sum();
            }
        }
        totals
    }

    /// Returns the counts of all kinds together.
    pub(crate) fn totals(&self) -> Totals {
        self.totals_by_kind().into_iter().sum()
    }
}

impl Counts {
    #[inline]
    fn at(&self, point: Point) -> &AtomicU64 {
        match point {
            Point::Begun => &self.begun,
            Point::Completed => &self.completed,
            Point::Aborted => &self.aborted,
            Point::Delivered => &self.delivered,
        }
    }
}

impl Totals {
    fn at(&mut self, point: Point) -> &mut u64 {
        match point {
            Point::Begun => &mut self.begun,
            Point::Completed => &mut self.completed,
            Point::Aborted => &mut self.aborted,
            Point::Delivered => &mut self.delivered,
        }
    }
}

/// The shard of the calling thread, which is no worker, among those of such threads.
fn foreign_shard() -> usize {
    static THREADS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local! {
        static SHARD: Cell<usize> =
            Cell::new(THREADS.fetch_add(1, Ordering::Relaxed) % FOREIGN_SHARDS);
    }
    // A thread whose thread-locals are gone uses the first.
    SHARD.try_with(Cell::get).unwrap_or(0)
}

#[cfg(all(test, loom))]
mod models;
