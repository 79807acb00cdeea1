//! The limit on pending operations of a runtime that has one.
//!
//! An operation takes a place when it begins and gives it back when its callback has returned. An operation without a
//! callback gives it back before a thread that waits for it learns that it has completed, so that the thread finds the
//! place free. Every operation writes the one count; a runtime without a limit has none.

use crate::base::sync::{AtomicUsize, Ordering};
use crossbeam::utils::CachePadded;
use std::io;

#[derive(Debug)]
pub(crate) struct Limit {
    most: usize,
    /// How many places are taken, `most` at most. An operation that is refused does not change it, so it takes no
    /// place from another, not even for a moment.
    taken: CachePadded<AtomicUsize>,
}

impl Limit {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: CachePadded::new(AtomicUsize::new(0)) }
    }

    /// Takes a place, and returns true, if one is free.
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
            "too many operations are pending (max_pending is {}); retry when others have completed",
            self.most
        );
        io::Error::new(io::ErrorKind::ResourceBusy, message)
    }
}

#[cfg(all(test, loom))]
mod models;
