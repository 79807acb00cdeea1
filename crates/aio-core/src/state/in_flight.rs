//! An operation between begin and end.
//!
//! An operation is one allocation, shared by its *owner* and any number of *handles*:
//!
//! ```text
//! header   what handles may read at any time: completed?, to be canceled?, which socket's number
//! body     buffer, result, callback and state: the owner's alone
//! ```
//!
//! 1. An [`Owner`] is made once per operation, in [`begin`] or [`start`], and cannot be cloned. It
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
//! 5. An operation may go on elsewhere: an accept at the socket it has accepted, to receive there. Its
//!    owner says so in the header before it goes there, and there its wish is looked at, under the
//!    lock of that queue. A cancel states the wish, then looks for the place. Both put a sequentially
//!    consistent fence in between, so that of a move and a cancel at the same time one sees what the other did.
//! 6. An operation without a callback has one [`Pending`], which [`start`] returned, and a `standing`, which says
//!    whose its body is. *Undecided*: the owner's. *Stands*: the completion is in the body, which is the
//!    `Pending`'s; the owner touches the body no more, sets the event and ends. *Abandoned*: the owner's for good,
//!    since the `Pending` was dropped. The two others leave *Undecided* by one compare-exchange, so one of them wins.
//!    The owner tries as soon as an attempt has done the work, before the queue lets the next operation begin. If
//!    it loses, it gives what it has taken back to the socket there and then; if it wins, the `Pending` does when
//!    it is dropped. So a thread that drops an operation and then begins another one gets, with that, what the
//!    first had taken, and nothing is lost (I2).
//! 7. Owner, handles and pending each have one of the operation's [`References`], as long as they live; weak
//!    handles have weak ones. Who takes the last of the former away drops the body; who takes the last of
//!    all away frees the memory.
//!
//! The references are counted here, and not by an `Arc` of a trait object, for what that costs an operation:
//! where its header is, which depends on the body's alignment, is computed at each access, and the last
//! reference pays a locked instruction for weak ones that only an accept can have.

use crate::api::async_result::{AsyncResult, OperationHandle};
use crate::api::metrics::OperationReport;
use crate::base::clock::{Clock, Moment};
use crate::base::counters::Point;
use crate::base::error::is_aborted;
use crate::base::kind::{Direction, OperationKind};
use crate::base::latencies::Stretch;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::{self, Blocked, Place, Placed, Queued, Thread, Wish};
use crate::base::references::References;
use crate::base::span::Span;
use crate::op::Route;
use crate::runtime::resolver::Lookup;
use crate::state::completion::Completion;
use crate::state::context::{RuntimeInner, Work};
use crate::state::perform::{Attempt, Call, Kind, Perform};
use crate::state::socket::SocketInner;
use crate::state::socket_table;
use crate::state::unread::{Envelope, GivenBack, Order};
use aio_sync::{EventRef, ManualResetEvent, WaitHandle};
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, offset_of};
use std::net::SocketAddr;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// The allocation. The header comes first, so that a pointer to it is one to the whole.
#[repr(C)]
struct InFlight<B> {
    header: Header,
    body: UnsafeCell<B>,
}

struct Header {
    references: References,
    kind: &'static KindOf,
    /// The number of the socket where it is pending or, once it has completed, was pending last; 0 if there
    /// has been none. It takes precedence over `lookup`.
    socket: AtomicUsize,
    /// The lookup that it begins with, if it does.
    lookup: OnceLock<Weak<Lookup>>,
    /// When it is to be canceled, if it has not completed.
    deadline: Option<Instant>,
    /// Its place in the line of its socket.
    place: Place,
    /// What has been asked for: 0, or a [`Wish`]. Read by the operation queue under its lock.
    wish: AtomicU8,
    /// A [`standing`].
    standing: AtomicU8,
    /// True if it takes one of the places of a limited runtime.
    has_place: AtomicBool,
    /// 0, or a [`Thread`]. Read by the operation queue, under its lock.
    thread: AtomicU8,
    /// When it was begun, by its runtime's clock; then, if that is measured, when it completed.
    moment: AtomicU64,
    /// Set when the result stands in the body.
    completed: ManualResetEvent,
}

