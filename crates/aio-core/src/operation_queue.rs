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
//! *Resting*, which is not drawn, lies between *Attempting* and *Waiting*: see invariant 6.
//!
//! 1. *Idle*: no operation. *Attempting*: one thread holds the first operation outside the queue
//!    and calls the system without holding the lock (I8). *Waiting*: the first operation is to be
//!    attempted when readiness is reported, and the engine knows. *Scheduled*: it is to be
//!    attempted by a worker, which knows. *Stopped*: no operation, ever.
//! 2. `maybe_ready` is false exactly when the last attempt found nothing (more) to do and no
//!    readiness has been reported since that attempt began. It is cleared under the lock before an
//!    attempt and set by a report at any time: a report that arrives during an attempt makes it be
//!    repeated instead of getting lost, which with edge-triggered reports would be for ever.
//! 3. In *Waiting*, `maybe_ready` is false. (By 2, a report would have led elsewhere.)
//! 4. An operation is in the queue, with the attempting thread, or completed. A cancel that finds
//!    it in neither the queue nor completed leaves it to the attempting thread, which looks at the
//!    operation's `wish` under the lock before it puts it back.
//! 5. A report that finds `maybe_ready` true has nothing to do, and need not take the lock to see that: most
//!    reports for sending are of this kind, since a system that reports that there is something to be
//!    received says each time that there is room to send, too. If an attempt that clears it is about to begin,
//!    the attempt finds what was reported: had its call come before what is reported, then, by the system's own
//!    lock around the socket, the clearing would have happened before the report, and been seen.
//! 6. `in_vain` counts the attempts in a row that could do nothing. Some are ordinary: a report may be late, or
//!    be meant for another. More than [`PATIENCE`] of them mean that the system reports readiness for as long as
//!    the call has to wait, or that it does not report at all. From then on the direction *rests* after each
//!    such attempt: the engine does not wait for it, a report is only remembered (in `maybe_ready`), and a timer
//!    ends the rest. Then the operation is attempted if there was a report, and else waits as usual. A rest is
//!    twice as long as the one before, up to [`LONGEST_REST`]; the first success ends that. So no state of a
//!    socket costs more than some sixty attempts per second, and what can go on again does so within one rest.
//!
//! The lock is held for a few instructions, never across a system call, a callback or the drop of
//! something a user gave us (I8): whatever leaves the queue is returned to the caller.

use crate::error::Aborted;
use crate::in_flight::{Handle, Owner};
use crate::lock::{Lock, Locked};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Attempting,
    Waiting,
    Scheduled,
    /// The first operation is looked after again when the rest is over: a timer has an entry for it.
    Resting,
    Stopped(Aborted),
}

/// How many attempts in a row may be in vain before the direction rests.
const PATIENCE: u8 = 4;

const FIRST_REST: Duration = Duration::from_millis(1);

const LONGEST_REST: Duration = Duration::from_millis(16);

