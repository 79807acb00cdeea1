//! Which worker of which pool the current thread is.

use std::cell::Cell;

/// The worker that a thread is, if it is one.
///
/// One number, the pool's and the worker's, since each operation reads it several times.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Current(u64);

#[cfg(not(loom))]
thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::NONE) };
}
#[cfg(loom)]
loom::thread_local! {
    static CURRENT: Cell<Current> = Cell::new(Current::NONE);
}

impl Current {
    pub(super) const NONE: Self = Self(0);

    /// `pool` is not 0.
    pub(super) fn new(pool: u32, worker: usize) -> Self {
        Self(u64::from(pool) << 32 | worker as u64)
    }

    #[inline]
    pub(super) fn get() -> Self {
        CURRENT.with(Cell::get)
    }

    /// Makes the current thread this worker.
    pub(super) fn set(self) {
        CURRENT.with(|current| current.set(self));
    }

    /// Returns its index among the workers of `pool`, if it is one of them.
    #[inline]
    pub(super) fn worker_of(self, pool: u32) -> Option<usize> {
        (self.0 >> 32 == u64::from(pool)).then_some(self.0 as u32 as usize)
    }
}
