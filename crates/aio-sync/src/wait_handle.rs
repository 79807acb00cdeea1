//! What can be waited for: the trait that other crates implement.

use std::rc::Rc;
use std::sync::Arc;

use crate::raw_event::EventRef;

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
