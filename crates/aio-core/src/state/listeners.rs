//! The sockets that accept: a drain ends their accepts at once.
//!
//! 1. A socket is entered when its first accept is about to be queued. A drain says that it has begun, then
//!    goes through the entries; an accept is entered and queued, then looks whether a drain has begun.
//!    Entering and queueing each take a lock that the drain takes too, so that one of the two sees
//!    what the other did, and no accept is left waiting.
//! 2. Entries are numbers: an idle listener that nobody holds is closed, and takes its entry out.

use crate::base::number::SocketNumber;
use crate::state::socket::SocketInner;
use crate::state::socket_table;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<BTreeSet<usize>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, socket: &SocketInner) {
        self.lock().insert(socket.number.get());
    }

    /// The socket is being dropped.
    pub(crate) fn remove(&self, socket: &SocketInner) {
        self.lock().remove(&socket.number.get());
    }

    pub(crate) fn all(&self) -> Vec<Arc<SocketInner>> {
        let numbers: Vec<_> = self.lock().iter().copied().filter_map(SocketNumber::from).collect();
        numbers.into_iter().filter_map(socket_table::find).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::Runtime;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn nothing_is_kept_of_listeners_that_are_gone() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        for _ in 0..20 {
            let listener = runtime.tcp_v4().unwrap();
            listener.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            listener.listen(1).unwrap();
            let accept = listener.accept_async();
            assert_eq!(runtime.inner().listeners.all().len(), 1);
            listener.close();
            drop((accept, listener));
            // A worker may have looked whether there is a connection, and have the socket for a moment.
            while !runtime.inner().listeners.lock().is_empty() {
                std::thread::yield_now();
            }
        }
    }
}
