//! A runtime: an engine, a worker pool, and what the two work on.

#[cfg_attr(
    any(target_os = "linux", target_os = "android"),
    expect(unsafe_code, reason = "reads a clock that std does not have")
)]
mod clock;
mod connect_to;
mod counters;
mod handle;
mod latencies;
mod limit;
mod listeners;
mod running;
mod shutdown;

pub(crate) use clock::{Clock, Moment};
pub(crate) use counters::Point;
pub use handle::RuntimeHandle;
pub(crate) use latencies::Stretch;
pub(crate) use running::Callback;
pub use shutdown::ShutdownReport;

use crate::engine::{self, Driver, Engine, Failing};
use crate::error::Aborted;
use crate::in_flight::{Handle, Owner, Wish};
use crate::op::{Direction, kind_index};
use crate::operation_queue::Ticket;
use crate::process_threads::{self, Job, Lane, PROCESS_THREADS};
use crate::registered_wait::{self, Place, Registered, RegisteredWait, Waits};
use crate::resolver::{self, Answer};
use crate::socket::{Socket, SocketInner};
use crate::socket_table::{self, SocketNumber};
#[cfg(feature = "testing")]
use crate::testing::{Faults, Injector};
use crate::timer::Timer;
use crate::worker_pool::{Current, Host, Inside, Threads, Wait, WorkerPool, wait_inside};
use aio_sync::{BlockingWait, EventRef, Registration, WaitHandle, set_blocking_wait};
use counters::Counters;
use latencies::Latencies;
use limit::Limit;
use listeners::Listeners;
use once_cell::sync::OnceCell;
use running::Running;
use shutdown::Shutdown;
use socket2::{Domain, Protocol, Type};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::env;
use std::fmt;
use std::io;
use std::mem;
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::process;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Runs operations and their callbacks on worker threads.
///
/// Most programs use one, the process-wide [`Runtime::global`], through [`Socket::new`] and
/// [`Socket::tcp_v4`]. A runtime of one's own, made by [`Runtime::builder`], has its own threads and
/// ends when it is dropped, or by [`drain`](Self::drain) or [`abort`](Self::abort), which report: what
/// is pending then completes as aborted, callbacks that are queued or running are waited for, for at
/// most five seconds. An operation that is begun later completes as aborted at once; its callback runs on a
/// thread of the process.
///
/// ```
/// use aio_core::{Engine, Runtime};
///
/// let runtime = Runtime::builder().engine(Engine::Blocking).workers(4).build()?;
/// let socket = runtime.tcp_v4()?;
/// # drop(socket);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Platform notes
///
/// On Unix, fork first and then start a runtime. A child of `fork` has copies of the sockets, but no workers: only
/// the thread that forks goes on in it. Nothing that has to wait completes there, so a child that was forked later is
/// to call `exec`, which closes the sockets' descriptors, or `_exit`. Closing its copy of a socket leaves the
/// parent's open. All else is done to both: options, a shutdown, and that the connection is to be reset, as
/// [`close`](Socket::close) has it when a send is unfinished.
#[derive(Debug)]
pub struct Runtime {
    inner: Arc<RuntimeInner>,
    threads: Mutex<Threads>,
}

