//! An operation without a callback: waited for, awaited, or canceled.

use crate::api::async_result::OperationHandle;
use crate::base::operation_queue::CancelReason;
use crate::port::completion_port::CompletionPort;
use crate::state::body::Pending;
use crate::state::completion::{Completion, Kind};
use crate::state::in_flight::Handle;
use aio_sync::{EventRef, Registration, WaitHandle};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// An operation that was started without a callback, by one of [`Socket`](crate::Socket)'s `*_async`
/// methods.
///
/// It has been started, and goes on whether or not it is waited for. To get its [`Completion`],
/// [`wait`](Self::wait) for it, with a limit if need be, or `.await` it on any executor, or have it
/// posted to a port ([`post_to`](Self::post_to)). It is a wait handle, so that it can be waited for
/// beside events and other operations, and it costs no worker.
///
/// Dropping a pending operation cancels it, unless it is a send, which goes on. Nothing is lost, whenever that
/// happens: if a receive or an accept had taken something, the next receive or accept on the socket gets it, before
/// anything from the system. (An `accept_receive` that is dropped while a worker is about to receive gives its
/// connection back a moment later: it is not lost, but a later one may come first.) So an operation may be dropped by
/// `select!` in a loop. `Operation` is `Unpin`: a loop
/// may as well keep it, and pass `&mut operation` to `select!`.
///
/// ```
/// use aio_sync::{ManualResetEvent, wait_any_timeout};
/// use std::time::{Duration, Instant};
///
/// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// # let socket = runtime.tcp_v4()?;
/// socket.connect_async(address).wait().result?;
/// let quit = ManualResetEvent::new(false);
/// let operation = socket.receive_async(vec![0; 256]);
/// match wait_any_timeout(&[&operation, &quit], Duration::from_millis(1)) {
///     Some(0) => println!("{:?}", operation.wait().result),
///     _ => {
///         operation.cancel();
///         // It may have won all the same; then its bytes are here.
///         let completion = operation.wait();
///         assert!(completion.bytes_transferred > 0 || completion.result.is_err());
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use = "dropping a pending operation cancels it, unless it is a send"]
pub struct Operation<K: Kind> {
    /// There once a task has waited. Dropped first: no task is there to be woken by the cancel that follows.
    registration: Option<Pin<Box<Registration<Handle>>>>,
    /// The waker of that task.
    waker: Option<Waker>,
    pending: Pending<K>,
}

impl<K: Kind> Operation<K> {
    pub(crate) fn new(pending: Pending<K>) -> Self {
        Self { registration: None, waker: None, pending }
    }

