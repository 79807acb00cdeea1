//! What the engines share that try an operation's call first and wait for readiness when it would
//! block.
//!
//! A *turn* is for one operation: a thread takes the first one of a socket and direction, makes its call, moves the
//! direction on, and completes the operation. If others are in line, a worker takes the next turn.
//!
//! 1. A thread pins the descriptor before the queue gives it an operation, and until the queue knows what came of the
//!    attempt. So a close in between leaves the closing to that thread, which learns from the queue that it is stopped
//!    before it lets go: if a send is unfinished then, and only then, it can still reset the connection.
//! 2. A thread moves the direction on, and lets go of the descriptor, before it completes an operation: wakers and
//!    `post_to` maps run there, which may wait for the next operation, or for the pins (`operation_queue.rs`,
//!    invariant 6).
//! 3. Operations that fail together are shared with the workers while one of them completes (`failing.rs`).

use crate::base::descriptor::{Pinned, System};
use crate::base::engine::Engine;
use crate::base::error::{Aborted, error_like};
use crate::base::kind::Direction;
use crate::base::operation_queue::{CancelReason, Line, Ticket};
use crate::engine::own_thread;
use crate::pool::worker_pool::Wait;
use crate::state::context::{Failing, Report, RuntimeInner, Timed, Work};
use crate::state::driver::Driver;
use crate::state::in_flight::{Attempted, Call, Handle, Here, Next, OperationQueue, Owner};
use crate::state::socket::SocketInner;
#[cfg(feature = "testing")]
use crate::testing::SocketFaults;
use std::fmt;
use std::io;
use std::mem;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Where pending operations wait until their sockets are ready.
pub(crate) trait WaitSource: fmt::Debug + Send + Sync {
    /// The engine's name.
    fn engine(&self) -> Engine;

    /// Arranges for a [`Work::Ready`] when `direction` can make progress, if it is still in this wait then.
    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        ticket: Ticket,
    ) -> io::Result<()>;

    /// A wait of this socket has ended early. For sources that keep something for it.
    fn wait_ended(&self, _socket: &SocketInner) {}

    /// The socket's descriptor is about to be closed.
    fn forget(&self, _socket: &SocketInner) {}

    /// As [`Driver::wait`].
    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Work>);

    /// As [`Driver::wake`].
    fn wake(&self, worker: usize);

    /// As [`Driver::take_over`].
    fn take_over(&self, _from: usize, _to: usize) {}
}

/// The driver of every engine that waits for readiness.
#[derive(Debug)]
pub(crate) struct TryFirst<S> {
    source: S,
}

impl<S: WaitSource> TryFirst<S> {
    pub(crate) fn new(source: S) -> Self {
        Self { source }
    }

    /// Starts an operation of any kind in a runtime that does not refuse it.
    #[inline(always)]
    fn start_any(&self, socket: &Arc<SocketInner>, operation: Owner) {
        let runtime = &*socket.runtime;
        let direction = operation.direction();
        let queue = socket.queue(direction);
        // An operation that would have to wait needs no pin.
        let may_attempt =
            !operation.may_block() && (queue.may_be_ready() || operation.cancel_reason().is_some());
        let system = if may_attempt { socket.descriptor.pin() } else { None };
        match (queue.begin(operation, system.is_some()), system) {
            (Next::Attempt(operation), Some(system)) => {
                runtime.post_completed(self.advance(socket, direction, operation, system));
            }
            (next, _) => self.settle(socket, direction, next),
        }
    }

    #[cold]
    fn start_accept(&self, socket: &Arc<SocketInner>, operation: Owner) {
        let runtime = &*socket.runtime;
        if runtime.refuses_accepts() {
            return operation.fail(runtime, Aborted::ShutDown.into());
        }
        socket.is_about_to_accept();
        self.start_any(socket, operation);
        if runtime.refuses_accepts() {
            // A drain that looked for listeners before this one was known has passed it by.
            self.refuse_accepts(socket);
        }
    }

