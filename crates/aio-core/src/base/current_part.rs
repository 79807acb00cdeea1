//! The part of a composite operation that is under way.
//!
//! A composite operation is in no queue: it consists of *parts*, one after the other. A part is an operation at a
//! socket, or the lookup of a name. Each composite has one [`CurrentPart`], through which a cancel finds the part.
//!
//! ```text
//!            enter                       enter (the next part), or leave
//!   ┌──────┐ ─────▶ ┌──────────────────┐ ───┐
//!   │ None │        │ Some: under way, │ ◀──┘
//!   └──────┘ ◀───── │ or just over     │
//!            leave  └──────────────────┘
//! ```
//!
//! 1. The owner of the composite enters a part and then begins it. The owner leaves, or enters the next part, when the
//!    part has ended. It leaves before the composite completes.
//! 2. A cancel states its request in the composite, and then takes the lock to find the part. [`CurrentPart::enter`]
//!    reads the request under the same lock. If the cancel takes the lock first, `enter` returns the request, and the
//!    part begins as canceled. Otherwise the cancel finds the part. So a cancel is never lost, also not between two
//!    parts.
//! 3. A part may learn of the same request twice: from `enter`, and from a cancel that finds the part as well. A part
//!    keeps the first request that it is told of, so it is canceled once.

use crate::base::lock::Lock;

#[derive(Debug)]
pub(crate) struct CurrentPart<P>(Lock<Option<P>>);

impl<P: Clone> CurrentPart<P> {
    pub(crate) fn new() -> Self {
        Self(Lock::new(None))
    }

    /// `part` is about to begin. Returns what `request` returns: why it shall not go on, if it shall not.
    pub(crate) fn enter<R>(&self, part: P, request: impl FnOnce() -> Option<R>) -> Option<R> {
        let (before, request) = {
            let mut current = self.0.lock();
            (current.replace(part), request())
        };
        // Not under the lock: it may be the last that keeps that part's memory.
        drop(before);
        request
    }

    /// The part has ended, and no other part follows for now.
    pub(crate) fn leave(&self) {
        let before = self.0.lock().take();
        // As above.
        drop(before);
    }

    pub(crate) fn get(&self) -> Option<P> {
        self.0.lock().clone()
    }
}

#[cfg(all(test, loom))]
mod models;
