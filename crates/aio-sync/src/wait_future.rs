//! A task that waits for one event.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::pinned_wait::PinnedWait;
use crate::raw_event::EventRef;

/// A wait for an event, to be awaited on any executor.
///
/// Made by `wait` of [`ManualResetEvent`](crate::ManualResetEvent), [`AutoResetEvent`](crate::AutoResetEvent)
/// and [`EventRef`]. It does nothing until it is polled first; from then on it is in the queue of the event,
/// among the threads that wait there, and has the same rights. It allocates nothing.
///
/// # Cancellation
///
/// Dropping it gives the wait up. If an auto-reset event had handed its signal to the future already, the
/// signal goes to the next waiter, or back to the event: none is lost. Forgetting a pending future leaks
/// its memory and does no harm, but a signal that is handed to it is lost with it.
///
/// # Panics
///
/// Polling it again after it was ready panics.
///
/// # Examples
///
/// ```
/// use std::future::Future;
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
/// use aio_sync::AutoResetEvent;
///
/// let event = AutoResetEvent::new(false);
/// let mut context = Context::from_waker(Waker::noop());
/// let mut wait = pin!(event.wait());
/// assert!(wait.as_mut().poll(&mut context).is_pending());
/// event.set();
/// assert!(wait.as_mut().poll(&mut context).is_ready());
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct WaitFuture<'e> {
    event: EventRef<'e>,
    wait: PinnedWait,
    finished: bool,
}

impl<'e> EventRef<'e> {
    /// Returns a future that is ready when the event is signaled.
    ///
    /// ```
    /// use aio_sync::{AutoResetEvent, WaitHandle};
    ///
    /// async fn next(work: &impl WaitHandle) {
    ///     work.event().wait().await;
    /// }
    /// # let event = AutoResetEvent::new(true);
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(std::future::Future::poll(std::pin::pin!(next(&event)), &mut context).is_ready());
    /// ```
    pub fn wait(self) -> WaitFuture<'e> {
        WaitFuture { event: self, wait: PinnedWait::new(), finished: false }
    }
}

impl Future for WaitFuture<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // SAFETY: only `wait` is pinned, and it is not moved.
        let this = unsafe { self.get_unchecked_mut() };
        assert!(!this.finished, "a wait for an event was polled after it was ready");
        // SAFETY: as before.
        let wait = unsafe { Pin::new_unchecked(&mut this.wait) };
        this.finished = if wait.is_queued() {
            // SAFETY: it is queued on this event.
            unsafe { wait.look(this.event, context.waker()) }
        } else {
            this.event.try_wait() || {
                // SAFETY: it is not queued, and the event is borrowed as long as this future.
                let queued = unsafe { wait.start(this.event, context.waker().clone()) };
                !queued
            }
        };
        if this.finished { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for WaitFuture<'_> {
    fn drop(&mut self) {
        // SAFETY: a future that was queued is pinned, and stays so until this has returned.
        let wait = unsafe { Pin::new_unchecked(&mut self.wait) };
        // SAFETY: it is queued on this event, or not at all.
        unsafe { wait.abandon(self.event) };
    }
}

impl fmt::Debug for WaitFuture<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitFuture")
            .field("event", &self.event)
            .field("queued", &self.wait.is_queued())
            .field("finished", &self.finished)
            .finish()
    }
}
