//! The contract of engines.
//!
//! An engine is a [`Driver`]. Its contract is at the level of completions, so that an engine which
//! hands operations to the kernel (io_uring, Windows' completion ports) can meet it as well as one
//! which waits for readiness.
//!
//! 1. [`start`](Driver::start) takes an operation and never blocks. From then on the engine owes
//!    it exactly one completion (I1), on whatever thread it likes, through
//!    [`Owner::complete`]. Operations of one socket and direction take effect in the order of the calls (I5).
//! 2. [`cancel`](Driver::cancel) is a request. An operation that has done its work completes with it;
//!    one that has done nothing completes as aborted and has taken nothing (I2).
//! 3. [`close`](Driver::close) completes everything pending on a socket as aborted. The descriptor
//!    is closed when the last call on it has left (I6).
//! 4. [`wait`](Driver::wait) is called by a worker that has nothing to run. It returns the work it
//!    found as soon as there is some, and returns when the worker is woken or the time is over.
//!    Work that belongs to a worker that does not come to wait can be taken over by another.
//! 5. [`wake`](Driver::wake) ends a worker's wait, or its next one if it is not waiting. It never
//!    waits for anything (I9).

use crate::base::engine::Engine;
use crate::base::error::Aborted;
use crate::base::kind::Direction;
use crate::pool::worker_pool::Wait;
use crate::state::context::{Report, Work};
use crate::state::in_flight::{Handle, Owner};
use crate::state::socket::SocketInner;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// An engine at work.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    /// Its name.
    fn engine(&self) -> Engine;

    fn start(&self, socket: &Arc<SocketInner>, operation: Owner);

    /// As [`start`](Self::start), but leaves the first attempt to a worker: for a part of a composite operation that
    /// begins when another part has completed, so that it takes no stack, however many parts there are.
    fn start_later(&self, socket: &Arc<SocketInner>, operation: Owner);

    fn cancel(&self, socket: &Arc<SocketInner>, direction: Direction, operation: &Handle);

    /// A worker is here for a [`Work::Ready`]. If that completes an operation with a callback, the callback is the
    /// caller's to run.
    #[must_use = "its callback is still to be run"]
    fn run_report(&self, socket: &Arc<SocketInner>, report: Report) -> Option<Owner>;

    /// A worker is here for a [`Work::Turn`]. Returns as [`run_report`](Self::run_report).
    #[must_use = "its callback is still to be run"]
    fn take_turn(&self, socket: &Arc<SocketInner>, direction: Direction) -> Option<Owner>;

    /// Something has changed that the kernel does not report: what waits in `direction` is attempted.
    fn look_again(&self, socket: &Arc<SocketInner>, direction: Direction);

    /// What a dropped operation had taken has come back to the socket.
    fn given_back(&self, socket: &Arc<SocketInner>);

    /// The runtime drains: accepts that have not come to anything complete as aborted.
    fn refuse_accepts(&self, socket: &Arc<SocketInner>);

    /// Ends both directions, and aborts what is pending there.
    fn stop(&self, socket: &SocketInner, reason: Aborted);

    /// Stops the socket and closes its descriptor.
    fn close(&self, socket: &SocketInner);

    /// Ends the socket here; the duplicate of its descriptor that this returns goes on.
    fn release(&self, socket: &SocketInner) -> io::Result<socket2::Socket>;

    /// The socket's descriptor is about to be closed.
    fn forget(&self, socket: &SocketInner);

    /// Blocks the calling thread, which is no worker, until `operation` has completed or the deadline has passed.
    /// `socket` is the operation's.
    /// Returns whether it has completed; `None` if the thread cannot see to the operation.
    fn wait_here(
        &self,
        socket: &Arc<SocketInner>,
        operation: &Handle,
        deadline: Option<Instant>,
    ) -> Option<bool>;

    /// Waits for work and adds it to `found`.
    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Work>);

    /// Ends the wait of `worker`, or its next one.
    fn wake(&self, worker: usize);

    /// `from` has been running the same callback for long: what it would wait for is now waited for by `to`.
    fn take_over(&self, from: usize, to: usize);
}