/// Why an attempt leaves its operation pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// It could do nothing. The system reports when it can.
    InVain,
    /// It has done a part. The system reports when it can do more.
    Advanced,
    /// It could do nothing, and the system may not report when it can.
    Unreported,
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
    /// Invariant 6.
    in_vain: u8,
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
    /// The same; but it has been reported that the direction stays ready, and yet there was nothing. If the system
    /// knows why, no further report may come.
    AskThenWaitFor(Ticket),
    /// Have a worker call [`OperationQueue::take_turn`].
    Schedule,
    /// Have a worker call [`OperationQueue::take_turn`] when so much time has passed.
    Rest(Rest),
    /// Complete these as aborted.
    Abort(Box<Abort>),
    /// Nothing; somebody else will, or there is nothing to do.
    Nothing,
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
                in_vain: 0,
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
                self.next_of_some(&mut state, go_on)
            }
            Phase::Attempting | Phase::Waiting | Phase::Scheduled | Phase::Resting => {
                state.line.push_back(operation);
                Next::Nothing
            }
        }
    }

    /// The attempt is over and so is its operation. `drained`: another attempt would find nothing.
    /// `go_on`: the caller may attempt the next one itself.
    #[inline(always)]
    pub(crate) fn done(&self, drained: bool, go_on: bool) -> Next {
        let mut state = self.lock();
        state.in_vain = 0;
        if !drained || state.stays_ready {
            self.maybe_ready.store(true, Ordering::Relaxed);
        }
        match state.phase {
            Phase::Stopped(_) => Next::Nothing,
            _ => self.next(&mut state, go_on),
        }
    }

    /// The attempt of `operation` found that it would have to wait.
    pub(crate) fn blocked(&self, operation: Owner, how: Blocked) -> Next {
        let mut state = self.lock();
        state.in_vain = if how == Blocked::Advanced { 0 } else { state.in_vain.saturating_add(1) };
        if how == Blocked::Unreported {
            self.maybe_ready.store(true, Ordering::Relaxed);
        }
        if let Some(abort) = self.put_back(&mut state, operation) {
            return abort;
        }
        match Rest::after(state.in_vain) {
            Some(rest) => {
                self.enter(&mut state, Phase::Resting);
                Next::Rest(rest)
            }
            // One that is attempted again without a report lets others have their turn first.
            None => match self.next(&mut state, how != Blocked::Unreported) {
                Next::WaitFor(ticket) if state.stays_ready => Next::AskThenWaitFor(ticket),
                next => next,
            },
        }
    }

    /// The attempt of `operation` stopped to let others have their turn.
    pub(crate) fn yielded(&self, operation: Owner) -> Next {
        let mut state = self.lock();
        state.in_vain = 0;
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

    /// Something has changed that the engine does not report, and that the next attempt must see: a worker
    /// attempts the first operation, even if it rests. Unlike [`ready`](Self::ready) this always takes the lock, which
    /// orders what the caller has done before against an attempt that is about to begin.
    pub(crate) fn look_again(&self) -> Next {
        let mut state = self.lock();
        self.maybe_ready.store(true, Ordering::Relaxed);
        match state.phase {
            Phase::Waiting | Phase::Resting => self.next(&mut state, false),
            _ => Next::Nothing,
        }
    }

    /// The worker that was asked by [`Next::Schedule`] or [`Next::Rest`] is here. One that was asked for an
    /// earlier turn or rest may end this one early, once.
    pub(crate) fn take_turn(&self) -> Next {
        let mut state = self.lock();
        match state.phase {
            Phase::Scheduled | Phase::Resting => self.next(&mut state, true),
            _ => Next::Nothing,
        }
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

    /// Takes everybody out that waits: the engine cannot wait for them. If the first has done its work by
    /// halves, nothing can follow it.
    pub(crate) fn give_up(&self) -> Vec<Owner> {
        let mut state = self.lock();
        if state.phase != Phase::Waiting {
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
    #[inline]
    fn next(&self, state: &mut State, go_on: bool) -> Next {
        if state.line.first.is_none() {
            self.enter(state, Phase::Idle);
            return Next::Nothing;
        }
        self.next_of_some(state, go_on)
    }

    /// The same where there is somebody in line.
    fn next_of_some(&self, state: &mut State, go_on: bool) -> Next {
        if !self.maybe_ready.load(Ordering::Relaxed) {
            self.enter(state, Phase::Waiting);
            return Next::WaitFor(self.ticket.load(Ordering::Relaxed));
        }
        if !go_on {
            self.enter(state, Phase::Scheduled);
            return Next::Schedule;
        }
        self.enter(state, Phase::Attempting);
        self.maybe_ready.store(false, Ordering::Relaxed);
        Next::Attempt(state.line.pop_front().expect("somebody is in line"))
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        state.phase = phase;
        let last = self.ticket.load(Ordering::Relaxed) & !WAITING;
        let ticket = if phase == Phase::Waiting { (last + 2 * WAITING) | WAITING } else { last };
        self.ticket.store(ticket, Ordering::Relaxed);
    }
}

/// For how long a direction rests, as the power of two; so small for the sake of [`Next`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest(u8);

impl Rest {
    /// The rest after so many attempts in vain, if there is one.
    fn after(in_vain: u8) -> Option<Self> {
        in_vain.checked_sub(PATIENCE + 1).map(Self)
    }

    pub(crate) fn duration(self) -> Duration {
        FIRST_REST.saturating_mul(1 << self.0.min(16)).min(LONGEST_REST)
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
            let next =
                if yielded { queue.yielded(owner) } else { queue.blocked(owner, Blocked::InVain) };
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
        let owner = attempted(queue.blocked(owner, Blocked::InVain));
        assert!(matches!(queue.blocked(owner, Blocked::InVain), Next::WaitFor(_)));
    }

    /// Invariant 6.
    #[test]
    fn attempts_in_vain_rest_for_longer_and_longer_until_one_succeeds() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let socket = runtime.tcp_v4().unwrap();
        let queue = OperationQueue::new();
        let mut owner = attempted(queue.begin(operation(&socket).0, true));
        for _ in 0..PATIENCE {
            assert!(matches!(queue.blocked(owner, Blocked::InVain), Next::WaitFor(_)));
            owner = attempted(queue.ready(false));
        }
        for expected in [1, 2, 4, 8, 16, 16] {
            let Next::Rest(rest) = queue.blocked(owner, Blocked::InVain) else { panic!("no rest") };
            assert_eq!(rest.duration(), Duration::from_millis(expected));
            // A report does not end the rest, and is not lost.
            assert!(matches!(queue.ready(false), Next::Nothing));
            owner = attempted(queue.take_turn());
        }
        assert!(matches!(queue.blocked(owner, Blocked::InVain), Next::Rest(_)));
        // Without a report it waits as usual after the rest.
        assert!(matches!(queue.take_turn(), Next::WaitFor(_)));
        owner = attempted(queue.ready(false));
        assert!(matches!(queue.blocked(owner, Blocked::Advanced), Next::WaitFor(_)));
        owner = attempted(queue.ready(false));
        assert!(matches!(queue.blocked(owner, Blocked::InVain), Next::WaitFor(_)));
    }

    /// Invariant 6, of what is not reported.
    #[test]
    fn an_attempt_that_no_report_would_follow_is_made_again_after_a_rest() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let socket = runtime.tcp_v4().unwrap();
        let queue = OperationQueue::new();
        let mut owner = attempted(queue.begin(operation(&socket).0, true));
        for _ in 0..PATIENCE {
            assert!(matches!(queue.blocked(owner, Blocked::Unreported), Next::Schedule));
            owner = attempted(queue.take_turn());
        }
        assert!(matches!(queue.blocked(owner, Blocked::Unreported), Next::Rest(_)));
        let owner = attempted(queue.take_turn());
        assert!(matches!(queue.blocked(owner, Blocked::Unreported), Next::Rest(_)));
        assert!(matches!(queue.look_again(), Next::Schedule));
        attempted(queue.take_turn());
    }
}
