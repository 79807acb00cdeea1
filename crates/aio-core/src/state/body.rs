//! The body of an operation: its work and how far that has come, its result, and what becomes of it.
//!
//! The invariants are those of `in_flight.rs`: whose the body is at what time, and that one of three things becomes of
//! a result. It goes to a callback, it is kept for a [`Pending`], or a composite operation goes on with it.

use crate::base::current_part::CurrentPart;
use crate::base::kind::OperationKind;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::CancelReason;
use crate::base::span::Span;
use crate::base::unread::{Envelope, Order};
use crate::state::completion::{Completion, Kind};
use crate::state::context::RuntimeInner;
use crate::state::in_flight::{
    Attempted, Call, End, Handle, Header, KindOf, Owner, Part, Progress, Shared, standing,
};
use crate::state::perform::{Attempt, GivenBack, Perform};
use crate::state::socket::{self, SocketInner};
use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::{self};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;
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

/// What belongs to the owner.
trait Body: Send {
    type Kind: Perform;

    /// The kind by which users know it.
    const KIND: OperationKind = Self::Kind::KIND;

    fn progress(&mut self) -> &mut InProgress<Self::Kind>;
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
    F: FnOnce(Completion<K, S>, Handle) + Send,
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
    F: FnOnce(Completion<K, S>, Handle),
{
    let (callback, completion, span) = {
        let body = operation.body::<WithCallback<K, S, F>>();
        // SAFETY: the body is of this type, and nobody but its owner, which the caller was, touches it
        // (invariants 1 and 2).
        let body = unsafe { &mut *body };
        let (callback, state) = body.then.take().expect("an operation is delivered once");
        (callback, body.progress.complete(state), mem::take(&mut body.progress.span))
    };
    let handle = Handle(operation);
    span.run(|| callback(completion, handle));
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
        if let (Some(socket), Some(order)) = (self.begun_at.and_then(socket::find), order) {
            K::give_back(completion, GivenBack { socket: &socket, order, envelope });
        }
    }
}

/// Goes on when a part of a composite operation is over. It holds the owner of the composite.
pub(crate) trait Continuation<K: Kind>: Send + 'static {
    /// The kind of the composite.
    type Whole: Perform;

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

    const KIND: OperationKind = C::Whole::KIND;

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
}

impl Owner {
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
}

impl KindOf {
    const fn new<B: Body + 'static>(end: End) -> Self {
        Self {
            id: B::KIND,
            is_accept: matches!(B::Kind::KIND, OperationKind::Accept),
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
    F: FnOnce(Completion<K, S>, Handle) + Send + 'static,
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
    if let Some(cancel_reason) = whole.enter(Part::Operation(Handle(part))) {
        owner.cancel_reason.store(cancel_reason as u8, Ordering::Relaxed);
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
            self.handle.cancel(CancelReason::Canceled);
        }
    }
}

impl<K: Kind> fmt::Debug for Pending<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}
