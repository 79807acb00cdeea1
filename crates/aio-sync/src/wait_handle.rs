//! What can be waited for: the open trait, and the reference that it yields.

use std::fmt;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::raw_event::{RawEvent, Reset};
use crate::wait_future::WaitFuture;
use crate::wait_one;
use crate::wait_options::WaitOptions;

/// Something that can be waited for, alone or among others, because an event stands for it.
///
/// Both events are wait handles, and so are references, boxes, [`Rc`]s and [`Arc`]s of wait handles. A type
/// of another crate becomes one by pointing at an event that it embeds:
///
/// ```
/// use aio_sync::{EventRef, ManualResetEvent, WaitHandle, wait_any};
///
/// struct Job {
///     finished: ManualResetEvent,
/// }
///
/// impl WaitHandle for Job {
///     fn event(&self) -> EventRef<'_> {
///         self.finished.event()
///     }
/// }
///
/// let job = Job { finished: ManualResetEvent::new(true) };
/// let quit = ManualResetEvent::new(false);
/// assert_eq!(wait_any(&[&quit, &job]), 1);
/// ```
///
/// `event` is called once per wait and per handle, before anything else happens. An implementation that
/// points at different events at different times only confuses itself.
pub trait WaitHandle {
    /// Returns the event that is signaled when the wait for this handle is over.
    fn event(&self) -> EventRef<'_>;
}

/// A borrowed event of either kind: what can be waited for, but not set or reset.
///
/// Made by [`WaitHandle::event`]. It is a wait handle itself.
///
/// ```
/// use aio_sync::{AutoResetEvent, WaitHandle};
///
/// let event = AutoResetEvent::new(true);
/// let reference = event.event();
/// assert!(reference.try_wait());
/// assert!(!reference.try_wait(), "the first wait took the signal");
/// ```
#[derive(Clone, Copy)]
pub struct EventRef<'e> {
    raw: &'e RawEvent,
    reset: Reset,
}

impl<'e> EventRef<'e> {
    pub(crate) const fn new(raw: &'e RawEvent, reset: Reset) -> Self {
        Self { raw, reset }
    }

    pub(crate) fn raw(self) -> &'e RawEvent {
        self.raw
    }

    pub(crate) fn reset(self) -> Reset {
        self.reset
    }

    pub(crate) fn address(self) -> usize {
        ptr::from_ref(self.raw).addr()
    }

    pub(crate) fn is_signaled(self) -> bool {
        self.raw.is_set(self.reset)
    }
}

impl EventRef<'_> {
    /// Extends the borrow, for an owner of the event that cannot name its lifetime.
    ///
    /// # Safety
    ///
    /// The result is not used after the event has been moved or dropped.
    #[expect(unsafe_code, reason = "a registration borrows from the handle that it owns")]
    pub(crate) unsafe fn outliving_its_borrow(self) -> EventRef<'static> {
        // SAFETY: the contract of this function.
        EventRef { raw: unsafe { &*ptr::from_ref(self.raw) }, reset: self.reset }
    }
}

impl EventRef<'_> {
    /// Satisfies a wait if the event is signaled, and never blocks; takes the signal of an auto-reset event.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitHandle};
    ///
    /// assert!(ManualResetEvent::new(true).event().try_wait());
    /// ```
    #[inline]
    #[must_use = "true may mean that the signal was taken"]
    pub fn try_wait(self) -> bool {
        self.raw.try_wait(self.reset)
    }

    /// Blocks until the event is signaled.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitHandle};
    ///
    /// ManualResetEvent::new(true).event().wait_one();
    /// ```
    #[inline]
    pub fn wait_one(self) {
        wait_one::wait(self);
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
        wait_one::wait_timeout(self, timeout)
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
        wait_one::wait_until(self, deadline)
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
        wait_one::wait_with(self, options)
    }
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
        WaitFuture::new(self)
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRef").field("event", self.raw).field("reset", &self.reset).finish()
    }
}

impl WaitHandle for EventRef<'_> {
    fn event(&self) -> EventRef<'_> {
        *self
    }
}

impl<T: WaitHandle + ?Sized> WaitHandle for &T {
    fn event(&self) -> EventRef<'_> {
        T::event(self)
    }
}

impl<T: WaitHandle + ?Sized> WaitHandle for Box<T> {
    fn event(&self) -> EventRef<'_> {
        T::event(self)
    }
}

impl<T: WaitHandle + ?Sized> WaitHandle for Rc<T> {
    fn event(&self) -> EventRef<'_> {
        T::event(self)
    }
}

impl<T: WaitHandle + ?Sized> WaitHandle for Arc<T> {
    fn event(&self) -> EventRef<'_> {
        T::event(self)
    }
}