impl Runtime {
    /// Returns a builder with the defaults: the best engine, a worker for each CPU.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Returns the process-wide runtime, which starts when it is first asked for and never ends.
    ///
    /// The environment variables `AIO_ENGINE` (see [`Engine`]) and `AIO_WORKERS` (a number) choose
    /// for it.
    ///
    /// ```
    /// let runtime = aio_core::Runtime::global()?;
    /// assert!(runtime.workers() >= 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidInput` if one of the variables has a wrong value: the message lists the right ones.
    /// Else what [`Builder::build`] reports. The next call tries again.
    pub fn global() -> io::Result<&'static Self> {
        static GLOBAL: OnceCell<Runtime> = OnceCell::new();
        GLOBAL.get_or_try_init(|| {
            let mut builder = Self::builder().thread_name("aio");
            if let Some(engine) = variable("AIO_ENGINE", str::parse::<Engine>)? {
                builder = builder.engine(engine);
            }
            if let Some(workers) = variable("AIO_WORKERS", workers)? {
                builder = builder.workers(workers.get());
            }
            builder.build()
        })
    }

    /// Makes a socket.
    ///
    /// # Errors
    ///
    /// The system's, for example when there are no descriptors left.
    pub fn socket(
        &self,
        domain: Domain,
        r#type: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Socket> {
        Socket::create(&self.inner, domain, r#type, protocol)
    }

    /// Makes a TCP socket for IPv4.
    ///
    /// # Errors
    ///
    /// As [`socket`](Self::socket).
    pub fn tcp_v4(&self) -> io::Result<Socket> {
        self.socket(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))
    }

    /// Makes a TCP socket for IPv6.
    ///
    /// # Errors
    ///
    /// As [`socket`](Self::socket).
    pub fn tcp_v6(&self) -> io::Result<Socket> {
        self.socket(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))
    }

    /// Makes a socket of this runtime from one of socket2 or std, which becomes non-blocking.
    ///
    /// ```
    /// let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// let listener = runtime.associate(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// # drop(listener);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The system's, if the socket cannot be made non-blocking.
    pub fn associate(&self, socket: impl Into<socket2::Socket>) -> io::Result<Socket> {
        let socket = socket.into();
        if socket.peer_addr().is_ok() {
            return Socket::associate_connected(&self.inner, socket);
        }
        Socket::associate(&self.inner, socket)
    }

    /// Has `callback` run on a worker when the event of `handle` is set, or when `timeout` has passed
    /// since: .NET's `RegisterWaitForSingleObject`. It holds no thread meanwhile.
    ///
    /// The callback is told whether the time was over (`timed_out`). With `once` it runs once. Else the wait
    /// is armed again, and its time starts anew, when the callback has returned; an event that stays
    /// set then makes it run again at once. An auto-reset event is reset for each run. The wait ends
    /// with the runtime, if it is not [unregistered](RegisteredWait::unregister) before. A panic of the
    /// callback does not end it; a panic of the handle, when it is asked for its event, does.
    ///
    /// It needs a worker that is in no other callback: one that waits for what this callback does
    /// waits forever if there is no other worker ([what a callback may do](crate#what-a-callback-may-do)).
    ///
    /// ```
    /// use aio_core::Runtime;
    /// use aio_sync::AutoResetEvent;
    /// use std::sync::{Arc, mpsc};
    /// use std::time::Duration;
    ///
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// let event = Arc::new(AutoResetEvent::new(false));
    /// let (sender, receiver) = mpsc::channel();
    /// let report = move |timed_out| drop(sender.send(timed_out));
    /// let wait =
    ///     runtime.register_wait(event.clone(), Some(Duration::from_millis(1)), false, report);
    /// assert_eq!(receiver.recv(), Ok(true));
    /// event.set();
    /// while receiver.recv() == Ok(true) {}
    /// assert!(wait.unregister());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn register_wait<H, F>(
        &self,
        handle: H,
        timeout: Option<Duration>,
        once: bool,
        callback: F,
    ) -> RegisteredWait
    where
        H: WaitHandle + Send + 'static,
        F: FnMut(bool) + Send + 'static,
    {
        registered_wait::register(&self.inner, handle, timeout, once, Place::OnWorker, callback)
    }

    /// Returns the number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.pool.workers()
    }

    /// Returns the engine: never [`Engine::Auto`], but what it stands for here.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.inner.driver.engine()
    }

    pub(crate) fn inner(&self) -> &RuntimeInner {
        &self.inner
    }
}

fn variable<T, E: fmt::Display>(
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> io::Result<Option<T>> {
    let value = match env::var(name) {
        Ok(value) => value,
        Err(env::VarError::NotPresent) => return Ok(None),
        Err(error) => return Err(invalid(format!("environment variable {name}: {error}"))),
    };
    match parse(&value) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(invalid(format!("environment variable {name}={value}: {error}"))),
    }
}

fn workers(value: &str) -> Result<NonZeroUsize, &'static str> {
    let error = "it is a number of worker threads, 1 or more; without it there is one for each CPU";
    value.parse().map_err(|_| error)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Configures a [`Runtime`].
///
/// ```
/// use aio_core::{PanicPolicy, Runtime};
///
/// let runtime = Runtime::builder()
///     .workers(2)
///     .thread_name("my-io")
///     .stack_size(256 * 1024)
///     .on_panic(PanicPolicy::Abort)
///     .build()?;
/// # drop(runtime);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "build() makes the runtime"]
pub struct Builder {
    engine: Engine,
    workers: Option<usize>,
    thread_name: String,
    stack_size: Option<usize>,
    on_panic: PanicPolicy,
    max_pending: Option<usize>,
    latency_histograms: bool,
    #[cfg(feature = "testing")]
    faults: Option<Faults>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            workers: None,
            thread_name: "aio-worker".to_owned(),
            stack_size: None,
            on_panic: PanicPolicy::default(),
            max_pending: None,
            latency_histograms: false,
            #[cfg(feature = "testing")]
            faults: None,
        }
    }
}

