//! What the engines share that try an operation's call first and wait for readiness when it would
//! block.
//!
//! A *turn* is one thread going through a socket's operations in one direction: attempt the first,
//! complete it, go on to the next, until there is none, or it has to wait, or the turn has been
//! long enough. The thread that begins an operation attempts that one alone; whatever others have
//! queued meanwhile is left to a worker.

use crate::descriptor::Pinned;
use crate::error::{Aborted, error_like};
use crate::in_flight::{Attempted, Handle, Owner, Wish};
use crate::op::{Call, Direction};
use crate::operation_queue::{Abort, Next, OperationQueue, Ticket};
use crate::runtime::{Timed, Work};
use crate::socket::SocketInner;
use std::io;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How many operations of one socket and direction a worker completes before it serves others (I4).
const OPERATIONS_PER_TURN: usize = 16;

/// How many operations a thread completes that is here to begin one.
const OPERATIONS_PER_BEGIN: usize = 1;

pub(super) fn start(socket: &Arc<SocketInner>, operation: Owner) {
    let runtime = &*socket.runtime;
    let accepts = operation.is_accept();
    if runtime.is_stopping() || accepts && runtime.refuses_accepts() {
        operation.fail(runtime, Aborted::ShutDown.into());
        return;
    }
    if accepts {
        socket.is_about_to_accept();
    }
    let (direction, at_once) = (operation.direction(), !operation.may_block());
    let next = socket.queue(direction).begin(operation, at_once);
    go_on(socket, direction, next, OPERATIONS_PER_BEGIN, None);
    if accepts && runtime.refuses_accepts() {
        // A drain that looked for listeners before this one was known has passed it by.
        refuse_accepts(socket);
    }
}

/// The runtime drains: accepts that have not come to anything complete as aborted.
pub(crate) fn refuse_accepts(socket: &Arc<SocketInner>) {
    let direction = Direction::Receive;
    let queue = socket.queue(direction);
    let next = queue.take_out(Owner::is_accept, Aborted::ShutDown);
    let over = queue.ticket().is_none();
    go_on(socket, direction, next, 0, None);
    if over {
        socket.runtime.driver.wait_ended(socket);
    }
}

/// An operation comes from elsewhere: see [`Attempted::GoesOnAt`]. A worker attempts it, after what runs
/// now, so that one that goes from place to place takes no stack.
fn go_on_at(from: &SocketInner, socket: &Arc<SocketInner>, mut operation: Owner) {
    operation.go_to(socket);
    if !from.departed.add(operation.downgrade()) {
        operation.fail(&from.runtime, Aborted::Closed.into());
        return;
    }
    let direction = operation.direction();
    let next = socket.queue(direction).begin(operation, false);
    go_on(socket, direction, next, 0, None);
}

pub(super) fn cancel(socket: &Arc<SocketInner>, direction: Direction, operation: &Handle) {
    let queue = socket.queue(direction);
    #[cfg(feature = "testing")]
    if socket.runtime.injector.as_ref().is_some_and(|injector| injector.cancels_late(socket)) {
        go_on(socket, direction, queue.ready(false), OPERATIONS_PER_BEGIN, None);
    }
    // Pinned before the queue is broken, if it is, so that a close in between still resets the connection.
    let system = socket.descriptor.pin();
    let next = queue.cancel(operation);
    let over = queue.ticket().is_none();
    if let Next::Abort(all) = next {
        abort(socket, system, *all);
    }
    if over {
        socket.runtime.driver.wait_ended(socket);
    }
}

pub(super) fn close(socket: &SocketInner) {
    end(socket);
    let driver = &socket.runtime.driver;
    driver.forget(socket);
    socket.descriptor.close();
    driver.wait_ended(socket);
}

/// Aborts everything that was begun on the socket, wherever it is pending.
fn end(socket: &SocketInner) {
    stop(socket, Aborted::Closed);
    for operation in socket.departed.close() {
        operation.cancel(Wish::Close);
    }
}

/// Ends the socket here; the duplicate of its descriptor that this returns goes on.
pub(crate) fn release(socket: &SocketInner) -> io::Result<socket2::Socket> {
    let Some(system) = socket.descriptor.pin() else { return Err(Aborted::Closed.into()) };
    let duplicate = system.try_clone()?;
    drop(system);
    end(socket);
    let driver = &socket.runtime.driver;
    driver.forget(socket);
    if !socket.descriptor.close() {
        // Somebody else has closed it meanwhile, or has it.
        return Err(Aborted::Closed.into());
    }
    driver.wait_ended(socket);
    // A call under way shares its mode with the duplicate: making that blocking would make the call block.
    while !socket.descriptor.is_free() {
        thread::yield_now();
    }
    Ok(duplicate)
}

