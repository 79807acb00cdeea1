//! An operation between begin and end.
//!
//! An operation is one allocation, shared by its *owner* and any number of *handles*:
//!
//! ```text
//! header   what handles may read at any time: completed?, to be canceled?, which socket's number
//! body     buffer, result, callback and state: the owner's alone
//! current  of a composite operation: the part that is under way
//! ```
//!
//! 1. An [`Owner`] is made once per operation, in `begin` or `start` (`body.rs`), and cannot be cloned. It
//!    moves: from the thread that begins, to the socket's operation queue, to the worker that
//!    attempts it, to the completion queue, to the worker that delivers it. Whoever holds it has the
//!    body to itself, and moving it between threads synchronizes as any move does.
//! 2. A [`Handle`] never touches the body.
//! 3. [`Owner::complete`] consumes the owner, or [`Owner::complete_here`] for a worker between two
//!    pieces of work. An operation with a callback goes on to [`Owner::deliver`], which takes the callback
//!    out of the body: an operation completes once, and its callback runs once (I1). An owner that is
//!    dropped on any other path is a bug in this crate.
//! 4. The result stands in the body before the event is set, and the event is set before the
//!    completion is posted: in the callback `is_completed` is true and the wait handle is set.
//! 5. A *composite* operation (an accept that receives, a connect to one of several addresses, a lookup) is in no
//!    queue. It consists of *parts* (`begin_part`), one after the other, each of which has a `Continuation` that holds
//!    the owner of the composite. Users know of the composite alone: its parts are not counted, take no place of a
//!    limited runtime, have no entry in the timer and no span, and are reported as the composite. A part has the
//!    composite's deadline, and begins with its cancel request (`base/current_part.rs`). A part that is aborted ends
//!    the composite with the same error, so a composite needs no abort of its own.
//! 6. An operation without a callback has one `Pending`, which `start` returned, and a `standing`, which says
//!    whose its body is. *Undecided*: the owner's. *Stands*: the completion is in the body, which is the
//!    `Pending`'s; the owner touches the body no more, sets the event and ends. *Abandoned*: the owner's for good,
//!    since the `Pending` was dropped. The two others leave *Undecided* by one compare-exchange, so one of them wins.
//!    The owner tries as soon as an attempt has done the work, before the queue lets the next operation begin. If
//!    it loses, it gives what it has taken back to the socket there and then; if it wins, the `Pending` does when
//!    it is dropped. So a thread that drops an operation and then begins another one gets, with that, what the
//!    first had taken, and nothing is lost (I2). One exception: a composite whose owner is between two parts, or whose
//!    part is being attempted, gives back what it has as soon as that thread comes to it, perhaps after the drop.
//! 7. Owner, handles and pending each have one of the operation's [`References`], as long as they live. The thread
//!    that takes the last one away drops the operation.

use crate::base::clock::{Clock, Moment};
use crate::base::counters::Point;
use crate::base::current_part::CurrentPart;
use crate::base::error::is_aborted;
use crate::base::kind::{Direction, OperationKind};
use crate::base::latencies::Interval;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::{self, Blocked, CancelReason, Place, Placed, Queued, Thread};
use crate::base::references::References;
use crate::base::report::OperationReport;
use crate::base::unread::Order;
use crate::state::context::RuntimeInner;
use crate::state::socket::{self, SocketInner};
use aio_sync::{EventRef, ManualResetEvent, WaitHandle};
use std::any::Any;
use std::fmt;
use std::io;
use std::mem::{ManuallyDrop, offset_of};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// A part of a composite operation.
#[derive(Clone)]
pub(crate) enum Part {
    Operation(Handle),
    /// The name of a host is looked up.
    LookUp(Arc<dyn Cancel>),
}

/// Something other than an operation that can be canceled.
pub(crate) trait Cancel: Send + Sync {
    fn cancel(&self, cancel_reason: CancelReason);
}

impl Part {
    fn cancel(&self, cancel_reason: CancelReason) {
        match self {
            Self::Operation(operation) => operation.cancel(cancel_reason),
            Self::LookUp(lookup) => lookup.cancel(cancel_reason),
        }
    }
}

