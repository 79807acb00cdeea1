//! A model of who gets the last place, explored by loom.

use super::Limit;
use loom::sync::Arc;
use loom::thread;

/// One that is refused takes no place from another, not even for a moment.
#[test]
fn a_place_that_is_free_is_given() {
    loom::model(|| {
        let limit = Arc::new(Limit::new(1));
        assert!(limit.take());
        let other = {
            let limit = limit.clone();
            thread::spawn(move || limit.take())
        };
        limit.give_back();
        let here = limit.take();
        assert_ne!(here, other.join().unwrap());
    });
}
