//! The sockets of the process, by number: for those who must be able to find a socket, and must not keep it
//! open. They are the poller, whose events name sockets; handles of operations, which may outlive them;
//! reports of what workers run; and a shutdown.
//!
//! A number names a slot of the table and the slot's generation. So it is never used again, and who has the
//! number of a socket that is gone finds nobody (I6). It is copied at no cost, where a `Weak` would cost two
//! locked instructions for each operation.
//!
//! A socket is entered when it is made and taken out when it is dropped. The lock is held for the time of a
//! look; no socket is dropped under it, for that takes the lock.

use crate::runtime::RuntimeInner;
use crate::socket::SocketInner;
use std::num::NonZeroUsize;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

/// The lower half of a number is the slot's index, the upper half its generation.
const INDEX_BITS: u32 = usize::BITS / 2;
const INDEX: usize = (1 << INDEX_BITS) - 1;

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
    free: Vec<usize>,
}

#[derive(Debug)]
struct Slot {
    /// Counts the sockets that had this slot, so that no two of them have the same number.
    generation: usize,
    socket: Weak<SocketInner>,
}

static TABLE: RwLock<Table> = RwLock::new(Table::new());

/// Enters a socket that is being made.
pub(crate) fn enter(socket: Weak<SocketInner>) -> SocketNumber {
    change().insert(socket)
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
    const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    fn insert(&mut self, socket: Weak<SocketInner>) -> SocketNumber {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, socket: Weak::new() });
            self.slots.len() - 1
        });
        let slot = &mut self.slots[index];
        // Never 0 and never all ones, and so is the number.
        slot.generation = slot.generation % (INDEX - 1) + 1;
        slot.socket = socket;
        SocketNumber::new(index, slot.generation)
    }

    fn get(&self, number: SocketNumber) -> Option<Arc<SocketInner>> {
        let slot = self.slots.get(number.index())?;
        (slot.generation == number.generation()).then(|| slot.socket.upgrade())?
    }

    fn remove(&mut self, number: SocketNumber) -> Weak<SocketInner> {
        let slot = &mut self.slots[number.index()];
        if slot.generation != number.generation() {
            return Weak::new();
        }
        slot.generation += 1;
        self.free.push(number.index());
        std::mem::take(&mut slot.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;

    /// I6.
    #[test]
    fn a_slot_that_is_used_again_has_another_number() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let [first, second] = [(); 2].map(|()| runtime.tcp_v4().unwrap());
        let mut table = Table::new();
        let old = table.insert(Arc::downgrade(first.inner()));
        assert!(Arc::ptr_eq(&table.get(old).unwrap(), first.inner()));
        table.remove(old);
        assert!(table.get(old).is_none());
        let new = table.insert(Arc::downgrade(second.inner()));
        assert_eq!(table.slots.len(), 1);
        assert!(table.get(old).is_none());
        table.remove(old);
        assert!(Arc::ptr_eq(&table.get(new).unwrap(), second.inner()));
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
