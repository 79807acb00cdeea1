//! A worker's own queues. In each, the worker pushes and pops at one end, without a locked instruction but for
//! the pop; others steal.
//!
//! 1. The own end may be touched by one thread alone. That is the thread which is the queue's worker:
//!    `worker.rs` makes each worker of a pool current on one thread, once, and [`RunQueue::own`] checks that the
//!    caller is on it. The own end that it returns stays on that thread.
//! 2. First in, first out, whoever takes.

use crate::base::sync::{Ordering, fence};
use crate::pool::current::Current;
#[cfg(not(loom))]
use crossbeam::deque::{Steal, Stealer, Worker};
use std::fmt;
use std::marker::PhantomData;

/// The queues of one worker.
#[derive(Debug)]
pub(super) struct Queues<W> {
    /// What this worker has posted that must not run inside another piece of work.
    pub(super) callbacks: RunQueue<W>,
    /// What it has posted and its waits have found that may.
    pub(super) nestable: RunQueue<W>,
}

impl<W> Queues<W> {
    pub(super) fn new(owner: Current) -> Self {
        Self { callbacks: RunQueue::new(owner), nestable: RunQueue::new(owner) }
    }

    /// For the owner.
    pub(super) fn own(&self) -> OwnEnds<'_, W> {
        OwnEnds { callbacks: self.callbacks.own(), nestable: self.nestable.own() }
    }

    /// For everybody.
    pub(super) fn steal(&self) -> Option<W> {
        self.nestable.steal().or_else(|| self.callbacks.steal())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.callbacks.is_empty() && self.nestable.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.callbacks.len() + self.nestable.len()
    }
}

/// Their own ends, on the thread that they are for.
pub(super) struct OwnEnds<'a, W> {
    pub(super) callbacks: OwnEnd<'a, W>,
    pub(super) nestable: OwnEnd<'a, W>,
}

impl<W> OwnEnds<'_, W> {
    /// Queues what a wait has found.
    pub(super) fn keep(&self, ready: impl Iterator<Item = W>) {
        let mut is_empty = true;
        for work in ready {
            self.nestable.push(work);
            is_empty = false;
        }
        if !is_empty {
            // Before a look at this worker's mark: see invariant 4 of `worker_pool.rs`.
            fence(Ordering::SeqCst);
        }
    }
}

pub(super) struct RunQueue<W> {
    owner: Current,
    /// For the owner's thread alone.
    own: Worker<W>,
    stealer: Stealer<W>,
}

// SAFETY: of what is not `Sync` itself, the own end, a shared reference is used on one thread alone
// (invariant 1). What is pushed there may be popped elsewhere, or dropped with the queue, so it is `Send`.
unsafe impl<W: Send> Sync for RunQueue<W> {}

impl<W> RunQueue<W> {
    pub(super) fn new(owner: Current) -> Self {
        let own = Worker::new_fifo();
        Self { owner, stealer: own.stealer(), own }
    }

    /// For the owner.
    pub(super) fn own(&self) -> OwnEnd<'_, W> {
        assert!(Current::get() == self.owner, "a worker's own queue is its own");
        OwnEnd { own: &self.own, on_this_thread: PhantomData }
    }

    /// For everybody.
    pub(super) fn steal(&self) -> Option<W> {
        loop {
            match self.stealer.steal() {
                Steal::Empty => return None,
                Steal::Success(work) => return Some(work),
                // Somebody else has taken one.
                Steal::Retry => {}
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.stealer.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.stealer.len()
    }
}

/// A queue's own end, on the thread that it is for.
pub(super) struct OwnEnd<'a, W> {
    own: &'a Worker<W>,
    /// It cannot be sent to another, nor shared with one.
    on_this_thread: PhantomData<*const ()>,
}

impl<W> OwnEnd<'_, W> {
    pub(super) fn push(&self, work: W) {
        self.own.push(work);
    }

    pub(super) fn pop(&self) -> Option<W> {
        self.own.pop()
    }
}

impl<W> fmt::Debug for RunQueue<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunQueue").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Stands for crossbeam's deque, which loom cannot look into: each operation takes effect at one moment.
#[cfg(loom)]
mod modeled {
    use crate::base::sync::Queue;
    use std::sync::Arc;

    pub(super) struct Worker<W>(Arc<Queue<W>>);
    pub(super) struct Stealer<W>(Arc<Queue<W>>);
    pub(super) enum Steal<W> {
        Empty,
        Success(W),
        Retry,
    }

    impl<W> Worker<W> {
        pub(super) fn new_fifo() -> Self {
            Self(Arc::new(Queue::new()))
        }

        pub(super) fn stealer(&self) -> Stealer<W> {
            Stealer(self.0.clone())
        }

        pub(super) fn push(&self, work: W) {
            self.0.push(work);
        }

        pub(super) fn pop(&self) -> Option<W> {
            self.0.pop()
        }
    }

    impl<W> Stealer<W> {
        pub(super) fn steal(&self) -> Steal<W> {
            self.0.pop().map_or(Steal::Empty, Steal::Success)
        }

        pub(super) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }

        pub(super) fn len(&self) -> usize {
            self.0.len()
        }
    }
}

#[cfg(loom)]
use modeled::{Steal, Stealer, Worker};
