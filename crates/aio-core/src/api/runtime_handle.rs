//! A runtime, as others than its owner may use it.

use crate::api::operation::Operation;
use crate::api::registered_wait::RegisteredWait;
use crate::base::engine::Engine;
use crate::base::error::{Aborted, attempted};
use crate::base::kind::OperationKind;
use crate::op::{self, Target};
use crate::runtime::{registered_wait, resolver};
use crate::state::body;
use crate::state::context::{Posted, RunContext, RuntimeInner, Work};
use crate::state::socket::Socket;
use aio_sync::WaitHandle;
use socket2::{Domain, Protocol, Type};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A handle to a runtime: it can do everything but end the runtime.
///
/// A [`Runtime`](crate::Runtime) derefs to its handle. A callback or a library gets one from a socket
/// ([`Socket::runtime`]). A clone is another handle to the same runtime. It does not keep the runtime running: after the
/// end what is asked of it completes as aborted, as it does on a socket.
///
/// ```
/// use aio_core::Runtime;
/// use std::sync::mpsc;
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// let socket = runtime.tcp_v4()?;
/// let (sender, receiver) = mpsc::channel();
/// socket.runtime().post(move || drop(sender.send("on a worker")));
/// assert_eq!(receiver.recv(), Ok("on a worker"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RuntimeHandle {
    pub(crate) inner: Arc<RuntimeInner>,
}

impl Socket {
    /// Returns a handle to this socket's runtime.
    #[must_use]
    pub fn runtime(&self) -> RuntimeHandle {
        RuntimeHandle { inner: self.runtime_inner().clone() }
    }
}

impl RuntimeHandle {
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

    /// Has `callback` run on a worker, after what the worker runs now; after the runtime's end, on a thread of the
    /// process. Never runs it inside the call, and never nested in another callback. Its panic is that of a
    /// callback.
    ///
    /// A callback that waits for what another one does waits forever if no other worker is free to run that:
    /// see [what a callback may do](crate#what-a-callback-may-do) and [`post_step`](Self::post_step).
    pub fn post(&self, callback: impl FnOnce() + Send + 'static) {
        self.inner.has_fired(OperationKind::Post);
        self.inner.post(Work::Call(Posted(Box::new(callback))));
    }

    /// As [`post`](Self::post), but `step` may also run inside a callback that waits, on the worker that this
    /// callback holds. For those who go on with a task of their own, a future say, when it is woken: what a
    /// callback waits for may be such a task, and there may be no other worker.
    ///
    /// A step is to be short, and not to need anything that a waiting callback may hold.
    ///
    /// ```
    /// use aio_sync::ManualResetEvent;
    /// use std::sync::Arc;
    ///
    /// let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// let (handle, done) = (runtime.handle(), Arc::new(ManualResetEvent::new(false)));
    /// let (inner, seen) = (handle.clone(), done.clone());
    /// handle.post(move || {
    ///     let set = seen.clone();
    ///     inner.post_step(move || {
    ///         set.set();
    ///     });
    ///     assert!(inner.wait_for(&*seen, std::time::Duration::MAX));
    /// });
    /// done.wait_one();
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn post_step(&self, step: impl FnOnce() + Send + 'static) {
        self.inner.has_fired(OperationKind::Post);
        self.inner.post(Work::Step(Posted(Box::new(step))));
    }

    /// Starts to look up the addresses of a host, in the order in which the system would have them
    /// tried. The lookup has a thread of its own, so that it holds no worker. Canceling it, which dropping the
    /// operation does, does not wait for the system, and leaves it to answer nobody.
    ///
    /// ```
    /// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// let addresses = runtime.handle().look_up_async("localhost", 80).wait().result?;
    /// assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn look_up_async(&self, host: &str, port: u16) -> Operation<op::LookUp> {
        let (operation, pending) = body::start(None, None, op::LookUp::new());
        if let Some(operation) = self.inner.admit(operation, false) {
            let found = match Target::of(host, port) {
                _ if self.inner.is_stopping() => Err(Aborted::ShutDown.into()),
                Target::Host { name, port } => {
                    resolver::look_up(&self.inner, &name, port, operation, op::LookUp::found);
                    return Operation::new(pending);
                }
                Target::Addresses(addresses) => Ok(addresses),
                Target::Malformed(text) => {
                    Err(attempted(format!("look up {text}"), Target::error()))
                }
            };
            match found {
                Ok(addresses) => op::LookUp::found(&self.inner, operation, Ok(addresses)),
                Err(error) => operation.fail(&self.inner, error),
            }
        }
        Operation::new(pending)
    }

    /// As [`register_wait`](Self::register_wait), but the callback is a step, as
    /// [`post_step`](Self::post_step) has it.
    pub fn register_wait_step<H, F>(
        &self,
        handle: H,
        timeout: Option<Duration>,
        once: bool,
        step: F,
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
                RunContext::InsideCallback,
                step,
            ),
        }
    }

    /// Blocks until the event of `handle` is signaled, as its own wait does, or until `timeout` has
    /// passed; returns true if it was signaled, and takes the signal of an auto-reset event.
    ///
    /// Of use in a callback: I/O goes on meanwhile, as it does in
    /// [`Operation::wait`], so that an event which a completion sets is set, even if this is the only
    /// worker. Callbacks that no other worker can run have to wait.
    /// It does not matter of which runtime the callback is. (In a plain wait for the event it goes on, too, but
    /// steps run there only if no other worker can run them.)
    #[must_use = "false means that the event was not signaled"]
    pub fn wait_for(&self, handle: &dyn WaitHandle, timeout: Duration) -> bool {
        RuntimeInner::wait_for_event(handle.event(), Instant::now().checked_add(timeout))
    }
}
