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
//! 5. A *composite* operation (an accept that receives, a connect to one of several addresses, a lookup) is in no
//!    queue. It consists of [parts](begin_part), one after the other, each of which has a [`Continuation`] that holds
//!    the owner of the composite. Users know of the composite alone: its parts are not counted, take no place of a
//!    limited runtime, have no entry in the timer and no span, and are reported as the composite. A part has the
//!    composite's deadline, and begins with its cancel request (`base/current_part.rs`). A part that is aborted ends
//!    the composite with the same error, so a composite needs no abort of its own.
//! 6. An operation without a callback has one [`Pending`], which [`start`] returned, and a `standing`, which says
//!    whose its body is. *Undecided*: the owner's. *Stands*: the completion is in the body, which is the
//!    `Pending`'s; the owner touches the body no more, sets the event and ends. *Abandoned*: the owner's for good,
//!    since the `Pending` was dropped. The two others leave *Undecided* by one compare-exchange, so one of them wins.
//!    The owner tries as soon as an attempt has done the work, before the queue lets the next operation begin. If
//!    it loses, it gives what it has taken back to the socket there and then; if it wins, the `Pending` does when
//!    it is dropped. So a thread that drops an operation and then begins another one gets, with that, what the
//!    first had taken, and nothing is lost (I2).
//! 7. Owner, handles and pending each have one of the operation's [`References`], as long as they live. The thread
//!    that takes the last one away drops the operation.

use crate::api::async_result::{AsyncResult, OperationHandle};
use crate::api::metrics::OperationReport;
use crate::base::clock::{Clock, Moment};
use crate::base::counters::Point;
use crate::base::current_part::CurrentPart;
use crate::base::error::is_aborted;
use crate::base::kind::{Direction, KIND_NAMES, kind_index};
use crate::base::latencies::Stretch;
use crate::base::operation_queue::{self, Blocked, Place, Placed, Queued, Thread, Wish};
use crate::base::references::References;
use crate::base::span::Span;
use crate::state::completion::Completion;
use crate::state::context::{RuntimeInner, Work};
use crate::state::perform::{Attempt, Call, Kind, Perform};
use crate::state::socket::SocketInner;
use crate::state::socket_table;
use crate::state::socket_table::SocketNumber;
use crate::state::unread::{Envelope, GivenBack, Order};
use aio_sync::{EventRef, ManualResetEvent, WaitHandle};
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, ManuallyDrop, offset_of};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// The allocation. The header comes first, so that a pointer to it is one to the whole.
#[repr(C)]
struct InFlight<B> {
    header: Header,
    body: UnsafeCell<B>,
}

/// The allocation of a composite operation: invariant 5.
#[repr(C)]
struct Composite<B> {
    operation: InFlight<B>,
    current: CurrentPart<Part>,
}

/// A part of a composite operation.
#[derive(Clone)]
pub(crate) enum Part {
    Operation(Handle),
    /// The name of a host is looked up.
    LookUp(Arc<dyn Cancel>),
}

/// Something other than an operation that can be canceled.
pub(crate) trait Cancel: Send + Sync {
    fn cancel(&self, wish: Wish);
}

impl Part {
    fn cancel(&self, wish: Wish) {
        match self {
            Self::Operation(operation) => operation.cancel(wish),
            Self::LookUp(lookup) => lookup.cancel(wish),
        }
    }
}

