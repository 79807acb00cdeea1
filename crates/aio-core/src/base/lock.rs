//! A lock for a few instructions, which costs one locked instruction and a store where a mutex costs two.
//!
//! Who finds it taken spins, and soon lets other threads run, so that one which was interrupted while it had
//! the lock gets on (I9). So nothing may be done under it that calls the system or may wait for anything
//! else (I8). It has no poison: under it there is no code of a user's, nor any that panics.
//!
//! 1. The value is touched by who has taken the lock, until it gives it back. Taking acquires what giving
//!    back has released.

use crate::base::sync::{AtomicBool, Ordering};
use crossbeam::utils::Backoff;
use std::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

pub(crate) struct Lock<T> {
    taken: AtomicBool,
    #[cfg(loom)]
    turns: crate::base::sync::Mutex<()>,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time (invariant 1), which is like sending it.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            taken: AtomicBool::new(false),
            #[cfg(loom)]
            turns: crate::base::sync::Mutex::new(()),
            value: UnsafeCell::new(value),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> Locked<'_, T> {
        // The model checker cannot follow a thread that spins: in models of what uses the lock, threads block.
        #[cfg(loom)]
        let turn = self.turns.lock().ok();
        let locked = self.try_lock().unwrap_or_else(|| self.wait());
        #[cfg(loom)]
        let mut locked = locked;
        #[cfg(loom)]
        {
            locked.turn = turn;
        }
        locked
    }

    #[inline]
    fn try_lock(&self) -> Option<Locked<'_, T>> {
        let free =
            self.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Not made if it is not free: dropping it would give the lock back.
        if free {
            Some(Locked {
                lock: self,
                value: PhantomData,
                #[cfg(loom)]
                turn: None,
            })
        } else {
            None
        }
    }

    /// Takes the lock when it has been given back.
    #[cold]
    fn wait(&self) -> Locked<'_, T> {
        let backoff = Backoff::new();
        loop {
            backoff.snooze();
            if let Some(locked) = self.try_lock() {
                return locked;
            }
        }
    }
}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").field("taken", &self.taken).finish_non_exhaustive()
    }
}

/// The lock, as long as it is taken.
pub(crate) struct Locked<'a, T> {
    lock: &'a Lock<T>,
    #[cfg(loom)]
    turn: Option<crate::base::sync::MutexGuard<'a, ()>>,
    /// It may be shared and sent as a mutable borrow may: `&Locked` gives `&T` to any thread that has it, while
    /// the lock itself needs no `T` that is `Sync`.
    value: PhantomData<&'a mut T>,
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: this thread has the lock (invariant 1).
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Locked<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and this is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Locked<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.lock.taken.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Does not compile if `Self` is `Sync`: then both apply.
    trait IsNotSync<Which> {
        const HOLDS: () = ();
    }
    struct ForAll;
    struct IfSync;
    impl<T> IsNotSync<ForAll> for T {}
    impl<T: Sync> IsNotSync<IfSync> for T {}

    const fn is_sync<T: Sync>() {}

    #[test]
    fn a_lock_that_is_taken_is_shared_only_if_its_value_may_be() {
        let () = <Locked<'_, Cell<u8>> as IsNotSync<_>>::HOLDS;
        const { is_sync::<Locked<'_, u8>>() };
        const { is_sync::<Lock<Cell<u8>>>() };
    }
}

#[cfg(all(test, loom))]
mod models;
