//! The event that stays signaled until it is reset.

use std::fmt;
use std::time::{Duration, Instant};

use crate::raw_event::{EventRef, RawEvent, Reset};
use crate::sync::const_fn;
use crate::wait_future::WaitFuture;
use crate::wait_handle::WaitHandle;
use crate::wait_one::signal_and_wait;
use crate::wait_options::WaitOptions;

/// An event that stays signaled until it is reset, and releases everybody who waits.
///
/// * `set` before a wait: the wait returns at once, as does every other until `reset`.
/// * `set` while threads wait: all who were in the queue then are released, even if `reset` follows
///   before any of them has run.
/// * `set` racing with a timeout: the wait may return true or false; the event stays signaled either way.
/// * `set` twice is `set` once.
///
/// What happened before `set` is visible after every wait that it satisfies.
///
/// It is 8 bytes (4 on 32-bit machines), needs no initialisation at run time, and owns nothing. Waiters
/// borrow it, so it cannot be dropped while anybody waits. It may be dropped, even from memory that
/// another thread's `set` was called on, as soon as the wait that this `set` satisfies has returned.
///
/// # Examples
///
/// ```
/// use std::thread;
/// use aio_sync::ManualResetEvent;
///
/// static READY: ManualResetEvent = ManualResetEvent::new(false);
///
/// let waiters: Vec<_> = (0..3).map(|_| thread::spawn(|| READY.wait_one())).collect();
/// READY.set();
/// for waiter in waiters {
///     waiter.join().unwrap();
/// }
/// assert!(READY.is_set());
/// ```
#[repr(transparent)]
pub struct ManualResetEvent {
    raw: RawEvent,
}

impl ManualResetEvent {
    const_fn! {
        /// Makes an event, signaled if `initial` is true.
        ///
        /// ```
        /// use aio_sync::ManualResetEvent;
        ///
        /// static EVENT: ManualResetEvent = ManualResetEvent::new(false);
        /// assert!(!EVENT.is_set());
        /// ```
        #[must_use]
        pub const fn new(initial: bool) -> Self {
            Self { raw: RawEvent::new(initial) }
        }
    }

    /// Sets the event; returns true if it was signaled already.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    ///
    /// let event = ManualResetEvent::new(false);
    /// assert!(!event.set());
    /// assert!(event.set(), "it was signaled");
    /// ```
    #[inline]
    pub fn set(&self) -> bool {
        self.raw.set(Reset::Manual)
    }

    /// Makes the event nonsignaled; returns true if it was signaled.
    ///
    /// Whoever a `set` has released stays released.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    ///
    /// let event = ManualResetEvent::new(true);
    /// assert!(event.reset());
    /// assert!(!event.is_set());
    /// ```
    #[inline]
    pub fn reset(&self) -> bool {
        self.raw.reset()
    }

    /// Returns true if the event is signaled.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    ///
    /// assert!(ManualResetEvent::new(true).is_set());
    /// ```
    #[inline]
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.raw.is_set(Reset::Manual)
    }

    /// Returns true if the event is signaled, as [`is_set`](Self::is_set) does: a wait that never blocks.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    ///
    /// let event = ManualResetEvent::new(true);
    /// assert!(event.try_wait());
    /// assert!(event.try_wait(), "it stays signaled");
    /// ```
    #[inline]
    #[must_use]
    pub fn try_wait(&self) -> bool {
        self.raw.try_wait(Reset::Manual)
    }

    /// Blocks until the event is signaled.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    ///
    /// let event = ManualResetEvent::new(true);
    /// event.wait_one();
    /// assert_eq!(event.is_set(), true);
    /// ```
    #[inline]
    pub fn wait_one(&self) {
        self.event().wait_one();
    }

    /// Blocks until the event is signaled, or returns false when `timeout` has passed.
    ///
    /// Never false before that, and never because of anything else. Zero does not block, but sees a signal
    /// that is there. A timeout that the clock cannot represent is for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aio_sync::ManualResetEvent;
    ///
    /// let event = ManualResetEvent::new(false);
    /// assert!(!event.wait_timeout(Duration::from_millis(1)));
    /// event.set();
    /// assert!(event.wait_timeout(Duration::MAX));
    /// ```
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.event().wait_timeout(timeout)
    }

    /// Blocks until the event is signaled, or returns false when `deadline` has come.
    ///
    /// A deadline in the past does not keep it from seeing a signal that is there.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use aio_sync::ManualResetEvent;
    ///
    /// let event = ManualResetEvent::new(false);
    /// let deadline = Instant::now() + Duration::from_millis(1);
    /// assert!(!event.wait_until(deadline));
    /// ```
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_until(&self, deadline: Instant) -> bool {
        self.event().wait_until(deadline)
    }

    /// Blocks until the event is signaled, or returns false when the options say to give up.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitOptions};
    ///
    /// let event = ManualResetEvent::new(true);
    /// assert!(event.wait_with(&WaitOptions::new().spins(0)));
    /// ```
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_with(&self, options: &WaitOptions) -> bool {
        self.event().wait_with(options)
    }

    /// Returns a future that is ready when the event is signaled.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    ///
    /// async fn after(event: &ManualResetEvent) -> &'static str {
    ///     event.wait().await;
    ///     "signaled"
    /// }
    /// # let event = ManualResetEvent::new(true);
    /// # let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    /// # assert!(std::future::Future::poll(std::pin::pin!(after(&event)), &mut context).is_ready());
    /// ```
    pub fn wait(&self) -> WaitFuture<'_> {
        self.event().wait()
    }

    /// Sets this event, and blocks until `on` is signaled.
    ///
    /// The caller is in the queue of `on` before it sets: whatever the set brings about, a set and reset of
    /// `on` included, is not missed. If `on` is signaled already, its signal is taken before this event is
    /// set. `on` may be this event: then it is set first.
    ///
    /// ```
    /// use aio_sync::{AutoResetEvent, ManualResetEvent};
    ///
    /// let (request, reply) = (ManualResetEvent::new(false), AutoResetEvent::new(true));
    /// request.signal_and_wait(&reply);
    /// assert!(request.is_set() && !reply.is_set());
    /// ```
    pub fn signal_and_wait(&self, on: &dyn WaitHandle) {
        signal_and_wait(self.event(), on.event(), Some(&WaitOptions::new()));
    }

    /// Sets this event, and blocks until `on` is signaled, as [`signal_and_wait`](Self::signal_and_wait) does, or
    /// returns false when `timeout` has passed. This event is set in any case.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aio_sync::ManualResetEvent;
    ///
    /// let (request, reply) = (ManualResetEvent::new(false), ManualResetEvent::new(false));
    /// assert!(!request.signal_and_wait_timeout(&reply, Duration::from_millis(1)));
    /// assert!(request.is_set());
    /// ```
    pub fn signal_and_wait_timeout(&self, on: &dyn WaitHandle, timeout: Duration) -> bool {
        let options = (!timeout.is_zero()).then(|| WaitOptions::new().timeout(timeout));
        signal_and_wait(self.event(), on.event(), options.as_ref())
    }
}

impl WaitHandle for ManualResetEvent {
    #[inline]
    fn event(&self) -> EventRef<'_> {
        EventRef::new(&self.raw, Reset::Manual)
    }
}

/// A nonsignaled event.
impl Default for ManualResetEvent {
    fn default() -> Self {
        Self::new(false)
    }
}

impl fmt::Debug for ManualResetEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualResetEvent").field(&self.raw).finish()
    }
}
