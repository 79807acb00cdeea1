//! How many references there are to an operation.
//!
//! 1. Taking one away is a release, and the thread that takes the last one away acquires: what any thread did with a
//!    reference happens before the operation is dropped.
//! 2. A reference is made by a thread that has one. So a thread that sees that there is no other reference than its
//!    own is alone for good, and need take nothing away.
//!
//! The references are counted here, and not by an `Arc` of a trait object, for what that costs an operation: where its
//! header is, which depends on the body's alignment, is computed at each access, and the last reference pays a locked
//! instruction for weak ones, of which there are none.

use crate::base::sync::{AtomicU32, Ordering, fence};
use std::process;

/// More references than memory holds, except those that were forgotten. A few threads may be above this at a time,
/// each by one, before they end the process.
const MOST: u32 = i32::MAX as u32;

pub(crate) struct References(AtomicU32);

impl References {
    /// Those of an operation that is being made.
    pub(crate) fn two() -> Self {
        Self(AtomicU32::new(2))
    }

    pub(crate) fn add(&self) {
        if self.0.fetch_add(1, Ordering::Relaxed) > MOST {
            process::abort();
        }
    }

    /// Returns true if this was the last: the operation is to be dropped.
    pub(crate) fn take(&self) -> bool {
        // Nearly always the others have gone by then, and a look is enough: invariant 2.
        if self.0.load(Ordering::Acquire) == 1 {
            return true;
        }
        let is_last = self.0.fetch_sub(1, Ordering::Release) == 1;
        if is_last {
            fence(Ordering::Acquire);
        }
        is_last
    }
}

#[cfg(all(test, loom))]
#[expect(unsafe_code, reason = "looks into a cell that the model checker watches")]
mod models;
