//! The most operations that may be pending at once, for a runtime that was given such a limit.
//!
//! An operation takes a place when it is begun, and gives it back when its callback has returned or, if it has
//! none, before those who wait for it learn that it has completed, so that they find the place free.
//! Every operation writes the one count; a runtime without a limit has none.

use crate::base::sync::{AtomicUsize, Ordering};
use crossbeam::utils::CachePadded;
use std::io;

#[derive(Debug)]
pub(crate) struct Limit {
    most: usize,
    /// How many places are taken: never more than there are. One that is refused does not touch it, so that it
    /// takes no place, not even for a moment, from another.
    taken: CachePadded<AtomicUsize>,
}

impl Limit {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: CachePadded::new(AtomicUsize::new(0)) }
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(&self) -> bool {
        let take = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(crate) fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// The error of an operation that has found no place.
    pub(crate) fn error(&self) -> io::Error {
        let message = format!(
            "the runtime takes no more operations than {} at once (max_pending); begin it again when \
             others are over",
            self.most
        );
        io::Error::new(io::ErrorKind::ResourceBusy, message)
    }
}

#[cfg(all(test, loom))]
mod models;