    /// Returns true once the result stands: [`wait`](Self::wait) then returns at once.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        self.pending.handle().completed().is_set()
    }

    /// Asks to cancel the operation: see [`OperationHandle::cancel`].
    pub fn cancel(&self) {
        self.pending.handle().cancel(CancelReason::Canceled);
    }

    /// Returns a handle, for others to wait for or cancel the operation.
    #[must_use]
    pub fn handle(&self) -> OperationHandle {
        OperationHandle::new(self.pending.handle().clone())
    }

    /// Blocks until the operation is over.
    ///
    /// In a callback this holds a worker. I/O goes on meanwhile, so that the operation can complete even
    /// if it is the only one, but callbacks that no other worker can run have to wait. On any other thread it
    /// needs no worker, as a [synchronous call](crate::Socket::connect) needs none.
    ///
    /// # Panics
    ///
    /// Panics if [`wait_timeout`](Self::wait_timeout) has returned the completion.
    pub fn wait(mut self) -> Completion<K> {
        self.pending.handle().wait(None);
        self.pending.take().expect(TAKEN)
    }

    /// Blocks until the operation is over or `timeout` has passed. `None` means that it is pending,
    /// and it goes on: a timeout does not cancel it.
    ///
    /// # Panics
    ///
    /// Panics if the completion has been returned before.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<Completion<K>> {
        if !self.pending.handle().wait(Instant::now().checked_add(timeout)) {
            return None;
        }
        Some(self.pending.take().expect(TAKEN))
    }

    /// Has the completion posted to `port` as the packet that `map` makes of it.
    ///
    /// One thread can so wait for any number of sockets. `map` runs where the operation completes: on
    /// a worker, on the thread that cancels it or closes its socket, on one that waits for another
    /// operation of the socket, or here if it is over already. It
    /// is to wrap the completion and no more; begin the next operation where the packet is taken.
    /// A panic in it counts as one of a callback, unless it runs here. A packet that the port refuses,
    /// since it has been closed, is dropped.
    ///
    /// ```
    /// use aio_core::{Completion, CompletionPort, Runtime, op};
    /// use std::sync::Arc;
    ///
    /// enum Packet {
    ///     Received(usize, Completion<op::Receive<Vec<u8>>>),
    /// }
    ///
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # let listener = runtime.associate(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// # let client = runtime.tcp_v4()?;
    /// # client.connect(listener.local_addr()?)?;
    /// # let server = listener.accept()?;
    /// let port = Arc::new(CompletionPort::new(1));
    /// for (i, socket) in [&client, &server].into_iter().enumerate() {
    ///     socket.receive_async(vec![0; 256]).post_to(&port, move |c| Packet::Received(i, c));
    /// }
    /// client.send(b"hello")?;
    /// let Some(Packet::Received(i, completion)) = port.wait() else { unreachable!() };
    /// assert_eq!(i, 1);
    /// assert_eq!(&completion.buffer[..completion.result?], b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Panics if the completion has been returned before.
    pub fn post_to<T, F>(self, port: &Arc<CompletionPort<T>>, map: F) -> OperationHandle
    where
        T: Send + 'static,
        F: FnOnce(Completion<K>) -> T + Send + 'static,
    {
        let handle = self.handle();
        let then = Some((port.clone(), map));
        Arc::new(Posting(Mutex::new(Posted { operation: self, then }))).go_on();
        handle
    }
}

/// An operation whose completion is to be posted to a port: a task that awaits one thing.
struct Posting<K: Kind, T, F>(Mutex<Posted<K, T, F>>);

struct Posted<K: Kind, T, F> {
    operation: Operation<K>,
    /// `None` once the operation has completed.
    then: Option<(Arc<CompletionPort<T>>, F)>,
}

impl<K, T, F> Posting<K, T, F>
where
    K: Kind,
    T: Send + 'static,
    F: FnOnce(Completion<K>) -> T + Send + 'static,
{
    fn go_on(self: Arc<Self>) {
        let waker = Waker::from(self.clone());
        let mut posted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if posted.then.is_none() {
            return;
        }
        let operation = Pin::new(&mut posted.operation);
        let Poll::Ready(completion) = operation.poll(&mut Context::from_waker(&waker)) else {
            return;
        };
        let then = posted.then.take();
        drop(posted);
        if let Some((port, map)) = then {
            // A port that is closed wants no more packets.
            let _ = port.post(map(completion));
        }
    }
}

impl<K, T, F> Wake for Posting<K, T, F>
where
    K: Kind,
    T: Send + 'static,
    F: FnOnce(Completion<K>) -> T + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        self.go_on();
    }
}

const TAKEN: &str = "an operation has one completion, and it has been returned";

/// Awaits the completion. It may be dropped at any time, which loses nothing (see above), and be polled from changing
/// tasks.
impl<K: Kind> Future for Operation<K> {
    type Output = Completion<K>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Completion<K>> {
        let this = &mut *self;
        let handle = this.pending.handle();
        if !handle.completed().is_set() {
            let mut registration = this
                .registration
                .get_or_insert_with(|| Box::pin(Registration::new(handle.clone())))
                .as_mut();
            let is_waiting = match &this.waker {
                Some(waker) if waker.will_wake(context.waker()) && registration.is_registered() => {
                    !handle.completed().is_set()
                }
                _ => {
                    registration.as_mut().take_back();
                    this.waker = Some(context.waker().clone());
                    registration.register(context.waker().clone())
                }
            };
            if is_waiting {
                return Poll::Pending;
            }
        }
        // The task may own the operation, and would by its own waker own itself.
        this.waker = None;
        Poll::Ready(this.pending.take().expect(TAKEN))
    }
}

impl<K: Kind> WaitHandle for Operation<K> {
    fn event(&self) -> EventRef<'_> {
        self.pending.handle().event()
    }
}

impl<K: Kind> fmt::Debug for Operation<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pending.fmt(f)
    }
}