    /// A thread that waits for `operation`, and is no worker, is here to poll, or takes a turn that was left to a worker.
    /// Returns true if it is to poll; false after a turn; `None` if another thread polls.
    pub(crate) fn poll_here(
        &self,
        socket: &Arc<SocketInner>,
        operation: &Handle,
        may_be_followed: bool,
    ) -> Option<bool> {
        let direction = operation.direction();
        let system = socket.descriptor.pin();
        match socket.queue(direction).poll_here(operation, may_be_followed) {
            Here::Poll => Some(true),
            Here::Follow => None,
            Here::Turn(next) => {
                self.take_here(socket, direction, system, next);
                Some(false)
            }
        }
    }

    /// The thread that polls has seen the direction ready.
    pub(crate) fn ready_here(&self, socket: &Arc<SocketInner>, direction: Direction) {
        let system = socket.descriptor.pin();
        let (next, was_told) = socket.queue(direction).ready_here();
        if was_told {
            // Before the turn: the wait that may follow it has another worker, and the one that polls for this one
            // would not be found any more, and would not let go of the descriptor.
            self.source.wait_ended(socket);
        }
        self.take_here(socket, direction, system, next);
    }

    /// Takes the turn if the queue gives one. Callbacks are for workers.
    fn take_here(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        system: Option<Pinned<'_>>,
        next: Next,
    ) {
        // The queue of a socket that is closed is stopped, and gives no turn.
        let completed = match system {
            Some(system) => self.take(socket, direction, system, next),
            None => {
                self.settle(socket, direction, next);
                None
            }
        };
        socket.runtime.post_completed(completed);
    }

    /// The thread that waits for `operation` leaves. Returns true if one that follows is to poll.
    pub(crate) fn leave(&self, socket: &Arc<SocketInner>, operation: &Handle, polls: bool) -> bool {
        let direction = operation.direction();
        let (next, is_followed) = socket.queue(direction).leave(operation, polls);
        self.settle(socket, direction, next);
        is_followed
    }

    /// The thread that was to poll does not, for a while.
    pub(crate) fn tell(&self, socket: &Arc<SocketInner>, direction: Direction) {
        self.settle(socket, direction, socket.queue(direction).tell());
    }

    /// No thread is there to poll.
    pub(crate) fn hand_over(&self, socket: &Arc<SocketInner>, direction: Direction) {
        self.settle(socket, direction, socket.queue(direction).hand_over());
    }

    /// The driver reports that `direction` may be able to make progress. If the turn completes an operation with a
    /// callback, that is the caller's to deliver.
    #[must_use = "its callback is still to be run"]
    #[inline(always)]
    fn ready(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        stays_ready: bool,
    ) -> Option<Owner> {
        // A socket that is closed has stopped its queues.
        let system = socket.descriptor.pin()?;
        let next = socket.queue(direction).ready(stays_ready);
        // A report that the engine has not made ends a wait that the engine does not know to be over. As in `ready_here`.
        #[cfg(feature = "testing")]
        if socket.faults.is_some() {
            self.source.wait_ended(socket);
        }
        self.take(socket, direction, system, next)
    }

    /// Takes the turn if the queue gives one. Returns as [`ready`](Self::ready).
    #[inline(always)]
    fn take(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        system: Pinned<'_>,
        next: Next,
    ) -> Option<Owner> {
        match next {
            Next::Attempt(operation) => self.advance(socket, direction, operation, system),
            next => {
                drop(system);
                self.settle(socket, direction, next);
                None
            }
        }
    }

