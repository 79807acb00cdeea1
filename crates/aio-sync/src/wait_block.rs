//! One wait, whatever it waits for: who decided it, and how its owner is told.
//!
//! ```text
//!           a setter claims                      that setter releases
//! WAITING ─────────────────► CLAIMED(index) ─────────────────────────► DONE
//!    │
//!    └─────► CANCELLED       the owner gives up: the time is over, or the future is dropped
//! ```
//!
//! `claim` is the only arbiter. It leaves `WAITING` once, by a compare-exchange, and whoever made that
//! exchange owns the outcome. A setter that lost has given nothing away, and offers its signal to the
//! next waiter; an owner that lost has its signal coming, and waits the few instructions until DONE.
//! So no signal is lost to a timeout, and no wait takes two.
//!
//! All exchanges of `claim` are relaxed: what the waiter must see was written before the release of
//! DONE in `park`, or before the unlock of the event under whose lock it claimed itself.

use std::fmt;
use std::task::Waker;

use crate::deadline::Deadline;
use crate::parker::{self, Word};
use crate::sync::{Acquire, AtomicU32, Relaxed, Release, UnsafeCell};

/// `claim`: nobody has decided the wait.
const WAITING: u32 = u32::MAX;
/// `claim`: the owner gave up.
const CANCELLED: u32 = u32::MAX - 1;

/// `park`: not released, and nobody sleeps.
const EMPTY: u32 = 0;
/// `park`: not released, and the owner sleeps on it or is about to.
const PARKED: u32 = 1;
/// `park`: released. The last write of the claimer to the block.
const DONE: u32 = 2;

/// One wait. It lives where its owner put it until the owner has seen to it that nobody can reach it
/// (invariant 5 of `raw_event`).
pub(crate) struct WaitBlock {
    /// `WAITING`, `CANCELLED`, or the index of the event that ended the wait.
    claim: AtomicU32,
    /// `EMPTY`, `PARKED` or `DONE`.
    park: AtomicU32,
    /// The task to wake. Written by the owner before the block is queued, and later under the lock of
    /// its event while `claim` is `WAITING`; taken by the claimer before DONE.
    waker: UnsafeCell<Option<Waker>>,
}

impl WaitBlock {
    /// The highest number of events that one wait can tell apart.
    pub(crate) const MAX_EVENTS: usize = CANCELLED as usize;

    pub(crate) fn new() -> Self {
        Self {
            claim: AtomicU32::new(WAITING),
            park: AtomicU32::new(EMPTY),
            waker: UnsafeCell::new(None),
        }
    }

    /// A block whose owner is a thread that does not sleep, and is to be woken by `waker`.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn with_waker(waker: Waker) -> Self {
        Self { waker: UnsafeCell::new(Some(waker)), ..Self::new() }
    }

    /// `WAITING => CLAIMED(index)`; false if the wait was decided before.
    #[inline]
    pub(crate) fn claim(&self, index: u32) -> bool {
        self.claim.compare_exchange(WAITING, index, Relaxed, Relaxed).is_ok()
    }

    /// `WAITING => CANCELLED`; false if the wait was decided before: then it has its signal.
    pub(crate) fn cancel(&self) -> bool {
        self.claim.compare_exchange(WAITING, CANCELLED, Relaxed, Relaxed).is_ok()
    }

    /// Returns true while nobody has decided the wait.
    pub(crate) fn is_waiting(&self) -> bool {
        self.claim.load(Relaxed) == WAITING
    }

    /// Returns the index of the event that ended the wait, which must have been claimed.
    pub(crate) fn winner(&self) -> u32 {
        self.claim.load(Relaxed)
    }

    /// Returns true once the claimer has released the wait.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.park.load(Acquire) == DONE
    }

    /// Blocks until the wait is released, or returns false when the deadline has come.
    pub(crate) fn park(&self, spins: u32, deadline: &Deadline) -> bool {
        for _ in 0..spins {
            if self.is_done() {
                return true;
            }
            std::hint::spin_loop();
        }
        // EMPTY => PARKED. DONE stays, and so does the PARKED of an earlier call that timed out.
        let _ = self.park.compare_exchange(EMPTY, PARKED, Relaxed, Relaxed);
        while !self.is_done() {
            if !parker::wait(&self.park, PARKED, deadline) {
                return false;
            }
        }
        true
    }

    /// Blocks until the claimer, who is about to do so, has released the wait.
    pub(crate) fn await_release(&self) {
        // A claimer that has its processor needs some tens of instructions, more for a broadcast.
        let spins = if parker::spinning_helps() { 100 } else { 0 };
        self.park(spins, &Deadline::NEVER);
    }

    /// Exchanges the task to wake.
    ///
    /// # Safety
    ///
    /// The caller is the owner, and either the block was never queued, or the caller holds the lock of
    /// the one event it is queued on and has seen `is_waiting` under it.
    pub(crate) unsafe fn replace_waker(&self, waker: Option<Waker>) -> Option<Waker> {
        self.waker.with_mut(|slot| {
            // SAFETY: claims are made under the lock that the caller holds (invariant 6 of
            // `raw_event`), so no claimer takes the waker now.
            unsafe { slot.replace(waker) }
        })
    }

    /// Returns true if the task to wake is the one that `waker` wakes.
    ///
    /// # Safety
    ///
    /// As for `replace_waker`.
    pub(crate) unsafe fn wakes_same_task(&self, waker: &Waker) -> bool {
        self.waker.with(|slot| {
            // SAFETY: nobody writes the slot but the caller, and claimers, who are locked out.
            let slot = unsafe { &*slot };
            slot.as_ref().is_some_and(|current| current.will_wake(waker))
        })
    }

    /// `CLAIMED => DONE`: lets the owner go. Returns how to wake it, if it sleeps.
    ///
    /// # Safety
    ///
    /// The caller claimed the block (not as its owner) and releases it for the first time. It has let go
    /// of every event that the owner may free. The block may be gone when the call returns.
    #[inline]
    pub(crate) unsafe fn release(&self) -> Wakeup {
        // SAFETY: between its claim and DONE the waker is the claimer's.
        let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
        let address = self.park.address();
        let parked = self.park.swap(DONE, Release) == PARKED;
        Wakeup { thread: parked.then_some(address), waker }
    }
}

/// To loom, freeing is a write: it reports a block that goes while somebody may still use it.
#[cfg(loom)]
impl Drop for WaitBlock {
    fn drop(&mut self) {
        self.waker.with_mut(|_| ());
    }
}

impl fmt::Debug for WaitBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitBlock").finish_non_exhaustive()
    }
}

/// How to wake the owner of a block that may be gone by now.
#[must_use]
#[derive(Debug)]
pub(crate) struct Wakeup {
    /// The word that a thread slept on: an address, never accessed again.
    thread: Option<*const u32>,
    waker: Option<Waker>,
}

impl Wakeup {
    #[inline]
    pub(crate) fn wake(self) {
        if let Some(address) = self.thread {
            parker::wake_one(address);
        }
        if let Some(waker) = self.waker {
            waker.wake();
        }
    }
}
