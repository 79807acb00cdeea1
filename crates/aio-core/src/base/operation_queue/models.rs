//! The operation queue, explored by loom: `RUSTFLAGS="--cfg loom" cargo test -p aio-core --release --lib models`.
//!
//! The threads here do what `engine/turns.rs` does, with a socket that has so many bytes to give.

use super::fake::{ABORTED, DONE, Model, Op, operation};
use super::*;
use crate::base::sync::{Mutex, Queue};
use loom::thread;
use std::sync::Arc;

/// A socket, its direction's queue, and the turns that were left to workers.
struct Socket {
    queue: OperationQueue<Op>,
    /// What the system has. It does what it is asked at one moment.
    bytes: Mutex<usize>,
    turns: Queue<()>,
}

impl Socket {
    fn new() -> Arc<Self> {
        let queue = OperationQueue::new();
        Arc::new(Self { queue, bytes: Mutex::new(0), turns: Queue::new() })
    }

    fn take_byte(&self) -> bool {
        let mut bytes = self.bytes.lock().expect("no model panics under the lock");
        let is_there = *bytes > 0;
        *bytes -= usize::from(is_there);
        is_there
    }

    fn bytes(&self) -> usize {
        *self.bytes.lock().expect("no model panics under the lock")
    }

    fn begin(&self, operation: Op) {
        self.advance(self.queue.begin(operation, true));
    }

    /// A byte arrives, and a worker that was in the poller learns of it.
    fn arrive(&self) {
        *self.bytes.lock().expect("no model panics under the lock") += 1;
        self.advance(self.queue.ready(false));
    }

    /// The same, but it is a dropped operation that gives it back.
    fn give_back(&self) {
        *self.bytes.lock().expect("no model panics under the lock") += 1;
        self.advance(self.queue.look_again());
    }

    /// As a handle does.
    fn cancel(&self, handle: &Arc<Model>) {
        handle.cancel_reason.store(1, Ordering::Relaxed);
        self.advance(self.queue.cancel(handle));
    }

    fn advance(&self, mut next: Next<Op>) {
        loop {
            next = match next {
                Next::Attempt(operation) if self.take_byte() => {
                    self.settle(self.queue.done(false));
                    return operation.complete(DONE);
                }
                Next::Attempt(operation) => match self.queue.blocked(operation, Blocked::InVain) {
                    Next::Abort(all, _) => {
                        self.settle(self.queue.done(true));
                        return all.for_each(|operation| operation.complete(ABORTED));
                    }
                    next => next,
                },
                next => return self.settle(next),
            }
        }
    }

    fn settle(&self, next: Next<Op>) {
        match next {
            // The poller tells of everything that arrives.
            Next::Nothing | Next::WaitFor(_) | Next::WaitHere | Next::AskThenWaitFor(_) => {}
            // A rest ends when its time has passed.
            Next::Schedule | Next::Rest(_) => self.turns.push(()),
            Next::Abort(all, _) => all.for_each(|operation| operation.complete(ABORTED)),
            Next::Attempt(_) => {
                unreachable!("a thread that is not here for a turn attempts nothing")
            }
        }
    }

    /// Workers come for the turns that were left to them.
    fn work(&self) {
        while self.turns.pop().is_some() {
            self.advance(self.queue.take_turn());
        }
    }
}

fn how(model: &Model) -> usize {
    model.completed.load(Ordering::SeqCst)
}

/// Invariants 2, 3 and 5: a byte that arrives while operations are begun and attempted is received.
#[test]
fn a_report_is_never_lost() {
    loom::model(|| {
        let socket = Socket::new();
        let (first, first_model) = operation();
        let (second, second_model) = operation();
        let poller = {
            let socket = socket.clone();
            thread::spawn(move || socket.arrive())
        };
        let other = {
            let socket = socket.clone();
            thread::spawn(move || socket.begin(second))
        };
        socket.begin(first);
        poller.join().unwrap();
        other.join().unwrap();
        socket.work();
        assert_eq!(how(&first_model) + how(&second_model), DONE);
        socket.arrive();
        socket.work();
        assert_eq!((how(&first_model), how(&second_model), socket.bytes()), (DONE, DONE, 0));
    });
}