    /// Attempts an operation and moves its direction on. `system` was pinned before the queue gave the operation
    /// (invariant 1). Returns as [`ready`](Self::ready).
    fn advance(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        mut operation: Owner,
        system: Pinned<'_>,
    ) -> Option<Owner> {
        let (runtime, queue) = (&*socket.runtime, socket.queue(direction));
        loop {
            #[cfg(feature = "testing")]
            if let Some(faults) = &socket.faults {
                let may_pass =
                    operation.deadline().is_some() && operation.cancel_reason().is_none();
                if may_pass && faults.deadline_passes(direction) {
                    operation.handle().cancel(CancelReason::TimedOut);
                }
            }
            let next = match operation.attempt(Call { socket, system: &system }) {
                Attempted::Done { drained, is_partly_done: false } => {
                    operation.settle(runtime, || socket.order_of_taken(direction));
                    let next = queue.done(drained);
                    drop(system);
                    match next {
                        // Nothing to drop: the compiler does not see that.
                        Next::Nothing => mem::forget(next),
                        next => self.settle(socket, direction, next),
                    }
                    return complete(runtime, operation);
                }
                // It has failed halfway: the peer would misread what follows the gap.
                Attempted::Done { is_partly_done: true, .. } => {
                    let behind = queue.stop(Aborted::Broken);
                    socket.reset_when_closed(&system);
                    drop(system);
                    let behind = Failing::share(runtime, aborted(socket, behind, Aborted::Broken));
                    let completed = complete(runtime, operation);
                    if let Some(behind) = behind {
                        behind.finish(runtime);
                    }
                    return completed;
                }
                Attempted::WouldBlock(how) => queue.blocked(operation, how),
                Attempted::Yielded => queue.yielded(operation),
            };
            operation = match next {
                // Readiness was reported during the attempt.
                Next::Attempt(operation) => operation,
                Next::Abort(all, reason) => {
                    // The direction moves on before it is aborted (invariant 2).
                    self.settle(socket, direction, queue.done(true));
                    abort(socket, Some(system), all, reason);
                    return None;
                }
                next => {
                    drop(system);
                    self.settle(socket, direction, next);
                    return None;
                }
            };
        }
    }

    /// Does what the queue asks for, when that is no attempt.
    #[inline]
    fn settle(&self, socket: &Arc<SocketInner>, direction: Direction, next: Next) {
        match next {
            Next::Nothing => {}
            Next::WaitFor(ticket) => self.wait_for(socket, direction, ticket),
            Next::AskThenWaitFor(ticket) => {
                if receives_no_more(socket, direction) {
                    self.look_again(socket, direction);
                } else {
                    self.wait_for(socket, direction, ticket);
                }
            }
            Next::WaitHere => self.refuse_accepts_late(socket, direction),
            Next::Schedule => schedule(socket, direction),
            Next::Rest(milliseconds) => self.rest(socket, direction, milliseconds),
            Next::Abort(all, reason) => abort(socket, socket.descriptor.pin(), all, reason),
            Next::Attempt(operation) => {
                unreachable!("a thread that is not here for a turn attempts nothing: {operation:?}")
            }
        }
    }

    /// Has a worker take a turn when so much time has passed, and look after the direction again.
    #[cold]
    fn rest(&self, socket: &Arc<SocketInner>, direction: Direction, milliseconds: u64) {
        if receives_no_more(socket, direction) {
            return self.look_again(socket, direction);
        }
        let queue = socket.queue(direction);
        // The address of the queue is that of nothing else that has a deadline.
        let identity = ptr::from_ref(queue).addr();
        let entry = Timed::Rest(socket.number, direction);
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        socket.runtime.watch(deadline, identity, entry);
        self.refuse_accepts_late(socket, direction);
    }

    fn wait_for(&self, socket: &Arc<SocketInner>, direction: Direction, ticket: Ticket) {
        #[cfg(feature = "testing")]
        let waited = match &socket.faults {
            Some(faults) => faults.wait(|| socket.report_ready(direction)),
            None => Ok(()),
        }
        .and_then(|()| self.source.wait_for(socket, direction, ticket));
        #[cfg(not(feature = "testing"))]
        let waited = self.source.wait_for(socket, direction, ticket);
        if let Err(error) = waited {
            fail_both_waiters(socket, &error);
        }
        self.refuse_accepts_late(socket, direction);
    }

