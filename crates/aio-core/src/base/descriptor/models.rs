//! Models of pins and the one close, explored by loom.

use super::{Descriptor, System};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

/// Counts its drops.
struct Probe(Arc<AtomicUsize>);

impl Drop for Probe {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl System for Probe {
    fn close(self) {}
}

#[test]
fn it_is_closed_once_and_never_under_a_pin() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let descriptor = Arc::new(Descriptor::new(Probe(drops.clone())));
        let users: Vec<_> = (0..2)
            .map(|_| {
                let (descriptor, drops) = (descriptor.clone(), drops.clone());
                thread::spawn(move || {
                    if let Some(_pinned) = descriptor.pin() {
                        assert_eq!(drops.load(Ordering::Relaxed), 0);
                    }
                })
            })
            .collect();
        assert!(descriptor.close());
        assert!(descriptor.pin().is_none());
        for user in users {
            user.join().unwrap();
        }
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        drop(descriptor);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn of_two_closers_one_closes() {
    loom::model(|| {
        let drops = Arc::new(AtomicUsize::new(0));
        let descriptor = Arc::new(Descriptor::new(Probe(drops.clone())));
        let pinned = descriptor.pin();
        let other = descriptor.clone();
        let other = thread::spawn(move || other.close());
        let here = descriptor.close();
        assert_ne!(here, other.join().unwrap());
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(pinned);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    });
}

/// Invariant 5: the duplicate may be let go of when the descriptor is free, and not before.
#[test]
fn what_is_shared_is_closed_before_it_is_free() {
    /// Looks at its drop whether the duplicate is there.
    struct Shared(Arc<AtomicUsize>);
    impl Drop for Shared {
        fn drop(&mut self) {
            assert_eq!(self.0.load(Ordering::Relaxed), 0, "the duplicate has gone before");
        }
    }
    impl System for Shared {
        fn close(self) {
            unreachable!("it is shared");
        }
    }
    loom::model(|| {
        let gone = Arc::new(AtomicUsize::new(0));
        let descriptor = Arc::new(Descriptor::new(Shared(gone.clone())));
        let user = {
            let descriptor = descriptor.clone();
            thread::spawn(move || drop(descriptor.pin()))
        };
        assert!(descriptor.close_shared());
        assert!(!descriptor.close());
        if descriptor.is_free() {
            gone.store(1, Ordering::Relaxed);
        }
        user.join().unwrap();
    });
}