/// Every pending operation has one.
#[cfg(all(target_pointer_width = "64", not(loom)))]
const _: () = assert!(size_of::<Header>() <= 104);

/// The values of [`Header::standing`]: invariant 6.
mod standing {
    pub(crate) const UNDECIDED: u8 = 0;
    pub(crate) const STANDS: u8 = 1;
    pub(crate) const ABANDONED: u8 = 2;
    /// *Abandoned*, and the owner has given back what there was.
    pub(crate) const GIVEN_BACK: u8 = 3;
}

/// What operations with bodies of one type have in common.
struct KindOf {
    id: OperationKind,
    direction: Direction,
    /// True if an operation that nobody waits for any more is to go on all the same.
    is_send: bool,
    may_block: bool,
    /// Makes the operation's call: see [`Owner::attempt`].
    ///
    /// # Safety
    ///
    /// The operation is one of this kind, and the caller is its owner.
    attempt: unsafe fn(&Shared, Call<'_>) -> Attempted,
    /// Finds the part of the body that all kinds have.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind. The caller does with the pointer what an owner may.
    progress: unsafe fn(&Shared) -> *mut dyn Progress,
    end: End,
    /// Drops the body; see [`References`].
    ///
    /// # Safety
    ///
    /// The operation is one of this kind, and nobody will touch its body again.
    drop_body: unsafe fn(NonNull<Header>),
    /// Frees the memory.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind, its body has been dropped, and nobody will touch it again.
    free: unsafe fn(NonNull<Header>),
}

/// What becomes of an operation whose result stands.
///
/// # Safety
///
/// Of each function: the operation is one of this kind, and its body is the caller's.
#[derive(Clone, Copy)]
enum End {
    /// It is kept for the thread or task that waits.
    Keep {
        /// See [`finish`].
        finish: unsafe fn(&Shared, Option<Order>),
        /// See [`give_back`].
        give_back: unsafe fn(&Shared),
    },
    /// Its callback runs: see [`deliver`].
    Call(unsafe fn(Shared)),
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
    fn new(
        kind: &'static KindOf,
        socket: Option<&Arc<SocketInner>>,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            references: References::two(),
            kind,
            socket: AtomicUsize::new(socket.map_or(0, |socket| socket.number.get())),
            lookup: OnceLock::new(),
            deadline,
            place: Place::new(),
            wish: AtomicU8::new(0),
            standing: AtomicU8::new(standing::UNDECIDED),
            has_place: AtomicBool::new(false),
            thread: AtomicU8::new(0),
            moment: AtomicU64::new(0),
            completed: ManualResetEvent::new(false),
        }
    }

    /// The number of the socket where the operation is, or was last.
    fn socket(&self) -> Option<SocketNumber> {
        SocketNumber::from(self.socket.load(Ordering::Relaxed))
    }
}

/// A counted reference to an operation of whatever kind; one word.
struct Shared(NonNull<Header>);

// SAFETY: whoever has only this reads the header, which is `Send` and `Sync`; the body, which is `Send`, is
// reached through the one owner, then through the one `Pending`, or by who drops it last, which is like
// sending it (invariants 1, 2, 6 and 7).
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// Allocates an operation, and returns the two references to it.
    #[inline]
    fn new<B: Body>(header: Header, body: B) -> (Self, Self) {
        let operation = crate::base::memory::allocate::<InFlight<B>>();
        // SAFETY: this is memory for it.
        unsafe { operation.write(InFlight { header, body: UnsafeCell::new(body) }) };
        let header = operation.cast();
        (Self(header), Self(header))
    }

    /// The body, whose type has to be known.
    fn body<B>(&self) -> *mut B {
        let operation = self.0.cast::<InFlight<B>>().as_ptr();
        // SAFETY: the pointer is one to the whole allocation, and no reference is made of it.
        UnsafeCell::raw_get(unsafe { &raw const (*operation).body })
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
            // Even if what follows panics.
            let _memory = WeakShared(self.0);
            // SAFETY: this was the last reference (invariant 7).
            unsafe { (self.kind.drop_body)(self.0) };
        }
    }
}

