//! Operations without a runtime, for the tests and models of the queue.

use super::{CancelReason, Place, Placed, Queued, Thread};
use crate::base::sync::{AtomicUsize, Ordering};
use std::mem;
use std::ptr::NonNull;
use std::sync::Arc;

/// An operation that receives one byte.
#[derive(Debug)]
pub(super) struct Model {
    place: Place,
    pub(super) cancel_reason: AtomicUsize,
    pub(super) completed: AtomicUsize,
}

// SAFETY: the place is touched under the lock of the queue alone.
unsafe impl Send for Model {}
// SAFETY: as above.
unsafe impl Sync for Model {}

#[derive(Debug)]
pub(super) struct Op(Arc<Model>);

/// The values of [`Model::completed`].
pub(super) const DONE: usize = 1;
pub(super) const ABORTED: usize = 2;

pub(super) fn operation() -> (Op, Arc<Model>) {
    let model = Arc::new(Model {
        place: Place::new(),
        cancel_reason: AtomicUsize::new(0),
        completed: AtomicUsize::new(0),
    });
    (Op(model.clone()), model)
}

impl Op {
    pub(super) fn complete(self, how: usize) {
        let before = self.0.completed.swap(how, Ordering::SeqCst);
        assert_eq!(before, 0, "an operation completes once");
    }
}

// SAFETY: the place is a part of the model, which its `Arc` keeps.
unsafe impl Placed for Op {
    fn place(&self) -> &Place {
        &self.0.place
    }

    fn into_place(self) -> NonNull<Place> {
        let place = Self::place_of(&self.0);
        mem::forget(self);
        place
    }

    unsafe fn from_place(place: NonNull<Place>) -> Self {
        let model = place.as_ptr().wrapping_byte_sub(mem::offset_of!(Model, place));
        // SAFETY: `into_place` gave the `Arc` up.
        Self(unsafe { Arc::from_raw(model.cast()) })
    }
}

impl Queued for Op {
    type Handle = Arc<Model>;

    fn place_of(handle: &Arc<Model>) -> NonNull<Place> {
        let model = Arc::as_ptr(handle);
        let place = model.wrapping_byte_add(mem::offset_of!(Model, place));
        NonNull::new(place.cast_mut().cast()).expect("an `Arc` is not null")
    }

    fn thread(&self) -> Option<Thread> {
        None
    }

    fn thread_is_here(_handle: &Arc<Model>) {}

    fn thread_leaves(_handle: &Arc<Model>) {}

    fn cancel_reason(&self) -> Option<CancelReason> {
        (self.0.cancel_reason.load(Ordering::Relaxed) != 0).then_some(CancelReason::Canceled)
    }

    fn is_partly_done(&mut self) -> bool {
        false
    }
}
