//! A socket's descriptor, closed exactly once and never under a call that uses it (I6).
//!
//! Whoever makes a system call *pins* the descriptor for as long as the call lasts. Closing forbids
//! new pins at once and leaves the closing itself to the last user: the closer if nobody has
//! pinned it, else whoever unpins last. So the number cannot be reused under a call in flight.
//!
//! The state is one word, `pins * PIN | CLOSED`:
//!
//! 1. `pins` grows only while `CLOSED` is not set (the compare-exchange in [`Descriptor::pin`]).
//! 2. `CLOSED` is set at most once by the one closer that finds it not set, and never cleared.
//! 3. By 1 and 2 the state reaches `CLOSED` without pins exactly once, in the closer's or in an
//!    unpinner's operation; that thread alone closes the descriptor.
//! 4. An unpin releases and the closing thread acquires, so that every call made under a pin
//!    happens before the close.

use crate::sync::{AtomicU32, Ordering};
use std::cell::UnsafeCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;

const CLOSED: u32 = 1;
const PIN: u32 = 2;

/// `S` is socket2's socket, but for the models.
pub(crate) struct Descriptor<S = socket2::Socket> {
    state: AtomicU32,
    socket: UnsafeCell<ManuallyDrop<S>>,
}

// SAFETY: shared access is either `&S`, for which `S` is `Sync`, under a pin, or the one close, for
// which `S` is `Send`, and which by invariant 3 happens once and after every pin.
unsafe impl<S: Send + Sync> Sync for Descriptor<S> {}

impl<S> Descriptor<S> {
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
            unsafe { self.close_now() };
        }
        before & CLOSED == 0
    }

    /// True once it has been closed and the last pin is gone, or is about to be without another call.
    pub(crate) fn is_free(&self) -> bool {
        self.state.load(Ordering::Acquire) == CLOSED
    }

    fn unpin(&self) {
        if self.state.fetch_sub(PIN, Ordering::AcqRel) == PIN | CLOSED {
            // SAFETY: this operation took the state to `CLOSED` without pins (invariant 3).
            unsafe { self.close_now() };
        }
    }

    /// # Safety
    ///
    /// The caller's operation took the state to `CLOSED` without pins.
    unsafe fn close_now(&self) {
        // SAFETY: by invariants 1 and 3 nobody else has or will get access.
        let socket = unsafe { &mut *self.socket.get() };
        // SAFETY: by invariant 3 this runs once, and `pin` and `Drop` no longer touch the socket.
        unsafe { ManuallyDrop::drop(socket) };
    }
}

impl<S> Drop for Descriptor<S> {
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
pub(crate) struct Pinned<'a, S = socket2::Socket> {
    descriptor: &'a Descriptor<S>,
}

impl<S> Deref for Pinned<'_, S> {
    type Target = S;

    fn deref(&self) -> &S {
        // SAFETY: the pin that this guard stands for keeps the state from `CLOSED` without pins.
        unsafe { &*self.descriptor.socket.get() }
    }
}

impl<S> Drop for Pinned<'_, S> {
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
