//! The sockets that accept: a drain ends their accepts at once, and their close ends the accepts that wait for the
//! first bytes of a connection.
//!
//! 1. A socket is entered when its first accept is about to be queued. A drain says that it has begun, then
//!    goes through the entries; an accept is entered and queued, then looks whether a drain has begun.
//!    Entering and queueing each take a lock that the drain takes too, so that one of the two sees
//!    what the other did, and no accept is left waiting.
//! 2. Entries are numbers: an idle listener that nobody holds is closed, and takes its entry out.
//! 3. An accept that waits for the first bytes is at the accepted socket, and has an entry here from before it begins
//!    there until it is over. A close stops the listener's queue, then takes these entries out; an accept is entered,
//!    then looks whether the queue is stopped. Each takes both locks, so one of the two sees what the other did.

use crate::base::number::SocketNumber;
use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// `A` is a handle to an accept.
#[derive(Debug)]
pub(crate) struct Listeners<A>(Mutex<BTreeMap<usize, Waiting<A>>>);

/// The accepts of a listener that wait for the first bytes, by their identity.
type Waiting<A> = BTreeMap<usize, A>;

impl<A> Listeners<A> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Waiting<A>>> {
        // Nothing that can panic runs under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self, listener: SocketNumber) {
        self.lock().entry(listener.get()).or_default();
    }

    /// The socket is being dropped.
    pub(crate) fn remove(&self, listener: SocketNumber) {
        let waiting = self.lock().remove(&listener.get());
        debug_assert!(
            waiting.is_none_or(|waiting| waiting.is_empty()),
            "each keeps its listener open"
        );
    }

    /// `accept` waits for the first bytes of a connection that `listener` has accepted.
    pub(crate) fn enter_waiting(&self, listener: SocketNumber, identity: usize, accept: A) {
        let mut listeners = self.lock();
        let waiting = listeners.entry(listener.get()).or_default();
        waiting.insert(identity, accept);
    }

    /// `accept` is over.
    pub(crate) fn remove_waiting(&self, listener: SocketNumber, identity: usize) {
        let waiting = match self.lock().get_mut(&listener.get()) {
            Some(waiting) => waiting.remove(&identity),
            None => None,
        };
        // Not under the lock.
        drop(waiting);
    }

    /// `listener` is closed: returns the accepts that are to end with it.
    pub(crate) fn take_waiting(&self, listener: SocketNumber) -> impl Iterator<Item = A> + use<A> {
        let waiting = self.lock().get_mut(&listener.get()).map(mem::take);
        waiting.into_iter().flat_map(BTreeMap::into_values)
    }

    /// Returns the listeners.
    pub(crate) fn all(&self) -> Vec<SocketNumber> {
        self.lock().keys().copied().filter_map(SocketNumber::from).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{Engine, Runtime, Socket};
    use std::net::{Ipv4Addr, SocketAddr, TcpStream};
    use std::sync::mpsc;
    use std::{io::Write, iter, thread};

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
                thread::yield_now();
            }
        }
    }

    /// How many accepts of `listener` wait for the first bytes.
    fn waiting(listener: &Socket) -> usize {
        let listener = listener.inner();
        let listeners = listener.runtime.listeners.lock();
        listeners.get(&listener.number.get()).map_or(0, |waiting| waiting.len())
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
            while waiting(&listener) < MANY {
                thread::yield_now();
            }
            let canceled = kept.len() / 2;
            kept[..canceled].iter().for_each(|accept| accept.cancel());
            assert_eq!(waiting(&listener), MANY - canceled);
            peers.iter_mut().for_each(|peer| drop(peer.write(&[1])));
            assert_eq!(over.iter().take(MANY / 2).filter(|is_ok| *is_ok).count(), MANY / 2);
            let accepted = kept.into_iter().map(|accept| accept.wait().result);
            assert_eq!(accepted.filter(Result::is_ok).count(), MANY / 2 - canceled);
            assert_eq!(waiting(&listener), 0);
        }
    }
}