    /// A drain has not found an accept that was being attempted. (A shutdown needs no look: it stops the queues of
    /// every socket that was made before it, and who made this one later has seen that it has begun.)
    fn refuse_accepts_late(&self, socket: &Arc<SocketInner>, direction: Direction) {
        if direction == Direction::Receive
            && socket.runtime.refuses_accepts()
            && socket.is_listener()
        {
            self.refuse_accepts(socket);
        }
    }
}

impl<S: WaitSource> Driver for TryFirst<S> {
    fn engine(&self) -> Engine {
        self.source.engine()
    }

    fn start(&self, socket: &Arc<SocketInner>, operation: Owner) {
        let runtime = &*socket.runtime;
        if runtime.is_stopping() {
            return operation.fail(runtime, Aborted::ShutDown.into());
        }
        if operation.is_accept() {
            return self.start_accept(socket, operation);
        }
        self.start_any(socket, operation);
    }

    fn start_later(&self, socket: &Arc<SocketInner>, operation: Owner) {
        let direction = operation.direction();
        let next = socket.queue(direction).begin(operation, false);
        self.settle(socket, direction, next);
    }

    fn cancel(&self, socket: &Arc<SocketInner>, direction: Direction, operation: &Handle) {
        let queue = socket.queue(direction);
        #[cfg(feature = "testing")]
        if socket.faults.as_ref().is_some_and(SocketFaults::cancels_late) {
            socket.runtime.post_completed(self.ready(socket, direction, false));
        }
        // Pinned before the queue is broken, if it is, so that a close in between still resets the connection.
        let system = socket.descriptor.pin();
        let next = queue.cancel(operation);
        let has_ended = queue.ticket().is_none();
        if let Next::Abort(all, reason) = next {
            let all = reset_if_unfinished(socket, system, all, reason);
            // The wait for the operation may have been left to its own thread, which will not come.
            self.settle(socket, direction, queue.hand_over());
            Failing::fail_all(&socket.runtime, aborted(socket, all, reason));
        }
        if has_ended {
            self.source.wait_ended(socket);
        }
    }

    fn take_turn(&self, socket: &Arc<SocketInner>, direction: Direction) -> Option<Owner> {
        let system = socket.descriptor.pin()?;
        self.take(socket, direction, system, socket.queue(direction).take_turn())
    }

    fn look_again(&self, socket: &Arc<SocketInner>, direction: Direction) {
        if let Next::Schedule = socket.queue(direction).look_again() {
            // As in `ready_here`.
            self.source.wait_ended(socket);
            schedule(socket, direction);
        }
    }

    fn given_back(&self, socket: &Arc<SocketInner>) {
        self.look_again(socket, Direction::Receive);
        if socket.receive.is_closed() {
            // Its connections are closed with a listener, as those are that the system holds for it.
            drop(socket.unread.take_all());
        }
    }

    fn refuse_accepts(&self, socket: &Arc<SocketInner>) {
        let queue = socket.queue(Direction::Receive);
        let next = queue.remove_if(Owner::is_accept, Aborted::ShutDown);
        let has_ended = queue.ticket().is_none();
        self.settle(socket, Direction::Receive, next);
        if has_ended {
            self.source.wait_ended(socket);
        }
    }

    fn release(&self, socket: &SocketInner) -> io::Result<socket2::Socket> {
        let Some(system) = socket.descriptor.pin() else { return Err(Aborted::Closed.into()) };
        let duplicate = system.try_clone()?;
        drop(system);
        end(socket, Aborted::Released);
        self.source.forget(socket);
        if !socket.descriptor.close_shared() {
            // Somebody else has closed it meanwhile, or has it. Then this one may be the last that closes.
            System::close(duplicate);
            return Err(Aborted::Closed.into());
        }
        self.source.wait_ended(socket);
        // A call under way shares its mode with the duplicate: making that blocking would make the call block.
        while !socket.descriptor.is_free() {
            thread::yield_now();
        }
        Ok(duplicate)
    }

