//! What a thread does while it waits for events: it sleeps, unless it has said that it does something else.
//!
//! A thread that others rely on, such as a worker of a pool, may have to go on with its duties while code that
//! knows nothing of them waits for an event there. This module knows nothing of them either.

use std::time::Instant;

use crate::deadline::Deadline;
use crate::wait_block::WaitBlock;
use std::task::Waker;

/// What a thread does in place of sleeping while it waits for events: see [`set_blocking_wait`].
pub trait BlockingWait {
    /// Called before each wait of the thread that would put it to sleep. Returns what ends its
    /// [`block`](Self::block) early, or `None` to have it sleep this time as every other thread does.
    fn waker(&self) -> Option<Waker>;

    /// Called after that, unless the wait was over: blocks until `is_over` returns true, or until the deadline.
    ///
    /// The waker is woken once `is_over` will return true, before or during the call; by a thread that goes on
    /// meanwhile, perhaps later. If the call returns early, the thread sleeps for the rest of its wait. It may
    /// itself wait for events.
    ///
    /// # Panics
    ///
    /// A panic of this call aborts the process: the wait lies in its caller's frame, and others can reach it.
    fn block(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>);
}

pub(crate) use system::Sleeper;
pub use system::set_blocking_wait;

#[cfg(not(any(loom, shuttle)))]
mod system {
    use super::{BlockingWait, Deadline, WaitBlock};
    use std::cell::RefCell;
    use std::mem;
    use std::process;
    use std::rc::Rc;

    thread_local! {
        static BLOCKING_WAIT: RefCell<Option<Rc<dyn BlockingWait>>> = const { RefCell::new(None) };
    }

    /// Says what the calling thread does from now on while it waits for an event, or for several; `None`: it
    /// sleeps, as every thread does that says nothing. Returns what it did so far.
    ///
    /// It concerns the waits that block a thread, after a look at the event and some spinning. An event that
    /// is signaled is never waited for, so it costs nothing, and a thread that has said nothing
    /// looks for that once before it sleeps.
    ///
    /// ```
    /// use aio_sync::{BlockingWait, ManualResetEvent, set_blocking_wait};
    /// use std::rc::Rc;
    /// use std::task::Waker;
    /// use std::time::Instant;
    ///
    /// /// Sets an event in place of sleeping.
    /// struct Sets(Rc<ManualResetEvent>);
    ///
    /// impl BlockingWait for Sets {
    ///     fn waker(&self) -> Option<Waker> {
    ///         Some(Waker::noop().clone())
    ///     }
    ///
    ///     fn block(&self, is_over: &dyn Fn() -> bool, _deadline: Option<Instant>) {
    ///         self.0.set();
    ///         assert!(is_over());
    ///     }
    /// }
    ///
    /// let event = Rc::new(ManualResetEvent::new(false));
    /// set_blocking_wait(Some(Rc::new(Sets(event.clone()))));
    /// event.wait_one();
    /// set_blocking_wait(None);
    /// ```
    pub fn set_blocking_wait(wait: Option<Rc<dyn BlockingWait>>) -> Option<Rc<dyn BlockingWait>> {
        BLOCKING_WAIT.replace(wait)
    }

    /// The calling thread, as it is about to wait.
    pub(crate) struct Sleeper(Option<Rc<dyn BlockingWait>>);

    impl Sleeper {
        /// With the block for its wait, which is new.
        pub(crate) fn current() -> (Self, WaitBlock) {
            // A thread that ends sleeps.
            let wait = BLOCKING_WAIT.try_with(|wait| wait.borrow().clone()).ok().flatten();
            match wait.as_ref().and_then(|wait| wait.waker()) {
                Some(waker) => (Self(wait), WaitBlock::with_waker(waker)),
                None => (Self(None), WaitBlock::new()),
            }
        }

        /// Blocks until the wait of `block` is released, or returns false when the deadline has come.
        pub(crate) fn park(&self, block: &WaitBlock, spins: u32, deadline: &Deadline) -> bool {
            let Some(wait) = &self.0 else { return block.park(spins, deadline) };
            let guard = AbortOnPanic;
            wait.block(&|| block.is_done(), deadline.moment());
            mem::forget(guard);
            // For what is left of it, if that has returned early.
            block.park(0, deadline)
        }
    }

    /// Dropped by a panic.
    struct AbortOnPanic;

    impl Drop for AbortOnPanic {
        fn drop(&mut self) {
            process::abort();
        }
    }
}

/// In a model every thread sleeps.
#[cfg(any(loom, shuttle))]
mod system {
    use super::{BlockingWait, Deadline, WaitBlock};
    use std::rc::Rc;

    /// Does nothing.
    pub fn set_blocking_wait(_wait: Option<Rc<dyn BlockingWait>>) -> Option<Rc<dyn BlockingWait>> {
        None
    }

    pub(crate) struct Sleeper;

    impl Sleeper {
        pub(crate) fn current() -> (Self, WaitBlock) {
            (Self, WaitBlock::new())
        }

        pub(crate) fn park(&self, block: &WaitBlock, spins: u32, deadline: &Deadline) -> bool {
            block.park(spins, deadline)
        }
    }
}