impl Builder {
    /// Chooses the engine. Default: [`Engine::Auto`].
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }

    /// Chooses the number of worker threads. Default: the number of CPUs this process may use.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Names the threads: `NAME-0`, `NAME-1`, … Default: `aio-worker`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.thread_name = name.into();
        self
    }

    /// Chooses the size of each worker's stack in bytes. Default: that of [`std::thread`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Chooses what becomes of a panic in a callback. Default: [`PanicPolicy::Continue`].
    pub fn on_panic(mut self, policy: PanicPolicy) -> Self {
        self.on_panic = policy;
        self
    }

    /// Limits how many operations may be pending at once, each counted from its begin until its callback
    /// has returned or, if it has none, until it has completed. Default: no limit.
    ///
    /// One that is begun when there are so many completes at once with
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy): its buffer comes back, and its callback runs as
    /// always, on a worker. So what a runtime keeps is bounded, even if its peers never read: by this, and by
    /// what is refused until its callback has run. Who begins faster than the workers run callbacks learns at
    /// once of a refusal, from [`is_completed`](crate::OperationHandle::is_completed), and bounds the second,
    /// too, by not going on. A callback's
    /// own operation still counts while it runs, so there must be room for one more if it is to begin
    /// the next; and who begins again at once what was refused does so over and over, until there is room.
    ///
    /// ```
    /// use std::io::ErrorKind;
    ///
    /// let runtime = aio_core::Runtime::builder().workers(1).max_pending(1).build()?;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let socket = runtime.tcp_v4()?;
    /// # socket.connect(listener.local_addr()?)?;
    /// let receive = socket.receive_async([0; 16]);
    /// let refused = socket.send_async(*b"hello").wait();
    /// assert_eq!(refused.result.unwrap_err().kind(), ErrorKind::ResourceBusy);
    /// assert_eq!(refused.buffer, *b"hello");
    /// # drop(receive);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn max_pending(mut self, operations: usize) -> Self {
        self.max_pending = Some(operations);
        self
    }

    /// Has the runtime measure how long operations take, by kind, from begin to completion and from there
    /// to the callback: [`OperationMetrics::latency`](crate::OperationMetrics::latency). Default: no;
    /// it reads the clock once more for each operation, and a finer one each time.
    pub fn latency_histograms(mut self, measure: bool) -> Self {
        self.latency_histograms = measure;
        self
    }

    /// Has the runtime's calls fail, fall short and be late: see [`Faults`]. For tests.
    #[cfg(feature = "testing")]
    pub fn faults(mut self, faults: impl Into<Option<Faults>>) -> Self {
        self.faults = faults.into();
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no workers, room for no operation, more than the worker pool can have, or a thread name with a
    /// NUL in it; `Unsupported` if the engine does not run on this system; else what the system
    /// says when it cannot make the engine's descriptors or the threads. Nothing is left behind.
    pub fn build(self) -> io::Result<Runtime> {
        let workers = match self.workers {
            Some(0) => {
                return Err(invalid(
                    "a runtime needs at least one worker; 0 were asked for".into(),
                ));
            }
            Some(workers) if workers > rayon::max_num_threads() => {
                let most = rayon::max_num_threads();
                return Err(invalid(format!(
                    "{workers} workers were asked for; {most} are the most"
                )));
            }
            Some(workers) => workers,
            None => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        };
        if self.max_pending == Some(0) {
            return Err(invalid("a runtime with max_pending 0 could do nothing".into()));
        }
        if self.thread_name.contains('\0') {
            return Err(invalid(format!("the thread name {:?} has a NUL in it", self.thread_name)));
        }
        let driver = engine::driver(self.engine, workers)?;
        let inner = Arc::new_cyclic(|me| RuntimeInner {
            me: me.clone(),
            driver,
            pool: WorkerPool::new(workers),
            timer: Timer::new(),
            waits: Waits::default(),
            counters: Counters::new(workers),
            running: Running::new(workers),
            clock: Clock::new(self.latency_histograms),
            listeners: Listeners::default(),
            limit: self.max_pending.map(Limit::new),
            latencies: self.latency_histograms.then(|| Latencies::new(workers)),
            shutdown: Shutdown::default(),
            on_panic: self.on_panic,
            callback_panics: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            injector: self.faults.map(Injector::new),
        });
        let threads = Threads::start(&inner, &self.thread_name, self.stack_size)?;
        Ok(Runtime { inner, threads: Mutex::new(threads) })
    }
}

