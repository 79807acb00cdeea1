//! A model of how a drain tells that nothing is pending, explored by loom.

use super::{Counters, Point};
use crate::base::kind::OperationKind::{Receive, Send};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// Invariant 3: an operation that is begun here and delivered by a worker, which begins another before it
/// has delivered the first, is never taken for done too early.
#[test]
fn what_is_pending_is_never_taken_for_done() {
    loom::model(|| {
        let counters = Arc::new(Counters::new(1));
        let handed_over = Arc::new(Mutex::new(()));
        let finished = Arc::new(AtomicUsize::new(0));
        counters.count(None, Receive, Point::Begun);
        let worker = {
            let (counters, handed_over) = (counters.clone(), handed_over.clone());
            let finished = finished.clone();
            thread::spawn(move || {
                drop(handed_over.lock());
                counters.count(Some(0), Receive, Point::Completed);
                // In the callback.
                counters.count(Some(0), Send, Point::Begun);
                counters.count(Some(0), Receive, Point::Delivered);
                counters.count(Some(0), Send, Point::Completed);
                finished.store(1, Ordering::Relaxed);
                counters.count(Some(0), Send, Point::Delivered);
            })
        };
        let totals = counters.totals();
        assert!(totals.delivered <= totals.completed && totals.completed <= totals.begun);
        if totals.delivered == totals.begun {
            assert_eq!((totals.begun, finished.load(Ordering::Relaxed)), (2, 1));
        }
        worker.join().unwrap();
        let totals = counters.totals();
        assert_eq!((totals.begun, totals.pending(), totals.undelivered()), (2, 0, 0));
    });
}
