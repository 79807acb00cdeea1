//! Operations that fail together: those of a socket that is closed, or behind a send that has failed halfway.
//!
//! Wakers and `post_to` maps run when an operation completes, and one may wait for another operation of these. So
//! while one of them completes, the others are where a worker finds them. The thread that makes them fail does not
//! rely on that: it completes one after the other, as all workers may be held by callbacks.

use crate::base::sync::Mutex;
use crate::state::context::{Failing, RuntimeInner, Work};
use crate::state::in_flight::Owner;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, PoisonError};

impl Failing {
    /// Lets workers complete the operations; the caller is to [`finish`](Self::finish) them.
    #[must_use = "no worker may be free to complete them"]
    pub(crate) fn share(
        runtime: &RuntimeInner,
        all: impl Iterator<Item = (Owner, io::Error)>,
    ) -> Option<Arc<Self>> {
        let all: VecDeque<_> = all.collect();
        if all.is_empty() {
            return None;
        }
        let failing = Arc::new(Self(Mutex::new(all)));
        runtime.post(Work::Fail(failing.clone()));
        Some(failing)
    }

    /// Completes all operations, one after the other.
    pub(crate) fn fail_all(
        runtime: &RuntimeInner,
        mut all: impl Iterator<Item = (Owner, io::Error)>,
    ) {
        let Some((first, error)) = all.next() else { return };
        let others = Self::share(runtime, all);
        first.fail(runtime, error);
        if let Some(others) = others {
            others.finish(runtime);
        }
    }

    /// Completes those that no worker has taken.
    pub(crate) fn finish(&self, runtime: &RuntimeInner) {
        while let (Some((operation, error)), _) = self.next() {
            operation.fail(runtime, error);
        }
    }

    /// A worker is here: it completes one, and leaves the others to the next worker.
    pub(crate) fn fail_one(self: Arc<Self>, runtime: &RuntimeInner) {
        let (Some((operation, error)), is_last) = self.next() else { return };
        if !is_last {
            runtime.post(Work::Fail(self));
        }
        operation.fail(runtime, error);
    }

    /// The next operation, and whether it is the last.
    fn next(&self) -> (Option<(Owner, io::Error)>, bool) {
        // Nothing that can panic runs under the lock.
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (all.pop_front(), all.is_empty())
    }
}