pub(super) struct Header {
    pub(super) references: References,
    pub(super) kind: &'static KindOf,
    /// The number of the socket where it is pending or, once it has completed, was pending last; 0 if there
    /// has been none. That of a composite operation is its current part's.
    pub(super) socket: AtomicUsize,
    /// When it is to be canceled, if it has not completed.
    pub(super) deadline: Option<Instant>,
    /// Its place in the line of its socket.
    pub(super) place: Place,
    /// What has been asked for: 0, or a [`CancelReason`]. Read by the operation queue under its lock.
    pub(super) cancel_reason: AtomicU8,
    /// A [`standing`].
    pub(super) standing: AtomicU8,
    /// True if it takes one of the places of a limited runtime.
    pub(super) has_permit: AtomicBool,
    /// 0, or a [`Thread`]. Read by the operation queue, under its lock.
    pub(super) thread: AtomicU8,
    /// When it was begun, by its runtime's clock; then, if that is measured, when it completed.
    pub(super) moment: AtomicU64,
    /// Set when the result stands in the body.
    pub(super) completed: ManualResetEvent,
}

/// Every pending operation has one.
#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Header>() <= 80);

/// The values of [`Header::standing`]: invariant 6.
pub(super) mod standing {
    pub(crate) const UNDECIDED: u8 = 0;
    pub(crate) const STANDS: u8 = 1;
    pub(crate) const ABANDONED: u8 = 2;
    /// *Abandoned*, and the owner has given back what there was.
    pub(crate) const GIVEN_BACK: u8 = 3;
}

/// What operations with bodies of one type have in common.
pub(super) struct KindOf {
    pub(super) id: OperationKind,
    pub(super) is_accept: bool,
    pub(super) direction: Direction,
    /// True if an operation that nobody waits for any more is to go on all the same.
    pub(super) is_send: bool,
    pub(super) may_block: bool,
    /// Makes the operation's call: see [`Owner::attempt`].
    ///
    /// # Safety
    ///
    /// The operation is one of this kind, and the caller is its owner.
    pub(super) attempt: unsafe fn(&Shared, Call<'_>) -> Attempted,
    /// Finds the part of the body that all kinds have.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind. The caller does with the pointer what an owner may.
    pub(super) progress: unsafe fn(&Shared) -> *mut dyn Progress,
    pub(super) end: End,
    /// Finds the current part of a composite operation.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind.
    pub(super) current: Option<unsafe fn(&Shared) -> &CurrentPart<Part>>,
    /// Drops the operation, and frees its memory.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind, and nobody will touch it again.
    pub(super) free: unsafe fn(NonNull<Header>),
}

/// What becomes of an operation whose result stands.
///
/// # Safety
///
/// Of each function: the operation is one of this kind, and its body is the caller's.
#[derive(Clone, Copy)]
pub(super) enum End {
    /// It is kept for the thread or task that waits.
    Keep {
        /// See `finish` in `body.rs`.
        finish: unsafe fn(&Shared, Option<Order>),
        /// See `give_back` there.
        give_back: unsafe fn(&Shared),
    },
    /// Its callback runs: see `deliver` in `body.rs`.
    Call(unsafe fn(Shared)),
    /// The composite operation of which it is a part goes on: see `settle_part` and
    /// `go_on` in `body.rs`.
    Continue {
        settle: unsafe fn(&Shared, &RuntimeInner, Option<Order>),
        go_on: unsafe fn(&Shared, &RuntimeInner) -> Option<Owner>,
    },
}

impl Header {
    fn thread(&self) -> Option<Thread> {
        match self.thread.load(Ordering::Relaxed) {
            0 => None,
            thread if thread == Thread::Coming as u8 => Some(Thread::Coming),
            _ => Some(Thread::Here),
        }
    }

    #[inline]
    pub(super) fn new(
        kind: &'static KindOf,
        socket: Option<&Arc<SocketInner>>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            references: References::two(),
            kind,
            socket: AtomicUsize::new(socket.map_or(0, |socket| socket.number.get())),
            deadline,
            place: Place::new(),
            cancel_reason: AtomicU8::new(0),
            standing: AtomicU8::new(standing::UNDECIDED),
            has_permit: AtomicBool::new(false),
            thread: AtomicU8::new(0),
            moment: AtomicU64::new(0),
            completed: ManualResetEvent::new(false),
        }
    }

    /// The number of the socket where the operation is, or was last.
    fn socket(&self) -> Option<SocketNumber> {
        SocketNumber::from(self.socket.load(Ordering::Relaxed))
    }