/// The driver reports that `direction` may be able to make progress.
///
/// `ticket`: the wait that the report is for, if it is for one. One that is over is not reported.
/// `first`: where the first operation that this completes is put for the caller to deliver, if there
/// is none yet.
pub(crate) fn ready(
    socket: &Arc<SocketInner>,
    direction: Direction,
    ticket: Option<Ticket>,
    stays_ready: bool,
    first: &mut Option<Owner>,
) {
    let queue = socket.queue(direction);
    if ticket.is_some_and(|ticket| !queue.is_waiting(ticket)) {
        return;
    }
    let next = queue.ready(stays_ready);
    go_on(socket, direction, next, OPERATIONS_PER_TURN, Some(first));
}

/// A worker is here for a turn that another thread left to it. `first` as for [`ready`].
pub(crate) fn take_turn(
    socket: &Arc<SocketInner>,
    direction: Direction,
    first: &mut Option<Owner>,
) {
    let next = socket.queue(direction).take_turn();
    go_on(socket, direction, next, OPERATIONS_PER_TURN, Some(first));
}

/// Does what the queue asks for until somebody else has to.
#[inline]
fn go_on(
    socket: &Arc<SocketInner>,
    direction: Direction,
    mut next: Next,
    mut operations_left: usize,
    mut first: Option<&mut Option<Owner>>,
) {
    loop {
        next = match next {
            Next::Nothing => return,
            Next::Attempt(operation) => {
                if operation.may_block() {
                    post_what_has_completed(socket, first.as_deref_mut());
                }
                operations_left = operations_left.saturating_sub(1);
                attempt(socket, direction, operation, operations_left > 0, first.as_deref_mut())
            }
            Next::WaitFor(ticket) => return wait_for(socket, direction, ticket),
            Next::AskThenWaitFor(ticket) => {
                if receives_no_more(socket, direction) {
                    return look_again(socket, direction);
                }
                return wait_for(socket, direction, ticket);
            }
            Next::Schedule => return schedule(socket, direction),
            Next::Rest(time) => return rest(socket, direction, time.duration()),
            Next::Abort(all) => {
                return abort(socket, socket.descriptor.pin(), *all);
            }
        };
    }
}

/// Before an attempt that may block: others may deliver meanwhile what has completed before.
#[cold]
fn post_what_has_completed(socket: &SocketInner, first: Option<&mut Option<Owner>>) {
    if let Some(completed) = first.and_then(Option::take) {
        socket.runtime.post(Work::Completed(completed));
    }
}

/// Has a worker take a turn.
#[cold]
fn schedule(socket: &Arc<SocketInner>, direction: Direction) {
    socket.runtime.post(Work::Turn { socket: socket.clone(), direction });
}

/// Has a worker take a turn when so much time has passed, and look after the direction again.
#[cold]
fn rest(socket: &Arc<SocketInner>, direction: Direction, time: Duration) {
    if receives_no_more(socket, direction) {
        return look_again(socket, direction);
    }
    let queue = socket.queue(direction);
    // The address of the queue is that of nothing else that has a deadline.
    let identity = ptr::from_ref(queue).addr();
    let entry = Timed::Rest(socket.number, direction);
    socket.runtime.watch(Instant::now() + time, identity, entry);
    refuse_accepts_late(socket, direction);
}

/// The system has reported readiness in vain. Returns true if it is because the socket was shut down for receiving,
/// and that is news.
#[cold]
fn receives_no_more(socket: &SocketInner, direction: Direction) -> bool {
    direction == Direction::Receive
        && socket.descriptor.pin().is_some_and(|system| socket.has_ended_receiving(&system))
}

/// Something has changed that no engine reports: a worker attempts what waits in `direction`.
pub(crate) fn look_again(socket: &Arc<SocketInner>, direction: Direction) {
    if let Next::Schedule = socket.queue(direction).look_again() {
        schedule(socket, direction);
        socket.runtime.driver.wait_ended(socket);
    }
}

fn wait_for(socket: &Arc<SocketInner>, direction: Direction, ticket: Ticket) {
    let runtime = &*socket.runtime;
    #[cfg(feature = "testing")]
    let waited = match &runtime.injector {
        Some(injector) => injector.waits(socket, direction),
        None => Ok(()),
    }
    .and_then(|()| runtime.driver.wait_for(socket, direction, ticket));
    #[cfg(not(feature = "testing"))]
    let waited = runtime.driver.wait_for(socket, direction, ticket);
    if let Err(error) = waited {
        // The other direction may be relying on what has just failed.
        for queue in [&socket.receive, &socket.send] {
            give_up(socket, queue, &error);
        }
    }
    refuse_accepts_late(socket, direction);
}

