//! The operations that were begun at a socket and have gone on at another: accepts that receive. They end
//! with the socket where they were begun.
//!
//! One that departs and a close at the same time both take the lock. Either the close finds the operation,
//! or the operation finds that the socket is closed.
//!
//! An entry keeps the memory of its operation. So the operation takes its entry out when it completes: it
//! has a [`Departure`] among what is dropped then.

use crate::base::number::SocketNumber;
use crate::state::in_flight::{Handle, WeakHandle};
use crate::state::socket::SocketInner;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

#[derive(Debug)]
pub(crate) struct Departed(Mutex<State>);

#[derive(Debug)]
struct State {
    is_closed: bool,
    /// By the number of the socket where they are. `None` until there is the first one.
    #[expect(clippy::box_collection, reason = "every socket has this, and nearly none has any")]
    operations: Option<Box<BTreeMap<usize, WeakHandle>>>,
}

impl Departed {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { is_closed: false, operations: None }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `operation` goes on at the socket with the number `at`. Returns false if this socket is closed.
    pub(crate) fn add(&self, at: SocketNumber, operation: WeakHandle) -> bool {
        let mut state = self.lock();
        if !state.is_closed {
            state.operations.get_or_insert_default().insert(at.get(), operation);
        }
        !state.is_closed
    }

    fn remove(&self, at: SocketNumber) {
        let operation = self.lock().operations.as_mut().and_then(|all| all.remove(&at.get()));
        // Not under the lock: its memory may be freed.
        drop(operation);
    }

    /// The socket is closed: returns the operations that are to end with it.
    pub(crate) fn close(&self) -> Vec<Handle> {
        let operations = {
            let mut state = self.lock();
            state.is_closed = true;
            state.operations.take()
        };
        let operations = operations.into_iter().flat_map(|all| (*all).into_values());
        operations.filter_map(|operation| operation.upgrade()).collect()
    }
}

/// What an operation has that has departed. Dropping it takes the operation's entry out.
#[derive(Debug)]
pub(crate) struct Departure {
    from: Weak<SocketInner>,
    at: SocketNumber,
}

impl Departure {
    pub(crate) fn new(from: &Arc<SocketInner>, at: &SocketInner) -> Self {
        Self { from: Arc::downgrade(from), at: at.number }
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        if let Some(from) = self.from.upgrade() {
            from.departed.remove(self.at);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Engine, Runtime, Socket};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::sync::mpsc;
    use std::{io::Write, iter, thread};

    fn departed(listener: &Socket) -> usize {
        listener.inner().departed.lock().operations.as_ref().map_or(0, |all| all.len())
    }

    /// However many were pending at once, canceled or not, with a callback or without.
    #[test]
    fn a_listener_keeps_nothing_of_the_accepts_that_are_over() {
        const MANY: usize = 200;
        for engine in [Engine::Blocking, Engine::Readiness] {
            let runtime = Runtime::builder().engine(engine).workers(2).build().unwrap();
            let listener = runtime.tcp_v4().unwrap();
            listener.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            listener.listen(MANY.try_into().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let (report, over) = mpsc::channel();
            for _ in 0..MANY / 2 {
                let (ender, report) = (listener.clone(), report.clone());
                let callback = move |accepted| {
                    report.send(ender.end_accept_receive(accepted).result.is_ok()).unwrap();
                };
                listener.begin_accept_receive([0; 4096], callback, ());
            }
            let kept: Vec<_> =
                (0..MANY / 2).map(|_| listener.accept_receive_async([0; 4096])).collect();
            let mut peers: Vec<_> =
                iter::repeat_with(|| TcpStream::connect(address).unwrap()).take(MANY).collect();
            while departed(&listener) < MANY {
                thread::yield_now();
            }
            let canceled = kept.len() / 2;
            kept[..canceled].iter().for_each(|accept| accept.cancel());
            assert_eq!(departed(&listener), MANY - canceled);
            peers.iter_mut().for_each(|peer| drop(peer.write(&[1])));
            assert_eq!(over.iter().take(MANY / 2).filter(|is_ok| *is_ok).count(), MANY / 2);
            let accepted = kept.into_iter().map(|accept| accept.wait().result);
            assert_eq!(accepted.filter(Result::is_ok).count(), MANY / 2 - canceled);
            assert_eq!(departed(&listener), 0);
        }
    }
}