/// Invariant 2, of what a dropped operation gives back, beside a report of the system's.
#[test]
fn what_is_given_back_is_received() {
    loom::model(|| {
        let socket = Socket::new();
        let (first, first_model) = operation();
        let (second, second_model) = operation();
        socket.begin(first);
        let poller = {
            let socket = socket.clone();
            thread::spawn(move || socket.arrive())
        };
        let dropper = {
            let socket = socket.clone();
            thread::spawn(move || socket.give_back())
        };
        socket.begin(second);
        poller.join().unwrap();
        dropper.join().unwrap();
        socket.work();
        assert_eq!((how(&first_model), how(&second_model), socket.bytes()), (DONE, DONE, 0));
    });
}

/// Invariant 4: an operation that is canceled while it is attempted completes once, and takes nothing unless it is
/// done.
#[test]
fn a_canceled_operation_completes_once_and_takes_nothing() {
    loom::model(|| {
        let socket = Socket::new();
        let (first, model) = operation();
        let canceler = {
            let (socket, model) = (socket.clone(), model.clone());
            thread::spawn(move || socket.cancel(&model))
        };
        let poller = {
            let socket = socket.clone();
            thread::spawn(move || socket.arrive())
        };
        socket.begin(first);
        canceler.join().unwrap();
        poller.join().unwrap();
        socket.work();
        assert_ne!(how(&model), 0);
        assert_eq!(socket.bytes(), usize::from(how(&model) == ABORTED));
        // The next one is not disturbed.
        let (next, model) = operation();
        socket.begin(next);
        if how(&model) == 0 {
            socket.arrive();
        }
        socket.work();
        assert_eq!((how(&model), socket.bytes()), (DONE, 0));
    });
}

/// Invariant 4: a cancel alone ends an operation that is being attempted, though nothing is reported.
#[test]
fn a_canceled_operation_needs_no_report() {
    loom::model(|| {
        let socket = Socket::new();
        let (first, model) = operation();
        let canceler = {
            let (socket, model) = (socket.clone(), model.clone());
            thread::spawn(move || socket.cancel(&model))
        };
        socket.begin(first);
        canceler.join().unwrap();
        socket.work();
        assert_eq!(how(&model), ABORTED);
    });
}

/// Invariant 4: a cancel and a stop at the same time complete each operation once, wherever it stands in line.
#[test]
fn a_cancel_leaves_alone_what_a_stop_has_taken() {
    loom::model(|| {
        let socket = Socket::new();
        let (first, first_model) = operation();
        let (second, second_model) = operation();
        socket.begin(first);
        socket.begin(second);
        let closer = {
            let socket = socket.clone();
            thread::spawn(move || {
                let all = socket.queue.stop(Aborted::Closed);
                all.for_each(|operation| operation.complete(ABORTED));
            })
        };
        socket.cancel(&second_model);
        socket.cancel(&first_model);
        closer.join().unwrap();
        socket.work();
        assert_eq!((how(&first_model), how(&second_model)), (ABORTED, ABORTED));
    });
}

/// A queue that is stopped while an operation is attempted, and while another is begun, completes both once.
#[test]
fn a_stopped_queue_leaves_nothing_behind() {
    loom::model(|| {
        let socket = Socket::new();
        let (first, first_model) = operation();
        let (second, second_model) = operation();
        let closer = {
            let socket = socket.clone();
            thread::spawn(move || {
                let all = socket.queue.stop(Aborted::Closed);
                all.for_each(|operation| operation.complete(ABORTED));
            })
        };
        let other = {
            let socket = socket.clone();
            thread::spawn(move || socket.begin(second))
        };
        socket.begin(first);
        closer.join().unwrap();
        other.join().unwrap();
        socket.work();
        assert_eq!((how(&first_model), how(&second_model)), (ABORTED, ABORTED));
    });
}
