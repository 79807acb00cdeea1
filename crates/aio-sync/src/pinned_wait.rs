//! One wait for one event whose owner is not a thread: what futures and registrations have inside.

use std::marker::PhantomPinned;
use std::pin::Pin;
use std::task::Waker;

use crate::raw_event::{Enqueued, EventRef};
use crate::wait_block::WaitBlock;
use crate::wait_list::{WaitNode, Waiter};
use crate::wait_one::{give_back, give_up};

/// A node and its block. While queued, they are in the hands of setters, and stay where they are.
///
/// The owner drops it only after `end`, or never: the drop of the types that contain it sees to that.
#[derive(Debug)]
pub(crate) struct PinnedWait {
    node: WaitNode,
    block: WaitBlock,
    /// True from when the node is queued until the owner has seen DONE or has given up.
    queued: bool,
    /// Setters reach node and block by pointers that an exclusive borrow of this would cut off.
    _pinned: PhantomPinned,
}

impl PinnedWait {
    pub(crate) fn new() -> Self {
        let block = WaitBlock::new();
        // The node points to the block once both are pinned.
        let node = WaitNode::new(Waiter::Any { block: std::ptr::null(), index: 0 });
        Self { node, block, queued: false, _pinned: PhantomPinned }
    }

    pub(crate) fn is_queued(&self) -> bool {
        self.queued
    }

    /// Queues the wait on `event`; false if that was signaled, and the wait has its signal.
    ///
    /// # Safety
    ///
    /// The wait is not queued. `event` stays where it is until the wait has ended, or the wait is
    /// forgotten.
    pub(crate) unsafe fn start(self: Pin<&mut Self>, event: EventRef<'_>, waker: Waker) -> bool {
        // SAFETY: nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        this.block = WaitBlock::new();
        this.node = WaitNode::new(Waiter::Any { block: &this.block, index: 0 });
        // SAFETY: the block is not queued.
        drop(unsafe { this.block.replace_waker(Some(waker)) });
        // SAFETY: the node is the block's only place, both are new and pinned, and their memory is not
        // reused before the drop of the owner has run `end`.
        let enqueued = unsafe { event.raw().enqueue(event.reset(), &this.node, None) };
        this.queued = enqueued == Enqueued::Queued;
        if !this.queued {
            // SAFETY: the block is not queued.
            drop(unsafe { this.block.replace_waker(None) });
        }
        this.queued
    }

    /// Returns true if the signal came; if not, makes `waker` the one to be woken.
    ///
    /// # Safety
    ///
    /// The wait is queued on `event`.
    pub(crate) unsafe fn look(self: Pin<&mut Self>, event: EventRef<'_>, waker: &Waker) -> bool {
        // SAFETY: nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        if this.block.is_done() {
            this.queued = false;
            return true;
        }
        // Before the lock, as the code of the executor may do anything, and may panic.
        let mut waker = Some(waker.clone());
        let waiting = event.raw().with_lock(|| {
            let waiting = this.block.is_waiting();
            // SAFETY: the one event that the block is queued on is locked, and nobody has claimed it.
            if waiting && !unsafe { this.block.wakes_same_task(waker.as_ref().expect("set above")) }
            {
                // SAFETY: as before.
                waker = unsafe { this.block.replace_waker(waker.take()) };
            }
            waiting
        });
        drop(waker);
        if !waiting {
            // A setter has claimed the wait, and with it the old waker, which may be another task's.
            this.block.await_release();
            this.queued = false;
        }
        !waiting
    }

    /// Ends the wait; returns true if its signal had come. Afterwards nobody knows the wait any more, and
    /// its waker will not be woken, unless a setter that has released the wait is about to do so.
    ///
    /// # Safety
    ///
    /// The wait is queued on `event`, or not at all.
    pub(crate) unsafe fn end(self: Pin<&mut Self>, event: EventRef<'_>) -> bool {
        // SAFETY: nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        if !this.queued {
            return false;
        }
        this.queued = false;
        // SAFETY: the contract of this function.
        let signaled = unsafe { give_up(event, &this.node, &this.block) };
        // SAFETY: the block is no longer queued.
        drop(unsafe { this.block.replace_waker(None) });
        signaled
    }

    /// Ends the wait, and passes on the signal if it had come.
    ///
    /// # Safety
    ///
    /// As for `end`.
    pub(crate) unsafe fn abandon(self: Pin<&mut Self>, event: EventRef<'_>) {
        // SAFETY: the contract of this function.
        if unsafe { self.end(event) } {
            give_back(event);
        }
    }
}

// SAFETY: what makes it neither Send nor Sync are the pointers of the node. They are used under the lock of
// the event, whichever thread holds it, and the waker may be sent and shared.
unsafe impl Send for PinnedWait {}
// SAFETY: as before; a shared reference gives access to nothing.
unsafe impl Sync for PinnedWait {}
