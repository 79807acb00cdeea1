//! An engine at work.

use crate::base::engine::Engine;
use crate::base::kind::Direction;
use crate::base::operation_queue::Ticket;
use crate::pool::worker_pool::Wait;
use crate::state::context::Work;
use crate::state::in_flight::{Handle, Owner};
use crate::state::socket::SocketInner;
use std::fmt;
use std::io;
use std::sync::Arc;

/// An engine at work. The contract is in the module's documentation.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    /// Its name.
    fn engine(&self) -> Engine;

    fn start(&self, socket: &Arc<SocketInner>, operation: Owner) {
        crate::engine::try_first::start(socket, operation);
    }

    fn cancel(&self, socket: &Arc<SocketInner>, direction: Direction, operation: &Handle) {
        crate::engine::try_first::cancel(socket, direction, operation);
    }

    fn close(&self, socket: &SocketInner) {
        crate::engine::try_first::close(socket);
    }

    /// Arranges for a [`Work::Ready`] when `direction` can make progress, if it is still in this
    /// wait then. For engines that wait for readiness.
    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        ticket: Ticket,
    ) -> io::Result<()>;

    /// A wait of this socket has ended early. For engines that keep something for it.
    fn wait_ended(&self, _socket: &SocketInner) {}

    /// The socket's descriptor is about to be closed.
    fn forget(&self, _socket: &SocketInner) {}

    /// Waits for work and adds it to `found`.
    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Work>);

    /// Ends the wait of `worker`, or its next one.
    fn wake(&self, worker: usize);

    /// `from` has been running the same callback for long: what it would wait for is now waited
    /// for by `to`.
    fn take_over(&self, _from: usize, _to: usize) {}
}
