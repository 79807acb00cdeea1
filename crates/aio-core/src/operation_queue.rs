//! The operations of one socket in one direction: whose turn it is, and when to try.
//!
//! Operations take effect in the order of their begin calls (I5), so only the first may be
//! attempted, by one thread at a time, while the others stand in line:
//!
//! ```text
//!            begin                    done, nobody in line
//!   ┌──────┐ ─────────────▶ ┌────────────┐ ─────────────▶ Idle
//!   │ Idle │                │ Attempting │ ◀───────────┐
//!   └──────┘                └────────────┘             │ ready / take_turn
//!       │ begin, known          │        │ yielded  ┌───────────┐
//!       │ not to be ready       │        └────────▶ │ Scheduled │
//!       │               blocked │                   └───────────┘
//!       │                       ▼                      │
//!       └──────────────▶ ┌─────────┐ ──────────────────┘
//!                        │ Waiting │
//!                        └─────────┘      stop, from every state: Stopped, for good
//! ```
//!
//! 1. *Idle*: no operation. *Attempting*: one thread holds the first operation outside the queue
//!    and calls the system without holding the lock (I8). *Waiting*: the first operation is to be
//!    attempted when readiness is reported, and the engine knows. *Scheduled*: it is to be
//!    attempted by a worker, which knows. *Stopped*: no operation, ever.
//! 2. `maybe_ready` is false exactly when the last attempt found nothing (more) to do and no
//!    readiness has been reported since that attempt began. It is cleared under the lock before an
//!    attempt and set by a report at any time: a report that arrives during an attempt makes it be
//!    repeated instead of getting lost, which with edge-triggered reports would be for ever.
//! 3. In *Waiting*, `maybe_ready` is false. (By 2, a report would have led elsewhere.) The engine knows of the wait
//!    (`told`), or a thread that waits for an operation polls (`polled`), or one is about to
//!    (`engine/own_thread.rs`).
//! 4. An operation is in the queue, with the attempting thread, or completed. A cancel that finds
//!    it in neither the queue nor completed leaves it to the attempting thread, which looks at the
//!    operation's `wish` under the lock before it puts it back.
//! 5. A report that finds `maybe_ready` true has nothing to do, and need not take the lock to see that: most
//!    reports for sending are of this kind, since a system that reports that there is something to be
//!    received says each time that there is room to send, too. If an attempt that clears it is about to begin,
//!    the attempt finds what was reported: had its call come before what is reported, then, by the system's own
//!    lock around the socket, the clearing would have happened before the report, and been seen.
//!
//! The lock is held for a few instructions, never across a system call, a callback or the drop of
//! something a user gave us (I8): whatever leaves the queue is returned to the caller.

use crate::error::Aborted;
use crate::in_flight::{Handle, Owner, Thread};
use crate::lock::{Lock, Locked};
use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Attempting,
    Waiting,
    Scheduled,
    Stopped(Aborted),
}

#[derive(Debug)]
pub(crate) struct OperationQueue {
    state: Lock<State>,
    /// Invariant 2. Written under the lock.
    maybe_ready: AtomicBool,
    /// The ticket of the wait that the queue is in, or, without [`WAITING`], of the one before. Written
    /// under the lock, read by engines that want to know whether a wait is still worth their while.
    ticket: AtomicU64,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// True once it has been reported that the direction stays ready, as it does when the peer has
    /// hung up: no further report may come, and an attempt that found little has not found all.
    stays_ready: bool,
    /// In *Waiting*: true if the engine knows. Invariant 3.
    told: bool,
    /// True while a thread that waits for an operation of this line polls.
    polled: bool,
    /// True if there may be others, of which one is to poll when it leaves.
    followed: bool,
    /// True while the thread that polled takes a turn: then it polls again, or leaves, or tells the engine.
    in_turn: bool,
    line: Line,
}

