//! What a caller holds of an operation: a handle while it is pending, its result when it is over.

use crate::base::operation_queue::CancelReason;
use crate::state::completion::{Completion, Kind};
use crate::state::in_flight::Handle;
use aio_sync::{EventRef, WaitHandle};
use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// An operation that was begun, as anybody may see it: returned by every `begin_*`.
///
/// A handle is a cheap clone. Dropping it changes nothing. It may be used after the operation is
/// over, and does not keep the socket open. It can be waited for beside events and other operations
/// ([`aio_sync::wait_any`]).
///
/// ```
/// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
/// # let socket = runtime.tcp_v4()?;
/// let operation = socket.begin_receive(vec![0; 16], |_| {}, ());
/// operation.wait_one(); // not connected, so it does not take long
/// assert!(operation.is_completed());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct OperationHandle {
    handle: Handle,
}

impl OperationHandle {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// Returns true once the operation's result stands. Its callback then runs, or soon will.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.handle.completed().is_set()
    }

    /// Blocks until the operation's result stands.
    ///
    /// The callback may still be running, or waiting to be run, when this returns. A callback that
    /// waits for another operation of its runtime holds a worker; I/O goes on meanwhile.
    pub fn wait_one(&self) {
        self.handle.wait(None);
    }

    /// Blocks until the operation's result stands or `timeout` has passed; returns true if it
    /// stands. A timeout does not cancel the operation.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.handle.wait(Instant::now().checked_add(timeout))
    }

    /// Returns the event that is set when the operation's result stands, to be waited for.
    #[must_use]
    pub fn async_wait_handle(&self) -> EventRef<'_> {
        self.handle.event()
    }

    /// Asks to cancel the operation.
    ///
    /// The operation still completes, once: as aborted if nothing had been done
    /// ([`is_aborted`](crate::is_aborted) tells), else with what it came to. A receive or an accept
    /// that completes as aborted has taken nothing. A send that completes as aborted says in
    /// `bytes_transferred` how much of it was sent; if that is some but not all, the stream is
    /// broken there, and the sends that follow complete as aborted too. A connect that completes as
    /// aborted leaves a socket that can only be closed.
    ///
    /// Canceling an operation that is over changes nothing.
    pub fn cancel(&self) {
        self.handle.cancel(CancelReason::Canceled);
    }
}

impl WaitHandle for OperationHandle {
    fn event(&self) -> EventRef<'_> {
        self.handle.event()
    }
}

impl fmt::Debug for OperationHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// A completed operation, given to its callback and consumed by the `end_*` of its kind.
///
/// ```
/// use aio_core::{AsyncResult, op};
///
/// fn receive_callback(received: AsyncResult<op::Receive<Vec<u8>>, String>) {
///     assert!(received.is_completed());
///     println!("{}: {:?}", received.async_state(), received.error());
/// }
/// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
/// # let socket = runtime.tcp_v4()?;
/// socket.begin_receive(vec![0; 256], receive_callback, "client 7".to_owned());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// It is ended once, and as what it is. Anything else does not compile:
///
/// ```compile_fail,E0382
/// # use aio_core::{AsyncResult, Socket, op};
/// fn ends_twice(socket: &Socket, received: AsyncResult<op::Receive<Vec<u8>>>) {
///     let first = socket.end_receive(received);
///     let second = socket.end_receive(received);
/// }
/// ```
///
/// ```compile_fail,E0308
/// # use aio_core::{AsyncResult, Socket, op};
/// fn ends_another_kind(socket: &Socket, received: AsyncResult<op::Receive<Vec<u8>>>) {
///     let sent = socket.end_send(received);
/// }
/// ```
#[must_use = "the result, the buffer and the state are inside: call the operation's end_*"]
pub struct AsyncResult<K: Kind, S = ()> {
    completion: Completion<K, S>,
    handle: OperationHandle,
}

impl<K: Kind, S> AsyncResult<K, S> {
    /// What an operation calls that is to call `callback`.
    pub(crate) fn to(
        callback: impl FnOnce(Self) + Send,
    ) -> impl FnOnce(Completion<K, S>, Handle) + Send {
        move |completion, handle| {
            callback(Self { completion, handle: OperationHandle::new(handle) });
        }
    }

    pub(crate) fn into_completion(self) -> Completion<K, S> {
        self.completion
    }

    /// Returns the state that was given to begin.
    pub fn async_state(&self) -> &S {
        &self.completion.state
    }

    /// Returns the error that `end_*` will report, if it will.
    pub fn error(&self) -> Option<&io::Error> {
        self.completion.result.as_ref().err()
    }

    /// Returns the operation's handle: the one that begin returned, which may not have returned
    /// yet.
    pub fn operation(&self) -> &OperationHandle {
        &self.handle
    }

    /// Returns the operation's wait handle, which is set.
    pub fn async_wait_handle(&self) -> EventRef<'_> {
        self.handle.async_wait_handle()
    }

    /// Returns true: a callback runs when its operation has completed.
    pub fn is_completed(&self) -> bool {
        true
    }

    /// Returns false: a callback never runs inside begin. Ported code that returns early from its
    /// callback when this is true stays right.
    pub fn completed_synchronously(&self) -> bool {
        false
    }
}

impl<K: Kind, S: fmt::Debug> fmt::Debug for AsyncResult<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("operation", &K::NAME)
            .field("error", &self.error())
            .field("bytes_transferred", &self.completion.bytes_transferred)
            .field("state", &self.completion.state)
            .finish_non_exhaustive()
    }
}
