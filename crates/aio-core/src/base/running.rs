//! Which callback each worker runs, and since when, so that reports can say what holds the workers.
//!
//! Each worker has a slot, which it alone writes, before it runs a callback and after the callback has returned. A slot
//! holds a few numbers, so the worker takes no lock and keeps nothing alive.
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

/// What a callback belongs to. A job of rayon counts as a callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Callback {
    pub(crate) kind: OperationKind,
    /// The socket where its operation was last, if it is the callback of an operation at a socket.
    pub(crate) socket: Option<SocketNumber>,
}

impl Callback {
    /// A worker that looks for a job enters this before it knows whether it finds one.
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
        // The end of the callback before made it odd. No reader may see the stores that follow before that.
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

    /// Returns what `worker`, which is the calling thread, runs.
    pub(crate) fn of(&self, worker: usize) -> Option<Callback> {
        self.slots[worker].callback().map(|(callback, _)| callback)
    }

    /// Returns the callbacks that are running, each with its worker and the moment when it began.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, Callback, Moment)> {
        self.slots.iter().enumerate().filter_map(|(worker, slot)| {
            slot.callback().map(|(callback, since)| (worker, callback, since))
        })
    }
}

#[cfg(all(test, loom))]
mod models;
