//! A model of the lock, explored by loom.

use super::Lock;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Invariant 1. The cell finds out if two threads are at it at once, or one does not see what the other did.
#[test]
fn one_thread_at_a_time_has_the_value() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let lock = Arc::new(Lock::new(UnsafeCell::new(0)));
        let add = |lock: &Lock<UnsafeCell<u32>>| {
            // SAFETY: the model finds out whether anybody else has access.
            lock.lock().with_mut(|count| unsafe { *count += 1 });
        };
        let other = {
            let lock = lock.clone();
            thread::spawn(move || (0..2).for_each(|_| add(&lock)))
        };
        add(&lock);
        other.join().unwrap();
        // SAFETY: as above.
        assert_eq!(lock.lock().with(|count| unsafe { *count }), 3);
    });
}