/// The same, but it keeps the memory alone.
struct WeakShared(NonNull<Header>);

// SAFETY: as for `Shared`.
unsafe impl Send for WeakShared {}
// SAFETY: as for `Shared`.
unsafe impl Sync for WeakShared {}

impl WeakShared {
    fn header(&self) -> &Header {
        // SAFETY: the reference that this stands for keeps the memory, and the header is not dropped before
        // that (invariant 7).
        unsafe { self.0.as_ref() }
    }

    fn upgrade(&self) -> Option<Shared> {
        self.header().references.add_if_any().then_some(Shared(self.0))
    }
}

impl Drop for WeakShared {
    fn drop(&mut self) {
        let kind = self.header().kind;
        if self.header().references.take_weak() {
            // SAFETY: this was the last reference of any kind, and the last of the others dropped the body.
            unsafe { (kind.free)(self.0) };
        }
    }
}

/// Drops the body.
///
/// # Safety
///
/// As [`KindOf::drop_body`] has it.
unsafe fn drop_body<B>(operation: NonNull<Header>) {
    let body = ManuallyDrop::new(Shared(operation)).body::<B>();
    // SAFETY: it is of this type, and nobody will touch it again.
    unsafe { body.drop_in_place() };
}

/// Frees an operation whose body has been dropped.
///
/// # Safety
///
/// As [`KindOf::free`] has it.
unsafe fn free<B>(operation: NonNull<Header>) {
    // SAFETY: the header is there, and nobody will touch it again.
    unsafe { operation.drop_in_place() };
    // SAFETY: it was allocated for this type in `Shared::new`, and nothing is left in it.
    unsafe { crate::base::memory::release(operation.cast::<InFlight<B>>()) };
}

/// What an attempt came to: as [`Attempt`], but what it yields stays with the operation.
pub(crate) enum Attempted {
    /// `is_partly_done` as [`Owner::is_partly_done`] has it.
    Done {
        drained: bool,
        is_partly_done: bool,
    },
    WouldBlock(Blocked),
    Yielded,
    GoesOnAt(Arc<SocketInner>),
}

/// What belongs to the owner.
trait Body: Send {
    type Kind: Perform;

    fn progress(&mut self) -> &mut InProgress<Self::Kind>;
}

/// An operation's work and how far it has come, of whatever kind.
trait Progress {
    fn fail(&mut self, error: io::Error);
    /// Says in `error` what the operation was.
    fn explain(&self, error: io::Error) -> io::Error;
    fn is_partly_done(&self) -> bool;
    fn route(&mut self) -> Option<&mut Route>;
    fn found(&mut self, addresses: io::Result<Vec<SocketAddr>>) -> bool;
    fn go_to(&mut self, socket: Arc<SocketInner>);
    fn give_up(&mut self);
    /// Tells who traces that the result stands.
    fn trace_result(&self);
}

struct InProgress<K: Kind> {
    /// Keeps the socket open while the operation is pending there.
    socket: Option<Arc<SocketInner>>,
    work: Option<K>,
    result: Option<io::Result<K::Output>>,
    span: Span,
}

impl<K: Perform> InProgress<K> {
    fn new(socket: Option<&Arc<SocketInner>>, work: K) -> Self {
        let span = Span::begin(K::KIND, socket.map(|socket| &socket.descriptor));
        Self { socket: socket.cloned(), work: Some(work), result: None, span }
    }

    fn attempt(&mut self, call: Call<'_>) -> Attempted {
        let work = self.work.as_mut().expect("an operation is attempted before it is completed");
        match work.attempt(call) {
            Attempt::Done { result, drained } => {
                self.result = Some(result);
                Attempted::Done { drained, is_partly_done: work.is_partly_done() }
            }
            Attempt::WouldBlock(how) => Attempted::WouldBlock(how),
            Attempt::Yielded => Attempted::Yielded,
            Attempt::GoesOnAt(socket) => Attempted::GoesOnAt(socket),
        }
    }