/// What becomes of a panic in a callback, or in a job that it has given to rayon and does not wait for.
///
/// In both cases the panic hook has run first, and has printed the message unless it was replaced. A program that
/// is built with `panic = "abort"` has no choice: nothing can be caught there, and any panic aborts the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// It is caught and counted in [`callback_panics`](crate::Metrics::callback_panics); the worker goes on.
    #[default]
    Continue,
    /// The process aborts.
    Abort,
}

/// What the sockets, the engine and the workers of a runtime share.
#[derive(Debug)]
pub(crate) struct RuntimeInner {
    me: Weak<Self>,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) pool: WorkerPool<Work>,
    pub(crate) timer: Timer<Timed>,
    pub(crate) waits: Waits,
    pub(crate) counters: Counters,
    pub(crate) running: Running,
    pub(crate) clock: Clock,
    pub(crate) listeners: Listeners,
    pub(crate) limit: Option<Limit>,
    pub(crate) latencies: Option<Latencies>,
    shutdown: Shutdown,
    on_panic: PanicPolicy,
    pub(crate) callback_panics: AtomicU64,
    #[cfg(feature = "testing")]
    pub(crate) injector: Option<Injector>,
}

/// What has a deadline.
#[derive(Debug)]
pub(crate) enum Timed {
    Operation(Handle),
    Wait(Arc<dyn Registered>),
    /// A direction of a socket has rested: see `operation_queue.rs`, invariant 7.
    Rest(SocketNumber, Direction),
    /// What an [`Injector`] keeps back.
    #[cfg(feature = "testing")]
    KeptBack,
}

/// What workers run.
#[derive(Debug)]
pub(crate) enum Work {
    /// This operation has completed: run its callback.
    Completed(Owner),
    /// This operation is done, and was kept from completing: complete it.
    #[cfg(feature = "testing")]
    Done(Owner),
    /// The engine reports that this socket may be able to make progress.
    Ready { socket: Arc<SocketInner>, report: Readiness },
    /// These operations fail together: complete one.
    Fail(Arc<Failing>),
    /// Another thread has left this turn to a worker.
    Turn { socket: Arc<SocketInner>, direction: Direction },
    /// This name has been looked up: its operation goes on.
    Found(Box<Answer>),
    /// The deadline of this has passed.
    Due(Timed),
    /// This wait's event is set, or its time is over: run its callback.
    Wait(Arc<dyn Registered>),
    /// Somebody wants this to be run.
    Call(Call),
    /// The same, and inside a callback that waits, too.
    Step(Call),
}

pub(crate) struct Call(Box<dyn FnOnce() + Send>);

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Call")
    }
}

/// A report of an engine that waits for readiness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) receive: bool,
    pub(crate) send: bool,
    /// Receiving stays ready for good, or may be ready again without a report: the peer has hung up,
    /// the connection is broken, or urgent data is on its way, before which a read stops short.
    pub(crate) stays_ready: bool,
    /// The wait that this is about, if it is about one.
    pub(crate) ticket: Option<Ticket>,
}

thread_local! {
    /// The runtime whose worker this thread is, if it is one.
    static HOME: RefCell<Weak<RuntimeInner>> = const { RefCell::new(Weak::new()) };
    /// True while this thread, a worker, is in the wait of its driver.
    static IS_WAITING: Cell<bool> = const { Cell::new(false) };
}

impl RuntimeInner {
    /// Which of the workers the calling thread is, if it is one.
    pub(crate) fn worker(&self) -> Option<usize> {
        Current::worker_of(&self.pool)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.pool.is_stopping()
    }

    /// Has a worker run `work`, after what it runs now; once the workers have ended, a thread of the process.
    /// The calling thread never runs it here (I3).
    pub(crate) fn post(&self, work: Work) {
        #[cfg(feature = "testing")]
        let Some(work) = self.keep_back(work) else { return };
        self.post_now(work);
        #[cfg(feature = "testing")]
        if self.injector.as_ref().is_some_and(Injector::has_been_overtaken) {
            self.post_what_was_kept_back();
        }
    }

