//! A socket's descriptor, closed exactly once and never under a call that uses it (I6).
//!
//! Whoever makes a system call *pins* the descriptor for as long as the call lasts. Closing forbids
//! new pins at once and leaves the closing itself to the last user: the closer if nobody has
//! pinned it, else whoever unpins last. So the number cannot be reused under a call in flight.
//!
//! The state is one word, `pins * PIN | FREE | SHARED | CLOSED`:
//!
//! 1. `pins` grows only while `CLOSED` is not set (the compare-exchange in [`Descriptor::pin`]).
//! 2. `CLOSED` is set at most once by the one closer that finds it not set, and never cleared. That closer may
//!    set `SHARED` with it.
//! 3. By 1 and 2 the state reaches `CLOSED` without pins exactly once, in the closer's or in an
//!    unpinner's operation; that thread alone closes the descriptor.
//! 4. An unpin releases and the closing thread acquires, so that every call made under a pin
//!    happens before the close.
//! 5. `FREE` is set by the thread of 3, after the close and only with `SHARED`. A thread that sees it knows that no
//!    other is about to close.
//!
//! The system's close of a socket that lingers (SO_LINGER with a time above zero) blocks until the peer has all
//! that was sent, or the time is over, even if the socket does not block. The thread of 3 may be any: a
//! caller of `close`, a worker, one that drops a handle. So it looks whether the socket lingers, and if it
//! does, leaves the close to the threads of the process (I8). It asks the system each time, since the option
//! may be set through any duplicate of the descriptor, and since an accepted socket has it from its listener.
//!
//! `SHARED` says that there is a duplicate until `FREE` is set. Then the close does not linger, and is made at once.

use crate::base::process_threads::{Job, Lane, PROCESS_THREADS, Ticket};
use crate::base::sync::{AtomicU32, Ordering};
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;

const CLOSED: u32 = 1;
/// Set only together with `CLOSED`.
const SHARED: u32 = 2;
const FREE: u32 = 4;
const PIN: u32 = 8;

/// What a descriptor is one of: socket2's socket, but for the models.
pub(crate) trait System {
    /// Closes it, without blocking.
    fn close(self);

    /// Closes it at once. It has a duplicate, so that this does not block.
    fn close_shared(self)
    where
        Self: Sized,
    {
        drop(self);
    }
}

impl System for socket2::Socket {
    fn close(self) {
        if self.linger().is_ok_and(|linger| linger.is_some_and(|time| !time.is_zero())) {
            PROCESS_THREADS.push(Lane::Close, Box::new(Lingering(self)));
        }
    }
}

/// A socket whose close may block.
struct Lingering(socket2::Socket);

impl Job for Lingering {
    fn run(self: Box<Self>, _ticket: Ticket) {
        let Self(system) = *self;
        // Here the close would not linger but fail, as long as the socket does not block.
        #[cfg(windows)]
        let _ = system.set_nonblocking(false);
        drop(system);
    }
}

/// `S` is socket2's socket, but for the models.
pub(crate) struct Descriptor<S: System = socket2::Socket> {
    state: AtomicU32,
    socket: UnsafeCell<ManuallyDrop<S>>,
}

// SAFETY: shared access is either `&S`, for which `S` is `Sync`, under a pin, or the one close, for
// which `S` is `Send`, and which by invariant 3 happens once and after every pin.
unsafe impl<S: System + Send + Sync> Sync for Descriptor<S> {}

impl<S: System> Descriptor<S> {
    pub(crate) fn new(socket: S) -> Self {
        Self { state: AtomicU32::new(0), socket: UnsafeCell::new(ManuallyDrop::new(socket)) }
    }

