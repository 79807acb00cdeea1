//! How a runtime is made.

use crate::api::runtime::Runtime;
use crate::base::clock::Clock;
use crate::base::counters::Counters;
use crate::base::engine::Engine;
use crate::base::latencies::Latencies;
use crate::base::limit::Limit;
use crate::base::listeners::Listeners;
use crate::base::running::Running;
use crate::base::shutdown::Shutdown;
use crate::base::timer::Timer;
use crate::engine;
use crate::pool::threads::Threads;
use crate::pool::worker_pool::WorkerPool;
use crate::state::context::{PanicPolicy, RuntimeInner, Waits};
#[cfg(feature = "testing")]
use crate::testing::{Faults, Injector};
use std::env;
use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;

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
    /// An operation that is begun at the limit completes at once with
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy): its buffer comes back, and its callback runs as
    /// always, on a worker. So memory is bounded, even if peers never read: by the limit, and by the refused
    /// operations whose callbacks have not run yet. A caller that begins faster than the workers run callbacks learns
    /// of a refusal at once, from [`is_completed`](crate::OperationHandle::is_completed), and bounds those, too, if it
    /// stops there. A callback's own operation still counts while the callback runs, so there must be room for one more
    /// if it is to begin the next. A caller that begins a refused operation again at once is refused over and over,
    /// until there is room.
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
            listeners: Listeners::new(),
            limit: self.max_pending.map(Limit::new),
            latencies: self.latency_histograms.then(|| Latencies::new(workers)),
            shutdown: Shutdown::default(),
            on_panic: self.on_panic,
            callback_panics: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            injector: self.faults.map(Injector::new),
        });
        let threads = Threads::start(&inner, &self.thread_name, self.stack_size)?;
        Ok(Runtime::new(inner, threads))
    }
}

pub(crate) fn variable<T, E: fmt::Display>(
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

pub(crate) fn workers(value: &str) -> Result<NonZeroUsize, &'static str> {
    let error = "it is a number of worker threads, 1 or more; without it there is one for each CPU";
    value.parse().map_err(|_| error)
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
