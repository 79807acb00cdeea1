//! A model of who drops an operation's body, and who frees its memory, explored by loom.

use super::References;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Operation {
    references: References,
    /// True until the body is dropped; until the memory is freed.
    has_body: UnsafeCell<bool>,
    has_memory: UnsafeCell<bool>,
}

fn end(ended: &UnsafeCell<bool>) {
    // SAFETY: the model finds out whether anybody else has access.
    ended.with_mut(|is_there| assert!(std::mem::replace(unsafe { &mut *is_there }, false)));
}

impl Operation {
    fn use_body(&self) {
        // SAFETY: as above.
        self.has_body.with(|is_there| assert!(unsafe { *is_there }));
    }

    fn take(&self) {
        if self.references.take() {
            end(&self.has_body);
            if self.references.take_weak() {
                end(&self.has_memory);
            }
        }
    }

    fn take_weak(&self) {
        if self.references.take_weak() {
            end(&self.has_memory);
        }
    }
}

/// Two references, of which one is doubled, and two weak ones, of which one is upgraded.
#[test]
fn the_body_is_dropped_once_and_then_the_memory_freed_once() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let operation = Arc::new(Operation {
            references: References::two(),
            has_body: UnsafeCell::new(true),
            has_memory: UnsafeCell::new(true),
        });
        operation.references.add_weak();
        operation.references.add_weak();
        let handle = {
            let operation = operation.clone();
            thread::spawn(move || {
                operation.references.add();
                operation.take();
                operation.use_body();
                operation.take();
            })
        };
        let departed = {
            let operation = operation.clone();
            thread::spawn(move || {
                if operation.references.add_if_any() {
                    operation.use_body();
                    operation.take();
                }
                operation.take_weak();
            })
        };
        operation.take_weak();
        operation.take();
        handle.join().unwrap();
        departed.join().unwrap();
        // SAFETY: nobody is left.
        assert!(!operation.has_memory.with(|is_there| unsafe { *is_there }));
    });
}
