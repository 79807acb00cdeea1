//! The operations of one socket in one direction: whose turn it is, and when to try.
//!
//! Operations take effect in the order of their begin calls (I5), so only the first may be
//! attempted, by one thread at a time, while the others stand in line:
//!
//! ```text
//!            begin                    done, no other in line
//!   ┌──────┐ ─────────────▶ ┌────────────┐ ─────────────▶ Idle
//!   │ Idle │                │ Attempting │ ◀───────────┐
//!   └──────┘                └────────────┘             │ ready / take_turn
//!       │ begin, known          │        │ yielded, ┌───────────┐
//!       │ not to be ready       │        └────────▶ │ Scheduled │
//!       │               blocked │  or others in line└───────────┘
//!       │                       ▼                      │
//!       └──────────────▶ ┌─────────┐ ──────────────────┘
//!                        │ Waiting │
//!                        └─────────┘      stop, from every state: Stopped, for good
//! ```
//!
//! *Resting*, which is not drawn, lies between *Attempting* and *Waiting*: see invariant 7.
//!
//! 1. *Idle*: no operation. *Attempting*: one thread holds the first operation outside the queue
//!    and calls the system without holding the lock (I8). *Waiting*: the first operation is to be
//!    attempted when readiness is reported, and the engine knows. *Scheduled*: it is to be
//!    attempted by a worker, which knows. *Stopped*: no operation, ever.
//! 2. `maybe_ready` is false exactly when the last attempt found nothing (more) to do and no
//!    readiness has been reported since that attempt began. It is cleared under the lock before an
//!    attempt and set by a report at any time: a report that arrives during an attempt repeats it
//!    instead of getting lost, which with edge-triggered reports would be for good.
//! 3. In *Waiting*, `maybe_ready` is false. (By 2, a report would have led elsewhere.) The engine knows of the wait
//!    (*told*), or a thread that waits for an operation polls (*polled*), or one is about to
//!    (`engine/own_thread.rs`).
//! 4. An operation is in the queue, with the attempting thread, or completed. A cancel that finds
//!    it in neither the queue nor completed leaves it to the attempting thread, which looks at the
//!    operation's `cancel_reason` under the lock before it puts it back.
//! 5. A report that finds `maybe_ready` true has nothing to do, and need not take the lock to see that: most
//!    reports for sending are of this kind, since a system that reports that there is something to be
//!    received says each time that there is room to send, too. If an attempt that clears it is about to begin, the
//!    attempt finds what was reported. The clearing comes before the attempt's call, and between the two the thread
//!    gives back the lock and makes a system call; the kernel publishes what it reports before it reports it. So a
//!    call that misses what is reported began before the report, the clearing came earlier still, and the report,
//!    which reads `maybe_ready` after a system call of its own, sees it. (This leans on system calls ordering the
//!    memory accesses around them, as they do on every system that this crate runs on; not on a lock of the
//!    kernel's, which it does not take to look at a datagram socket.)
//! 6. A thread that attempts an operation moves the direction on before it completes the operation: it leaves the
//!    queue *Idle* or *Waiting*, or has *Scheduled* a worker. Wakers and `post_to` maps run when an operation
//!    completes. One that waits for the next operation of this direction finds it where every other worker does.
//! 7. `in_vain` counts the attempts in a row that could do nothing. Some are ordinary: a report may be late, or
//!    be meant for another. More than [`PATIENCE`] of them mean that the system reports readiness for as long as
//!    the call has to wait, or that it does not report at all. From then on the direction *rests* after each
//!    such attempt: the engine does not wait for it, a report is only remembered (in `maybe_ready`), and a timer
//!    ends the rest. Then the operation is attempted if there was a report, and else waits as usual. A rest is
//!    twice as long as the one before, up to [`LONGEST_REST`]; the first success ends that. So no state of a
//!    socket costs more than some sixty attempts per second, and what can go on again does so within one rest.
//!
//! The lock is held for a few instructions, however long the line is: never across a system call, a callback, an
//! allocation or the drop of something a user gave us (I8). Whatever leaves the queue is returned to the caller.

#[expect(unsafe_code, reason = "links operations that bring their own places in line")]
mod line;

pub(crate) use line::{Line, Place, Placed};

use crate::base::error::Aborted;
use crate::base::lock::{Lock, Locked};
use crate::base::sync::{AtomicBool, AtomicU64, Ordering};
use line::Mark;
use std::mem;
use std::ptr::NonNull;