    fn complete<S>(&mut self, state: S) -> Completion<K, S> {
        const ONCE: &str = "an operation is completed once";
        let work = self.work.take().expect(ONCE);
        let result = self.result.take().expect(ONCE);
        self.socket = None;
        let bytes_transferred = work.bytes_transferred();
        Completion { result, bytes_transferred, buffer: work.into_buffer(), state }
    }
}

impl<K: Perform> Progress for InProgress<K> {
    fn fail(&mut self, error: io::Error) {
        self.result = Some(Err(error));
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match &self.work {
            Some(work) => work.explain(error),
            None => error,
        }
    }

    fn is_partly_done(&self) -> bool {
        self.work.as_ref().is_some_and(K::is_partly_done)
    }

    fn route(&mut self) -> Option<&mut Route> {
        self.work.as_mut().and_then(K::route)
    }

    fn found(&mut self, addresses: io::Result<Vec<SocketAddr>>) -> bool {
        self.result = self.work.as_mut().and_then(|work| work.found(addresses));
        self.result.is_some()
    }

    fn go_to(&mut self, socket: Arc<SocketInner>) {
        self.socket = Some(socket);
    }

    fn give_up(&mut self) {
        if let (Some(Err(_)), Some(work), Some(socket)) =
            (&self.result, &mut self.work, &self.socket)
        {
            work.give_up(socket);
        }
    }

    fn trace_result(&self) {
        let error = self.result.as_ref().and_then(|result| result.as_ref().err());
        self.span.completed(error, self.work.as_ref().map_or(0, K::bytes_transferred));
    }
}

/// The body of an operation whose completion goes to a callback.
struct WithCallback<K: Kind, S, F> {
    progress: InProgress<K>,
    then: Option<(F, S)>,
}

impl<K, S, F> Body for WithCallback<K, S, F>
where
    K: Perform,
    S: Send,
    F: FnOnce(AsyncResult<K, S>) + Send,
{
    type Kind = K;

    fn progress(&mut self) -> &mut InProgress<K> {
        &mut self.progress
    }
}

/// Runs the callback of an operation that has completed. What was its owner's becomes the callback's handle.
///
/// # Safety
///
/// As [`End`] has it.
unsafe fn deliver<K, S, F>(operation: Shared)
where
    K: Perform,
    F: FnOnce(AsyncResult<K, S>),
{
    let (callback, completion, span) = {
        let body = operation.body::<WithCallback<K, S, F>>();
        // SAFETY: the body is of this type, and nobody but its owner, which the caller was, touches it
        // (invariants 1 and 2).
        let body = unsafe { &mut *body };
        let (callback, state) = body.then.take().expect("an operation is delivered once");
        (callback, body.progress.complete(state), mem::take(&mut body.progress.span))
    };
    let handle = OperationHandle::new(Handle(operation));
    span.run(|| callback(AsyncResult::new(completion, handle)));
}

/// The body of an operation whose completion is waited for.
struct Kept<K: Kind> {
    progress: InProgress<K>,
    completion: Option<Completion<K>>,
    /// Where it was begun. It may have moved on to another socket.
    begun_at: Option<SocketNumber>,
    /// What has to be known to give back what it has taken: see [`Perform::give_back`].
    envelope: Option<Box<Envelope>>,
    order: Option<Order>,
}

impl<K: Perform> Body for Kept<K> {
    type Kind = K;

    fn progress(&mut self) -> &mut InProgress<K> {
        &mut self.progress
    }
}

impl<K: Perform> Kept<K> {
    /// The result stands.
    fn finish(&mut self, order: Option<Order>) {
        self.envelope = self.progress.work.as_mut().and_then(K::envelope);
        self.order = order;
        self.completion = Some(self.progress.complete(()));
        let _ = mem::take(&mut self.progress.span);
    }

