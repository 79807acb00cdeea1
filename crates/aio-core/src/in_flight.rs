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
//!    pieces of work. An operation with a callback goes on to [`Owner::deliver`], which takes the callback out of the body: an operation completes once, and
//!    its callback runs once (I1). An owner that is dropped on any other path is a bug in this crate.
//! 4. The result stands in the body before the event is set, and the event is set before the
//!    completion is posted: in the callback `is_completed` is true and the wait handle is set.
//! 5. An operation may go on elsewhere: an accept at the socket it has accepted, to receive there. Its
//!    owner says so in the header before it goes there, and there its wish is looked at, under the
//!    lock of that queue. A cancel states the wish, then looks for the place. Both put a sequentially
//!    consistent fence in between, so that of a move and a cancel at the same time one sees what the other did.
//! 6. The owner of an operation without a callback ends by setting the event; it touches the body no
//!    more. From then on the body belongs to the one [`Pending`] that [`start`] returned, which does
//!    not touch it before it has seen the event set.

use crate::async_result::{AsyncResult, Completion, OperationHandle};
use crate::error::{Aborted, is_aborted};
use crate::metrics::OperationReport;
use crate::op::{Attempt, Call, Direction, KIND_NAMES, Kind, Perform, Route, kind_index};
use crate::resolver::Lookup;
use crate::runtime::{Clock, Moment, Point, RuntimeInner, Stretch, Work};
use crate::socket::SocketInner;
use crate::socket_table::{self, SocketNumber};
use crate::span::Span;
use aio_sync::{EventRef, ManualResetEvent, WaitHandle};
use std::cell::UnsafeCell;
use std::fmt;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

pub(crate) struct InFlight<B: ?Sized> {
    header: Header,
    body: UnsafeCell<B>,
}

// SAFETY: handles, which share the operation, read only the header, which is `Sync`; the body is
// reached through the one owner, then through the one `Pending`, which is like sending it
// (invariants 1, 2 and 6).
unsafe impl<B: ?Sized + Send> Sync for InFlight<B> {}

struct Header {
    /// Its name's index: see [`KIND_NAMES`].
    kind: usize,
    direction: Direction,
    /// True if an operation that nobody waits for any more is to go on all the same.
    is_send: bool,
    may_block: bool,
    /// The number of the socket where it is pending or, once it has completed, was pending last; 0 if there
    /// has been none. It takes precedence over `lookup`.
    socket: AtomicUsize,
    /// The lookup that it begins with, if it does.
    lookup: OnceLock<Weak<Lookup>>,
    /// Runs the callback, if there is one: see [`deliver`].
    deliver: Option<Deliver>,
    /// When it is to be canceled, if it has not completed.
    deadline: Option<Instant>,
    /// What has been asked for: 0, or a [`Wish`]. Read by the operation queue under its lock.
    wish: AtomicU8,
    /// When it was begun, by its runtime's clock.
    begun: AtomicU64,
    /// When it completed, if that is measured.
    completed_at: AtomicU64,
    /// True if it takes one of the places of a limited runtime.
    has_place: AtomicBool,
    /// Set when the result stands in the body.
    completed: ManualResetEvent,
}

/// Runs the callback of an operation of some kind.
type Deliver = unsafe fn(Arc<InFlight<dyn Body>>);

/// Why a pending operation shall not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Cancel = 1,
    /// Its deadline has passed.
    TimeOut = 2,
    /// The socket where it was begun is closed, and it has gone on elsewhere.
    Close = 3,
}

impl From<Wish> for Aborted {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Cancel => Self::Canceled,
            Wish::TimeOut => Self::TimedOut,
            Wish::Close => Self::Closed,
        }
    }
}

impl Header {
    fn new<K: Perform>(
        socket: Option<&Arc<SocketInner>>,
        deadline: Option<Instant>,
        deliver: Option<Deliver>,
    ) -> Self {
        Self {
            kind: const { kind_index(K::NAME) },
            direction: K::DIRECTION,
            is_send: K::IS_SEND,
            may_block: K::MAY_BLOCK,
            socket: AtomicUsize::new(socket.map_or(0, |socket| socket.number.get())),
            lookup: OnceLock::new(),
            deliver,
            deadline,
            wish: AtomicU8::new(0),
            begun: AtomicU64::new(0),
            completed_at: AtomicU64::new(0),
            has_place: AtomicBool::new(false),
            completed: ManualResetEvent::new(false),
        }
    }

