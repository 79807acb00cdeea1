//! Which callback each worker runs, and since when: for those who want to know what holds the workers.
//!
//! A worker has a slot. Only the worker writes it: what it runs, then since when; and when the callback has
//! returned, that there is none. What it ran stays in the slot until it runs something else, which
//! saves a lock, and costs the memory of one operation that is over.
//!
//! 1. `since` is written after the callback, and cleared before the next is written. A reader reads
//!    `since`, the callback, and `since` again: if both are the same moment, the callback is the one
//!    that has been running since then, or one that began in the same moment, by a coarse clock.
//! 2. The lock is held for the time of a clone or a swap, and nothing of a user's is dropped under it: an
//!    operation whose callback runs has given everything to the callback.

use super::clock::Moment;
use crate::in_flight::Handle;
use crossbeam::utils::CachePadded;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A callback, by what it belongs to.
#[derive(Clone, Debug)]
pub(crate) enum Callback {
    Operation(Handle),
    /// By the index of its kind.
    Other(usize),
}

impl Callback {
    pub(crate) fn kind(&self) -> usize {
        match self {
            Self::Operation(operation) => operation.kind(),
            Self::Other(kind) => *kind,
        }
    }

    /// True if it takes one of the places of a limited runtime.
    pub(crate) fn takes_place(&self) -> bool {
        matches!(self, Self::Operation(operation) if operation.has_place())
    }

    /// When its operation completed, if that was measured.
    pub(crate) fn completed_at(&self) -> Option<Moment> {
        match self {
            Self::Operation(operation) => Some(operation.completed_at()),
            Self::Other(_) => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Running {
    slots: Box<[CachePadded<Slot>]>,
}

#[derive(Debug)]
struct Slot {
    callback: Mutex<Callback>,
    /// 0 exactly when the worker runs no callback.
    since: AtomicU64,
}

impl Running {
    pub(crate) fn new(workers: usize) -> Self {
        let slot = |_| {
            let callback = Mutex::new(Callback::Other(0));
            CachePadded::new(Slot { callback, since: AtomicU64::new(0) })
        };
        Self { slots: (0..workers).map(slot).collect() }
    }

    /// `worker`, which calls this, begins to run `callback`.
    pub(crate) fn begin(&self, worker: usize, callback: Callback, now: Moment) {
        let slot = &self.slots[worker];
        let before = mem::replace(
            &mut *slot.callback.lock().unwrap_or_else(PoisonError::into_inner),
            callback,
        );
        slot.since.store(now, Ordering::Release);
        drop(before);
    }

    /// The callback has returned.
    pub(crate) fn end(&self, worker: usize) {
        self.slots[worker].since.store(0, Ordering::Release);
    }

    /// True if `worker` runs a callback.
    pub(crate) fn is_running(&self, worker: usize) -> bool {
        self.slots[worker].since.load(Ordering::Acquire) != 0
    }

    /// The callbacks that are running, by worker, each with the moment since which it is.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, Callback, Moment)> {
        self.slots.iter().enumerate().filter_map(|(worker, slot)| {
            let since = slot.since.load(Ordering::Acquire);
            let callback = slot.callback.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let is_the_same = since != 0 && slot.since.load(Ordering::Acquire) == since;
            is_the_same.then_some((worker, callback, since))
        })
    }
}
