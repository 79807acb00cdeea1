//! The callback of the user's that is told how far a receive has come.

use std::fmt;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;

type ProgressCallback = Box<dyn Fn(usize, Option<usize>) + Send + Sync>;

/// Told how many bytes of the message have been received, of how many. It is the user's, and may run
/// and be dropped on any thread and in any call, and a call that panics would never end.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Contained>);

/// `None` only while it is dropped.
struct Contained(Option<ProgressCallback>);

impl Progress {
    pub(crate) fn new(callback: impl Fn(usize, Option<usize>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Contained(Some(Box::new(callback)))))
    }

    /// Returns false if the callback panicked.
    pub(crate) fn tell(&self, received: usize, expected: Option<usize>) -> bool {
        self.0.0.as_ref().is_none_or(|callback| contain(|| callback(received, expected)))
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        let callback = self.0.take();
        contain(|| drop(callback));
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Progress")
    }
}

/// Runs code of the user's, whose panic ends here. Returns false if it panicked.
fn contain(theirs: impl FnOnce()) -> bool {
    let Err(payload) = panic::catch_unwind(AssertUnwindSafe(theirs)) else { return true };
    // What a panic has left may panic, too, when it is dropped. What that leaves is never dropped.
    if let Err(worse) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(worse);
    }
    false
}