    /// The number of the socket where the operation is, or was last.
    fn socket(&self) -> Option<SocketNumber> {
        SocketNumber::from(self.socket.load(Ordering::Relaxed))
    }
}

/// What the owner can do with a body of whatever kind.
trait Body: Send {
    fn progress(&mut self) -> &mut dyn Progress;

    /// The result of an operation without a callback stands.
    fn finish(&mut self);
}

/// An operation's work and how far it has come, of whatever kind.
trait Progress {
    fn attempt(&mut self, call: Call<'_>) -> Attempt<()>;
    fn fail(&mut self, error: io::Error);
    fn is_partly_done(&self) -> bool;
    fn route(&mut self) -> Option<&mut Route>;
    fn found(&mut self, addresses: io::Result<Vec<SocketAddr>>) -> bool;
    fn go_to(&mut self, socket: Arc<SocketInner>);
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
    fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        let work = self.work.as_mut().expect("an operation is attempted before it is completed");
        match work.attempt(call) {
            Attempt::Done { result, drained } => {
                self.result = Some(result);
                Attempt::Done { result: Ok(()), drained }
            }
            Attempt::WouldBlock => Attempt::WouldBlock,
            Attempt::Yielded => Attempt::Yielded,
            Attempt::GoesOnAt(socket) => Attempt::GoesOnAt(socket),
        }
    }

