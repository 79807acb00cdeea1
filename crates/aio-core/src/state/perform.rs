//! What the crate does with a kind of operation.

use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::Blocked;
use crate::base::unread::{Envelope, Order};
use crate::state::completion::{Completion, Kind};
use crate::state::in_flight::{Call, Owner};
use crate::state::socket::SocketInner;
use std::io;
use std::sync::Arc;

/// What one attempt came to.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    /// The operation is over. `drained` is true if the call found all there was, so that another
    /// one would block unless readiness is reported meanwhile.
    Done { result: io::Result<T>, drained: bool },
    /// The call would have to wait.
    WouldBlock(Blocked),
    /// More could be done at once, but others are to be served first.
    Yielded,
}

impl<T> Attempt<T> {
    pub(crate) fn done(result: io::Result<T>) -> Self {
        Self::Done { result, drained: false }
    }
}

/// What the crate does with a [`Kind`].
pub(crate) trait Perform: Kind {
    const KIND: OperationKind;
    const DIRECTION: Direction;

    /// True for what sends bytes: the peer has to learn if it did not finish.
    const IS_SEND: bool = false;

    /// True for what may have to wait for something that is not the socket, a disk for example.
    const MAY_BLOCK: bool = false;

    /// True for an operation that is in no queue, and consists of other operations: `in_flight.rs`, invariant 5.
    const IS_COMPOSITE: bool = false;

    /// Begins the operation at `socket`.
    #[inline]
    fn start(socket: &Arc<SocketInner>, operation: Owner)
    where
        Self: Sized,
    {
        socket.runtime.driver.start(socket, operation);
    }

    /// Makes the call, without blocking.
    fn attempt(&mut self, call: Call<'_>) -> Attempt<Self::Output>;

    fn bytes_transferred(&self) -> usize {
        0
    }

    /// True exactly when the operation, if it ends now without success, leaves a socket on which nothing
    /// can follow it in this direction: with a gap in the stream, say.
    fn is_partly_done(&self) -> bool {
        false
    }

    /// Says in `error`, with which the operation ends without a result of its own, what it was.
    fn explain(&self, error: io::Error) -> io::Error {
        error
    }

    fn into_buffer(self) -> Self::Buffer;

    /// What has to be known of what it has taken, beside what it yields, to give it back.
    fn envelope(&mut self) -> Option<Box<Envelope>> {
        None
    }

    /// Nobody will look at this completion: what was taken goes back to the socket where it was taken (I2).
    fn give_back(completion: Completion<Self>, to: GivenBack<'_>)
    where
        Self: Sized,
    {
        drop((completion, to));
    }

    /// The operation was dropped, and ends without a success: what it has taken so far goes back to `socket`, where it
    /// was begun.
    fn give_up(&mut self, socket: &Arc<SocketInner>) {
        let _ = socket;
    }
}

/// Where to give back what an operation has taken.
pub(crate) struct GivenBack<'a> {
    /// The socket where the operation was begun.
    pub(crate) socket: &'a Arc<SocketInner>,
    pub(crate) order: Order,
    pub(crate) envelope: Option<Box<Envelope>>,
}

impl Call<'_> {
    /// To be asked before each system call that is to move so many bytes. Returns how many it may move: all
    /// of them, except in a test, where the call may also be refused.
    #[inline]
    pub(crate) fn permit(self, purpose: Purpose, bytes: usize) -> io::Result<usize> {
        #[cfg(feature = "testing")]
        if let Some(faults) = &self.socket.faults {
            let report = || self.socket.report_ready(purpose.direction());
            let has_ended =
                purpose.direction() == Direction::Receive && self.socket.receives_no_more();
            return faults.permit(self.system, purpose, bytes, has_ended, report);
        }
        #[cfg(not(feature = "testing"))]
        let _ = purpose;
        Ok(bytes)
    }

    /// Passes on what a system call came to. How the connection broke, the system tells once: see
    /// [`SocketInner::note_failure`].
    #[inline]
    pub(crate) fn told<T>(self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.socket.note_failure(error);
        }
        result
    }
}
