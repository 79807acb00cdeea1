//! Being told once that an event was set, without a thread or a task that waits.

use std::fmt;
use std::pin::Pin;
use std::ptr;
use std::task::Waker;

use crate::pinned_wait::PinnedWait;
use crate::raw_event::EventRef;
use crate::wait_handle::WaitHandle;

/// A place in the queue of an event, whose owner is told once when the event is set.
///
/// This is what a runtime builds registered waits on (.NET's `RegisterWaitForSingleObject`): callbacks on
/// its workers, with deadlines from its own clock, once or repeated. The owner is told through a
/// [`Waker`], which any `Arc<impl Wake>` turns into. Waking it must be short and must not block, as it
/// happens on the thread that sets the event: put the registration into a queue, and wake a worker.
///
/// A registration owns its handle, such as an `Arc` or a reference, and with it keeps the event alive. It
/// is pinned, as it is itself the node in the event's queue; it allocates nothing.
///
/// ```text
/// idle ── register ──► registered ── the event is set, the waker is woken ──┐
///  ▲ ▲                     │                                                │
///  │ └───── take_back: false, no signal was taken ◄─┘                       │
///  └─────── take_back: true, the signal was taken  ◄────────────────────────┘
/// ```
///
/// # Examples
///
/// ```
/// use std::pin::pin;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::sync::Arc;
/// use std::task::Wake;
/// use aio_sync::{AutoResetEvent, Registration};
///
/// #[derive(Default)]
/// struct Job {
///     due: AtomicBool,
/// }
///
/// impl Wake for Job {
///     fn wake(self: Arc<Self>) {
///         self.due.store(true, Ordering::Release);
///     }
/// }
///
/// let event = Arc::new(AutoResetEvent::new(false));
/// let job = Arc::new(Job::default());
/// let mut registration = pin!(Registration::new(event.clone()));
///
/// assert!(registration.as_mut().register(job.clone().into()), "the event is not set yet");
/// event.set();
/// assert!(job.due.load(Ordering::Acquire));
/// assert!(registration.as_mut().take_back(), "the signal was taken");
/// ```
pub struct Registration<H: WaitHandle> {
    handle: H,
    /// The event that the handle pointed at when it was registered; part of what `handle` keeps alive.
    event: Option<EventRef<'static>>,
    wait: PinnedWait,
}

impl<H: WaitHandle> Registration<H> {
    /// Makes a registration that is not registered.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, Registration};
    ///
    /// static STOP: ManualResetEvent = ManualResetEvent::new(false);
    /// let registration = Registration::new(&STOP);
    /// assert!(!registration.is_registered());
    /// ```
    pub fn new(handle: H) -> Self {
        Self { handle, event: None, wait: PinnedWait::new() }
    }

    /// Returns the handle.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, Registration};
    ///
    /// let registration = Registration::new(ManualResetEvent::new(false));
    /// assert!(!registration.handle().is_set());
    /// ```
    pub fn handle(&self) -> &H {
        &self.handle
    }

    /// Returns true from a successful `register` until `take_back`, whether or not the event was set.
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::task::Waker;
    /// use aio_sync::{ManualResetEvent, Registration};
    ///
    /// let mut registration = pin!(Registration::new(ManualResetEvent::new(false)));
    /// registration.as_mut().register(Waker::noop().clone());
    /// assert!(registration.is_registered());
    /// ```
    pub fn is_registered(&self) -> bool {
        self.wait.is_queued()
    }

    /// Queues for the event; `waker` is woken once, when the event hands its signal to this registration.
    ///
    /// Returns false if the event is signaled already: then the signal is taken, nothing is registered, and
    /// `waker` is dropped. A caller that wants to be told all the same tells itself.
    ///
    /// # Panics
    ///
    /// Panics if it is registered; take it back first.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::task::Waker;
    /// use aio_sync::{AutoResetEvent, Registration};
    ///
    /// let mut registration = pin!(Registration::new(AutoResetEvent::new(true)));
    /// assert!(!registration.as_mut().register(Waker::noop().clone()), "set already");
    /// assert!(registration.as_mut().register(Waker::noop().clone()), "and taken");
    /// ```
    pub fn register(self: Pin<&mut Self>, waker: Waker) -> bool {
        assert!(!self.is_registered(), "a registration was registered twice");
        // SAFETY: only `wait` is pinned here, and the handle, which is not touched; neither is moved.
        let this = unsafe { self.get_unchecked_mut() };
        let event = this.handle.event();
        // SAFETY: the event is borrowed from the handle. That is in place, pinned with this, and not
        // borrowed exclusively, moved or dropped before the wait has ended: see `take_back` and `drop`.
        let raw = unsafe { &*ptr::from_ref(event.raw()) };
        let event = EventRef::new(raw, event.reset());
        this.event = Some(event);
        // SAFETY: as before.
        let wait = unsafe { Pin::new_unchecked(&mut this.wait) };
        // SAFETY: it is not queued, and the event stays, as shown above.
        unsafe { wait.start(event, waker) }
    }

    /// Ends the registration. Returns true if the event had handed it its signal.
    ///
    /// False means that it has not and will not: no signal was taken, and the waker will not be woken. If the
    /// event is being set at this moment, one of the two happens; the call then waits for the setter's few
    /// instructions, not for the waker. After true the waker may still be about to be woken.
    /// Also false if it is not registered.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::pin::pin;
    /// use std::task::Waker;
    /// use aio_sync::{AutoResetEvent, Registration};
    ///
    /// let mut registration = pin!(Registration::new(AutoResetEvent::new(false)));
    /// registration.as_mut().register(Waker::noop().clone());
    /// assert!(!registration.as_mut().take_back());
    /// registration.handle().set();
    /// assert!(registration.handle().is_set(), "nobody is registered: the event keeps its signal");
    /// ```
    pub fn take_back(self: Pin<&mut Self>) -> bool {
        // SAFETY: nothing is moved out.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(event) = this.event.take() else { return false };
        // SAFETY: `wait` is pinned with this.
        let wait = unsafe { Pin::new_unchecked(&mut this.wait) };
        // SAFETY: it is queued on this event, or not at all.
        unsafe { wait.end(event) }
    }
}

/// Takes the registration back; a signal that it had been handed is passed on.
impl<H: WaitHandle> Drop for Registration<H> {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            // SAFETY: a registration that was queued is pinned, and stays so until this has returned.
            let wait = unsafe { Pin::new_unchecked(&mut self.wait) };
            // SAFETY: it is queued on this event, or not at all; the handle is dropped afterwards.
            unsafe { wait.abandon(event) };
        }
    }
}

impl<H: WaitHandle> fmt::Debug for Registration<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("event", &self.event)
            .field("registered", &self.is_registered())
            .finish_non_exhaustive()
    }
}