/// Why a pending operation shall not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CancelReason {
    Canceled = 1,
    /// Its deadline has passed.
    TimedOut = 2,
    /// The socket where it was begun is closed, and a part of it is at another one.
    Closed = 3,
}

/// A thread that waits for an operation, without a worker: see `engine/own_thread.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thread {
    /// It has begun the operation, and comes to wait for it next.
    Coming = 1,
    /// It polls, or follows one that does, or takes a turn.
    Here = 2,
}

impl From<CancelReason> for Aborted {
    fn from(cancel_reason: CancelReason) -> Self {
        match cancel_reason {
            CancelReason::Canceled => Self::Canceled,
            CancelReason::TimedOut => Self::TimedOut,
            CancelReason::Closed => Self::Closed,
        }
    }
}

/// What stands in an [`OperationQueue`].
pub(crate) trait Queued: Placed {
    /// What others hold of an operation. It keeps the operation's place.
    type Handle;

    /// The place of the operation, as [`Placed::into_place`] returns it.
    fn place_of(handle: &Self::Handle) -> NonNull<Place>;

    /// The thread that waits for the operation, if one does that polls for its socket.
    fn thread(&self) -> Option<Thread>;

    /// The thread that is to wait for the operation is here.
    fn thread_is_here(handle: &Self::Handle);

    /// The thread that waits for the operation leaves.
    fn thread_leaves(handle: &Self::Handle);

    /// Why the operation shall not go on, if it shall not.
    fn cancel_reason(&self) -> Option<CancelReason>;

    /// True if the operation, were it to end now without success, could not be followed by another.
    fn is_partly_done(&mut self) -> bool;
}

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

/// In milliseconds.
const FIRST_REST: u64 = 1;

/// In milliseconds.
const LONGEST_REST: u64 = 16;

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
pub(crate) struct OperationQueue<O: Queued> {
    state: Lock<State<O>>,
    /// Invariant 2. Written under the lock.
    maybe_ready: AtomicBool,
    /// The ticket of the wait that the queue is in, or, without [`WAITING`], of the one before. Written
    /// under the lock, read by engines that want to know whether a wait is still worth their while.
    ticket: AtomicU64,
}

/// What waits for the first in line, each told by a bit: invariant 3.
#[derive(Clone, Copy, Debug)]
struct Waiters(u8);

impl Waiters {
    /// In *Waiting*: the engine knows.
    const TOLD: u8 = 1;
    /// A thread that waits for an operation of this line polls.
    const POLLED: u8 = 2;
    /// There may be others, of which one is to poll when it leaves.
    const FOLLOWED: u8 = 4;
    /// The thread that polled takes a turn: then it polls again, or leaves, or tells the engine.
    const IN_TURN: u8 = 8;

    fn are(self, waiter: u8) -> bool {
        self.0 & waiter != 0
    }

    fn set(&mut self, waiter: u8, is_there: bool) {
        self.0 = if is_there { self.0 | waiter } else { self.0 & !waiter };
    }

    fn replace(&mut self, waiter: u8, is_there: bool) -> bool {
        let was_there = self.are(waiter);
        self.set(waiter, is_there);
        was_there
    }
}

#[derive(Debug)]
struct State<O: Queued> {
    phase: Phase,
    /// True once it has been reported that the direction stays ready, as it does when the peer has
    /// hung up: no further report may come, and an attempt that found little has not found all.
    stays_ready: bool,
    /// Invariant 7.
    in_vain: u8,
    waiters: Waiters,
    /// On the places of those in `line`.
    mark: Mark,
    line: Line<O>,
}

/// In the ticket of a wait that has not ended.
const WAITING: Ticket = 1;

/// Identifies one stay in *Waiting*, so that an engine can tell whether it has ended.
pub(crate) type Ticket = u64;

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Next<O: Queued> {
    /// Attempt this operation, then report what came of it.
    Attempt(O),
    /// Have the engine wait until the direction can make progress.
    WaitFor(Ticket),
    /// The same; but it has been reported that the direction stays ready, and yet there was nothing. If the system
    /// knows why, no further report may come.
    AskThenWaitFor(Ticket),
    /// Nothing: a thread polls until the direction can make progress, or is about to.
    WaitHere,
    /// Have a worker call [`OperationQueue::take_turn`].
    Schedule,
    /// Have a worker call [`OperationQueue::take_turn`] when so many milliseconds have passed.
    Rest(u64),
    /// Complete these as aborted, in this order; those that were canceled say so themselves.
    Abort(Line<O>, Aborted),
    /// Nothing; another thread will, or there is nothing to do.
    Nothing,
}

