//! A model of a cancel that meets a composite operation on its way from part to part, explored by loom.

use super::CurrentPart;
use crate::base::sync::{AtomicUsize, Ordering};
use loom::sync::Arc;
use loom::thread;

#[derive(Default)]
struct Part {
    /// 0, or the request: the first that came.
    request: AtomicUsize,
    /// How many requests changed that.
    canceled: AtomicUsize,
}

impl Part {
    fn cancel(&self, request: usize) {
        let order = Ordering::Relaxed;
        if self.request.compare_exchange(0, request, order, order).is_ok() {
            self.canceled.fetch_add(1, order);
        }
    }
}

struct Whole {
    request: AtomicUsize,
    part: CurrentPart<Arc<Part>>,
}

impl Whole {
    fn request(&self) -> Option<usize> {
        Some(self.request.load(Ordering::Relaxed)).filter(|request| *request != 0)
    }

    /// As the owner does.
    fn enter(&self) -> Arc<Part> {
        let part = Arc::new(Part::default());
        if let Some(request) = self.part.enter(part.clone(), || self.request()) {
            part.cancel(request);
        }
        part
    }

    /// As a handle does.
    fn cancel(&self, request: usize) {
        let order = Ordering::Relaxed;
        let _ = self.request.compare_exchange(0, request, order, order);
        if let (Some(request), Some(part)) = (self.request(), self.part.get()) {
            part.cancel(request);
        }
    }
}

/// The last part waits forever unless it is canceled.
#[test]
fn a_cancel_reaches_the_part_that_waits() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let whole = Arc::new(Whole { request: AtomicUsize::new(0), part: CurrentPart::new() });
        let cancels = [1, 2].map(|request| {
            let whole = whole.clone();
            thread::spawn(move || whole.cancel(request))
        });
        whole.enter();
        whole.part.leave();
        let last = whole.enter();
        for cancel in cancels {
            cancel.join().unwrap();
        }
        assert_eq!(last.canceled.load(Ordering::Relaxed), 1, "canceled once");
        assert_eq!(Some(last.request.load(Ordering::Relaxed)), whole.request());
    });
}

/// A composite that has completed keeps nothing of its parts, whoever still has a handle to it.
#[test]
fn nothing_is_kept_of_a_part_that_is_over() {
    loom::model(|| {
        let whole = Arc::new(Whole { request: AtomicUsize::new(0), part: CurrentPart::new() });
        let cancel = {
            let whole = whole.clone();
            thread::spawn(move || whole.cancel(1))
        };
        let part = whole.enter();
        whole.part.leave();
        cancel.join().unwrap();
        assert_eq!(Arc::strong_count(&part), 1);
    });
}