    /// Why the operation shall not go on, if it shall not.
    fn cancel_reason(&self) -> Option<CancelReason> {
        match self.cancel_reason.load(Ordering::Acquire) {
            0 => None,
            cancel_reason if cancel_reason == CancelReason::Canceled as u8 => {
                Some(CancelReason::Canceled)
            }
            cancel_reason if cancel_reason == CancelReason::TimedOut as u8 => {
                Some(CancelReason::TimedOut)
            }
            _ => Some(CancelReason::Closed),
        }
    }
}

/// A counted reference to an operation of whatever kind; one word.
pub(super) struct Shared(pub(super) NonNull<Header>);

// SAFETY: whoever has only this reads the header, which is `Send` and `Sync`; the body, which is `Send`, is
// reached through the one owner, then through the one `Pending`, or by who drops it last, which is like
// sending it (invariants 1, 2, 6 and 7).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The current part, if this is a composite operation.
    fn current(&self) -> Option<&CurrentPart<Part>> {
        // SAFETY: the function is that of the operation's kind.
        self.kind.current.map(|current| unsafe { current(self) })
    }

    /// See [`Handle::identity`].
    fn identity(&self) -> usize {
        self.0.addr().get()
    }

    /// The operation's place in a line, from which the operation can be found.
    fn place(&self) -> NonNull<Place> {
        // SAFETY: the place is within the allocation.
        unsafe { self.0.byte_add(offset_of!(Header, place)) }.cast()
    }
}

impl Deref for Shared {
    type Target = Header;

    fn deref(&self) -> &Header {
        // SAFETY: the reference that this stands for keeps the operation (invariant 7).
        unsafe { self.0.as_ref() }
    }
}

impl Clone for Shared {
    fn clone(&self) -> Self {
        self.references.add();
        Self(self.0)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.references.take() {
            // SAFETY: this was the last reference (invariant 7).
            unsafe { (self.kind.free)(self.0) };
        }
    }
}

/// What an attempt may use: the socket, and its pinned descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) socket: &'a Arc<SocketInner>,
    pub(crate) system: &'a socket2::Socket,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.system.fmt(f)
    }
}

/// What an attempt came to: as `Attempt`, but what it yields stays with the operation.
pub(crate) enum Attempted {
    /// `is_partly_done` as [`Owner::is_partly_done`] has it.
    Done {
        drained: bool,
        is_partly_done: bool,
    },
    WouldBlock(Blocked),
    Yielded,
}

/// An operation's work and how far it has come, of whatever kind.
pub(super) trait Progress: Any {
    fn fail(&mut self, error: io::Error);
    /// Says in `error` what the operation was.
    fn explain(&self, error: io::Error) -> io::Error;
    fn is_partly_done(&self) -> bool;
    fn give_up(&mut self);
    /// Tells who traces that the result stands.
    fn trace_result(&self);
}

// SAFETY: the place is a part of the header, which stays where it is, and each operation has its own.
unsafe impl Placed for Owner {
    fn place(&self) -> &Place {
        &self.0.place
    }

    fn into_place(self) -> NonNull<Place> {
        ManuallyDrop::new(self).0.place()
    }

    unsafe fn from_place(place: NonNull<Place>) -> Self {
        // SAFETY: `into_place` made it of a pointer to the header, by as much.
        Self(Shared(unsafe { place.byte_sub(offset_of!(Header, place)) }.cast()))
    }
}

/// The operations of one socket in one direction.
pub(crate) type OperationQueue = operation_queue::OperationQueue<Owner>;
pub(crate) type Next = operation_queue::Next<Owner>;
pub(crate) type Here = operation_queue::Here<Owner>;

/// Every operation comes by one.
#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Next>() <= 16);

impl Queued for Owner {
    type Handle = Handle;

    fn place_of(handle: &Handle) -> NonNull<Place> {
        handle.0.place()
    }

    fn thread(&self) -> Option<Thread> {
        self.thread()
    }

    fn thread_is_here(handle: &Handle) {
        handle.thread_is_here();
    }

    fn thread_leaves(handle: &Handle) {
        handle.thread_leaves();
    }

    fn cancel_reason(&self) -> Option<CancelReason> {
        self.cancel_reason()
    }

    fn is_partly_done(&mut self) -> bool {
        self.progress().is_partly_done()
    }
}

/// The one that may touch an operation's body. Never cloned.
pub(crate) struct Owner(pub(super) Shared);