    /// Nobody will look at the completion: what it has taken goes back to the socket.
    fn give_back(&mut self) {
        let Some(completion) = self.completion.take() else { return };
        let (envelope, order) = (self.envelope.take(), self.order.take());
        // If the socket is gone, nobody can receive from it any more.
        if let (Some(socket), Some(order)) = (self.begun_at.and_then(socket_table::find), order) {
            K::give_back(completion, GivenBack { socket: &socket, order, envelope });
        }
    }
}

/// Makes an operation's call.
///
/// # Safety
///
/// As [`KindOf::attempt`] has it.
unsafe fn attempt<B: Body>(operation: &Shared, call: Call<'_>) -> Attempted {
    // SAFETY: the body is of this type, and the caller's (invariants 1 and 2).
    let body = unsafe { &mut *operation.body::<B>() };
    body.progress().attempt(call)
}

/// Finds the part of the body that all kinds have.
///
/// # Safety
///
/// As [`KindOf::progress`] has it.
unsafe fn progress<B: Body>(operation: &Shared) -> *mut dyn Progress {
    // SAFETY: the body is of this type, and the caller's (invariants 1 and 2).
    let body = unsafe { &mut *operation.body::<B>() };
    body.progress()
}

/// Completes an operation without a callback: its result stands.
///
/// # Safety
///
/// As [`End`] has it.
unsafe fn finish<K: Perform>(operation: &Shared, order: Option<Order>) {
    // SAFETY: the body is of this type, and the caller's (invariant 6).
    let body = unsafe { &mut *operation.body::<Kept<K>>() };
    body.finish(order);
}

/// Gives back what an operation has taken whose completion nobody will look at, if it has taken something.
///
/// # Safety
///
/// As [`End`] has it.
unsafe fn give_back<K: Perform>(operation: &Shared) {
    // SAFETY: the body is of this type, and the caller's (invariant 6).
    let body = unsafe { &mut *operation.body::<Kept<K>>() };
    body.give_back();
}

impl KindOf {
    const fn new<B: Body + 'static>(end: End) -> Self {
        Self {
            id: B::Kind::KIND,
            direction: B::Kind::DIRECTION,
            is_send: B::Kind::IS_SEND,
            may_block: B::Kind::MAY_BLOCK,
            attempt: attempt::<B>,
            progress: progress::<B>,
            end,
            drop_body: drop_body::<B>,
            free: free::<B>,
        }
    }
}

/// Makes an operation that will call `callback`, on `socket` if it is known where it begins.
pub(crate) fn begin<K, S, F>(
    socket: Option<&Arc<SocketInner>>,
    deadline: Option<Instant>,
    work: K,
    callback: F,
    state: S,
) -> (Owner, Handle)
where
    K: Perform,
    S: Send + 'static,
    F: FnOnce(AsyncResult<K, S>) + Send + 'static,
{
    let kind = const { &KindOf::new::<WithCallback<K, S, F>>(End::Call(deliver::<K, S, F>)) };
    let (owner, handle) = Shared::new(
        Header::new(kind, socket, deadline),
        WithCallback { progress: InProgress::new(socket, work), then: Some((callback, state)) },
    );
    (Owner(owner), Handle(handle))
}

/// Makes an operation that will be waited for, on `socket` if it is known where it begins.
pub(crate) fn start<K: Perform>(
    socket: Option<&Arc<SocketInner>>,
    deadline: Option<Instant>,
    work: K,
) -> (Owner, Pending<K>) {
    let kind = const {
        let end = End::Keep { finish: finish::<K>, give_back: give_back::<K> };
        &KindOf::new::<Kept<K>>(end)
    };
    let body = Kept {
        progress: InProgress::new(socket, work),
        completion: None,
        begun_at: socket.map(|socket| socket.number),
        envelope: None,
        order: None,
    };
    let (owner, handle) = Shared::new(Header::new(kind, socket, deadline), body);
    (Owner(owner), Pending { handle: Handle(handle), taken: false, kind: PhantomData })
}