/// First in, first out. One operation, the common case, takes no allocation, and two words.
#[derive(Debug, Default)]
struct Line {
    /// `None` exactly when there is nobody in line.
    first: Option<Owner>,
    /// `None` until there is a second one for the first time.
    #[expect(
        clippy::box_collection,
        reason = "a socket has two lines, nearly always without a second"
    )]
    rest: Option<Box<VecDeque<Owner>>>,
}

impl Line {
    #[inline]
    fn push_back(&mut self, operation: Owner) {
        if self.first.is_none() {
            self.first = Some(operation);
        } else {
            self.queue_up(operation);
        }
    }

    #[cold]
    fn queue_up(&mut self, operation: Owner) {
        self.rest().push_back(operation);
    }

    fn push_front(&mut self, operation: Owner) {
        if let Some(second) = self.first.replace(operation) {
            self.rest().push_front(second);
        }
    }

    #[inline]
    fn pop_front(&mut self) -> Option<Owner> {
        let first = self.first.take();
        if let Some(rest) = &mut self.rest {
            self.first = rest.pop_front();
        }
        first
    }

    fn remove(&mut self, handle: &Handle) -> Option<Owner> {
        if self.first.as_ref().is_some_and(|first| first.is_of(handle)) {
            return self.pop_front();
        }
        let rest = self.rest.as_mut()?;
        let position = rest.iter().position(|operation| operation.is_of(handle))?;
        rest.remove(position)
    }

    fn drain(&mut self) -> Vec<Owner> {
        let rest = self.rest.iter_mut().flat_map(|rest| rest.drain(..));
        self.first.take().into_iter().chain(rest).collect()
    }

    fn rest(&mut self) -> &mut VecDeque<Owner> {
        self.rest.get_or_insert_default()
    }
}

/// In the ticket of a wait that is not over.
const WAITING: Ticket = 1;

/// Identifies one stay in *Waiting*, so that an engine can tell whether it is over.
pub(crate) type Ticket = u64;

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Attempt this operation, then report what came of it.
    Attempt(Owner),
    /// Have the engine wait until the direction can make progress.
    WaitFor(Ticket),
    /// Nothing: a thread polls until the direction can make progress, or is about to.
    WaitHere,
    /// Have a worker call [`OperationQueue::take_turn`].
    Schedule,
    /// Complete these as aborted.
    Abort(Box<Abort>),
    /// Nothing; somebody else will, or there is nothing to do.
    Nothing,
}

/// What a thread is to do that is here to poll.
#[derive(Debug)]
pub(crate) enum Here {
    Poll,
    /// Another thread polls: wait until it leaves.
    Follow,
    /// It takes a turn that a worker was asked for.
    Turn(Next),
}

/// Operations to be completed as aborted, in this order; those that were canceled say so themselves.
///
/// Boxed in a [`Next`], so that the others, which every operation comes by, are two words.
#[derive(Debug)]
pub(crate) struct Abort {
    pub(crate) operations: Vec<Owner>,
    pub(crate) reason: Aborted,
}

impl Next {
    #[cold]
    fn abort(operations: Vec<Owner>, reason: Aborted) -> Self {
        Self::Abort(Box::new(Abort { operations, reason }))
    }
}

impl OperationQueue {
    pub(crate) fn new() -> Self {
        Self {
            state: Lock::new(State {
                phase: Phase::Idle,
                stays_ready: false,
                told: false,
                polled: false,
                followed: false,
                in_turn: false,
                line: Line::default(),
            }),
            maybe_ready: AtomicBool::new(true),
            ticket: AtomicU64::new(0),
        }
    }

