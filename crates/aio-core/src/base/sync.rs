//! The atomics, locks and queues that the protocols are written against.
//!
//! They are std's and crossbeam's, except under `--cfg loom`, where they are the model checker's. No
//! ordering depends on which it is.

#[cfg(not(loom))]
pub(crate) use crossbeam::queue::SegQueue as Queue;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence,
};
#[cfg(loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard};
pub(crate) use std::sync::atomic::Ordering;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicU16, AtomicU32, AtomicU64, AtomicUsize, fence,
};
#[cfg(not(loom))]
pub(crate) use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// True if `time` has passed since then. In a model no time passes, since what depends on it could not be
/// repeated.
#[cfg(not(loom))]
pub(crate) fn has_passed(time: Duration, since: Instant) -> bool {
    since.elapsed() >= time
}

#[cfg(loom)]
pub(crate) fn has_passed(_time: Duration, _since: Instant) -> bool {
    false
}

/// Stands for crossbeam's queue, which loom cannot look into: first in, first out, and each operation
/// takes effect at one moment. What a push and the pop that finds it make visible is no less here.
#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct Queue<T>(Mutex<std::collections::VecDeque<T>>);

#[cfg(loom)]
impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(std::collections::VecDeque::new()))
    }

    pub(crate) fn push(&self, value: T) {
        self.queue().push_back(value);
    }

    pub(crate) fn pop(&self) -> Option<T> {
        self.queue().pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue().len()
    }

    fn queue(&self) -> MutexGuard<'_, std::collections::VecDeque<T>> {
        self.0.lock().expect("a model does not panic under the lock")
    }
}