/// The one that gets an operation's completion when it has no callback. Never cloned.
pub(crate) struct Pending<K: Kind> {
    handle: Handle,
    /// True once the completion has been returned.
    taken: bool,
    /// The operation's body is a `Kept<K>`.
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Pending<K> {
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns the completion once the operation has completed, once.
    pub(crate) fn take(&mut self) -> Option<Completion<K>> {
        if !self.handle.completed().is_set() {
            return None;
        }
        // SAFETY: the event has been seen to be set, so the owner is no more, what it wrote is
        // visible, and the body is this one's (invariant 6), which is borrowed exclusively. `start` made
        // the two of one type.
        let body = unsafe { &mut *self.handle.0.body::<Kept<K>>() };
        self.taken = true;
        body.completion.take()
    }
}

/// Nobody will look at the completion any more. A pending operation is canceled, unless it is a send; what one
/// that has done its work has taken goes back to the socket (invariant 6).
impl<K: Kind> Drop for Pending<K> {
    fn drop(&mut self) {
        let operation = &self.handle.0;
        if self.taken {
            return;
        }
        let End::Keep { give_back, .. } = operation.kind.end else {
            unreachable!("an operation that is waited for is kept")
        };
        let abandoned = operation.standing.compare_exchange(
            standing::UNDECIDED,
            standing::ABANDONED,
            Ordering::Acquire,
            Ordering::Acquire,
        );
        if abandoned.is_err() {
            // SAFETY: the function is that of the operation's kind, and the body is this one's (invariant 6).
            unsafe { give_back(operation) };
        } else if !self.handle.is_send() {
            self.handle.cancel(Wish::Cancel);
        }
    }
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

    fn is_at(handle: &Handle, socket: usize) -> bool {
        handle.0.socket.load(Ordering::Relaxed) == socket
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

    fn wish(&self) -> Option<Wish> {
        self.wish()
    }

    fn is_partly_done(&mut self) -> bool {
        self.progress().is_partly_done()
    }
}

/// The one that may touch an operation's body. Never cloned.
pub(crate) struct Owner(Shared);

impl Owner {
    fn progress(&mut self) -> &mut dyn Progress {
        // SAFETY: the function is that of the operation's kind.
        let progress = unsafe { (self.0.kind.progress)(&self.0) };
        // SAFETY: there is one owner (invariant 1), it is borrowed mutably for as long as the
        // reference lives, and nobody else touches the body (invariant 2).
        unsafe { &mut *progress }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.0.clone())
    }

    pub(crate) fn kind(&self) -> OperationKind {
        self.0.kind.id
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.kind.direction
    }

