//! Which callback each worker runs, and since when: for those who want to know what holds the workers.
//!
//! A worker has a slot. Only the worker writes it, before it runs a callback and when that has returned; what
//! it writes is a few numbers, so that it takes no lock and keeps nothing alive.
//!
//! 1. `version` is even exactly while a callback runs, and grows with every change. It is made odd before
//!    the numbers are written and even after; a fence follows the first, and the second is a release. A
//!    reader reads the version, with acquire, the numbers, and after a fence the version again: if both
//!    are the same and even, the numbers are those of one callback, which was running in between.
//! 2. A socket is named by its number (`number.rs`), and may be gone when a reader looks it up.

use crate::base::clock::Moment;
use crate::base::kind::OperationKind;
use crate::base::number::SocketNumber;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering, fence};
use crossbeam::utils::CachePadded;

/// A callback, by what it belongs to; or a job of rayon's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    pub(crate) kind: OperationKind,
    /// Where its operation was last, if it is that of an operation at a socket.
    pub(crate) socket: Option<SocketNumber>,
}

impl Callback {
    /// A worker that looks for a job has the place of one, since it cannot know before whether it finds one.
    pub(crate) const JOB: Self = Self { kind: OperationKind::RayonJob, socket: None };

    pub(crate) fn is_job(self) -> bool {
        self.kind == Self::JOB.kind
    }
}

#[derive(Debug)]
pub(crate) struct Running {
    slots: Box<[CachePadded<Slot>]>,
}

#[derive(Debug)]
struct Slot {
    version: AtomicU64,
    /// An [`OperationKind`].
    kind: AtomicUsize,
    /// A number, or 0.
    socket: AtomicUsize,
    since: AtomicU64,
}

impl Slot {
    fn callback(&self) -> Option<(Callback, Moment)> {
        let version = self.version.load(Ordering::Acquire);
        let kind = OperationKind::ALL[self.kind.load(Ordering::Relaxed)];
        let socket = SocketNumber::from(self.socket.load(Ordering::Relaxed));
        let since = self.since.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let is_one = version % 2 == 0 && self.version.load(Ordering::Relaxed) == version;
        is_one.then_some((Callback { kind, socket }, since))
    }
}

impl Running {
    pub(crate) fn new(workers: usize) -> Self {
        let slot = |_| {
            CachePadded::new(Slot {
                version: AtomicU64::new(1),
                kind: AtomicUsize::new(0),
                socket: AtomicUsize::new(0),
                since: AtomicU64::new(0),
            })
        };
        Self { slots: (0..workers).map(slot).collect() }
    }

    /// `worker`, which calls this, begins to run `callback`.
    pub(crate) fn begin(&self, worker: usize, callback: Callback, now: Moment) {
        let slot = &self.slots[worker];
        let version = slot.version.load(Ordering::Relaxed);
        // It was made odd when the callback before returned; what follows is not to be seen before that.
        fence(Ordering::Release);
        slot.kind.store(callback.kind as usize, Ordering::Relaxed);
        slot.socket.store(callback.socket.map_or(0, SocketNumber::get), Ordering::Relaxed);
        slot.since.store(now, Ordering::Relaxed);
        slot.version.store(version + 1, Ordering::Release);
    }

    /// The callback has returned.
    pub(crate) fn end(&self, worker: usize) {
        let version = &self.slots[worker].version;
        version.store(version.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// What `worker`, which calls this, runs.
    pub(crate) fn of(&self, worker: usize) -> Option<Callback> {
        self.slots[worker].callback().map(|(callback, _)| callback)
    }

    /// The callbacks that are running, by worker, each with the moment since which it is.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, Callback, Moment)> {
        self.slots.iter().enumerate().filter_map(|(worker, slot)| {
            slot.callback().map(|(callback, since)| (worker, callback, since))
        })
    }
}

#[cfg(all(test, loom))]
mod models;
