//! An operation between begin and end.
//!
//! An operation is one allocation, shared by its *owner* and any number of *handles*:
//!
//! ```text
//! header   what handles may read at any time: completed?, canceled?, which socket
//! body     buffer, result, callback and state: the owner's alone
//! ```
//!
//! 1. An [`Owner`] is made once per operation, in [`begin`], and cannot be cloned. It moves:
//!    from the thread that begins, to the socket's operation queue, to the worker that attempts
//!    it, to the completion queue, to the worker that delivers it. Whoever holds it has the body
//!    to itself, and moving it between threads synchronizes as any move does.
//! 2. A [`Handle`] never touches the body.
//! 3. [`Owner::complete`] consumes the owner on the only path to [`Owner::deliver`], and `deliver`
//!    takes the callback out of the body: an operation completes once, and its callback runs once
//!    (I1). An owner that is dropped on any other path is a bug in this crate.
//! 4. The result stands in the body before the event is set, and the event is set before the
//!    completion is posted: in the callback `is_completed` is true and the wait handle is set.

use crate::async_result::{AsyncResult, Completion, OperationHandle};
use crate::op::{Attempt, Call, Direction, Perform};
use crate::runtime::{RuntimeInner, Work};
use crate::socket::SocketInner;
use aio_sync::ManualResetEvent;
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

pub(crate) struct InFlight<B: ?Sized> {
    header: Header,
    body: UnsafeCell<B>,
}

// SAFETY: handles, which share the operation, read only the header, which is `Sync`; the body is
// reached through the one owner, which is like sending it (invariants 1 and 2).
unsafe impl<B: ?Sized + Send> Sync for InFlight<B> {}

struct Header {
    name: &'static str,
    direction: Direction,
    /// Weak, since a handle that outlives the operation must not keep the socket open.
    socket: Weak<SocketInner>,
    /// True once a cancel has been asked for. Read by the operation queue under its lock.
    canceled: AtomicBool,
    /// Set when the result stands in the body.
    completed: ManualResetEvent,
}

/// What the owner can do with a body of whatever kind.
trait Body: Send {
    fn attempt(&mut self, call: Call<'_>) -> Attempt<()>;
    fn fail(&mut self, error: io::Error);
    fn is_partly_done(&self) -> bool;
    fn resets_when_closed(&self) -> bool;
    fn deliver(&mut self, handle: OperationHandle);
}

struct Begun<K: Perform, S, F> {
    /// Keeps the socket open while the operation is pending.
    socket: Option<Arc<SocketInner>>,
    work: Option<K>,
    result: Option<io::Result<K::Output>>,
    then: Option<(F, S)>,
}

/// Makes an operation on `socket` that will call `callback`.
pub(crate) fn begin<K, S, F>(
    socket: &Arc<SocketInner>,
    work: K,
    callback: F,
    state: S,
) -> (Owner, OperationHandle)
where
    K: Perform,
    S: Send + 'static,
    F: FnOnce(AsyncResult<K, S>) + Send + 'static,
{
    let operation: Arc<InFlight<dyn Body>> = Arc::new(InFlight {
        header: Header {
            name: K::NAME,
            direction: K::DIRECTION,
            socket: Arc::downgrade(socket),
            canceled: AtomicBool::new(false),
            completed: ManualResetEvent::new(false),
        },
        body: UnsafeCell::new(Begun {
            socket: Some(socket.clone()),
            work: Some(work),
            result: None,
            then: Some((callback, state)),
        }),
    });
    let handle = OperationHandle::new(Handle(operation.clone()));
    (Owner(operation), handle)
}

impl<K, S, F> Body for Begun<K, S, F>
where
    K: Perform,
    S: Send,
    F: FnOnce(AsyncResult<K, S>) + Send,
{
    fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        let work = self.work.as_mut().expect("an operation is attempted before it is delivered");
        match work.attempt(call) {
            Attempt::Done { result, drained } => {
                self.result = Some(result);
                Attempt::Done { result: Ok(()), drained }
            }
            Attempt::WouldBlock => Attempt::WouldBlock,
            Attempt::Yielded => Attempt::Yielded,
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.result = Some(Err(error));
    }

    fn is_partly_done(&self) -> bool {
        self.work.as_ref().is_some_and(K::is_partly_done)
    }

    fn resets_when_closed(&self) -> bool {
        K::RESETS_WHEN_CLOSED
    }

    fn deliver(&mut self, handle: OperationHandle) {
        const ONCE: &str = "an operation is completed, then delivered, once";
        let work = self.work.take().expect(ONCE);
        let result = self.result.take().expect(ONCE);
        let (callback, state) = self.then.take().expect(ONCE);
        self.socket = None;
        let completion = Completion {
            result,
            bytes_transferred: work.bytes_transferred(),
            buffer: work.into_buffer(),
            state,
        };
        callback(AsyncResult::new(completion, handle));
    }
}

/// The one that may touch an operation's body. Never cloned.
pub(crate) struct Owner(Arc<InFlight<dyn Body>>);

impl Owner {
    fn body(&mut self) -> &mut dyn Body {
        // SAFETY: there is one owner (invariant 1), it is borrowed mutably for as long as the
        // reference lives, and nobody else touches the body (invariant 2).
        unsafe { &mut *self.0.body.get() }
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.header.direction
    }

    /// True once a handle has asked to cancel the operation.
    pub(crate) fn is_canceled(&self) -> bool {
        self.0.header.canceled.load(Ordering::Relaxed)
    }

    /// True if `handle` is one of this operation.
    pub(crate) fn is_of(&self, handle: &Handle) -> bool {
        Arc::ptr_eq(&self.0, &handle.0)
    }

    /// Makes the operation's call, without blocking. When it is done, its result stands.
    pub(crate) fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        self.body().attempt(call)
    }

    /// True if some but not all of the operation's bytes have been sent.
    pub(crate) fn is_partly_done(&mut self) -> bool {
        self.body().is_partly_done()
    }

    /// True if the peer has to learn, by a reset, that this operation did not finish.
    pub(crate) fn resets_when_closed(&mut self) -> bool {
        self.body().resets_when_closed()
    }

    /// Completes the operation with `error` as its result.
    pub(crate) fn fail(mut self, runtime: &RuntimeInner, error: io::Error) {
        self.body().fail(error);
        self.complete(runtime);
    }

    /// Completes the operation with the result that stands: result, then event, then completion.
    pub(crate) fn complete(self, runtime: &RuntimeInner) {
        self.0.header.completed.set();
        runtime.post(Work::Completed(self));
    }

    /// Runs the callback.
    pub(crate) fn deliver(mut self) {
        let handle = OperationHandle::new(Handle(self.0.clone()));
        self.body().deliver(handle);
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.header.fmt(f)
    }
}

/// What anybody may do with an operation.
#[derive(Clone)]
pub(crate) struct Handle(Arc<InFlight<dyn Body>>);

impl Handle {
    pub(crate) fn completed(&self) -> &ManualResetEvent {
        &self.0.header.completed
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.header.direction
    }

    /// Notes that the operation shall be canceled; returns its socket if it can still be pending.
    pub(crate) fn ask_to_cancel(&self) -> Option<Arc<SocketInner>> {
        if self.completed().is_set() {
            return None;
        }
        self.0.header.canceled.store(true, Ordering::Relaxed);
        self.0.header.socket.upgrade()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.header.fmt(f)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &self.name)
            .field("completed", &self.completed.is_set())
            .field("canceled", &self.canceled)
            .finish_non_exhaustive()
    }
}