    fn post_now(&self, work: Work) {
        let Err(work) = self.pool.post(self, work) else { return };
        // The caller has borrowed the runtime from an `Arc`, so it is there.
        let runtime = self.me.upgrade().expect("a runtime exists while something is posted to it");
        PROCESS_THREADS.push(Lane::Deliver, Box::new(Delivery { runtime, work }));
    }

    /// Keeps `work` back for a while, if the injector says so; else returns it.
    #[cfg(feature = "testing")]
    fn keep_back(&self, work: Work) -> Option<Work> {
        let Some(injector) = &self.injector else { return Some(work) };
        match injector.keep_back(work, || self.is_stopping()) {
            Ok(until) => {
                // One entry is enough for all at one time: who comes for it takes everything out.
                self.watch(until, 0, Timed::KeptBack);
                None
            }
            Err(work) => Some(work),
        }
    }

    /// Keeps an operation back for a while that a worker has got done, if the injector says so; else returns
    /// it. Other threads may be who all workers are waiting for.
    #[cfg(feature = "testing")]
    pub(crate) fn keep_back_done(&self, operation: Owner) -> Option<Owner> {
        if self.injector.is_none() || self.worker().is_none() {
            return Some(operation);
        }
        match self.keep_back(Work::Done(operation))? {
            Work::Done(operation) => Some(operation),
            work => unreachable!("it is returned as it was: {work:?}"),
        }
    }

    /// Posts what has been kept back.
    #[cfg(feature = "testing")]
    fn post_what_was_kept_back(&self) {
        for work in self.injector.iter().flat_map(Injector::take_back) {
            self.post_now(work);
        }
    }

    fn run_one(&self, work: Work) {
        match work {
            Work::Completed(operation) => self.deliver(operation),
            Work::Wait(wait) => {
                self.run_callback(const { kind_index("register_wait") }, || wait.run());
            }
            Work::Call(Call(callback)) | Work::Step(Call(callback)) => {
                self.run_callback(const { kind_index("post") }, || self.contain(callback));
            }
            Work::Fail(failing) => failing.fail_one(self),
            #[cfg(feature = "testing")]
            Work::Done(operation) => operation.complete(self),
            Work::Due(timed) => self.is_due(timed),
            Work::Ready { .. } | Work::Turn { .. } | Work::Found(_) => {
                // What a turn completes first is delivered by the worker that is here. What else it
                // completes others may deliver, if this callback takes long.
                if let Some(operation) = self.take_turns(work) {
                    #[cfg(feature = "testing")]
                    if self.injector.is_some() {
                        return self.post(Work::Completed(operation));
                    }
                    self.deliver(operation);
                }
            }
        }
    }

    /// Lets sockets have their turns. Returns an operation with a callback that this has completed, and posts the
    /// others.
    fn take_turns(&self, work: Work) -> Option<Owner> {
        match work {
            Work::Ready { socket, report } => {
                let Readiness { ticket, stays_ready, .. } = report;
                let mut completed = None;
                if report.receive
                    && engine::concerns(&socket, Direction::Receive, ticket, stays_ready)
                {
                    completed = engine::ready(&socket, Direction::Receive, stays_ready);
                }
                if report.send && engine::concerns(&socket, Direction::Send, ticket, false) {
                    // The second turn may run a waker, or wait for a disk.
                    if let Some(operation) = completed.take() {
                        self.post(Work::Completed(operation));
                    }
                    completed = engine::ready(&socket, Direction::Send, false);
                }
                completed
            }
            // One that could go on for long does not outlast its runtime.
            Work::Turn { socket, .. } if self.is_stopping() => {
                engine::stop(&socket, Aborted::ShutDown);
                None
            }
            Work::Turn { socket, direction } => engine::take_turn(&socket, direction),
            Work::Found(answer) => {
                answer.tell();
                None
            }
            #[cfg(feature = "testing")]
            Work::Done(_) => unreachable!("this is no turn"),
            Work::Completed(_)
            | Work::Fail(_)
            | Work::Due(_)
            | Work::Wait(_)
            | Work::Call(_)
            | Work::Step(_) => {
                unreachable!("these are no turns")
            }
        }
    }

