//! The sockets of the process, by number: for those who must be able to find a socket, and must not keep it
//! open. They are the poller, whose events name sockets; handles of operations, which may outlive them;
//! reports of what workers run; and a shutdown.
//!
//! A number names a slot of the table and the slot's generation, which no two sockets have in common. A slot that
//! has come to its last generation is not used again. So a number is never used again, and who has the
//! number of a socket that is gone finds nobody (I6). It is copied at no cost, where a `Weak` would cost two
//! locked instructions for each operation.
//!
//! The numbers of a process with 64-bit addresses do not run out. With 32-bit addresses a million sockets can exist
//! at once, and four thousand million can be made; then making a socket fails.
//!
//! A socket's number is reserved and its socket entered when it is made; both are taken out when it is dropped.
//! The lock is held for the time of a look; no socket is dropped under it, for that takes the lock.

use crate::state::context::RuntimeInner;
use crate::state::socket::SocketInner;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

/// How many of a number's lower bits are the slot's index; the others are its generation.
const INDEX_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
const SLOTS: usize = 1 << INDEX_BITS;
const INDEX: usize = SLOTS - 1;

/// The first is 1. So no number is 0, nor all ones.
const LAST_GENERATION: usize = (usize::MAX >> INDEX_BITS) - 1;

/// Neither 0 nor `usize::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketNumber(NonZeroUsize);

impl SocketNumber {
    fn new(index: usize, generation: usize) -> Self {
        let number = NonZeroUsize::new(generation << INDEX_BITS | index);
        Self(number.expect("a generation is not 0"))
    }

    /// What [`get`](Self::get) has returned.
    pub(crate) fn from(number: usize) -> Option<Self> {
        NonZeroUsize::new(number).map(Self)
    }

    pub(crate) fn get(self) -> usize {
        self.0.get()
    }

    fn index(self) -> usize {
        self.get() & INDEX
    }

    fn generation(self) -> usize {
        self.get() >> INDEX_BITS
    }
}

#[derive(Debug)]
struct Table {
    slots: Vec<Slot>,
    /// Those that have a generation left.
    free: Vec<usize>,
    most_slots: usize,
    last_generation: usize,
}

#[derive(Debug)]
struct Slot {
    /// That of the socket that has this slot or, if it is free, had it last. Counts these sockets.
    generation: usize,
    socket: Weak<SocketInner>,
}

static TABLE: RwLock<Table> = RwLock::new(Table::new(SLOTS, LAST_GENERATION));

/// Returns the number for a socket that is about to be made: the caller is to [`enter`] it.
///
/// # Errors
///
/// `QuotaExceeded` if there is no number left.
pub(crate) fn reserve() -> io::Result<SocketNumber> {
    change().reserve().ok_or_else(|| {
        let message = "the process has as many sockets as it has numbers for";
        io::Error::new(io::ErrorKind::QuotaExceeded, message)
    })
}

/// Enters a socket that is being made, under the number that was reserved for it.
pub(crate) fn enter(number: SocketNumber, socket: Weak<SocketInner>) -> SocketNumber {
    change().slots[number.index()].socket = socket;
    number
}

/// Takes out a socket that is being dropped.
pub(crate) fn remove(number: SocketNumber) {
    // Dropped when the lock is free.
    let _socket = change().remove(number);
}

pub(crate) fn find(number: SocketNumber) -> Option<Arc<SocketInner>> {
    look().get(number)
}