/// A drain has not found an accept that was being attempted. (A shutdown needs no look: it stops the queues of
/// every socket that was made before it, and who made this one later has seen that it has begun.)
fn refuse_accepts_late(socket: &Arc<SocketInner>, direction: Direction) {
    if direction == Direction::Receive && socket.runtime.refuses_accepts() && socket.is_listener() {
        refuse_accepts(socket);
    }
}

/// Those who wait there fail, since the driver cannot wait for them.
#[cold]
fn give_up(socket: &SocketInner, queue: &OperationQueue, error: &io::Error) {
    // As in `cancel`.
    let system = socket.descriptor.pin();
    let mut waiting = queue.give_up();
    let mut behind = Vec::new();
    if waiting.first_mut().is_some_and(Owner::is_partly_done) {
        behind = waiting.split_off(1);
        if let Some(system) = &system {
            socket.reset_when_closed(system);
        }
    }
    drop(system);
    waiting.into_iter().for_each(|operation| operation.fail(&socket.runtime, error_like(error)));
    abort(socket, None, Abort { operations: behind, reason: Aborted::Broken });
}

/// Attempts one operation and says what is next.
fn attempt(
    socket: &Arc<SocketInner>,
    direction: Direction,
    mut operation: Owner,
    go_on: bool,
    first: Option<&mut Option<Owner>>,
) -> Next {
    let (runtime, queue) = (&*socket.runtime, socket.queue(direction));
    // Held until the operation is back in the queue, so that one that is found to be stopped then
    // can still tell the peer; no longer, for wakers that run when it completes may wait for the pins.
    let Some(system) = socket.descriptor.pin() else {
        abort(socket, None, Abort { operations: vec![operation], reason: Aborted::Closed });
        return queue.done(true, go_on);
    };
    #[cfg(feature = "testing")]
    if let Some(injector) = &runtime.injector {
        if injector.deadline_passes(socket, &operation) {
            operation.handle().cancel(Wish::TimeOut);
        }
    }
    let next = match operation.attempt(Call { socket, system: &system }) {
        Attempted::Done { drained, is_partly_done } => {
            // The direction moves on before the callback can begin the next operation; unless this
            // one failed halfway, for what comes after the gap would be misread.
            let next = if is_partly_done {
                let (behind, _) = queue.stop(Aborted::Broken);
                socket.reset_when_closed(&system);
                Next::Abort(Box::new(behind))
            } else {
                queue.done(drained, go_on)
            };
            drop(system);
            #[cfg(feature = "testing")]
            let Some(operation) = runtime.keep_back_done(operation) else { return next };
            match first {
                Some(first @ None) => *first = operation.complete_here(runtime),
                _ => operation.complete(runtime),
            }
            return next;
        }
        Attempted::GoesOnAt(elsewhere) => {
            let next = queue.done(false, go_on);
            drop(system);
            go_on_at(socket, &elsewhere, operation);
            return next;
        }
        Attempted::WouldBlock(how) => queue.blocked(operation, how),
        Attempted::Yielded => queue.yielded(operation),
    };
    match next {
        Next::Abort(all) => {
            abort(socket, Some(system), *all);
            queue.done(true, go_on)
        }
        next => next,
    }
}

/// Stops both directions and aborts what is pending there.
pub(crate) fn stop(socket: &SocketInner, reason: Aborted) {
    for direction in [Direction::Send, Direction::Receive] {
        let queue = socket.queue(direction);
        let system = socket.descriptor.pin();
        let (all, is_attempting) = queue.stop(reason);
        // Who attempts a send may not have pinned the descriptor yet, and then finds it closed: too late to
        // tell the peer. (A runtime that ends closes nothing: there the attempt finds out for itself.)
        let is_too_late =
            is_attempting && reason == Aborted::Closed && direction == Direction::Send;
        if let Some(system) = system.as_ref().filter(|_| is_too_late) {
            socket.reset_when_closed(system);
        }
        abort(socket, system, all);
    }
}

/// Completes `operations` as aborted; one that was canceled says so, whatever `reason` the others
/// have. None completes under the pin: wakers run there, which may take the socket out of the runtime.
#[cold]
fn abort(socket: &SocketInner, system: Option<Pinned<'_>>, all: Abort) {
    let Abort { mut operations, reason } = all;
    let reason_of = |operation: &Owner| operation.wish().map_or(reason, Aborted::from);
    let is_unfinished = |operation: &mut Owner| {
        let ends_the_socket = matches!(reason_of(operation), Aborted::Closed | Aborted::ShutDown);
        operation.is_send() && (ends_the_socket || operation.is_partly_done())
    };
    if let Some(system) = system {
        if operations.iter_mut().any(is_unfinished) {
            socket.reset_when_closed(&system);
        }
    }
    for operation in operations {
        let reason = reason_of(&operation);
        if reason == Aborted::ShutDown {
            socket.runtime.note_interrupted(&operation, Some(socket));
        }
        operation.fail(&socket.runtime, reason.into());
    }
}