/// What a thread is to do that is here to poll.
#[derive(Debug)]
pub(crate) enum Here<O: Queued> {
    Poll,
    /// Another thread polls: wait until it leaves.
    Follow,
    /// It takes a turn that a worker was asked for.
    Turn(Next<O>),
}

impl<O: Queued> OperationQueue<O> {
    pub(crate) fn new() -> Self {
        Self {
            state: Lock::new(State {
                phase: Phase::Idle,
                stays_ready: false,
                waiters: Waiters(0),
                in_vain: 0,
                mark: Mark::FIRST,
                line: Line::new(),
            }),
            maybe_ready: AtomicBool::new(true),
            ticket: AtomicU64::new(0),
        }
    }

    #[inline]
    fn lock(&self) -> Locked<'_, State<O>> {
        self.state.lock()
    }

    /// Returns true while the queue is in the wait with this ticket.
    pub(crate) fn is_waiting(&self, ticket: Ticket) -> bool {
        self.ticket.load(Ordering::Relaxed) == ticket
    }

    /// True if an attempt that begins now may find something to do.
    #[inline]
    pub(crate) fn may_be_ready(&self) -> bool {
        self.maybe_ready.load(Ordering::Relaxed)
    }

    /// A new operation. `at_once`: the caller may attempt it itself.
    #[inline(always)]
    pub(crate) fn begin(&self, operation: O, at_once: bool) -> Next<O> {
        let mut state = self.lock();
        if state.phase == Phase::Idle && operation.cancel_reason().is_none() {
            if at_once && self.may_be_ready() {
                self.attempts(&mut state);
                return Next::Attempt(operation);
            }
            state.push_back(operation);
            return self.next_of_some(&mut state, at_once);
        }
        self.begin_behind(&mut state, operation, at_once)
    }

    /// The same for a queue that is not *Idle*, or an operation that shall not go on.
    #[cold]
    fn begin_behind(&self, state: &mut State<O>, operation: O, at_once: bool) -> Next<O> {
        match (state.phase, operation.cancel_reason()) {
            (Phase::Stopped(reason), _) => Next::Abort(Line::of(operation), reason),
            // It had no time from the start, or its time is up already. It gets the one attempt that it has
            // before the attempting thread finds the cancel request.
            (Phase::Idle, Some(CancelReason::TimedOut)) => {
                self.maybe_ready.store(true, Ordering::Relaxed);
                state.push_back(operation);
                self.next(state, at_once)
            }
            (_, Some(_)) => self.abort(state, operation),
            (_, None) => {
                state.push_back(operation);
                Next::Nothing
            }
        }
    }

    /// The attempt has ended and so has its operation. `drained`: another attempt would find nothing.
    ///
    /// The caller does not attempt the next operation before it has completed this one (invariant 6), so this
    /// does not return one to attempt.
    #[inline(always)]
    pub(crate) fn done(&self, drained: bool) -> Next<O> {
        let mut state = self.lock();
        state.in_vain = 0;
        // The completion may run a waker that takes long: nothing may rely on a thread that polled meanwhile.
        state.waiters.set(Waiters::IN_TURN, false);
        if !drained || state.stays_ready {
            self.maybe_ready.store(true, Ordering::Relaxed);
        }
        match state.phase {
            Phase::Attempting if state.line.is_empty() => {
                self.enter(&mut state, Phase::Idle);
                Next::Nothing
            }
            Phase::Stopped(_) => Next::Nothing,
            _ => self.next(&mut state, false),
        }
    }

    /// The attempt of `operation` found that it would have to wait.
    pub(crate) fn blocked(&self, operation: O, how: Blocked) -> Next<O> {
        let mut state = self.lock();
        if how == Blocked::Unreported {
            self.maybe_ready.store(true, Ordering::Relaxed);
        }
        if let Some(abort) = self.put_back(&mut state, operation) {
            return abort;
        }
        state.in_vain = if how == Blocked::Advanced { 0 } else { state.in_vain.saturating_add(1) };
        match rest(state.in_vain) {
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

    /// The attempt of `operation` stopped so that others have their turn.
    pub(crate) fn yielded(&self, operation: O) -> Next<O> {
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
    pub(crate) fn ready(&self, stays_ready: bool) -> Next<O> {
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
    pub(crate) fn look_again(&self) -> Next<O> {
        let mut state = self.lock();
        self.maybe_ready.store(true, Ordering::Relaxed);
        match state.phase {
            Phase::Waiting | Phase::Resting => self.next(&mut state, false),
            _ => Next::Nothing,
        }
    }

    /// The thread that waits for `operation`, which is in line, is here to poll.
    pub(crate) fn poll_here(&self, operation: &O::Handle, may_be_followed: bool) -> Here<O> {
        let mut state = self.lock();
        O::thread_is_here(operation);
        if may_be_followed {
            state.waiters.set(Waiters::FOLLOWED, true);
        }
        let in_turn = state.phase == Phase::Scheduled;
        state.waiters.set(Waiters::IN_TURN, in_turn);
        if in_turn {
            return Here::Turn(self.next(&mut state, true));
        }
        if state.waiters.replace(Waiters::POLLED, true) {
            state.waiters.set(Waiters::FOLLOWED, true);
            return Here::Follow;
        }
        Here::Poll
    }

    /// The thread that polls has seen the direction ready, and polls no longer. Returns true, too, if this ends a
    /// wait that the engine knows.
    ///
    /// A report that comes during an attempt changes nothing: the thread polls again.
    pub(crate) fn ready_here(&self) -> (Next<O>, bool) {
        let mut state = self.lock();
        state.waiters.set(Waiters::POLLED, false);
        state.waiters.set(Waiters::IN_TURN, true);
        match state.phase {
            // The thread has pauses of its own, and no worker may be free to end a rest.
            Phase::Waiting | Phase::Resting => {
                self.maybe_ready.store(true, Ordering::Relaxed);
                let told = state.waiters.are(Waiters::TOLD);
                (self.next(&mut state, true), told)
            }
            Phase::Scheduled => (self.next(&mut state, true), false),
            _ => (Next::Nothing, false),
        }
    }

    /// The thread that waits for `operation` leaves; `polls`: it was the one that polls. Returns true, too, if a
    /// thread that follows is to poll, for which the wait is left; if there is none, [`hand_over`](Self::hand_over).
    pub(crate) fn leave(&self, operation: &O::Handle, polls: bool) -> (Next<O>, bool) {
        let mut state = self.lock();
        O::thread_leaves(operation);
        state.waiters.set(Waiters::IN_TURN, false);
        if polls {
            state.waiters.set(Waiters::POLLED, false);
        }
        if state.waiters.are(Waiters::POLLED) {
            return (Next::Nothing, false);
        }
        if state.waiters.replace(Waiters::FOLLOWED, false) {
            return (Next::Nothing, true);
        }
        (self.look_for_waiter(&mut state), false)
    }

    /// The thread that was to poll does not, for a while, and those that follow do not know: the engine waits.
    pub(crate) fn tell(&self) -> Next<O> {
        let mut state = self.lock();
        state.waiters.set(Waiters::IN_TURN, false);
        self.look_for_waiter(&mut state)
    }

    /// No thread is there to poll: the engine waits, if there is something to wait for.
    pub(crate) fn hand_over(&self) -> Next<O> {
        self.look_for_waiter(&mut self.lock())
    }

    /// The worker that was asked by [`Next::Schedule`] or [`Next::Rest`] is here. One that was asked for an
    /// earlier turn or rest may end this one early, once.
    pub(crate) fn take_turn(&self) -> Next<O> {
        let mut state = self.lock();
        match state.phase {
            Phase::Scheduled | Phase::Resting => self.next(&mut state, true),
            _ => Next::Nothing,
        }
    }

    /// Takes the operation out if it is in line. If it is being attempted, or is about to begin, its `cancel_reason` tells the
    /// thread that has it. It is in no other queue.
    #[expect(unsafe_code, reason = "takes an operation out of the line")]
    pub(crate) fn cancel(&self, handle: &O::Handle) -> Next<O> {
        let mut state = self.lock();
        let place = O::place_of(handle);
        // SAFETY: the handle keeps it.
        let is_in_line = state.mark.is_on(unsafe { place.as_ref() });
        if !is_in_line {
            return Next::Nothing;
        }
        // SAFETY: its place has the mark, and no other queue has put it there.
        let operation = unsafe { state.line.remove(place) };
        self.has_removed(&mut state);
        self.abort(&mut state, operation)
    }

    /// Takes out those in line of which `is_meant` is true; not one that is being attempted.
    pub(crate) fn remove_if(&self, is_meant: impl Fn(&O) -> bool, reason: Aborted) -> Next<O> {
        let mut out = Line::new();
        let mut state = self.lock();
        for operation in state.take() {
            if is_meant(&operation) {
                out.add(operation);
            } else {
                state.push_back(operation);
            }
        }
        if out.is_empty() {
            return Next::Nothing;
        }
        self.has_removed(&mut state);
        Next::Abort(out, reason)
    }

    /// Takes everything out for good; the operations are to complete as aborted. A thread that is attempting
    /// one learns of this when it comes back.
    pub(crate) fn stop(&self, reason: Aborted) -> Line<O> {
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Stopped(_)) {
            self.enter(&mut state, Phase::Stopped(reason));
        }
        state.take()
    }

    /// Takes out every operation that waits: the engine cannot wait for them. If the first has done its work by
    /// halves, nothing can follow it.
    pub(crate) fn give_up(&self) -> Line<O> {
        let mut state = self.lock();
        if state.phase != Phase::Waiting || !state.waiters.are(Waiters::TOLD) {
            return Line::new();
        }
        let mut waiting = state.take();
        if waiting.first_mut(O::is_partly_done) == Some(true) {
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

    /// True once the socket is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().phase == Phase::Stopped(Aborted::Closed)
    }

    /// Why no operation will ever be here again, if so.
    pub(crate) fn stopped(&self) -> Option<Aborted> {
        match self.lock().phase {
            Phase::Stopped(reason) => Some(reason),
            _ => None,
        }
    }

    /// True if an operation ended halfway here, so that nothing can follow it.
    pub(crate) fn is_broken(&self) -> bool {
        self.lock().phase == Phase::Stopped(Aborted::Broken)
    }

    /// Returns the ticket of the wait that the queue is in.
    pub(crate) fn ticket(&self) -> Option<Ticket> {
        Some(self.ticket.load(Ordering::Relaxed)).filter(|ticket| ticket & WAITING != 0)
    }

    fn put_back(&self, state: &mut State<O>, operation: O) -> Option<Next<O>> {
        match state.phase {
            Phase::Stopped(reason) => Some(Next::Abort(Line::of(operation), reason)),
            _ if operation.cancel_reason().is_some() => Some(self.abort(state, operation)),
            _ => {
                state.push_front(operation);
                None
            }
        }
    }

    /// Aborts a canceled operation, and with it those that cannot go on without it.
    fn abort(&self, state: &mut State<O>, mut operation: O) -> Next<O> {
        if operation.is_partly_done() {
            self.enter(state, Phase::Stopped(Aborted::Broken));
            let mut all = state.take();
            all.add_in_front(operation);
            return Next::Abort(all, Aborted::Broken);
        }
        Next::Abort(Line::of(operation), Aborted::Canceled)
    }

    /// Operations were taken out of the line.
    fn has_removed(&self, state: &mut State<O>) {
        if state.line.is_empty()
            && matches!(state.phase, Phase::Waiting | Phase::Scheduled | Phase::Resting)
        {
            self.enter(state, Phase::Idle);
        }
    }

    /// Decides what becomes of the first in line. Entered in every phase but *Stopped*.
    #[inline]
    fn next(&self, state: &mut State<O>, at_once: bool) -> Next<O> {
        if state.line.is_empty() {
            self.enter(state, Phase::Idle);
            return Next::Nothing;
        }
        self.next_of_some(state, at_once)
    }

    /// The same where an operation is in line.
    fn next_of_some(&self, state: &mut State<O>, at_once: bool) -> Next<O> {
        if !self.maybe_ready.load(Ordering::Relaxed) {
            self.enter(state, Phase::Waiting);
            return self.wait(state);
        }
        if !at_once {
            self.enter(state, Phase::Scheduled);
            return Next::Schedule;
        }
        self.attempts(state);
        Next::Attempt(state.line.pop_front().expect("an operation is in line"))
    }

    fn look_for_waiter(&self, state: &mut State<O>) -> Next<O> {
        match state.phase {
            Phase::Waiting if !state.waiters.are(Waiters::TOLD) => self.wait(state),
            _ => Next::Nothing,
        }
    }

    /// Decides who waits, in *Waiting*: invariant 3.
    fn wait(&self, state: &mut State<O>) -> Next<O> {
        let will_poll = match state.line.first(O::thread).flatten() {
            Some(Thread::Coming) => true,
            // When the turn is over, another thread polls: this one perhaps.
            Some(Thread::Here) => {
                state.waiters.are(Waiters::IN_TURN) && state.waiters.are(Waiters::FOLLOWED)
            }
            None => false,
        };
        let told = !state.waiters.are(Waiters::POLLED) && !will_poll;
        state.waiters.set(Waiters::TOLD, told);
        let ticket = self.ticket.load(Ordering::Relaxed);
        if told { Next::WaitFor(ticket) } else { Next::WaitHere }
    }

    /// The caller is given an operation to attempt.
    #[inline]
    fn attempts(&self, state: &mut State<O>) {
        self.enter(state, Phase::Attempting);
        self.maybe_ready.store(false, Ordering::Relaxed);
    }

    #[inline]
    fn enter(&self, state: &mut State<O>, phase: Phase) {
        let before = mem::replace(&mut state.phase, phase);
        if before == Phase::Waiting || phase == Phase::Waiting {
            let last = self.ticket.load(Ordering::Relaxed) & !WAITING;
            let ticket =
                if phase == Phase::Waiting { (last + 2 * WAITING) | WAITING } else { last };
            self.ticket.store(ticket, Ordering::Relaxed);
        }
    }
}

impl<O: Queued> State<O> {
    fn push_back(&mut self, operation: O) {
        self.line.push_back(self.mark, operation);
    }

    fn push_front(&mut self, operation: O) {
        self.line.push_front(self.mark, operation);
    }

    fn take(&mut self) -> Line<O> {
        self.line.detach(&mut self.mark)
    }
}

/// For how many milliseconds a direction rests after so many attempts in vain, if it does.
fn rest(in_vain: u8) -> Option<u64> {
    let rests = in_vain.checked_sub(PATIENCE + 1)?;
    Some(LONGEST_REST.min(FIRST_REST << rests.min(16)))
}

#[cfg(test)]
#[expect(unsafe_code, reason = "its operations bring their places, too")]
mod fake;

#[cfg(all(test, loom))]
mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::fake::{ABORTED, DONE, Op, operation};
    use super::*;

    fn attempted(next: Next<Op>) -> Op {
        match next {
            Next::Attempt(operation) => operation,
            next => panic!("{next:?}"),
        }
    }

    /// Invariant 4.
    #[test]
    fn a_cancel_during_an_attempt_is_found_when_it_comes_back() {
        for yielded in [false, true] {
            let queue = OperationQueue::new();
            let (owner, handle) = operation();
            let owner = attempted(queue.begin(owner, true));
            assert!(matches!(queue.begin(operation().0, true), Next::Nothing));
            handle.cancel_reason.store(1, Ordering::Relaxed);
            let next =
                if yielded { queue.yielded(owner) } else { queue.blocked(owner, Blocked::InVain) };
            let Next::Abort(operations, Aborted::Canceled) = next else { panic!("{next:?}") };
            operations.for_each(|operation| operation.complete(ABORTED));
            assert_eq!(handle.completed.load(Ordering::Relaxed), ABORTED);
            // The one behind it has its turn, or waits, as if the first had never been.
            let next = queue.done(true);
            assert!(matches!((yielded, next), (true, Next::Schedule) | (false, Next::WaitFor(_))));
        }
    }

    /// Invariant 2.
    #[test]
    fn a_report_during_an_attempt_makes_it_be_repeated() {
        let queue = OperationQueue::new();
        let owner = attempted(queue.begin(operation().0, true));
        assert!(matches!(queue.ready(false), Next::Nothing));
        let owner = attempted(queue.blocked(owner, Blocked::InVain));
        assert!(matches!(queue.blocked(owner, Blocked::InVain), Next::WaitFor(_)));
    }

    /// Invariant 7.
    #[test]
    fn attempts_in_vain_rest_for_longer_and_longer_until_one_succeeds() {
        let queue = OperationQueue::new();
        let mut owner = attempted(queue.begin(operation().0, true));
        for _ in 0..PATIENCE {
            assert!(matches!(queue.blocked(owner, Blocked::InVain), Next::WaitFor(_)));
            owner = attempted(queue.ready(false));
        }
        for expected in [1, 2, 4, 8, 16, 16] {
            let Next::Rest(rest) = queue.blocked(owner, Blocked::InVain) else { panic!("no rest") };
            assert_eq!(rest, expected);
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
        attempted(queue.ready(false)).complete(DONE);
    }

    /// Invariant 7, of what is not reported.
    #[test]
    fn an_attempt_that_no_report_would_follow_is_made_again_after_a_rest() {
        let queue = OperationQueue::new();
        let mut owner = attempted(queue.begin(operation().0, true));
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
