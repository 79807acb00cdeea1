//! How many references there are to an operation, weak ones included.
//!
//! Both counts are in one word, so that one look sees both: the lower half, `strong`, is how many references
//! there are that keep the body; the upper half, `weak`, how many there are that keep the memory alone.
//!
//! 1. Once `strong` is 0, it stays 0. `weak` counts one more, as long as `strong` is not 0 or who took the last
//!    of those away has not yet taken that one away.
//! 2. Taking one away is a release, and who has taken the last away acquires: what anybody did with a
//!    reference happens before the body is dropped, or the memory freed.
//! 3. A reference is made by who has one, a weak one by who has one that is not. So who sees at once that there
//!    is no other reference than theirs, of either kind, is alone for good, and need take nothing away. Once the
//!    last reference that is not weak has gone, `weak` only falls; who sees 1 then has found their own.

use crate::base::sync::{AtomicU64, Ordering, fence};
use std::process;

/// One that keeps the memory alone.
const WEAK: u64 = 1 << 32;

/// More references of a kind than memory holds, but for those that were forgotten. A few threads may be above
/// this at a time, each by one, before they end the process.
const MOST: u32 = i32::MAX as u32;

pub(crate) struct References(AtomicU64);

fn strong(counts: u64) -> u32 {
    counts as u32
}

fn weak(counts: u64) -> u32 {
    (counts >> 32) as u32
}

impl References {
    /// Those of an operation that is being made.
    pub(crate) fn two() -> Self {
        Self(AtomicU64::new(WEAK | 2))
    }

    pub(crate) fn add(&self) {
        if strong(self.0.fetch_add(1, Ordering::Relaxed)) > MOST {
            process::abort();
        }
    }

    /// Returns false if there is none any more.
    pub(crate) fn add_if_any(&self) -> bool {
        let add = |counts| (1..MOST).contains(&strong(counts)).then_some(counts + 1);
        self.0.fetch_update(Ordering::Acquire, Ordering::Relaxed, add).is_ok()
    }

    /// Returns true if this was the last: the body is to be dropped, and then the weak one to be taken away
    /// that goes with it.
    pub(crate) fn take(&self) -> bool {
        // Nearly always everybody else has gone by then, and a look is enough: invariant 3.
        if self.0.load(Ordering::Acquire) == WEAK | 1 {
            return true;
        }
        let is_last = strong(self.0.fetch_sub(1, Ordering::Release)) == 1;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }

    /// By who has one that is not weak.
    pub(crate) fn add_weak(&self) {
        if weak(self.0.fetch_add(WEAK, Ordering::Relaxed)) > MOST {
            process::abort();
        }
    }

    /// Returns true if this was the last of all: the memory is to be freed.
    pub(crate) fn take_weak(&self) -> bool {
        // As in `take`.
        if weak(self.0.load(Ordering::Acquire)) == 1 {
            return true;
        }
        let is_last = weak(self.0.fetch_sub(WEAK, Ordering::Release)) == 1;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }
}

#[cfg(all(test, loom))]
#[expect(unsafe_code, reason = "looks into cells that the model checker watches")]
mod models;