    fn close(&self, socket: &SocketInner) {
        end(socket, Aborted::Closed);
        drop(socket.unread.take_all());
        self.source.forget(socket);
        socket.descriptor.close();
        self.source.wait_ended(socket);
    }

    fn stop(&self, socket: &SocketInner, reason: Aborted) {
        stop(socket, reason);
    }

    fn run_report(&self, socket: &Arc<SocketInner>, report: Report) -> Option<Owner> {
        let Report { ticket, stays_ready, .. } = report;
        let mut completed = None;
        if report.receive && concerns(socket, Direction::Receive, ticket, stays_ready) {
            completed = self.ready(socket, Direction::Receive, stays_ready);
        }
        if report.send && concerns(socket, Direction::Send, ticket, false) {
            // The second turn may run a waker, or wait for a disk.
            socket.runtime.post_completed(completed.take());
            completed = self.ready(socket, Direction::Send, false);
        }
        completed
    }

    fn wait_here(
        &self,
        socket: &Arc<SocketInner>,
        operation: &Handle,
        deadline: Option<Instant>,
    ) -> Option<bool> {
        own_thread::wait(self, socket, operation, deadline)
    }

    fn forget(&self, socket: &SocketInner) {
        self.source.forget(socket);
    }

    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Work>) {
        self.source.wait(worker, wait, found);
    }

    fn wake(&self, worker: usize) {
        self.source.wake(worker);
    }

    fn take_over(&self, from: usize, to: usize) {
        self.source.take_over(from, to);
    }
}

/// Aborts everything that was begun on the socket, also what is pending at a connection that it has accepted.
fn end(socket: &SocketInner, reason: Aborted) {
    stop(socket, reason);
    if socket.is_listener() {
        for accept in socket.runtime.listeners.take_waiting(socket.number) {
            accept.cancel(CancelReason::Closed);
        }
    }
}

/// True if a report of readiness has something to tell the queue of `direction`.
///
/// `ticket`: the wait that the report is for, if it is for one.
#[inline]
pub(crate) fn concerns(
    socket: &SocketInner,
    direction: Direction,
    ticket: Option<Ticket>,
    stays_ready: bool,
) -> bool {
    let queue = socket.queue(direction);
    match ticket {
        Some(ticket) => queue.is_waiting(ticket),
        None => stays_ready || !queue.may_be_ready(),
    }
}

/// Completes an operation that an attempt has done. Returns it if its callback is still to be run.
#[inline]
fn complete(runtime: &RuntimeInner, operation: Owner) -> Option<Owner> {
    #[cfg(feature = "testing")]
    let operation = runtime.delay_completion(operation)?;
    operation.complete_here(runtime)
}

/// Has a worker take a turn.
#[cold]
fn schedule(socket: &Arc<SocketInner>, direction: Direction) {
    socket.runtime.post(Work::Turn { socket: socket.number, direction });
}

/// The system has reported readiness in vain. Returns true if it is because the socket was shut down for receiving,
/// and that is news.
#[cold]
fn receives_no_more(socket: &SocketInner, direction: Direction) -> bool {
    direction == Direction::Receive
        && socket.descriptor.pin().is_some_and(|system| socket.has_ended_receiving(&system))
}

/// The driver cannot wait for one direction. The other may be relying on what has just failed.
#[cold]
fn fail_both_waiters(socket: &SocketInner, error: &io::Error) {
    for queue in [&socket.receive, &socket.send] {
        give_up(socket, queue, error);
    }
}

