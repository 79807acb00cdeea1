//! The sockets that accept: a drain ends their accepts at once.
//!
//! 1. A socket is entered when its first accept is about to be queued. A drain says that it has begun, then
//!    goes through the entries; an accept is entered and queued, then looks whether a drain has begun.
//!    Entering and queueing each take a lock that the drain takes too, so that one of the two sees
//!    what the other did, and no accept is left waiting.
//! 2. Entries are weak: an idle listener that nobody holds is closed.

use crate::socket::SocketInner;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<SocketInner>>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<SocketInner>>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, socket: &Arc<SocketInner>) {
        let mut listeners = self.lock();
        if listeners.len() == listeners.capacity() {
            // Those that are closed are looked for each time that there are twice as many.
            listeners.retain(|listener| listener.strong_count() > 0);
            let more = listeners.len().max(4);
            listeners.reserve(more);
        }
        listeners.push(Arc::downgrade(socket));
    }

    pub(crate) fn all(&self) -> Vec<Arc<SocketInner>> {
        self.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
