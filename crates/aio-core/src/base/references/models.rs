//! A model of the thread that drops an operation, explored by loom.

use super::References;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Operation {
    references: References,
    /// True until it is dropped.
    is_there: UnsafeCell<bool>,
}

impl Operation {
    fn look(&self) {
        // SAFETY: the model finds out whether another thread has access.
        self.is_there.with(|is_there| assert!(unsafe { *is_there }));
    }

    fn take(&self) {
        if self.references.take() {
            // SAFETY: as above.
            self.is_there
                .with_mut(|is_there| assert!(std::mem::replace(unsafe { &mut *is_there }, false)));
        }
    }
}

/// Two references, each of which is doubled.
#[test]
fn an_operation_is_dropped_once_and_after_its_last_use() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let operation =
            Arc::new(Operation { references: References::two(), is_there: UnsafeCell::new(true) });
        let threads = [(); 2].map(|()| {
            let operation = operation.clone();
            thread::spawn(move || {
                operation.references.add();
                operation.take();
                operation.look();
                operation.take();
            })
        });
        for thread in threads {
            thread.join().unwrap();
        }
        // SAFETY: no other thread is left.
        assert!(!operation.is_there.with(|is_there| unsafe { *is_there }));
    });
}