    #[inline]
    fn lock(&self) -> Locked<'_, State> {
        self.state.lock()
    }

    /// Returns true while the queue is in the wait with this ticket.
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.ticket.load(Ordering::Relaxed) == ticket
    }

    /// A new operation. `go_on`: the caller may attempt it itself.
    #[inline]
    pub(crate) fn begin(&self, operation: Owner, go_on: bool) -> Next {
        let mut state = self.lock();
        match state.phase {
            Phase::Stopped(reason) => Next::abort(vec![operation], reason),
            // Its deadline has passed before it got here.
            _ if operation.wish().is_some() => self.abort(&mut state, operation),
            Phase::Idle => {
                state.line.push_back(operation);
                self.next(&mut state, go_on)
            }
            Phase::Attempting | Phase::Waiting | Phase::Scheduled => {
                state.line.push_back(operation);
                Next::Nothing
            }
        }
    }

    /// The attempt is over and so is its operation. `drained`: another attempt would find nothing.
    /// `go_on`: the caller may attempt the next one itself.
    #[inline]
    pub(crate) fn done(&self, drained: bool, go_on: bool) -> Next {
        let mut state = self.lock();
        if !drained || state.stays_ready {
            self.maybe_ready.store(true, Ordering::Relaxed);
        }
        match state.phase {
            Phase::Stopped(_) => Next::Nothing,
            _ => self.next(&mut state, go_on),
        }
    }

    /// The attempt of `operation` found that it would have to wait.
    pub(crate) fn blocked(&self, operation: Owner) -> Next {
        let mut state = self.lock();
        match self.put_back(&mut state, operation) {
            Some(abort) => abort,
            None => self.next(&mut state, true),
        }
    }

    /// The attempt of `operation` stopped to let others have their turn.
    pub(crate) fn yielded(&self, operation: Owner) -> Next {
        let mut state = self.lock();
        self.maybe_ready.store(true, Ordering::Relaxed);
        match self.put_back(&mut state, operation) {
            Some(abort) => abort,
            None => self.next(&mut state, false),
        }
    }

    /// The engine reports that the direction may be able to make progress.
    #[inline]
    pub(crate) fn ready(&self, stays_ready: bool) -> Next {
        if !stays_ready && self.maybe_ready.load(Ordering::Relaxed) {
            // Invariant 5.
            return Next::Nothing;
        }
        let mut state = self.lock();
        self.maybe_ready.store(true, Ordering::Relaxed);
        state.stays_ready |= stays_ready;
        match state.phase {
            Phase::Waiting => self.next(&mut state, true),
            _ => Next::Nothing,
        }
    }

    /// The worker that was asked by [`Next::Schedule`] is here.
    pub(crate) fn take_turn(&self) -> Next {
        let mut state = self.lock();
        match state.phase {
            Phase::Scheduled => self.next(&mut state, true),
            _ => Next::Nothing,
        }
    }

    /// The thread that waits for `operation`, which is in line, is here to poll.
    pub(crate) fn poll_here(&self, operation: &Handle, may_be_followed: bool) -> Here {
        let mut state = self.lock();
        operation.thread_is_here();
        state.followed |= may_be_followed;
        state.in_turn = state.phase == Phase::Scheduled;
        if state.in_turn {
            return Here::Turn(self.next(&mut state, true));
        }
        if mem::replace(&mut state.polled, true) {
            state.followed = true;
            return Here::Follow;
        }
        Here::Poll
    }

    /// The thread that polls has seen the direction ready, and polls no longer. Returns true, too, if this ends a
    /// wait that the engine knows.
    ///
    /// A report that comes during an attempt changes nothing: the thread polls again.
    pub(crate) fn ready_here(&self) -> (Next, bool) {
        let mut state = self.lock();
        (state.polled, state.in_turn) = (false, true);
        match state.phase {
            Phase::Waiting => {
                self.maybe_ready.store(true, Ordering::Relaxed);
                let told = state.told;
                (self.next(&mut state, true), told)
            }
            Phase::Scheduled => (self.next(&mut state, true), false),
            _ => (Next::Nothing, false),
        }
    }

    /// The thread that waits for `operation` leaves; `polls`: it was the one that polls. Returns true, too, if a
    /// thread that follows is to poll, for which the wait is left; if there is none, [`hand_over`](Self::hand_over).
    pub(crate) fn leave(&self, operation: &Handle, polls: bool) -> (Next, bool) {
        let mut state = self.lock();
        operation.thread_leaves();
        state.in_turn = false;
        if polls {
            state.polled = false;
        }
        if state.polled {
            return (Next::Nothing, false);
        }
        if mem::take(&mut state.followed) {
            return (Next::Nothing, true);
        }
        (self.look_for_waiter(&mut state), false)
    }

    /// The thread that was to poll does not, for a while, and those that follow do not know: the engine waits.
    pub(crate) fn tell(&self) -> Next {
        let mut state = self.lock();
        state.in_turn = false;
        self.look_for_waiter(&mut state)
    }

    /// No thread is there to poll: the engine waits, if there is something to wait for.
    pub(crate) fn hand_over(&self) -> Next {
        self.look_for_waiter(&mut self.lock())
    }

    /// Takes the operation out if it is in line; if it is being attempted, its `wish`
    /// tells the attempting thread.
    pub(crate) fn cancel(&self, handle: &Handle) -> Next {
        let mut state = self.lock();
        let Some(operation) = state.line.remove(handle) else { return Next::Nothing };
        if state.line.first.is_none() && state.phase != Phase::Attempting {
            self.enter(&mut state, Phase::Idle);
        }
        self.abort(&mut state, operation)
    }

    /// Takes out those in line of which `is_over` is true; not one that is being attempted.
    pub(crate) fn take_out(&self, is_over: impl Fn(&Owner) -> bool, reason: Aborted) -> Next {
        let mut state = self.lock();
        let (out, rest): (Vec<_>, Vec<_>) = state.line.drain().into_iter().partition(is_over);
        rest.into_iter().for_each(|operation| state.line.push_back(operation));
        if out.is_empty() {
            return Next::Nothing;
        }
        if state.line.first.is_none() && state.phase != Phase::Attempting {
            self.enter(&mut state, Phase::Idle);
        }
        Next::abort(out, reason)
    }

    /// Takes everything out for good. Also returns true if a thread is attempting an operation: it learns of
    /// this when it comes back.
    pub(crate) fn stop(&self, reason: Aborted) -> (Abort, bool) {
        let mut state = self.lock();
        let is_attempting = state.phase == Phase::Attempting;
        if !matches!(state.phase, Phase::Stopped(_)) {
            self.enter(&mut state, Phase::Stopped(reason));
        }
        (Abort { operations: state.line.drain(), reason }, is_attempting)
    }

    /// Takes everybody out that the engine waits for: it cannot. If the first has done its work by
    /// halves, nothing can follow it.
    pub(crate) fn give_up(&self) -> Vec<Owner> {
        let mut state = self.lock();
        if state.phase != Phase::Waiting || !state.told {
            return Vec::new();
        }
        let mut waiting = state.line.drain();
        if waiting.first_mut().is_some_and(Owner::is_partly_done) {
            self.enter(&mut state, Phase::Stopped(Aborted::Broken));
        } else {
            self.enter(&mut state, Phase::Idle);
            self.maybe_ready.store(true, Ordering::Relaxed);
        }
        waiting
    }

    /// True while a thread attempts an operation. What it has done before is visible once this is false.
    pub(crate) fn is_attempting(&self) -> bool {
        self.lock().phase == Phase::Attempting
    }

    /// True if an operation ended halfway here, so that nothing can follow it.
    pub(crate) fn is_broken(&self) -> bool {
        self.lock().phase == Phase::Stopped(Aborted::Broken)
    }

    /// Returns the ticket of the wait that the queue is in.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        Some(self.ticket.load(Ordering::Relaxed)).filter(|ticket| ticket & WAITING != 0)
    }

    fn put_back(&self, state: &mut State, operation: Owner) -> Option<Next> {
        match state.phase {
            Phase::Stopped(reason) => Some(Next::abort(vec![operation], reason)),
            _ if operation.wish().is_some() => Some(self.abort(state, operation)),
            _ => {
                state.line.push_front(operation);
                None
            }
        }
    }

    /// Aborts a canceled operation, and with it those that cannot go on without it.
    fn abort(&self, state: &mut State, mut operation: Owner) -> Next {
        if operation.is_partly_done() {
            self.enter(state, Phase::Stopped(Aborted::Broken));
            let mut all = vec![operation];
            all.append(&mut state.line.drain());
            return Next::abort(all, Aborted::Broken);
        }
        Next::abort(vec![operation], Aborted::Canceled)
    }

    /// Decides what becomes of the first in line. Entered in every phase but *Stopped*.
    fn next(&self, state: &mut State, go_on: bool) -> Next {
        if state.line.first.is_none() {
            self.enter(state, Phase::Idle);
            return Next::Nothing;
        }
        if !self.maybe_ready.load(Ordering::Relaxed) {
            self.enter(state, Phase::Waiting);
            return self.wait(state);
        }
        if !go_on {
            self.enter(state, Phase::Scheduled);
            return Next::Schedule;
        }
        self.enter(state, Phase::Attempting);
        self.maybe_ready.store(false, Ordering::Relaxed);
        Next::Attempt(state.line.pop_front().expect("somebody is in line"))
    }

    fn look_for_waiter(&self, state: &mut State) -> Next {
        match state.phase {
            Phase::Waiting if !state.told => self.wait(state),
            _ => Next::Nothing,
        }
    }

    /// Decides who waits, in *Waiting*: invariant 3.
    fn wait(&self, state: &mut State) -> Next {
        let will_poll = match state.line.first.as_ref().and_then(Owner::thread) {
            Some(Thread::Coming) => true,
            // When the turn is over, another thread polls: this one perhaps.
            Some(Thread::Here) => state.in_turn && state.followed,
            None => false,
        };
        state.told = !state.polled && !will_poll;
        if state.told { Next::WaitFor(self.ticket.load(Ordering::Relaxed)) } else { Next::WaitHere }
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        let last = self.ticket.load(Ordering::Relaxed) & !WAITING;
        let ticket = if phase == Phase::Waiting { (last + 2 * WAITING) | WAITING } else { last };
        self.ticket.store(ticket, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_flight::{self, Wish};
    use crate::{Runtime, Socket, op};

    fn operation(socket: &Socket) -> (Owner, Handle) {
        in_flight::begin(Some(socket.inner()), None, op::Receive::new([0; 1]), |_| {}, ())
    }

    fn attempted(next: Next) -> Owner {
        match next {
            Next::Attempt(operation) => operation,
            next => panic!("{next:?}"),
        }
    }

    /// Invariant 4.
    #[test]
    fn a_cancel_during_an_attempt_is_found_when_it_comes_back() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let socket = runtime.tcp_v4().unwrap();
        for yielded in [false, true] {
            let queue = OperationQueue::new();
            let (owner, handle) = operation(&socket);
            let owner = attempted(queue.begin(owner, true));
            assert!(matches!(queue.begin(operation(&socket).0, true), Next::Nothing));
            handle.cancel(Wish::Cancel);
            let next = if yielded { queue.yielded(owner) } else { queue.blocked(owner) };
            assert!(matches!(
                next,
                Next::Abort(abort)
                    if abort.operations.len() == 1 && abort.reason == Aborted::Canceled
            ));
            // The one behind it has its turn, or waits, as if the first had never been.
            let next = queue.done(true, true);
            assert!(matches!(
                (yielded, next),
                (true, Next::Attempt(_)) | (false, Next::WaitFor(_))
            ));
        }
    }

    /// Invariant 2.
    #[test]
    fn a_report_during_an_attempt_makes_it_be_repeated() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let socket = runtime.tcp_v4().unwrap();
        let queue = OperationQueue::new();
        let owner = attempted(queue.begin(operation(&socket).0, true));
        assert!(matches!(queue.ready(false), Next::Nothing));
        let owner = attempted(queue.blocked(owner));
        assert!(matches!(queue.blocked(owner), Next::WaitFor(_)));
    }
}