    fn fail(&mut self, error: io::Error) {
        self.result = Some(Err(error));
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
    fn progress(&mut self) -> &mut dyn Progress {
        &mut self.progress
    }

    fn finish(&mut self) {
        unreachable!("its callback takes the result");
    }
}

/// Runs the callback of an operation that has completed. What was its owner's becomes the callback's handle.
///
/// # Safety
///
/// The operation's body is of this kind, and the caller was its owner.
unsafe fn deliver<K, S, F>(operation: Arc<InFlight<dyn Body>>)
where
    K: Perform,
    F: FnOnce(AsyncResult<K, S>),
{
    let (callback, completion, span) = {
        let body = operation.body.get().cast::<WithCallback<K, S, F>>();
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
}

impl<K: Perform> Body for Kept<K> {
    fn progress(&mut self) -> &mut dyn Progress {
        &mut self.progress
    }

    fn finish(&mut self) {
        self.completion = Some(self.progress.complete(()));
        let _ = mem::take(&mut self.progress.span);
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
    let operation: Arc<InFlight<dyn Body>> = Arc::new(InFlight {
        header: Header::new::<K>(socket, deadline, Some(deliver::<K, S, F>)),
        body: UnsafeCell::new(WithCallback {
            progress: InProgress::new(socket, work),
            then: Some((callback, state)),
        }),
    });
    (Owner(operation.clone()), Handle(operation))
}

/// Makes an operation that will be waited for, on `socket` if it is known where it begins.
pub(crate) fn start<K: Perform>(
    socket: Option<&Arc<SocketInner>>,
    deadline: Option<Instant>,
    work: K,
) -> (Owner, Pending<K>) {
    let operation = Arc::new(InFlight {
        header: Header::new::<K>(socket, deadline, None),
        body: UnsafeCell::new(Kept { progress: InProgress::new(socket, work), completion: None }),
    });
    (Owner(operation.clone()), Pending { handle: Handle(operation.clone()), operation })
}

/// The one that gets an operation's completion when it has no callback. Never cloned.
pub(crate) struct Pending<K: Kind> {
    operation: Arc<InFlight<Kept<K>>>,
    /// The same operation, as others may see it.
    handle: Handle,
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
        // visible, and the body is this one's (invariant 6), which is borrowed exclusively.
        let body = unsafe { &mut *self.operation.body.get() };
        body.completion.take()
    }
}

/// The one that may touch an operation's body. Never cloned.
pub(crate) struct Owner(Arc<InFlight<dyn Body>>);

impl Owner {
    fn body(&mut self) -> &mut dyn Body {
        // SAFETY: there is one owner (invariant 1), it is borrowed mutably for as long as the
        // reference lives, and nobody else touches the body (invariant 2).
        unsafe { &mut *self.0.body.get() }
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle(self.0.clone())
    }

    /// The index of its name among [`KIND_NAMES`].
    pub(crate) fn kind(&self) -> usize {
        self.0.header.kind
    }

    pub(crate) fn direction(&self) -> Direction {
        self.0.header.direction
    }

    /// True for an operation that is to start something new, as the first of its kind on a socket does.
    pub(crate) fn is_accept(&self) -> bool {
        const ACCEPT: usize = kind_index("accept");
        const ACCEPT_RECEIVE: usize = kind_index("accept_receive");
        matches!(self.0.header.kind, ACCEPT | ACCEPT_RECEIVE)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.header.deadline
    }

    /// The operation begins.
    pub(crate) fn begins_at(&self, now: Moment) {
        self.0.header.begun.store(now, Ordering::Relaxed);
    }

    /// It has been given one of the places of a limited runtime.
    pub(crate) fn takes_place(&self) {
        self.0.header.has_place.store(true, Ordering::Relaxed);
    }

    /// What is to be told of it, pending at `socket` if at any.
    pub(crate) fn report(&self, clock: &Clock, socket: Option<&SocketInner>) -> OperationReport {
        let system = socket.and_then(|socket| socket.descriptor.pin());
        let age = clock.since(self.0.header.begun.load(Ordering::Relaxed));
        OperationReport::new(self.kind(), system.as_deref(), age)
    }

    /// Why the operation shall not go on, if it shall not.
    pub(crate) fn wish(&self) -> Option<Wish> {
        match self.0.header.wish.load(Ordering::Relaxed) {
            0 => None,
            wish if wish == Wish::Cancel as u8 => Some(Wish::Cancel),
            wish if wish == Wish::TimeOut as u8 => Some(Wish::TimeOut),
            _ => Some(Wish::Close),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakHandle {
        WeakHandle(Arc::downgrade(&self.0))
    }

    /// True if `handle` is one of this operation.
    pub(crate) fn is_of(&self, handle: &Handle) -> bool {
        Arc::ptr_eq(&self.0, &handle.0)
    }

    /// Makes the operation's call, without blocking. When it is done, its result stands.
    pub(crate) fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        self.body().progress().attempt(call)
    }

    /// True if the operation, were it to end now without success, could not be followed by another.
    pub(crate) fn is_partly_done(&mut self) -> bool {
        self.body().progress().is_partly_done()
    }

    /// True for a send: if it does not finish, the peer has to learn of it.
    pub(crate) fn is_send(&self) -> bool {
        self.0.header.is_send
    }

    /// True if an attempt may wait for something other than the socket: it is a worker's to make.
    pub(crate) fn may_block(&self) -> bool {
        self.0.header.may_block
    }

    /// The addresses that an operation has before it, which connects to one of several.
    pub(crate) fn route(&mut self) -> Option<&mut Route> {
        self.body().progress().route()
    }

    /// A name has been looked up for the operation. Returns true if that was all: its result stands.
    pub(crate) fn found(&mut self, addresses: io::Result<Vec<SocketAddr>>) -> bool {
        self.body().progress().found(addresses)
    }

    /// The operation goes on at `socket`: it is to be begun there next.
    pub(crate) fn go_to(&mut self, socket: &Arc<SocketInner>) {
        self.0.header.socket.store(socket.number.get(), Ordering::Relaxed);
        // Before a look at the wish: invariant 5.
        fence(Ordering::SeqCst);
        self.body().progress().go_to(socket.clone());
    }

    /// The operation goes on when a name has been looked up: `lookup` is to get it next.
    pub(crate) fn go_to_lookup(&self, lookup: &Arc<Lookup>) {
        let first = self.0.header.lookup.set(Arc::downgrade(lookup)).is_ok();
        debug_assert!(first, "an operation begins with one lookup at most");
        // Before a look at the wish: invariant 5.
        fence(Ordering::SeqCst);
    }

    /// Completes the operation with `error` as its result.
    pub(crate) fn fail(mut self, runtime: &RuntimeInner, error: io::Error) {
        let point = if is_aborted(&error) { Point::Aborted } else { Point::Completed };
        self.body().progress().fail(error);
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

    fn complete_at(mut self, runtime: &RuntimeInner, point: Point) -> Option<Self> {
        if let Some(deadline) = self.0.header.deadline {
            runtime.timer.remove(deadline, Arc::as_ptr(&self.0).addr());
        }
        if cfg!(feature = "tracing") {
            runtime.contain(|| self.body().progress().trace_result());
        }
        let is_to_be_delivered = self.0.header.deliver.is_some();
        if !is_to_be_delivered {
            self.body().finish();
        }
        let (worker, kind, header) = (runtime.worker(), self.kind(), &self.0.header);
        runtime.counters.count(worker, kind, point);
        if let Some(latencies) = &runtime.latencies {
            let now = runtime.clock.now();
            header.completed_at.store(now, Ordering::Relaxed);
            let took = now.saturating_sub(header.begun.load(Ordering::Relaxed));
            latencies.record(worker, kind, Stretch::UntilCompleted, took);
        }
        if !is_to_be_delivered {
            runtime.is_over(worker, kind, header.has_place.load(Ordering::Relaxed));
        }
        // Whoever waits may have a waker of their own, and whoever does not, have left a buffer.
        runtime.contain(|| {
            self.0.header.completed.set();
        });
        if is_to_be_delivered {
            return Some(self);
        }
        runtime.contain(|| drop(self));
        None
    }

    /// Runs the callback.
    pub(crate) fn deliver(self) {
        let deliver = self.0.header.deliver.expect("what is posted has a callback");
        // SAFETY: it was made for this operation's body, in `begin`, and this was the owner.
        unsafe { deliver(self.0) };
    }

    pub(crate) fn has_place(&self) -> bool {
        self.0.header.has_place.load(Ordering::Relaxed)
    }

    pub(crate) fn completed_at(&self) -> Moment {
        self.0.header.completed_at.load(Ordering::Relaxed)
    }

    /// The number of the socket where it is, or was last.
    pub(crate) fn socket(&self) -> Option<SocketNumber> {
        self.0.header.socket()
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.header.fmt(f)
    }
}

/// What anybody may do with an operation.
#[derive(Clone)]
pub(crate) struct Handle(Arc<InFlight<dyn Body>>);

impl Handle {
    pub(crate) fn completed(&self) -> &ManualResetEvent {
        &self.0.header.completed
    }

    /// True for a send: it is to go on even if nobody waits for it any more.
    pub(crate) fn is_send(&self) -> bool {
        self.0.header.is_send
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

    /// The runtime of an operation that is pending.
    fn runtime(&self) -> Option<Arc<RuntimeInner>> {
        // What an operation is pending at is alive.
        match self.0.header.socket() {
            Some(socket) => socket_table::find(socket).map(|socket| socket.runtime.clone()),
            None => self.lookup().map(|lookup| lookup.runtime().clone()),
        }
    }

    fn lookup(&self) -> Option<Arc<Lookup>> {
        self.0.header.lookup.get().and_then(Weak::upgrade)
    }

    /// Tells the operation apart from every other that has not completed.
    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.0.header.deadline
    }

    /// Asks the operation not to go on, if it is pending. The first to ask says why.
    pub(crate) fn cancel(&self, wish: Wish) {
        if self.completed().is_set() {
            return;
        }
        let _ = self.0.header.wish.compare_exchange(
            0,
            wish as u8,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        // Before a look at the place: invariant 5.
        fence(Ordering::SeqCst);
        if let Some(socket) = self.0.header.socket() {
            if let Some(socket) = socket_table::find(socket) {
                socket.runtime.driver.cancel(&socket, self.0.header.direction, self);
            }
        } else if let Some(lookup) = self.lookup() {
            lookup.cancel(wish);
        }
    }
}

/// A handle that keeps nothing of the operation.
pub(crate) struct WeakHandle(Weak<InFlight<dyn Body>>);

impl WeakHandle {
    pub(crate) fn upgrade(&self) -> Option<Handle> {
        self.0.upgrade().map(Handle)
    }

    /// False only if the operation is over.
    pub(crate) fn may_be_pending(&self) -> bool {
        self.0.strong_count() > 0
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
        self.0.header.fmt(f)
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation")
            .field("name", &KIND_NAMES[self.kind])
            .field("completed", &self.completed.is_set())
            .field("wish", &self.wish)
            .finish_non_exhaustive()
    }
}
