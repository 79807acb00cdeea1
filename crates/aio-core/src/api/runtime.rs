//! A runtime, as its owner holds it.

use crate::api::builder::Builder;
use crate::api::builder::{variable, workers};
use crate::api::registered_wait::RegisteredWait;
use crate::base::engine::Engine;
use crate::pool::threads::Threads;
use crate::runtime::registered_wait;
use crate::runtime::shutdown::ShutdownReport;
use crate::state::context::{RunContext, RuntimeInner};
use crate::state::socket::Socket;
use aio_sync::WaitHandle;
use once_cell::sync::OnceCell;
use socket2::{Domain, Protocol, Type};
use std::io;
use std::sync::{Arc, Mutex};
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
    pub(crate) inner: Arc<RuntimeInner>,
    pub(crate) threads: Mutex<Threads>,
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
        RegisteredWait {
            wait: registered_wait::register(
                &self.inner,
                handle,
                timeout,
                once,
                RunContext::OnWorker,
                callback,
            ),
        }
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

/// How a runtime ends.
impl Runtime {
    /// Ends the runtime when everything that is pending is finished, or at the deadline, when what is
    /// pending then is aborted. Blocks until that is done.
    ///
    /// Pending accepts complete as aborted at once, and so do accepts that are begun meanwhile: they
    /// would start something new. Everything else goes on: callbacks can begin the operations that their
    /// conversations need to come to an end, connects included, and what other threads begin is done, too.
    /// A drain ends when nothing is pending any more and every callback has returned. A receive on a
    /// connection whose peer is silent is pending until the deadline, so a server that wants to end sooner
    /// begins no more receives once it drains, or ends its connections.
    ///
    /// After the deadline everything is aborted as by [`abort`](Self::abort), and the callbacks of that are
    /// run, for five seconds at most. A callback that has been running for a tenth of a second then is not
    /// waited for but reported.
    ///
    /// It may be called twice, by several threads, and together with `abort`, which ends a drain: each call
    /// waits and reports for itself, all from the first one's begin. In a callback it waits for all
    /// others but not for its own, and not for those that can run on no other worker; no thread is
    /// joined then before the runtime is dropped elsewhere.
    pub fn drain(&self, deadline: Instant) -> ShutdownReport {
        self.inner.drain(&self.threads, deadline)
    }

    /// Ends the runtime now: everything that is pending completes as aborted, and so does whatever is
    /// begun from now on. Blocks until the callbacks have run and returned, for at most five seconds.
    ///
    /// Else as [`drain`](Self::drain). To wait less long for callbacks that do not return, drain with a
    /// deadline that has passed.
    ///
    /// ```
    /// use aio_core::{Runtime, is_aborted};
    ///
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// let socket = runtime.tcp_v4()?;
    /// assert!(runtime.abort().is_complete());
    /// let error = socket.send_async(*b"too late").wait().result.unwrap_err();
    /// assert!(is_aborted(&error));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn abort(&self) -> ShutdownReport {
        self.inner.abort_now(&self.threads)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.inner.drop_threads(&self.threads);
    }
}