    /// Ends what is due. Code of a user's may run: wakers, the maps of `post_to`, drops of what was lent.
    fn is_due(&self, timed: Timed) {
        match timed {
            Timed::Operation(operation) => {
                operation.cancel(Wish::TimeOut);
                self.contain(|| drop(operation));
            }
            Timed::Wait(wait) => wait.time_out(),
            Timed::Rest(number, direction) => {
                if let Some(socket) = socket_table::find(number) {
                    self.post(Work::Turn { socket, direction });
                }
            }
            #[cfg(feature = "testing")]
            Timed::KeptBack => self.post_what_was_kept_back(),
        }
    }

    /// Runs the callback of an operation that has completed.
    fn deliver(&self, operation: Owner) {
        let (worker, now) = (self.worker(), self.clock.now());
        let callback = Callback { kind: operation.kind(), socket: operation.socket() };
        let has_place = operation.has_place();
        if let Some(latencies) = &self.latencies {
            let took = now.saturating_sub(operation.completed_at());
            latencies.record(worker, callback.kind, Stretch::UntilCallback, took);
        }
        self.run_where_seen(worker, callback, now, || self.contain(|| operation.deliver()));
        self.is_over(worker, callback.kind, has_place);
    }

    /// Runs a callback that is not that of an operation.
    fn run_callback(&self, kind: usize, run: impl FnOnce()) {
        let (worker, now) = (self.worker(), self.clock.now());
        self.run_where_seen(worker, Callback { kind, socket: None }, now, run);
        self.is_over(worker, kind, false);
    }

    /// Runs a callback where everybody can see it.
    fn run_where_seen(
        &self,
        worker: Option<usize>,
        callback: Callback,
        now: Moment,
        run: impl FnOnce(),
    ) {
        if let Some(worker) = worker {
            self.running.begin(worker, callback, now);
        }
        run();
        if let Some(worker) = worker {
            self.running.end(worker);
            if self.refuses_accepts() {
                // A drain is to know of what is left to do before it knows that this is over.
                self.pool.call_if_spawned(self);
            }
        }
    }