    /// True for an operation that is to start something new, as the first of its kind on a socket does.
    pub(crate) fn is_accept(&self) -> bool {
        matches!(self.kind(), OperationKind::Accept | OperationKind::AcceptReceive)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Its deadline had passed when it was begun: it has one attempt.
    pub(crate) fn is_late(&self) {
        self.0.wish.store(Wish::TimeOut as u8, Ordering::Relaxed);
    }

    /// The operation begins.
    pub(crate) fn begins_at(&self, now: Moment) {
        self.0.moment.store(now, Ordering::Relaxed);
    }

    /// It has been given one of the places of a limited runtime.
    pub(crate) fn takes_place(&self) {
        self.0.has_place.store(true, Ordering::Relaxed);
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
    pub(crate) fn wish(&self) -> Option<Wish> {
        match self.0.wish.load(Ordering::Acquire) {
            0 => None,
            wish if wish == Wish::Cancel as u8 => Some(Wish::Cancel),
            wish if wish == Wish::TimeOut as u8 => Some(Wish::TimeOut),
            _ => Some(Wish::Close),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakHandle {
        self.0.references.add_weak();
        WeakHandle(WeakShared(self.0.0))
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

    /// The addresses that an operation has before it, which connects to one of several.
    pub(crate) fn route(&mut self) -> Option<&mut Route> {
        self.progress().route()
    }

    /// A name has been looked up for the operation. Returns true if that was all: its result stands.
    pub(crate) fn found(&mut self, addresses: io::Result<Vec<SocketAddr>>) -> bool {
        self.progress().found(addresses)
    }

    /// The operation goes on at `socket`: it is to be begun there next.
    pub(crate) fn go_to(&mut self, socket: &Arc<SocketInner>) {
        self.0.socket.store(socket.number.get(), Ordering::Relaxed);
        if self.thread() == Some(Thread::Coming) {
            // It comes to where the operation was.
            self.0.thread.store(Thread::Here as u8, Ordering::Relaxed);
        }
        // Before a look at the wish: invariant 5.
        fence(Ordering::SeqCst);
        self.progress().go_to(socket.clone());
    }

    /// The operation goes on when a name has been looked up: `lookup` is to get it next.
    pub(crate) fn go_to_lookup(&self, lookup: &Arc<Lookup>) {
        let first = self.0.lookup.set(Arc::downgrade(lookup)).is_ok();
        debug_assert!(first, "an operation begins with one lookup at most");
        // Before a look at the wish: invariant 5.
        fence(Ordering::SeqCst);
    }

    /// Completes the operation with `error` as its result, which says what the operation was.
    pub(crate) fn fail(mut self, runtime: &RuntimeInner, error: io::Error) {
        let error = self.progress().explain(error);
        self.end_with(runtime, error);
    }

    /// The same, where `error` says that already.
    pub(crate) fn end_with(mut self, runtime: &RuntimeInner, error: io::Error) {
        let point = if is_aborted(&error) { Point::Aborted } else { Point::Completed };
        self.progress().fail(error);
        if let Some(operation) = self.complete_at(runtime, point) {
            runtime.post(Work::Completed(operation));
        }
    }

    /// Completes the operation with the result that stands: result, then event, then completion.
    pub(crate) fn complete(self, runtime: &RuntimeInner) {
        if let Some(operation) = self.complete_here(runtime) {
            runtime.post(Work::Completed(operation));
        }
    }

    /// The same, but returns the operation if it has a callback: the caller is to deliver it.
    #[must_use = "its callback is still to be run"]
    pub(crate) fn complete_here(self, runtime: &RuntimeInner) -> Option<Self> {
        self.complete_at(runtime, Point::Completed)
    }

    /// The result stands. An operation without a callback says so; one that has been dropped gives back what it has
    /// taken (invariant 6). `order` is that of what it may have taken. The second call changes nothing.
    #[inline(always)]
    pub(crate) fn settle(&mut self, runtime: &RuntimeInner, order: impl FnOnce() -> Option<Order>) {
        if let End::Keep { finish, give_back } = self.0.kind.end {
            self.settle_kept(runtime, finish, give_back, order);
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
            runtime.contain(|| {
                // SAFETY: as above: it was abandoned, and its body is the owner's for good.
                unsafe { give_back(&self.0) };
            });
            self.0.standing.store(standing::GIVEN_BACK, Ordering::Relaxed);
        }
    }

    fn trace_result(&mut self, runtime: &RuntimeInner) {
        if cfg!(feature = "tracing") {
            runtime.contain(|| self.progress().trace_result());
        }
    }

    fn complete_at(mut self, runtime: &RuntimeInner, point: Point) -> Option<Self> {
        if let Some(deadline) = self.0.deadline {
            runtime.timer.remove(deadline, self.0.identity());
        }
        let is_to_be_delivered = match self.0.kind.end {
            End::Call(_) => {
                self.trace_result(runtime);
                true
            }
            End::Keep { .. } => {
                self.settle(runtime, || None);
                false
            }
        };
        let (worker, kind, header) = (runtime.worker(), self.kind(), &*self.0);
        runtime.counters.count(worker, kind, point);
        if let Some(latencies) = &runtime.latencies {
            let now = runtime.clock.now();
            let took = now.saturating_sub(header.moment.load(Ordering::Relaxed));
            header.moment.store(now, Ordering::Relaxed);
            latencies.record(worker, kind, Stretch::UntilCompleted, took);
        }
        if !is_to_be_delivered {
            runtime.is_over(worker, kind, header.has_place.load(Ordering::Relaxed));
        }
        // Whoever waits may have a waker of their own, and whoever does not, have left a buffer.
        runtime.contain(|| {
            self.0.completed.set();
        });
        if is_to_be_delivered {
            return Some(self);
        }
        runtime.contain(|| drop(self));
        None
    }

    /// Runs the callback.
    pub(crate) fn deliver(self) {
        let End::Call(deliver) = self.0.kind.end else {
            unreachable!("what is posted has a callback")
        };
        // SAFETY: the function is that of the operation's kind, and this was the owner.
        unsafe { deliver(self.0) };
    }

    pub(crate) fn has_place(&self) -> bool {
        self.0.has_place.load(Ordering::Relaxed)
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
pub(crate) struct Handle(Shared);

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
        self.completed().is_set()
            || match self.runtime() {
                Some(runtime) => runtime.wait_for(self, deadline),
                None => RuntimeInner::wait_for_event(self.event(), deadline),
            }
    }

    /// The number of the socket where it is, or was last.
    pub(crate) fn socket(&self) -> Option<SocketNumber> {
        self.0.socket()
    }

    /// That socket, if it is there.
    pub(crate) fn place(&self) -> Option<Arc<SocketInner>> {
        self.0.socket().and_then(socket_table::find)
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.kind.direction
    }

    /// True if nothing but its socket, where it is, keeps the operation from going on. An accept that
    /// receives goes from the listener to the accepted socket: a thread that has begun it has both.
    pub(crate) fn is_at_its_socket(&self) -> bool {
        match self.0.kind.id {
            OperationKind::ConnectTo | OperationKind::LookUp => false,
            OperationKind::AcceptReceive => self.thread().is_some(),
            _ => !self.0.kind.may_block,
        }
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

    /// The runtime of an operation that is pending.
    fn runtime(&self) -> Option<Arc<RuntimeInner>> {
        // What an operation is pending at is alive.
        match self.0.socket() {
            Some(socket) => socket_table::find(socket).map(|socket| socket.runtime.clone()),
            None => self.lookup().map(|lookup| lookup.runtime().clone()),
        }
    }

    fn lookup(&self) -> Option<Arc<Lookup>> {
        self.0.lookup.get().and_then(Weak::upgrade)
    }

    /// Tells the operation apart from every other that has not completed.
    pub(crate) fn identity(&self) -> usize {
        self.0.identity()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Asks the operation not to go on, if it is pending. The first to ask says why.
    pub(crate) fn cancel(&self, wish: Wish) {
        if self.completed().is_set() {
            return;
        }
        // Released, as the thread that reads the wish is to see whether the operation was dropped before.
        let _ = self.0.wish.compare_exchange(0, wish as u8, Ordering::Release, Ordering::Relaxed);
        // Before a look at the place: invariant 5.
        fence(Ordering::SeqCst);
        if let Some(socket) = self.0.socket() {
            if let Some(socket) = socket_table::find(socket) {
                socket.runtime.driver.cancel(&socket, self.0.kind.direction, self);
            }
        } else if let Some(lookup) = self.lookup() {
            lookup.cancel(wish);
        }
    }
}

/// A handle that keeps nothing of the operation.
pub(crate) struct WeakHandle(WeakShared);

impl WeakHandle {
    pub(crate) fn upgrade(&self) -> Option<Handle> {
        self.0.upgrade().map(Handle)
    }
}

impl fmt::Debug for WeakHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.upgrade().fmt(f)
    }
}

impl WaitHandle for Handle {
    fn event(&self) -> EventRef<'_> {
        self.completed().event()
    }
}

impl<K: Kind> fmt::Debug for Pending<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
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
            .field("wish", &self.wish)
            .finish_non_exhaustive()
    }
}