impl Owner {
    pub(super) fn progress(&mut self) -> &mut dyn Progress {
        // SAFETY: the function is that of the operation's kind.
        let progress = unsafe { (self.0.kind.progress)(&self.0) };
        // SAFETY: there is one owner (invariant 1), it is borrowed mutably for as long as the
        // reference lives, and nobody else touches the body (invariant 2).
        unsafe { &mut *progress }
    }

    /// The current part of a composite operation is over, and no other follows for now.
    pub(crate) fn leave_part(&self) {
        if let Some(current) = self.0.current() {
            current.leave();
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.0.clone())
    }

    /// See [`Handle::identity`].
    pub(crate) fn identity(&self) -> usize {
        self.0.identity()
    }

    /// The kind by which users know it.
    pub(crate) fn kind(&self) -> OperationKind {
        self.0.kind.id
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.kind.direction
    }

    /// True for an operation that is to start something new, as the first of its kind on a socket does.
    pub(crate) fn is_accept(&self) -> bool {
        self.0.kind.is_accept
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Its deadline had passed when it was begun: it has one attempt.
    pub(crate) fn is_late(&self) {
        self.0.cancel_reason.store(CancelReason::TimedOut as u8, Ordering::Relaxed);
    }

    /// The operation begins.
    pub(crate) fn begins_at(&self, now: Moment) {
        self.0.moment.store(now, Ordering::Relaxed);
    }

    /// It has been given one of the places of a limited runtime.
    pub(crate) fn takes_permit(&self) {
        self.0.has_permit.store(true, Ordering::Relaxed);
    }

    /// It is about to begin, and the calling thread, which is no worker, is going to [wait](Handle::wait) for it.
    pub(crate) fn thread_comes(&self) {
        self.0.thread.store(Thread::Coming as u8, Ordering::Relaxed);
    }

    pub(crate) fn thread(&self) -> Option<Thread> {
        self.0.thread()
    }

    /// What is to be told of it, pending at `socket` if at any.
    pub(crate) fn report(&self, clock: &Clock, socket: Option<&SocketInner>) -> OperationReport {
        let system = socket.and_then(|socket| socket.descriptor.pin());
        let age = clock.since(self.0.moment.load(Ordering::Relaxed));
        OperationReport::new(self.kind(), system.as_deref(), age)
    }

    /// Why the operation shall not go on, if it shall not.
    pub(crate) fn cancel_reason(&self) -> Option<CancelReason> {
        self.0.cancel_reason()
    }

    /// Makes the operation's call, without blocking. When it is done, its result stands.
    pub(crate) fn attempt(&mut self, call: Call<'_>) -> Attempted {
        // SAFETY: the function is that of the operation's kind, and this is the owner.
        unsafe { (self.0.kind.attempt)(&self.0, call) }
    }

    /// True if the operation, were it to end now without success, could not be followed by another.
    pub(crate) fn is_partly_done(&mut self) -> bool {
        self.progress().is_partly_done()
    }

    /// True for a send: if it does not finish, the peer has to learn of it.
    pub(crate) fn is_send(&self) -> bool {
        self.0.kind.is_send
    }

    /// True if an attempt may wait for something other than the socket: it is a worker's to make.
    pub(crate) fn may_block(&self) -> bool {
        self.0.kind.may_block
    }

    /// Completes the operation with `error` as its result, which says what the operation was.
    pub(crate) fn fail(self, runtime: &RuntimeInner, error: io::Error) {
        runtime.post_completed(self.fail_here(runtime, error));
    }

    /// The same, but returns as [`complete_here`](Self::complete_here).
    #[must_use = "its callback is still to be run"]
    pub(crate) fn fail_here(mut self, runtime: &RuntimeInner, error: io::Error) -> Option<Self> {
        let error = self.progress().explain(error);
        self.end_here(runtime, error)
    }

    /// The same, where `error` says what the operation was.
    #[must_use = "its callback is still to be run"]
    pub(crate) fn end_here(mut self, runtime: &RuntimeInner, error: io::Error) -> Option<Self> {
        let point = if is_aborted(&error) { Point::Aborted } else { Point::Completed };
        self.progress().fail(error);
        self.complete_at(runtime, point)
    }

    /// Completes a composite operation whose last part is over: with `error`, or else with the result that stands.
    /// Returns as [`complete_here`](Self::complete_here).
    #[must_use = "its callback is still to be run"]
    pub(crate) fn end_whole(
        self,
        runtime: &RuntimeInner,
        error: Option<io::Error>,
    ) -> Option<Self> {
        self.leave_part();
        match error {
            None => self.complete_here(runtime),
            Some(error) => self.fail_here(runtime, error),
        }
    }

    /// Completes the operation with the result that stands: result, then event, then completion.
    pub(crate) fn complete(self, runtime: &RuntimeInner) {
        runtime.post_completed(self.complete_here(runtime));
    }

    /// The same, but returns the operation if it has a callback: the caller is to deliver it. If a part has completed,
    /// that may be the composite operation.
    #[must_use = "its callback is still to be run"]
    pub(crate) fn complete_here(self, runtime: &RuntimeInner) -> Option<Self> {
        self.complete_at(runtime, Point::Completed)
    }

    /// The result stands. An operation without a callback says so; one that has been dropped gives back what it has
    /// taken (invariant 6). `order` is that of what it may have taken. The second call changes nothing.
    #[inline(always)]
    pub(crate) fn settle(&mut self, runtime: &RuntimeInner, order: impl FnOnce() -> Option<Order>) {
        match self.0.kind.end {
            End::Call(_) => {}
            End::Keep { finish, give_back } => self.settle_kept(runtime, finish, give_back, order),
            // SAFETY: the function is that of the operation's kind, and this is the owner.
            End::Continue { settle, .. } => unsafe { settle(&self.0, runtime, order()) },
        }
    }

    fn settle_kept(
        &mut self,
        runtime: &RuntimeInner,
        finish: unsafe fn(&Shared, Option<Order>),
        give_back: unsafe fn(&Shared),
        order: impl FnOnce() -> Option<Order>,
    ) {
        match self.0.standing.load(Ordering::Acquire) {
            standing::STANDS | standing::GIVEN_BACK => return,
            standing::ABANDONED => self.progress().give_up(),
            _ => {}
        }
        self.trace_result(runtime);
        // SAFETY: the function is that of the operation's kind, and this is the owner of an operation that does not
        // stand.
        unsafe { finish(&self.0, order()) };
        let stands = self.0.standing.compare_exchange(
            standing::UNDECIDED,
            standing::STANDS,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if stands.is_err() {
            // What is dropped there is the user's.
            runtime.catch_panic(|| {
                // SAFETY: as above: it was abandoned, and its body is the owner's for good.
                unsafe { give_back(&self.0) };
            });
            self.0.standing.store(standing::GIVEN_BACK, Ordering::Relaxed);
        }
    }

    fn trace_result(&mut self, runtime: &RuntimeInner) {
        if cfg!(feature = "tracing") {
            runtime.catch_panic(|| self.progress().trace_result());
        }
    }

    fn complete_at(mut self, runtime: &RuntimeInner, point: Point) -> Option<Self> {
        let is_to_be_delivered = match self.0.kind.end {
            End::Call(_) => {
                self.trace_result(runtime);
                true
            }
            End::Keep { .. } => {
                self.settle(runtime, || None);
                false
            }
            End::Continue { go_on, .. } => return self.complete_part(runtime, go_on),
        };
        if let Some(deadline) = self.0.deadline {
            runtime.timer.remove(deadline, self.0.identity());
        }
        let (worker, kind, header) = (runtime.worker(), self.kind(), &*self.0);
        runtime.counters.count(worker, kind, point);
        if let Some(latencies) = &runtime.latencies {
            let now = runtime.clock.now();
            let took = now.saturating_sub(header.moment.load(Ordering::Relaxed));
            header.moment.store(now, Ordering::Relaxed);
            latencies.record(worker, kind, Interval::UntilCompleted, took);
        }
        if !is_to_be_delivered {
            runtime.is_over(worker, kind, header.has_permit.load(Ordering::Relaxed));
        }
        // Whoever waits may have a waker of their own, and whoever does not, have left a buffer.
        runtime.catch_panic(|| {
            self.0.completed.set();
        });
        if is_to_be_delivered {
            return Some(self);
        }
        runtime.catch_panic(|| drop(self));
        None
    }

    /// A part completes: the composite operation goes on, or completes.
    #[cold]
    fn complete_part(
        mut self,
        runtime: &RuntimeInner,
        go_on: unsafe fn(&Shared, &RuntimeInner) -> Option<Self>,
    ) -> Option<Self> {
        self.settle(runtime, || None);
        // SAFETY: the function is that of the operation's kind, and this is the owner.
        let whole = unsafe { go_on(&self.0, runtime) };
        // After that, so that a thread which has waited for this part finds the next one.
        self.0.completed.set();
        whole
    }

    /// Runs the callback.
    pub(crate) fn deliver(self) {
        let End::Call(deliver) = self.0.kind.end else {
            unreachable!("what is posted has a callback")
        };
        // SAFETY: the function is that of the operation's kind, and this was the owner.
        unsafe { deliver(self.0) };
    }

    pub(crate) fn has_permit(&self) -> bool {
        self.0.has_permit.load(Ordering::Relaxed)
    }

    pub(crate) fn completed_at(&self) -> Moment {
        self.0.moment.load(Ordering::Relaxed)
    }

    /// The number of the socket where it is, or was last.
    pub(crate) fn socket(&self) -> Option<SocketNumber> {
        self.0.socket()
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.deref().fmt(f)
    }
}

/// What anybody may do with an operation.
#[derive(Clone)]
pub(crate) struct Handle(pub(super) Shared);

impl Handle {
    pub(crate) fn completed(&self) -> &ManualResetEvent {
        &self.0.completed
    }

    /// True for a send: it is to go on even if nobody waits for it any more.
    pub(crate) fn is_send(&self) -> bool {
        self.0.kind.is_send
    }

    /// Blocks until the operation has completed or the deadline has passed; true if it has completed.
    ///
    /// On a worker, of whatever runtime, that runtime's I/O goes on meanwhile.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        self.completed().is_set() || RuntimeInner::wait_for(self, deadline)
    }

    /// The socket where it is, or was last, if that is there.
    pub(crate) fn place(&self) -> Option<Arc<SocketInner>> {
        self.0.socket().and_then(socket::find)
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.kind.direction
    }

    /// True if an attempt may wait for something other than the socket.
    pub(crate) fn may_block(&self) -> bool {
        self.0.kind.may_block
    }

    pub(crate) fn is_composite(&self) -> bool {
        self.0.kind.current.is_some()
    }

    /// The part of a composite operation that is under way, or was last, if that is an operation.
    pub(crate) fn part(&self) -> Option<Self> {
        match self.0.current()?.get()? {
            Part::Operation(part) => Some(part),
            Part::LookUp(_) => None,
        }
    }

    /// `part` of this composite operation is about to begin. Returns why it shall not go on, if it shall not.
    pub(crate) fn enter(&self, part: Part) -> Option<CancelReason> {
        let current = self.0.current().expect("a composite operation has parts");
        current.enter(part, || self.0.cancel_reason())
    }

    pub(crate) fn thread(&self) -> Option<Thread> {
        self.0.thread()
    }

    /// The thread that waits for it is at its socket.
    pub(crate) fn thread_is_here(&self) {
        self.0.thread.store(Thread::Here as u8, Ordering::Relaxed);
    }

    /// No thread waits for it any more that could poll.
    pub(crate) fn thread_leaves(&self) {
        self.0.thread.store(0, Ordering::Relaxed);
    }

    /// Tells the operation apart from every other that has not completed.
    pub(crate) fn identity(&self) -> usize {
        self.0.identity()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Asks the operation not to go on, if it is pending. The first to ask says why.
    pub(crate) fn cancel(&self, cancel_reason: CancelReason) {
        if self.completed().is_set() {
            return;
        }
        // Released, as the thread that reads the cancel request is to see whether the operation was dropped before.
        let _ = self.0.cancel_reason.compare_exchange(
            0,
            cancel_reason as u8,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if let Some(current) = self.0.current() {
            if let (Some(cancel_reason), Some(part)) = (self.0.cancel_reason(), current.get()) {
                part.cancel(cancel_reason);
            }
        } else if let Some(socket) = self.place() {
            socket.runtime.driver.cancel(&socket, self.0.kind.direction, self);
        }
    }
}

impl WaitHandle for Handle {
    fn event(&self) -> EventRef<'_> {
        self.completed().event()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.deref().fmt(f)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &self.kind.id.name())
            .field("completed", &self.completed.is_set())
            .field("cancel_reason", &self.cancel_reason)
            .finish_non_exhaustive()
    }
}