    /// What the workers run, by worker, each with the moment since which it does.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, Callback, Moment)> {
        // A worker that only looks for a job is about to have found none.
        let is_one =
            |callback: Callback, since| !callback.is_job() || !self.clock.since(since).is_zero();
        self.running.all().filter(move |(_, callback, since)| is_one(*callback, *since))
    }

    /// An operation, or a callback of another kind, is over.
    pub(crate) fn is_over(&self, worker: Option<usize>, kind: usize, takes_place: bool) {
        if let Some(limit) = self.limit.as_ref().filter(|_| takes_place) {
            limit.give_back();
        }
        self.counters.count(worker, kind, Point::Delivered);
    }

    /// Counts a callback that is about to be posted and is not that of an operation.
    pub(crate) fn has_fired(&self, kind: usize) {
        let worker = self.worker();
        self.counters.count(worker, kind, Point::Begun);
        self.counters.count(worker, kind, Point::Completed);
    }

    /// Counts an operation that is about to start, and has it canceled at its deadline, if it has one.
    /// If too many are pending it completes here; else it is returned.
    /// `is_late`: its deadline has passed already, and it has one attempt.
    pub(crate) fn admit(&self, operation: Owner, is_late: bool) -> Option<Owner> {
        self.counters.count(self.worker(), operation.kind(), Point::Begun);
        operation.begins_at(self.clock.now());
        if let Some(limit) = &self.limit {
            if !limit.take() {
                operation.fail(self, limit.error());
                return None;
            }
            operation.takes_place();
        }
        if is_late {
            operation.is_late();
        } else if let Some(deadline) = operation.deadline() {
            let handle = operation.handle();
            self.watch(deadline, handle.identity(), Timed::Operation(handle));
        }
        Some(operation)
    }

    /// Has `entry` seen to at its deadline.
    pub(crate) fn watch(&self, deadline: Instant, identity: usize, entry: Timed) {
        if let Some(timekeeper) = self.timer.enter(deadline, identity, entry) {
            self.driver.wake(timekeeper);
        }
    }

    /// Blocks until `operation`, of this runtime, has completed or the deadline has passed; on a worker
    /// as [`wait_for_event`](Self::wait_for_event), else as [`engine::wait`].
    pub(crate) fn wait_for(&self, operation: &Handle, deadline: Option<Instant>) -> bool {
        if !Self::is_on_worker() {
            return engine::wait(operation, deadline);
        }
        if Current::worker_of(&self.pool).is_none() {
            // When the operation's own deadline passes, callbacks may be holding all workers.
            let own = operation.deadline();
            if let Some(own) = own.filter(|own| deadline.is_none_or(|deadline| *own < deadline)) {
                if Self::wait_for_event(operation.event(), Some(own)) {
                    return true;
                }
                operation.cancel(Wish::TimeOut);
            }
        }
        Self::wait_for_event(operation.event(), deadline)
    }

    /// Blocks until `event` is signaled or the deadline has passed. On a worker of whatever runtime, that
    /// is in a callback, it keeps that runtime's I/O moving meanwhile.
    pub(crate) fn wait_for_event(event: EventRef<'_>, deadline: Option<Instant>) -> bool {
        if let Some((home, me)) = Self::home() {
            return home.wait_inside(me, event, deadline);
        }
        match deadline {
            Some(deadline) => event.wait_until(deadline),
            None => {
                event.wait_one();
                true
            }
        }
    }

    /// True if the calling thread is a worker, of whatever runtime.
    pub(crate) fn is_on_worker() -> bool {
        HOME.try_with(|home| home.borrow().strong_count() > 0).unwrap_or(false)
    }

    /// The runtime whose worker the calling thread is, and which one, if it is one.
    fn home() -> Option<(Arc<Self>, usize)> {
        let home = HOME.try_with(|home| home.borrow().upgrade()).ok().flatten()?;
        let me = Current::worker_of(&home.pool)?;
        Some((home, me))
    }

    /// The same on worker `me`.
    fn wait_inside(
        self: &Arc<Self>,
        me: usize,
        event: EventRef<'_>,
        deadline: Option<Instant>,
    ) -> bool {
        let wake = Arc::new(WakeWorker {
            runtime: self.clone(),
            worker: me,
            is_over: AtomicBool::new(false),
        });
        let mut registration = pin!(Registration::new(event));
        if !registration.as_mut().register(Waker::from(wake.clone())) {
            return true;
        }
        let is_over = || wake.is_over.load(Ordering::Relaxed);
        wait_inside(&**self, me, Inside::Nestable, deadline, is_over);
        registration.take_back()
    }

    /// Runs code of a user's: a callback, wakers, the drop of what was lent. Its panic ends here (I10).
    pub(crate) fn contain(&self, theirs: impl FnOnce()) {
        // What panicked is gone then, and nothing of ours is under way: there is no state that a
        // caught panic could leave broken.
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(theirs)) {
            self.callback_panicked(payload);
        }
    }

    fn callback_panicked(&self, payload: Box<dyn Any + Send>) {
        if self.on_panic == PanicPolicy::Abort {
            process::abort();
        }
        self.callback_panics.fetch_add(1, Ordering::Relaxed);
        drop_payload(payload);
    }
}

/// Work of a runtime that has ended.
struct Delivery {
    runtime: Arc<RuntimeInner>,
    work: Work,
}

impl Job for Delivery {
    fn run(self: Box<Self>, _ticket: process_threads::Ticket) {
        let Self { runtime, work } = *self;
        runtime.run(work);
    }
}

/// Drops what a panic has left. That may panic, too, and leave something: it is dropped in its turn, but what
/// is left after a few is never dropped.
fn drop_payload(mut payload: Box<dyn Any + Send>) {
    for _ in 0..4 {
        match panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(worse) => payload = worse,
        }
    }
    mem::forget(payload);
}

/// Ends the wait of a worker for an event.
struct WakeWorker {
    runtime: Arc<RuntimeInner>,
    worker: usize,
    /// True once the event has given its signal, or is about to.
    is_over: AtomicBool,
}

impl Wake for WakeWorker {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Relaxed);
        self.runtime.driver.wake(self.worker);
    }
}

/// What a worker does while code of a user's waits for an event there: it keeps I/O moving, unless others do, so
/// that what it waits for can come about, even if it is the only worker.
struct KeepsMoving {
    waker: Waker,
}

/// Ends such a wait of a worker.
struct WakeDriver {
    runtime: Weak<RuntimeInner>,
    worker: usize,
}

impl Wake for WakeDriver {
    fn wake(self: Arc<Self>) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.driver.wake(self.worker);
        }
    }
}

