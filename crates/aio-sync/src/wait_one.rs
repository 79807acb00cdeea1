//! A thread that waits for one event.

use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::hooks::{Window, reached};
use crate::raw_event::{Enqueued, EventRef, Reset};
use crate::sleeper::Sleeper;
use crate::wait_block::WaitBlock;
use crate::wait_list::{WaitNode, Waiter};
use crate::wait_options::WaitOptions;

impl EventRef<'_> {
    /// Blocks until the event is signaled.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitHandle};
    ///
    /// ManualResetEvent::new(true).event().wait_one();
    /// ```
    #[inline]
    pub fn wait_one(self) {
        if !self.try_wait() {
            wait_slow(self, &WaitOptions::new());
        }
    }

    /// Blocks until the event is signaled, or returns false when `timeout` has passed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aio_sync::{ManualResetEvent, WaitHandle};
    ///
    /// let event = ManualResetEvent::new(false);
    /// assert!(!event.event().wait_timeout(Duration::from_millis(1)));
    /// ```
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_timeout(self, timeout: Duration) -> bool {
        // The clock is read only if that is needed, and a zero timeout never blocks.
        self.try_wait()
            || (!timeout.is_zero() && wait_slow(self, &WaitOptions::new().timeout(timeout)))
    }

    /// Blocks until the event is signaled, or returns false when `deadline` has come.
    ///
    /// ```
    /// use std::time::Instant;
    /// use aio_sync::{ManualResetEvent, WaitHandle};
    ///
    /// assert!(!ManualResetEvent::new(false).event().wait_until(Instant::now()));
    /// ```
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_until(self, deadline: Instant) -> bool {
        self.try_wait() || wait_slow(self, &WaitOptions::new().deadline(deadline))
    }

    /// Blocks until the event is signaled, or returns false when the options say to give up.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitHandle, WaitOptions};
    ///
    /// assert!(ManualResetEvent::new(true).event().wait_with(&WaitOptions::new().spins(0)));
    /// ```
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_with(self, options: &WaitOptions) -> bool {
        self.try_wait() || wait_slow(self, options)
    }
}

/// Sets `signal`, and waits for `on`, in whose queue the thread is before it sets.
pub(crate) fn signal_and_wait(
    signal: EventRef<'_>,
    on: EventRef<'_>,
    options: Option<&WaitOptions>,
) -> bool {
    let set = || signal.raw().set(signal.reset());
    let Some(options) = options else {
        set();
        return on.try_wait();
    };
    if signal.address() == on.address() {
        set();
        return on.wait_with(options);
    }
    let (sleeper, block) = Sleeper::current();
    let node = WaitNode::new(Waiter::Any { block: &block, index: 0 });
    // SAFETY: node and block stay in this frame until the guard is gone.
    let queued = unsafe { QueuedWait::queue(on, &node, &block) };
    set();
    queued.is_none_or(|queued| queued.finish(&sleeper, options.useful_spins(), options.moment()))
}

#[cold]
fn wait_slow(event: EventRef<'_>, options: &WaitOptions) -> bool {
    // Before it queues: the setter then does not have to hand over, and both threads touch one line only.
    if event.raw().spin(event.reset(), options.useful_spins()) {
        return true;
    }
    let (sleeper, block) = Sleeper::current();
    let node = WaitNode::new(Waiter::Any { block: &block, index: 0 });
    // SAFETY: node and block stay in this frame until the guard is gone.
    let queued = unsafe { QueuedWait::queue(event, &node, &block) };
    queued.is_none_or(|queued| queued.finish(&sleeper, 0, options.moment()))
}

/// A node in the queue of an event. Dropped, it gives the wait up and gives a signal back.
struct QueuedWait<'w> {
    event: EventRef<'w>,
    node: &'w WaitNode,
    block: &'w WaitBlock,
}

impl<'w> QueuedWait<'w> {
    /// Queues the node, or returns `None` if the event was signaled and the wait has its signal.
    ///
    /// # Safety
    ///
    /// `node` is the only place of `block`, both new, and neither moves before the value is dropped.
    unsafe fn queue(event: EventRef<'w>, node: &'w WaitNode, block: &'w WaitBlock) -> Option<Self> {
        // SAFETY: the contract of this function is the callee's.
        match unsafe { event.raw().enqueue(event.reset(), node, None) } {
            Enqueued::Queued => Some(Self { event, node, block }),
            Enqueued::Signaled | Enqueued::Decided => None,
        }
    }

    /// Blocks until the wait is released, or returns false when the deadline has come first.
    fn finish(self, sleeper: &Sleeper, spins: u32, deadline: &Deadline) -> bool {
        let satisfied = sleeper.park(self.block, spins, deadline) || {
            reached(Window::TimeOver);
            // SAFETY: the node was queued on this event.
            unsafe { give_up(self.event, self.node, self.block) }
        };
        std::mem::forget(self);
        satisfied
    }
}

impl Drop for QueuedWait<'_> {
    fn drop(&mut self) {
        // SAFETY: the node was queued on this event.
        if unsafe { give_up(self.event, self.node, self.block) } {
            give_back(self.event);
        }
    }
}

/// Ends a wait before its signal came; returns true if the signal came nevertheless. Afterwards nobody
/// knows node or block any more.
///
/// # Safety
///
/// The caller owns the wait, whose only node was queued on `event`.
pub(crate) unsafe fn give_up(event: EventRef<'_>, node: &WaitNode, block: &WaitBlock) -> bool {
    if block.cancel() {
        reached(Window::GivenUp);
        // SAFETY: the contract of this function.
        unsafe { event.raw().unlink(node) };
        false
    } else {
        // A setter has claimed the wait and is about to release it.
        block.await_release();
        true
    }
}

/// Passes on a signal that a wait took and nobody will use.
pub(crate) fn give_back(event: EventRef<'_>) {
    if event.reset() == Reset::Auto {
        event.raw().set(Reset::Auto);
    }
}
