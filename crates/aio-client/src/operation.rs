//! What a caller holds of a call under way.

use crate::error::Error;
use crate::kind::Kind;
use crate::task::{Interrupt, Pending, Started};
use aio_sync::{EventRef, WaitHandle};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// A call that was started without a callback, by one of the client's `*_async` methods.
///
/// It goes on whether or not it is waited for, and holds no thread. To get its outcome,
/// [`wait`](Self::wait) for it or `.await` it on any executor. It is a wait handle, so it can be waited
/// for beside events, operations of aio-core and other calls.
///
/// # Cancellation
///
/// Dropping an operation loses nothing, at any moment, so that it may be one of several futures of a
/// `select!`, and need not be kept:
///
/// * A receive that is pending is canceled. The message that it has taken, if it has won, is given back, and
///   is what the next receive gets, in its place in the stream; so is what had arrived of a message.
/// * A connect is canceled. The connection that it has made, if it has won, is closed.
/// * A send goes on, and nobody learns what it came to. [`cancel`](Self::cancel) it first if it is not to
///   go on; what had been sent of it, however, has been sent.
///
/// Dropping an operation whose outcome has been returned changes nothing.
///
/// ```
/// use aio_client::Client;
/// use aio_sync::{ManualResetEvent, wait_any_timeout};
/// use std::time::Duration;
///
/// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let client = Client::connect(server.local_addr()?)?;
/// let quit = ManualResetEvent::new(false);
/// let receive = client.receive_async();
/// match wait_any_timeout(&[&receive, &quit], Duration::from_millis(1)) {
///     Some(0) => println!("{:?}", receive.wait()),
///     _ => {
///         receive.cancel();
///         // It may have won all the same; else nothing is lost for the next receive.
///         println!("{:?}", receive.wait());
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping a pending call cancels it, unless it is a send"]
pub struct Operation<K: Kind> {
    task: Arc<dyn Pending<K::Output>>,
    /// True once the outcome has been returned.
    is_taken: bool,
}

impl<K: Kind> Operation<K> {
    pub(crate) fn new(task: Arc<dyn Pending<K::Output>>) -> Self {
        Self { task, is_taken: false }
    }

    /// Blocks until the call is over, which its deadline sees to.
    ///
    /// In a callback of aio-core this holds a worker, but the call gets on, even if it is the only one.
    ///
    /// # Errors
    ///
    /// Those of the blocking call of the same name.
    ///
    /// # Panics
    ///
    /// Panics if [`wait_timeout`](Self::wait_timeout) has returned the outcome.
    pub fn wait(mut self) -> Result<K::Output, Error> {
        self.task.clone().wait(Duration::MAX);
        self.taken(self.task.take())
    }

    /// Blocks until the call is over or `timeout` has passed. `None` means that it is pending, and it
    /// goes on: this timeout does not cancel it.
    ///
    /// # Panics
    ///
    /// Panics if the outcome has been returned before.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<K::Output, Error>> {
        self.task.clone().wait(timeout).then(|| self.taken(self.task.take()))
    }

    fn taken(&mut self, outcome: Option<Result<K::Output, Error>>) -> Result<K::Output, Error> {
        self.is_taken = true;
        outcome.expect(TAKEN)
    }

    /// Returns true once the outcome stands: [`wait`](Self::wait) then returns at once.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.task.completed().is_set()
    }

    /// Asks to cancel the call: see [`OperationHandle::cancel`].
    pub fn cancel(&self) {
        self.task.call().interrupt(Interrupt::Cancel);
    }

    /// Returns a handle, for others to wait for or cancel the call.
    #[must_use]
    pub fn handle(&self) -> OperationHandle {
        OperationHandle { task: self.task.clone() }
    }
}

const TAKEN: &str = "a call has one outcome, and it has been returned";

impl<K: Kind> Future for Operation<K> {
    type Output = Result<K::Output, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.task.poll_outcome(context.waker()).map(|outcome| self.taken(outcome))
    }
}

impl<K: Kind> WaitHandle for Operation<K> {
    fn event(&self) -> EventRef<'_> {
        self.task.completed().event()
    }
}

impl<K: Kind> Drop for Operation<K> {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        self.task.abandon();
        if !K::IS_SEND && !self.is_completed() {
            self.cancel();
        }
    }
}

impl<K: Kind> fmt::Debug for Operation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &K::NAME)
            .field("is_completed", &self.is_completed())
            .finish_non_exhaustive()
    }
}

/// A call that was begun, as anybody may see it: returned by every `begin_*`.
///
/// A handle is a cheap clone. Dropping it changes nothing.
#[derive(Clone)]
pub struct OperationHandle {
    task: Arc<dyn Started>,
}

impl OperationHandle {
    pub(crate) fn new(task: Arc<dyn Started>) -> Self {
        Self { task }
    }

    /// Returns true once the outcome stands. The callback then runs, or soon will.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.task.completed().is_set()
    }

    /// Blocks until the outcome stands. The callback may still be running, or waiting to be run.
    pub fn wait_one(&self) {
        self.task.clone().wait(Duration::MAX);
    }

    /// Blocks until the outcome stands or `timeout` has passed; returns true if it stands.
    #[must_use = "false means that the call is pending"]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.task.clone().wait(timeout)
    }

    /// Returns the event that is set when the outcome stands.
    #[must_use]
    pub fn async_wait_handle(&self) -> EventRef<'_> {
        self.task.completed().event()
    }

    /// Asks to cancel the call.
    ///
    /// It still ends, once: with what it came to, or with
    /// [`ErrorKind::Canceled`](crate::ErrorKind::Canceled). A receive that was canceled has lost nothing:
    /// what has arrived is there for the next one. A send that was canceled says how much was sent; if
    /// that is some, nothing more can be sent. Canceling a call that is over changes nothing.
    pub fn cancel(&self) {
        self.task.call().interrupt(Interrupt::Cancel);
    }
}

impl WaitHandle for OperationHandle {
    fn event(&self) -> EventRef<'_> {
        self.task.completed().event()
    }
}

impl fmt::Debug for OperationHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationHandle")
            .field("is_completed", &self.is_completed())
            .finish_non_exhaustive()
    }
}