    /// Keeps the descriptor open until the guard is dropped; `None` once it has been closed.
    pub(crate) fn pin(&self) -> Option<Pinned<'_, S>> {
        let mut state = self.state.load(Ordering::Relaxed);
        while state & CLOSED == 0 {
            match self.state.compare_exchange_weak(
                state,
                state + PIN,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Some(Pinned { descriptor: self }),
                Err(current) => state = current,
            }
        }
        None
    }

    /// Forbids new pins and closes the descriptor as soon as the last one is gone. Returns false if
    /// that had been asked for before.
    pub(crate) fn close(&self) -> bool {
        let before = self.state.fetch_or(CLOSED, Ordering::AcqRel);
        if before == 0 {
            // SAFETY: this operation took the state to `CLOSED` without pins (invariant 3).
            unsafe { self.close_now(CLOSED) };
        }
        before & CLOSED == 0
    }

    /// The same for a descriptor that has a duplicate, until this one [is free](Self::is_free) at least.
    pub(crate) fn close_shared(&self) -> bool {
        let how = CLOSED | SHARED;
        let set = |state: u32| (state & CLOSED == 0).then_some(state | how);
        let set = self.state.fetch_update(Ordering::AcqRel, Ordering::Relaxed, set);
        if set == Ok(0) {
            // SAFETY: this operation took the state to `CLOSED` without pins (invariant 3).
            unsafe { self.close_now(how) };
        }
        set.is_ok()
    }

    /// True once it has been closed as one that is shared.
    pub(crate) fn is_free(&self) -> bool {
        self.state.load(Ordering::Acquire) & FREE != 0
    }

    fn unpin(&self) {
        let state = self.state.fetch_sub(PIN, Ordering::AcqRel) - PIN;
        if state & !SHARED == CLOSED {
            // SAFETY: this operation took the state to `CLOSED` without pins (invariant 3).
            unsafe { self.close_now(state) };
        }
    }

    /// # Safety
    ///
    /// The caller's operation took the state to `state`, which is `CLOSED` without pins.
    #[cold]
    unsafe fn close_now(&self, state: u32) {
        // SAFETY: by invariants 1 and 3 nobody else has or will get access.
        let socket = unsafe { &mut *self.socket.get() };
        // SAFETY: by invariant 3 this runs once, and `pin` and `Drop` no longer touch the socket.
        let socket = unsafe { ManuallyDrop::take(socket) };
        if state & SHARED == 0 {
            socket.close();
        } else {
            socket.close_shared();
            self.state.store(state | FREE, Ordering::Release);
        }
    }
}

impl<S: System> Drop for Descriptor<S> {
    fn drop(&mut self) {
        // A pin borrows the descriptor, so there is none now.
        self.close();
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pin() {
            Some(socket) => (*socket).fmt(f),
            None => f.write_str("closed"),
        }
    }
}

/// Proof that the descriptor stays open.
pub(crate) struct Pinned<'a, S: System = socket2::Socket> {
    descriptor: &'a Descriptor<S>,
}

impl<S: System> Deref for Pinned<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        // SAFETY: the pin that this guard stands for keeps the state from `CLOSED` without pins.
        unsafe { &*self.descriptor.socket.get() }
    }
}

impl<S: System> Drop for Pinned<'_, S> {
    fn drop(&mut self) {
        self.descriptor.unpin();
    }
}

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::thread;

    fn udp() -> socket2::Socket {
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap()
    }

    #[test]
    fn a_pin_outlives_the_close() {
        let descriptor = Descriptor::new(udp());
        let pinned = descriptor.pin().unwrap();
        assert!(descriptor.close());
        assert!(pinned.set_nonblocking(true).is_ok());
        drop(pinned);
        assert!(descriptor.pin().is_none());
        assert!(!descriptor.close());
    }

    #[test]
    fn close_racing_with_pins_closes_once_and_never_under_a_pin() {
        for _ in 0..500 {
            let descriptor = Descriptor::new(udp());
            let barrier = Barrier::new(3);
            thread::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|| {
                        barrier.wait();
                        while let Some(pinned) = descriptor.pin() {
                            assert!(pinned.r#type().is_ok());
                        }
                    });
                }
                barrier.wait();
                assert!(descriptor.close());
            });
        }
    }
}