struct Header {
    references: References,
    kind: &'static KindOf,
    /// The number of the socket where it is pending or, once it has completed, was pending last; 0 if there
    /// has been none. That of a composite operation is its current part's.
    socket: AtomicUsize,
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
const _: () = assert!(size_of::<Header>() <= 80);

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
    /// The index of the name by which users know it: see [`KIND_NAMES`].
    index: usize,
    is_accept: bool,
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
    /// Finds the current part of a composite operation.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind.
    current: Option<unsafe fn(&Shared) -> &CurrentPart<Part>>,
    /// Drops the operation, and frees its memory.
    ///
    /// # Safety
    ///
    /// The operation is one of this kind, and nobody will touch it again.
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
    /// The composite operation of which it is a part goes on: see [`settle_part`] and [`go_on`].
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
    fn new(
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

    /// Why the operation shall not go on, if it shall not.
    fn wish(&self) -> Option<Wish> {
        match self.wish.load(Ordering::Acquire) {
            0 => None,
            wish if wish == Wish::Cancel as u8 => Some(Wish::Cancel),
            wish if wish == Wish::TimeOut as u8 => Some(Wish::TimeOut),
            _ => Some(Wish::Close),
        }
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
        let operation = InFlight { header, body: UnsafeCell::new(body) };
        let header = if B::Kind::IS_COMPOSITE {
            let memory = crate::base::memory::allocate::<Composite<B>>();
            // SAFETY: this is memory for it.
            unsafe { memory.write(Composite { operation, current: CurrentPart::new() }) };
            memory.cast()
        } else {
            let memory = crate::base::memory::allocate::<InFlight<B>>();
            // SAFETY: as above.
            unsafe { memory.write(operation) };
            memory.cast()
        };
        (Self(header), Self(header))
    }

    /// The body, whose type has to be known.
    fn body<B>(&self) -> *mut B {
        let operation = self.0.cast::<InFlight<B>>().as_ptr();
        // SAFETY: the pointer is one to the whole allocation, and no reference is made of it.
        UnsafeCell::raw_get(unsafe { &raw const (*operation).body })
    }

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

/// Drops an operation, and frees its memory.
///
/// # Safety
///
/// As [`KindOf::free`] has it.
unsafe fn free<B: Body>(operation: NonNull<Header>) {
    if B::Kind::IS_COMPOSITE {
        // SAFETY: it was allocated for this type in `Shared::new`, and the rest is the caller's promise.
        unsafe { drop_and_release(operation.cast::<Composite<B>>()) };
    } else {
        // SAFETY: as above.
        unsafe { drop_and_release(operation.cast::<InFlight<B>>()) };
    }
}

/// Drops a value, and frees its memory even if that panics.
///
/// # Safety
///
/// The memory is from `allocate::<T>`, the value is there, and nobody will touch it again.
unsafe fn drop_and_release<T>(value: NonNull<T>) {
    struct Memory<T>(NonNull<T>);
    impl<T> Drop for Memory<T> {
        fn drop(&mut self) {
            // SAFETY: the caller's promise, and the value has been dropped.
            unsafe { crate::base::memory::release(self.0) };
        }
    }
    let memory = Memory(value);
    // SAFETY: the caller's promise.
    unsafe { memory.0.drop_in_place() };
}

/// Finds the current part of a composite operation.
///
/// # Safety
///
/// As [`KindOf::current`] has it.
unsafe fn current<B>(operation: &Shared) -> &CurrentPart<Part> {
    let composite = operation.0.cast::<Composite<B>>().as_ptr();
    // SAFETY: it was allocated for this type in `Shared::new`. The current part is shared by all references, and
    // lies beside what the owner borrows mutably.
    unsafe { &(*composite).current }
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
}

/// What belongs to the owner.
trait Body: Send {
    type Kind: Perform;

    /// See [`KindOf::index`].
    const INDEX: usize = kind_index(<Self::Kind as Kind>::NAME);

    fn progress(&mut self) -> &mut InProgress<Self::Kind>;
}

/// An operation's work and how far it has come, of whatever kind.
trait Progress: Any {
    fn fail(&mut self, error: io::Error);
    /// Says in `error` what the operation was.
    fn explain(&self, error: io::Error) -> io::Error;
    fn is_partly_done(&self) -> bool;
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
        let span = Span::begin(K::NAME, socket.map(|socket| &**socket));
        Self { socket: socket.cloned(), work: Some(work), result: None, span }
    }

    /// That of a part, which has no span.
    fn of_part(socket: &Arc<SocketInner>, work: K) -> Self {
        let (socket, work) = (Some(socket.clone()), Some(work));
        Self { socket, work, result: None, span: Span::none() }
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
    /// Where it was begun. The parts of a composite operation may be at other sockets.
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

/// Goes on when a part of a composite operation is over. It holds the owner of the composite.
pub(crate) trait Continuation<K: Kind>: Send + 'static {
    /// The kind of the composite.
    type Whole: Kind;

    /// The part's result stands, and the queue has not let the next operation begin. What the part has taken is
    /// passed on to the composite here: invariant 6. `order` is that of what the part may have taken.
    fn settle(&mut self, runtime: &RuntimeInner, completion: Completion<K>, order: Option<Order>);

    /// Begins the next part, or completes the composite. May run inside a callback that waits. Returns the composite
    /// if it has completed and has a callback: that is the caller's to deliver.
    #[must_use = "its callback is still to be run"]
    fn go_on(self, runtime: &RuntimeInner) -> Option<Owner>;
}

/// The body of a part of a composite operation.
struct PartOf<K: Kind, C> {
    progress: InProgress<K>,
    is_settled: bool,
    then: Option<C>,
}

impl<K: Perform, C: Continuation<K>> Body for PartOf<K, C> {
    type Kind = K;

    const INDEX: usize = kind_index(<C::Whole as Kind>::NAME);

    fn progress(&mut self) -> &mut InProgress<K> {
        &mut self.progress
    }
}

/// The result of a part stands. The second call changes nothing.
///
/// # Safety
///
/// As [`End`] has it.
unsafe fn settle_part<K, C>(operation: &Shared, runtime: &RuntimeInner, order: Option<Order>)
where
    K: Perform,
    C: Continuation<K>,
{
    // SAFETY: the body is of this type, and the caller's (invariants 1 and 2).
    let body = unsafe { &mut *operation.body::<PartOf<K, C>>() };
    if !mem::replace(&mut body.is_settled, true) {
        let completion = body.progress.complete(());
        if let Some(then) = &mut body.then {
            then.settle(runtime, completion, order);
        }
    }
}

/// A part is over: see [`Continuation::go_on`].
///
/// # Safety
///
/// As [`End`] has it.
unsafe fn go_on<K, C>(operation: &Shared, runtime: &RuntimeInner) -> Option<Owner>
where
    K: Perform,
    C: Continuation<K>,
{
    // SAFETY: the body is of this type, and the caller's (invariants 1 and 2).
    let body = unsafe { &mut *operation.body::<PartOf<K, C>>() };
    body.then.take().expect("a part is over once").go_on(runtime)
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
            index: B::INDEX,
            is_accept: kind_index(<B::Kind as Kind>::NAME) == kind_index("accept"),
            direction: B::Kind::DIRECTION,
            is_send: B::Kind::IS_SEND,
            may_block: B::Kind::MAY_BLOCK,
            attempt: attempt::<B>,
            progress: progress::<B>,
            end,
            current: if B::Kind::IS_COMPOSITE { Some(current::<B>) } else { None },
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

/// Makes the next part of the composite operation `whole`, whose owner is with `then`: invariant 5.
pub(crate) fn begin_part<K: Perform, C: Continuation<K>>(
    whole: &Handle,
    socket: &Arc<SocketInner>,
    work: K,
    then: C,
) -> Owner {
    let kind = const {
        let end = End::Continue { settle: settle_part::<K, C>, go_on: go_on::<K, C> };
        &KindOf::new::<PartOf<K, C>>(end)
    };
    let header = Header::new(kind, Some(socket), whole.deadline());
    header.moment.store(whole.0.moment.load(Ordering::Relaxed), Ordering::Relaxed);
    // A thread that waits for the composite comes to its first part, and to the others when they have begun.
    if let Some(thread) = whole.thread() {
        header.thread.store(thread as u8, Ordering::Relaxed);
        whole.thread_is_here();
    }
    let progress = InProgress::of_part(socket, work);
    let body = PartOf { progress, is_settled: false, then: Some(then) };
    let (owner, part) = Shared::new(header, body);
    whole.0.socket.store(socket.number.get(), Ordering::Relaxed);
    if let Some(wish) = whole.enter(Part::Operation(Handle(part))) {
        owner.wish.store(wish as u8, Ordering::Relaxed);
    }
    Owner(owner)
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

    /// The same of an operation of a kind that is known.
    fn progress_of<K: Perform>(&mut self) -> &mut InProgress<K> {
        let progress: &mut dyn Any = self.progress();
        progress.downcast_mut().expect("a continuation knows the kind of its composite operation")
    }

    /// The work of an operation of this kind that has not completed.
    pub(crate) fn work<K: Perform>(&mut self) -> &mut K {
        self.progress_of::<K>().work.as_mut().expect("its result does not stand")
    }

    /// The result of a composite operation, of this kind, stands.
    pub(crate) fn stands<K: Perform>(
        &mut self,
        runtime: &RuntimeInner,
        result: io::Result<K::Output>,
        order: Option<Order>,
    ) {
        self.progress_of::<K>().result = Some(result);
        self.settle(runtime, || order);
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

    /// The index of its name among [`KIND_NAMES`].
    pub(crate) fn kind(&self) -> usize {
        self.0.kind.index
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
        self.0.wish()
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
        if let Some(operation) = self.fail_here(runtime, error) {
            runtime.post(Work::Completed(operation));
        }
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
        if let Some(operation) = self.complete_here(runtime) {
            runtime.post(Work::Completed(operation));
        }
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
        self.completed().is_set() || RuntimeInner::wait_for(self, deadline)
    }

    /// The socket where it is, or was last, if that is there.
    pub(crate) fn place(&self) -> Option<Arc<SocketInner>> {
        self.0.socket().and_then(socket_table::find)
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
    pub(crate) fn enter(&self, part: Part) -> Option<Wish> {
        let current = self.0.current().expect("a composite operation has parts");
        current.enter(part, || self.0.wish())
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
    pub(crate) fn cancel(&self, wish: Wish) {
        if self.completed().is_set() {
            return;
        }
        // Released, as the thread that reads the wish is to see whether the operation was dropped before.
        let _ = self.0.wish.compare_exchange(0, wish as u8, Ordering::Release, Ordering::Relaxed);
        if let Some(current) = self.0.current() {
            if let (Some(wish), Some(part)) = (self.0.wish(), current.get()) {
                part.cancel(wish);
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
            .field("name", &KIND_NAMES[self.kind.index])
            .field("completed", &self.completed.is_set())
            .field("wish", &self.wish)
            .finish_non_exhaustive()
    }
}
