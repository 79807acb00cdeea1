//! The sockets of the process, by number.
//!
//! It serves those that must be able to find a socket and must not keep it open: the poller, whose events name
//! sockets; handles of operations, which may outlive their sockets; reports of what workers run; and a shutdown.
//!
//! A socket's number is reserved, and the socket entered, when it is made; its drop takes both out. The lock is held
//! for a lookup or a change. No socket is dropped under it, since the drop takes the lock.

use crate::base::number::SocketNumber;
use crate::base::table::Table;
use crate::state::context::RuntimeInner;
use crate::state::socket::SocketInner;
use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

static TABLE: RwLock<Table<SocketInner>> = RwLock::new(Table::new());

/// Returns the number for a socket that is about to be made: the caller is to [`enter`] it.
///
/// # Errors
///
/// `QuotaExceeded` if there is no number left.
pub(crate) fn reserve() -> io::Result<SocketNumber> {
    write().reserve().ok_or_else(|| {
        let message = "the process has as many sockets as it has numbers for";
        io::Error::new(io::ErrorKind::QuotaExceeded, message)
    })
}

/// Enters a socket that is being made, under the number that was reserved for it.
pub(crate) fn enter(number: SocketNumber, socket: Weak<SocketInner>) -> SocketNumber {
    write().enter(number, socket);
    number
}

/// Takes out a socket that is being dropped.
pub(crate) fn remove(number: SocketNumber) {
    // Dropped when the lock is free.
    let _socket = write().remove(number);
}

pub(crate) fn find(number: SocketNumber) -> Option<Arc<SocketInner>> {
    read().get(number)
}

/// Finds one socket after the other under one lock. None of them is to be dropped meanwhile.
#[cfg(unix)]
pub(crate) struct Finder(RwLockReadGuard<'static, Table<SocketInner>>);

#[cfg(unix)]
pub(crate) fn finder() -> Finder {
    Finder(read())
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
    let mut sockets: Vec<_> = read().iter().collect();
    sockets.retain(|socket| are_meant(socket));
    sockets
}

fn read() -> RwLockReadGuard<'static, Table<SocketInner>> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Table<SocketInner>> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;

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
