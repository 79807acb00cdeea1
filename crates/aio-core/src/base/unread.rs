//! What dropped operations had taken from a socket: the next operations get it, before anything from the system
//! (I2).
//!
//! 1. Pieces are taken out by attempts in the receiving direction, of which there is one at a time
//!    (`operation_queue.rs`). They are put in by any thread that drops an operation.
//! 2. Pieces are in the order in which they were taken from the system. An attempt that takes something for an
//!    operation without a callback gets its [`Order`] before the next attempt begins, so later pieces have later
//!    orders. A piece that was put back, and then taken in parts, keeps its number, and each part has its offset.
//! 3. A thread that puts a piece in then reports readiness to the queue (`SocketInner::give_back`), as the engine
//!    does when bytes arrive.

use socket2::SockAddr;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Where a piece stands among all that was taken from its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    number: u64,
    /// How many bytes of that piece come before.
    offset: usize,
}

/// What an operation remembers of what it has taken, beside what it yields.
#[derive(Debug)]
pub(crate) enum Envelope {
    Datagram(Origin),
    /// Where the connection stands among those of its listener.
    Connection(Order),
}

/// What is known of a datagram beside its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) from: SockAddr,
    /// How many bytes it had, as far as the system tells.
    pub(crate) at_least: usize,
    pub(crate) truncated: bool,
}

#[derive(Debug)]
pub(crate) enum Piece<C> {
    Bytes(Vec<u8>),
    Datagram(Vec<u8>, Origin),
    /// A connection, as its listener hands it out.
    Connection(C),
}

#[derive(Debug)]
pub(crate) struct Store<C> {
    /// How many pieces were taken by operations without a callback. Written in attempts alone.
    taken: AtomicU64,
    /// There since the first piece was put in.
    store: OnceLock<Box<Mutex<Pieces<C>>>>,
}

#[derive(Debug)]
struct Pieces<C> {
    pieces: BTreeMap<Order, Piece<C>>,
    /// The order of what the attempt that is under way has taken from here.
    last: Option<Order>,
}

impl<C> Store<C> {
    pub(crate) fn new() -> Self {
        Self { taken: AtomicU64::new(0), store: OnceLock::new() }
    }

    fn store(&self) -> Option<MutexGuard<'_, Pieces<C>>> {
        // Nothing that can panic runs under the lock.
        self.store.get().map(|store| store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The order of what an attempt has just taken, for the thread that made it.
    pub(crate) fn order(&self) -> Order {
        if let Some(order) = self.store().and_then(|mut store| store.last.take()) {
            return order;
        }
        // One thread at a time: invariant 1.
        let number = self.taken.load(Ordering::Relaxed);
        self.taken.store(number + 1, Ordering::Relaxed);
        Order { number, offset: 0 }
    }

    pub(crate) fn put(&self, order: Order, piece: Piece<C>) {
        let store = self
            .store
            .get_or_init(|| Box::new(Mutex::new(Pieces { pieces: BTreeMap::new(), last: None })));
        let before = {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            store.pieces.insert(order, piece)
        };
        debug_assert!(before.is_none(), "each piece has its own order");
    }

    /// False if nothing has ever come back: then there is nothing to take.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.store.get().is_some()
    }

    /// Begins an attempt: takes the first piece out, if there is one.
    #[cold]
    fn take(&self) -> Option<(Order, Piece<C>)> {
        let mut store = self.store()?;
        let first = store.pieces.pop_first();
        store.last = first.as_ref().map(|(order, _)| *order);
        first
    }

    /// Begins an attempt that may take nothing. Returns true if there is something to take.
    pub(crate) fn look(&self) -> bool {
        self.store().is_some_and(|mut store| {
            // An operation with a callback may have left the order of what it took.
            store.last = None;
            !store.pieces.is_empty()
        })
    }

    /// True if there is something to take.
    pub(crate) fn has_some(&self) -> bool {
        self.store().is_some_and(|store| !store.pieces.is_empty())
    }

    /// Moves bytes into `buffers`, in order: as many as fit of the first piece.
    pub(crate) fn bytes(&self, buffers: &mut [&mut [u8]]) -> Option<usize> {
        let (order, piece) = self.take()?;
        let Piece::Bytes(mut bytes) = piece else {
            unreachable!("what a stream has taken is bytes")
        };
        let taken = fill(buffers, &bytes);
        if taken < bytes.len() {
            bytes.drain(..taken);
            self.put(Order { offset: order.offset + taken, ..order }, Piece::Bytes(bytes));
        }
        Some(taken)
    }

    /// Moves a datagram, or the part of it that fits, into `buffers`. Returns how many bytes that is.
    pub(crate) fn datagram(&self, buffers: &mut [&mut [u8]]) -> Option<(usize, Origin)> {
        let (_, piece) = self.take()?;
        let Piece::Datagram(bytes, mut origin) = piece else {
            unreachable!("what a datagram socket has taken is datagrams")
        };
        let length = fill(buffers, &bytes);
        origin.truncated |= length < bytes.len();
        Some((length, origin))
    }

    pub(crate) fn connection(&self) -> Option<C> {
        let (_, piece) = self.take()?;
        let Piece::Connection(socket) = piece else {
            unreachable!("what a listener has taken is connections")
        };
        Some(socket)
    }

    /// Takes everything out, in order.
    pub(crate) fn take_all(&self) -> Vec<Piece<C>> {
        let pieces = self.store().map(|mut store| std::mem::take(&mut store.pieces));
        pieces.into_iter().flatten().map(|(_, piece)| piece).collect()
    }

    /// Takes over what `other` has.
    pub(crate) fn take_over(&self, other: &Self) {
        for piece in other.take_all() {
            self.put(self.order(), piece);
        }
    }
}

/// Copies the front of `bytes` into `buffers`, one after the other. Returns how many bytes that is.
fn fill(buffers: &mut [&mut [u8]], mut bytes: &[u8]) -> usize {
    let all = bytes.len();
    for buffer in buffers {
        let (part, rest) = bytes.split_at(buffer.len().min(bytes.len()));
        buffer[..part.len()].copy_from_slice(part);
        bytes = rest;
    }
    all - bytes.len()
}
