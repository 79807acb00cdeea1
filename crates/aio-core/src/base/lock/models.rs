//! A model of the lock, explored by loom, which cannot follow who spins: here nobody waits.

use super::Lock;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// Adds one, if the lock is free.
fn add(lock: &Lock<UnsafeCell<u32>>) -> u32 {
    let Some(count) = lock.try_lock() else { return 0 };
    // SAFETY: the model finds out whether anybody else has access.
    count.with_mut(|count| unsafe { *count += 1 });
    1
}

/// Invariant 1. The cell finds out if two threads are at it at once, or one does not see what the other did.
#[test]
fn one_thread_at_a_time_has_the_value() {
    loom::model(|| {
        let lock = Arc::new(Lock::new(UnsafeCell::new(0)));
        let other = {
            let lock = lock.clone();
            thread::spawn(move || add(&lock) + add(&lock))
        };
        let added = add(&lock) + add(&lock) + other.join().unwrap();
        let count = lock.try_lock().expect("everybody has given it back");
        // SAFETY: as above.
        assert_eq!(count.with(|count| unsafe { *count }), added);
    });
}
