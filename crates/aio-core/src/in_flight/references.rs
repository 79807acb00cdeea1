//! How many references there are to an operation, weak ones included.
//!
//! 1. `strong` is how many references there are that keep the body; once 0, it stays 0. `weak` is how many there
//!    are that keep the memory alone, and one more, as long as `strong` is not 0 or who made it 0 has not yet
//!    taken that one away.
//! 2. Taking one away is a release, and who has taken the last away acquires: what anybody did with a
//!    reference happens before the body is dropped, or the memory freed.
//! 3. A weak reference is made by who has one of the others. So once `strong` is 0, `weak` only falls; who made
//!    it 0 and finds 1 has found its own, which it need not take away.

use crate::sync::{AtomicU32, Ordering, fence};
use std::process;

/// More references than memory holds, but for those that were forgotten. A few threads may be above this at a
/// time, each by one, before they end the process.
const MOST: u32 = i32::MAX as u32;

pub(super) struct References {
    strong: AtomicU32,
    weak: AtomicU32,
}

impl References {
    /// Those of an operation that is being made.
    pub(super) fn two() -> Self {
        Self { strong: AtomicU32::new(2), weak: AtomicU32::new(1) }
    }

    pub(super) fn add(&self) {
        if self.strong.fetch_add(1, Ordering::Relaxed) > MOST {
            process::abort();
        }
    }

    /// Returns false if there is none any more.
    pub(super) fn add_if_any(&self) -> bool {
        let add = |strong| (strong > 0 && strong < MOST).then_some(strong + 1);
        self.strong.fetch_update(Ordering::Acquire, Ordering::Relaxed, add).is_ok()
    }

    pub(super) fn any(&self) -> bool {
        self.strong.load(Ordering::Relaxed) > 0
    }

    /// Returns true if this was the last: the body is to be dropped, and then the weak one to be taken away
    /// that goes with it.
    pub(super) fn take(&self) -> bool {
        let is_last = self.strong.fetch_sub(1, Ordering::Release) == 1;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }

    /// By who has one that is not weak.
    pub(super) fn add_weak(&self) {
        if self.weak.fetch_add(1, Ordering::Relaxed) > MOST {
            process::abort();
        }
    }

    /// Returns true if this was the last of all: the memory is to be freed.
    pub(super) fn take_weak(&self) -> bool {
        // Nearly always there is no other, and a look is enough: invariant 3.
        if self.weak.load(Ordering::Acquire) == 1 {
            return true;
        }
        let is_last = self.weak.fetch_sub(1, Ordering::Release) == 1;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }
}

#[cfg(all(test, loom))]
mod models;