/// Finds one socket after the other under one lock. None of them is to be dropped meanwhile.
#[cfg(unix)]
pub(crate) struct Finder(RwLockReadGuard<'static, Table>);

#[cfg(unix)]
pub(crate) fn finder() -> Finder {
    Finder(look())
}

#[cfg(unix)]
impl Finder {
    pub(crate) fn find(&self, number: SocketNumber) -> Option<Arc<SocketInner>> {
        self.0.get(number)
    }
}

/// All sockets of a runtime.
pub(crate) fn sockets_of(runtime: &RuntimeInner) -> Vec<Arc<SocketInner>> {
    sockets_that(|socket| std::ptr::eq(&*socket.runtime, runtime))
}

/// All sockets of the process that are meant.
pub(crate) fn sockets_that(are_meant: impl Fn(&SocketInner) -> bool) -> Vec<Arc<SocketInner>> {
    let mut sockets: Vec<_> =
        look().slots.iter().filter_map(|slot| slot.socket.upgrade()).collect();
    sockets.retain(|socket| are_meant(socket));
    sockets
}

fn look() -> RwLockReadGuard<'static, Table> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

fn change() -> RwLockWriteGuard<'static, Table> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    const fn new(most_slots: usize, last_generation: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), most_slots, last_generation }
    }

    fn reserve(&mut self) -> Option<SocketNumber> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() == self.most_slots => return None,
            None => {
                self.slots.push(Slot { generation: 0, socket: Weak::new() });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        slot.generation += 1;
        Some(SocketNumber::new(index, slot.generation))
    }

    fn get(&self, number: SocketNumber) -> Option<Arc<SocketInner>> {
        let slot = self.slots.get(number.index())?;
        (slot.generation == number.generation()).then(|| slot.socket.upgrade())?
    }

    fn remove(&mut self, number: SocketNumber) -> Weak<SocketInner> {
        let slot = &mut self.slots[number.index()];
        debug_assert_eq!(slot.generation, number.generation(), "a socket is taken out once");
        if slot.generation < self.last_generation {
            self.free.push(number.index());
        }
        std::mem::take(&mut slot.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;
    use std::collections::HashSet;

    /// I6.
    #[test]
    fn a_slot_that_is_used_again_has_another_number() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let [first, second] = [(); 2].map(|()| runtime.tcp_v4().unwrap());
        let mut table = Table::new(SLOTS, LAST_GENERATION);
        let insert = |table: &mut Table, socket: &crate::Socket| {
            let number = table.reserve().unwrap();
            table.slots[number.index()].socket = Arc::downgrade(socket.inner());
            number
        };
        let old = insert(&mut table, &first);
        assert!(Arc::ptr_eq(&table.get(old).unwrap(), first.inner()));
        table.remove(old);
        assert!(table.get(old).is_none());
        let new = insert(&mut table, &second);
        assert_eq!(table.slots.len(), 1);
        assert!(table.get(old).is_none());
        assert!(Arc::ptr_eq(&table.get(new).unwrap(), second.inner()));
    }

    /// I6, with few generations and few slots, as where addresses have 32 bits.
    #[test]
    fn no_number_is_used_twice_and_numbers_end() {
        let mut table = Table::new(4, 10);
        let mut numbers = HashSet::new();
        let kept = table.reserve().unwrap();
        while let Some(number) = table.reserve() {
            assert!(numbers.insert(number.get()), "{number:?}");
            assert!(number.index() < 4 && number != kept);
            table.remove(number);
        }
        assert_eq!(numbers.len(), 3 * 10);
        table.remove(kept);
        assert_eq!(table.reserve().unwrap().index(), kept.index());
    }

    #[test]
    fn the_last_number_is_not_all_ones() {
        let last = SocketNumber::new(INDEX, LAST_GENERATION);
        assert_eq!((last.index(), last.generation()), (INDEX, LAST_GENERATION));
        assert_ne!(last.get(), usize::MAX);
    }

    #[test]
    fn a_socket_is_found_until_it_is_dropped() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let socket = runtime.tcp_v4().unwrap();
        let number = socket.inner().number;
        socket.close();
        assert!(Arc::ptr_eq(&find(number).unwrap(), socket.inner()));
        assert_eq!(sockets_of(&socket.inner().runtime).len(), 1);
        drop(socket);
        assert!(find(number).is_none());
    }
}