impl BlockingWait for KeepsMoving {
    fn waker(&self) -> Option<Waker> {
        // In the driver's wait it is the pool that waits for an event; a thread that has left the pool just sleeps.
        let is_in_work = !IS_WAITING.get() && RuntimeInner::home().is_some();
        is_in_work.then(|| self.waker.clone())
    }

    fn block(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) {
        if let Some((home, me)) = RuntimeInner::home() {
            wait_inside(&*home, me, Inside::NestableIfNobodyElse, deadline, is_over);
        }
    }
}

impl Host for RuntimeInner {
    type Work = Work;

    fn pool(&self) -> &WorkerPool<Work> {
        &self.pool
    }

    fn enter(&self, worker: usize) {
        HOME.with(|home| *home.borrow_mut() = self.me.clone());
        let waker = Waker::from(Arc::new(WakeDriver { runtime: self.me.clone(), worker }));
        set_blocking_wait(Some(Rc::new(KeepsMoving { waker })));
    }

    fn run(&self, work: Work) {
        self.run_one(work);
    }

    fn is_nestable(&self, work: &Work) -> bool {
        match work {
            Work::Wait(wait) => wait.place() == Place::InsideCallback,
            Work::Completed(_) | Work::Call(_) => false,
            #[cfg(feature = "testing")]
            Work::Done(_) => true,
            Work::Ready { .. }
            | Work::Turn { .. }
            | Work::Found(_)
            | Work::Fail(_)
            | Work::Due(_)
            | Work::Step(_) => true,
        }
    }

    fn run_inside(&self, work: Work) {
        match work {
            Work::Wait(wait) => {
                wait.run();
                self.is_over(self.worker(), const { kind_index("register_wait") }, false);
            }
            Work::Step(Call(step)) => {
                self.contain(step);
                self.is_over(self.worker(), const { kind_index("post") }, false);
            }
            Work::Fail(failing) => failing.fail_one(self),
            #[cfg(feature = "testing")]
            Work::Done(operation) => operation.complete(self),
            Work::Due(timed) => self.is_due(timed),
            Work::Ready { .. } | Work::Turn { .. } | Work::Found(_) => {
                // As a part of what runs now: what is kept for later waits until that is over, and so
                // does what this completes, for which another worker may be free.
                if let Some(operation) = self.take_turns(work) {
                    self.post(Work::Completed(operation));
                }
            }
            Work::Completed(_) | Work::Call(_) => {
                unreachable!("a callback does not nest: {work:?}")
            }
        }
    }

    fn run_job(&self, worker: usize, look: impl FnOnce() -> bool) -> bool {
        self.running.begin(worker, Callback::JOB, self.clock.now());
        let has_run = look();
        self.running.end(worker);
        if has_run {
            let kind = Callback::JOB.kind;
            for point in [Point::Begun, Point::Completed, Point::Delivered] {
                self.counters.count(Some(worker), kind, point);
            }
        }
        has_run
    }

    fn job_panicked(&self, payload: Box<dyn Any + Send>) {
        self.callback_panicked(payload);
    }

    fn wait(&self, worker: usize, mut wait: Wait, found: &mut Vec<Work>) {
        // One that only looks comes back at once.
        let keeps_time = wait.alone && wait.timeout != Some(Duration::ZERO);
        if keeps_time {
            if let Some(first) = self.timer.keep(worker) {
                wait.timeout = Some(wait.timeout.map_or(first, |timeout| timeout.min(first)));
            }
        }
        IS_WAITING.set(true);
        self.driver.wait(worker, wait, found);
        IS_WAITING.set(false);
        #[cfg(feature = "testing")]
        if let Some(injector) = &self.injector {
            injector.reorder(found);
        }
        if keeps_time {
            self.timer.release(worker);
        }
        let due = self.timer.due();
        if !due.is_empty() {
            // A piece each, so that one which takes long does not keep the others from other workers.
            found.extend(due.into_iter().map(Work::Due));
        }
    }

    fn wake(&self, worker: usize) {
        self.driver.wake(worker);
    }

    fn take_over(&self, from: usize, to: usize) {
        self.driver.take_over(from, to);
    }

    fn abort(&self) {
        resolver::abort(self);
        registered_wait::abort(self);
        #[cfg(feature = "testing")]
        self.post_what_was_kept_back();
        for socket in socket_table::sockets_of(self) {
            engine::stop(&socket, Aborted::ShutDown);
        }
    }
}
