//! The operations that were begun at a socket and have gone on at another: accepts that receive. They end
//! with the socket where they were begun.
//!
//! One that departs and a close at the same time both take the lock. Either the close finds the operation,
//! or the operation finds that the socket is closed.

use crate::in_flight::{Handle, WeakHandle};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `None` exactly when the socket is closed.
#[derive(Debug)]
pub(crate) struct Departed(Mutex<Option<Vec<WeakHandle>>>);

impl Departed {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<WeakHandle>>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns false if the socket is closed.
    pub(crate) fn add(&self, operation: WeakHandle) -> bool {
        let mut departed = self.lock();
        let Some(operations) = &mut *departed else { return false };
        if operations.len() == operations.capacity() {
            // Those that are over are looked for each time that there are twice as many.
            operations.retain(WeakHandle::may_be_pending);
            operations.reserve(operations.len().max(4));
        }
        operations.push(operation);
        true
    }

    /// The socket is closed: returns the operations that are to end with it.
    pub(crate) fn close(&self) -> Vec<Handle> {
        let departed = self.lock().take();
        departed.iter().flatten().filter_map(WeakHandle::upgrade).collect()
    }
}
