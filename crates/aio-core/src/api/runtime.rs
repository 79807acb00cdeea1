//! A runtime, as its owner holds it.

use crate::api::builder::{Builder, variable, workers};
use crate::api::runtime_handle::RuntimeHandle;
use crate::base::engine::Engine;
use crate::pool::threads::Threads;
use crate::runtime::shutdown::ShutdownReport;
use crate::state::context::RuntimeInner;
use once_cell::sync::OnceCell;
use std::io;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Runs operations and their callbacks on worker threads.
///
/// Most programs use one, the process-wide [`Runtime::global`], through [`Socket::new`](crate::Socket::new) and
/// [`Socket::tcp_v4`](crate::Socket::tcp_v4). A runtime of one's own, made by [`Runtime::builder`], has its own threads and
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
/// [`close`](crate::Socket::close) has it when a send is unfinished.
#[derive(Debug)]
pub struct Runtime {
    handle: RuntimeHandle,
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

    pub(crate) fn new(inner: Arc<RuntimeInner>, threads: Threads) -> Self {
        Self { handle: RuntimeHandle { inner }, threads: Mutex::new(threads) }
    }

    /// Returns a handle to this runtime.
    #[must_use]
    pub fn handle(&self) -> RuntimeHandle {
        self.handle.clone()
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn inner(&self) -> &RuntimeInner {
        &self.handle.inner
    }
}

impl Deref for Runtime {
    type Target = RuntimeHandle;

    fn deref(&self) -> &RuntimeHandle {
        &self.handle
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
        self.handle.inner.drain(&self.threads, deadline)
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
        self.handle.inner.abort_now(&self.threads)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.handle.inner.drop_threads(&self.threads);
    }
}