/// The operations that wait there fail, since the driver cannot wait for them.
fn give_up(socket: &SocketInner, queue: &OperationQueue, error: &io::Error) {
    // As in `cancel`.
    let system = socket.descriptor.pin();
    let mut waiting = queue.give_up();
    let is_broken = waiting.first_mut(Owner::is_partly_done) == Some(true);
    if let Some(system) = system.as_ref().filter(|_| is_broken) {
        socket.reset_when_closed(system);
    }
    drop(system);
    let mut is_first = true;
    let all = waiting.map(|operation| {
        let fails_itself = mem::take(&mut is_first) || !is_broken;
        let error = if fails_itself { error_like(error) } else { Aborted::Broken.into() };
        (operation, error)
    });
    Failing::fail_all(&socket.runtime, all);
}

/// Stops both directions and aborts what is pending there.
pub(crate) fn stop(socket: &SocketInner, reason: Aborted) {
    for direction in [Direction::Send, Direction::Receive] {
        let system = socket.descriptor.pin();
        let all = socket.queue(direction).stop(reason);
        abort(socket, system, all, reason);
    }
}

/// Completes operations as aborted; one that was canceled says so, whatever `reason` the others have. None completes
/// under the pin (invariant 2).
#[cold]
fn abort(socket: &SocketInner, system: Option<Pinned<'_>>, all: Line<Owner>, reason: Aborted) {
    let all = reset_if_unfinished(socket, system, all, reason);
    Failing::fail_all(&socket.runtime, aborted(socket, all, reason));
}

/// Has the close of the socket reset the connection if one of these is an unfinished send, and lets go of the
/// descriptor.
fn reset_if_unfinished(
    socket: &SocketInner,
    system: Option<Pinned<'_>>,
    all: Line<Owner>,
    reason: Aborted,
) -> Line<Owner> {
    let Some(system) = system else { return all };
    let (mut looked_at, mut is_unfinished) = (Line::new(), false);
    for mut operation in all {
        let reason = reason_of(&operation, reason);
        let ends_the_socket =
            matches!(reason, Aborted::Closed | Aborted::Released | Aborted::ShutDown);
        is_unfinished |= operation.is_send() && (ends_the_socket || operation.is_partly_done());
        looked_at.add(operation);
    }
    if is_unfinished {
        socket.reset_when_closed(&system);
    }
    looked_at
}

/// The operations, each with its error. Notes those that a shutdown ends.
fn aborted(
    socket: &SocketInner,
    all: Line<Owner>,
    reason: Aborted,
) -> impl Iterator<Item = (Owner, io::Error)> {
    all.map(move |operation| {
        let reason = reason_of(&operation, reason);
        if reason == Aborted::ShutDown {
            socket.runtime.note_interrupted(&operation, Some(socket));
        }
        (operation, reason.into())
    })
}

fn reason_of(operation: &Owner, reason: Aborted) -> Aborted {
    operation.cancel_reason().map_or(reason, Aborted::from)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::base::operation_queue::CancelReason;
    use crate::state::body;
    use crate::{Engine, Operation, Runtime, op};
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::time::Duration;

    /// A synchronous operation that is canceled before its thread comes leaves the one behind it to the engine.
    #[test]
    fn a_thread_that_never_comes_leaves_no_operation_unwaited_for() {
        for engine in [Engine::Blocking, Engine::Readiness] {
            let runtime = Runtime::builder().engine(engine).workers(2).build().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = runtime.tcp_v4().unwrap();
            socket.connect(listener.local_addr().unwrap()).unwrap();
            let (mut peer, _) = listener.accept().unwrap();
            // As a synchronous call does.
            let work = op::Receive::new([0; 1]);
            let (operation, pending) = body::start(Some(socket.inner()), None, work);
            operation.thread_comes();
            socket.inner().runtime.driver.start(socket.inner(), operation);
            let (report, received) = mpsc::channel();
            socket.begin_receive(vec![0; 1], move |_| report.send(()).unwrap(), ());
            pending.handle().cancel(CancelReason::TimedOut);
            assert!(Operation::new(pending).wait().result.is_err());
            peer.write_all(b"x").unwrap();
            received.recv_timeout(Duration::from_secs(20)).unwrap();
        }
    }
}
