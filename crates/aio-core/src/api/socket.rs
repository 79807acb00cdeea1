//! A socket: its options, its end, and what its handles and its operations share.

mod begin_end;
mod started;
#[expect(unsafe_code, reason = "a synchronous call lends borrowed bytes to its operation")]
mod synchronous;

use crate::api::async_result::{AsyncResult, OperationHandle};
use crate::api::operation::Operation;
use crate::api::runtime::Runtime;
use crate::base::address::display_address;
use crate::base::error::{Aborted, attempted};
use crate::state::body;
use crate::state::context::RuntimeInner;
use crate::state::perform::Perform;
use crate::state::socket::{Socket, TimeLimit, Unread};
use socket2::{Domain, Protocol, SockAddr, Type};
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

impl Socket {
    /// Makes a socket of the process-wide runtime ([`Runtime::global`]).
    ///
    /// # Errors
    ///
    /// As [`Runtime::global`] and [`RuntimeHandle::socket`](crate::RuntimeHandle::socket).
    pub fn new(domain: Domain, r#type: Type, protocol: Option<Protocol>) -> io::Result<Self> {
        Runtime::global()?.socket(domain, r#type, protocol)
    }

    /// Makes a TCP socket for IPv4 of the process-wide runtime.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn tcp_v4() -> io::Result<Self> {
        Runtime::global()?.tcp_v4()
    }

    /// Makes a TCP socket for IPv6 of the process-wide runtime.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn tcp_v6() -> io::Result<Self> {
        Runtime::global()?.tcp_v6()
    }

    /// Returns a handle to the same socket whose operations have `timeout` for a limit, each from its
    /// begin. One that is not over by then completes with
    /// [`TimedOut`](io::ErrorKind::TimedOut), as if it had been canceled: see
    /// [`OperationHandle::cancel`] for what that leaves behind.
    ///
    /// ```
    /// use std::io::ErrorKind;
    /// use std::time::Duration;
    ///
    /// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let socket = runtime.tcp_v4()?;
    /// # socket.connect_async(listener.local_addr()?).wait().result?;
    /// let hasty = socket.with_timeout(Duration::from_millis(10));
    /// let error = hasty.receive_async([0; 16]).wait().result.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::TimedOut);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use = "the limit is that of the returned handle, not of this one"]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { inner: self.inner.clone(), limit: TimeLimit::After(timeout) }
    }

    /// Returns a handle to the same socket whose operations have `deadline` for a limit, all the same
    /// one: else as [`with_timeout`](Self::with_timeout).
    #[must_use = "the limit is that of the returned handle, not of this one"]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { inner: self.inner.clone(), limit: TimeLimit::At(deadline) }
    }

    /// Binds the socket to a local address. Port 0 lets the system choose one.
    ///
    /// On Unix a stream socket may take an address that was in use a moment ago (`SO_REUSEADDR`, as
    /// std does), so that a server can be restarted.
    ///
    /// # Errors
    ///
    /// The system's, with the address: in use, not of this machine, not permitted.
    pub fn bind(&self, address: impl Into<SockAddr>) -> io::Result<()> {
        let address = address.into();
        self.with_socket(|socket| {
            #[cfg(unix)]
            if self.inner.nature.is_stream {
                socket.set_reuse_address(true)?;
            }
            socket
                .bind(&address)
                .map_err(|error| attempted(format!("bind to {}", display_address(&address)), error))
        })?
    }

    /// Lets the socket accept connections, of which `backlog` may wait to be accepted.
    ///
    /// # Errors
    ///
    /// The system's, with the local address: another socket may listen there.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        self.with_socket(|socket| {
            socket.listen(backlog).map_err(|error| match socket.local_addr() {
                Ok(local) => attempted(format!("listen on {}", display_address(&local)), error),
                Err(_) => attempted("listen", error),
            })?;
            // TCP forgets that the listener was shut down.
            if self.inner.nature.is_tcp {
                self.inner.receives_no_more.store(false, Ordering::Relaxed);
            }
            Ok(())
        })?
    }

    /// Returns the address that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The system's; `Unsupported` for an address that is not of the internet.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.with_socket(|socket| socket.local_addr().and_then(internet_address))?
    }

    /// Returns the address of the peer.
    ///
    /// # Errors
    ///
    /// `NotConnected` if there is none, else as [`local_addr`](Self::local_addr).
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.with_socket(|socket| socket.peer_addr().and_then(internet_address))?
    }

    /// Calls `f` with the socket2 socket, for options and whatever else is not wrapped. The
    /// descriptor stays open meanwhile, even if the socket is closed. Do not make it blocking.
    ///
    /// ```
    /// let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// let socket = runtime.tcp_v4()?;
    /// socket.with_socket(|socket| socket.set_tcp_nodelay(true))??;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the socket is closed.
    pub fn with_socket<R>(&self, f: impl FnOnce(&socket2::Socket) -> R) -> io::Result<R> {
        match self.inner.descriptor.pin() {
            Some(socket) => Ok(f(&socket)),
            None => Err(Aborted::Closed.into()),
        }
    }

    /// Ends one or both directions of the connection. The peer still receives all that was sent, then
    /// the end of the stream. That includes the part of a send that ended halfway, after which closing alone would
    /// reset the connection.
    ///
    /// An operation that is pending in that direction ends as a blocking call would: a receive with what is there and then 0, on
    /// a datagram socket too, an accept with an error.
    ///
    /// # Errors
    ///
    /// The system's: `NotConnected` if there has been no connection. A connection that has ended already is no error.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.with_socket(|socket| {
            if how != Shutdown::Read {
                self.inner.ended_by_user.store(true, Ordering::SeqCst);
                if self.inner.send.is_broken() {
                    self.inner.restore_linger(socket)?;
                }
            }
            self.inner.shut_down(socket, how)
        })?
    }

    /// Closes the socket, for all its handles. Returns at once.
    ///
    /// Every pending operation completes as aborted ([`is_aborted`](crate::is_aborted)), and so does
    /// every operation that is begun later; their callbacks may run after this has returned. The peer
    /// reads the end of the stream, unless a send was unfinished: then the connection is reset, since
    /// the peer must not take half a message for a whole one. Closing twice changes nothing.
    ///
    /// A socket that lingers (SO_LINGER with a time above zero) is closed by a thread of the process, since the
    /// system's call blocks. That thread closes it at once, unless 64 such sockets linger at this moment.
    ///
    /// # Platform notes
    ///
    /// A Unix stream cannot be reset. Its peer reads what was sent and then the end, even after half a message; it
    /// has to tell by the message whether it is whole, by its length, say.
    pub fn close(&self) {
        self.inner.runtime.driver.close(&self.inner);
    }

    /// Takes the socket out of the runtime: the connection goes on in the returned socket, which is
    /// blocking, and converts into those of std.
    ///
    /// For all its handles this is as [`close`](Self::close): every pending operation completes as
    /// aborted. Bytes that were not received can still be received there. After a send that was
    /// unfinished, closing the returned socket resets the connection, as far as [`close`](Self::close) can. Waits for calls that other threads
    /// are making on the descriptor at this moment; do not call it in [`with_socket`](Self::with_socket).
    ///
    /// ```
    /// use std::io::Write;
    /// use std::net::TcpStream;
    ///
    /// let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = listener.local_addr()?;
    /// let socket = runtime.tcp_v4()?;
    /// socket.connect(address)?;
    /// let mut stream: TcpStream = socket.into_socket2()?.into();
    /// stream.write_all(b"hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the socket is closed; the system's if there is no descriptor left to duplicate it, or its mode
    /// cannot be changed. `ResourceBusy` while there is something that dropped operations had taken from the
    /// system, which the system's socket does not have any more: receive it first, or
    /// [take](Self::take_unread) it. The error has the socket, so that nothing is lost. What an [`Operation`] has
    /// taken that has completed, and that is dropped later, has no socket to go back to: wait for such operations, or
    /// drop them, first.
    pub fn into_socket2(self) -> Result<socket2::Socket, IntoSocket2Error> {
        if self.inner.unread.has_some() {
            return Err(IntoSocket2Error::unread(self));
        }
        let system = match self.inner.runtime.driver.release(&self.inner) {
            Ok(system) => system,
            Err(error) => return Err(IntoSocket2Error { socket: self, error }),
        };
        if self.inner.unread.has_some() {
            // An operation that was dropped a moment ago has taken something since.
            return Err(IntoSocket2Error::unread(self.again(system).unwrap_or(self)));
        }
        match system.set_nonblocking(false) {
            Ok(()) => Ok(system),
            Err(error) => {
                let socket = self.again(system).unwrap_or(self);
                Err(IntoSocket2Error { socket, error })
            }
        }
    }

    /// Takes what dropped operations had taken from the system and no operation has received since, in order.
    ///
    /// There is something only after an operation was dropped that had done its work, or was doing it. The next
    /// operations get it, so this is of use only before the socket leaves the runtime
    /// ([`into_socket2`](Self::into_socket2)), and once the runtime has ended.
    #[must_use = "it is the socket's no more"]
    pub fn take_unread(&self) -> Vec<Unread> {
        self.inner.unread.take_all().into_iter().map(Unread::from).collect()
    }

    fn start<K: Perform>(&self, work: K) -> Operation<K> {
        let (deadline, is_late) = self.limit.deadline();
        let (operation, pending) = body::start(Some(&self.inner), deadline, work);
        if let Some(operation) = self.inner.runtime.admit(operation, is_late) {
            K::start(&self.inner, operation);
        }
        Operation::new(pending)
    }

    /// Starts an operation and waits for it.
    fn call<K: Perform>(&self, work: K) -> io::Result<K::Output> {
        let (deadline, is_late) = self.limit.deadline();
        let (operation, pending) = body::start(Some(&self.inner), deadline, work);
        if !K::MAY_BLOCK && !RuntimeInner::is_on_worker() {
            operation.thread_comes();
        }
        if let Some(operation) = self.inner.runtime.admit(operation, is_late) {
            K::start(&self.inner, operation);
        }
        Operation::new(pending).wait().result
    }

    fn begin<K, S, F>(&self, work: K, callback: F, state: S) -> OperationHandle
    where
        K: Perform,
        S: Send + 'static,
        F: FnOnce(AsyncResult<K, S>) + Send + 'static,
    {
        let (deadline, is_late) = self.limit.deadline();
        let (operation, handle) =
            body::begin(Some(&self.inner), deadline, work, AsyncResult::to(callback), state);
        if let Some(operation) = self.inner.runtime.admit(operation, is_late) {
            K::start(&self.inner, operation);
        }
        OperationHandle::new(handle)
    }
}

fn internet_address(address: SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| {
        let address = display_address(&address);
        let message = format!("this is no address of the internet: {address}; use with_socket");
        io::Error::new(io::ErrorKind::Unsupported, message)
    })
}

/// Why [`Socket::into_socket2`] has failed, and the socket.
///
/// Converts into an [`io::Error`], which drops the socket.
#[derive(Debug)]
pub struct IntoSocket2Error {
    socket: Socket,
    error: io::Error,
}

impl IntoSocket2Error {
    fn unread(socket: Socket) -> Self {
        let message = "an operation that was dropped had taken something from this socket: receive it first, or \
                       take it with take_unread";
        Self { socket, error: io::Error::new(io::ErrorKind::ResourceBusy, message) }
    }

    /// Returns why it has failed.
    pub fn error(&self) -> &io::Error {
        &self.error
    }

    /// Returns the socket.
    pub fn into_socket(self) -> Socket {
        self.socket
    }
}

impl fmt::Display for IntoSocket2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for IntoSocket2Error {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<IntoSocket2Error> for io::Error {
    fn from(error: IntoSocket2Error) -> Self {
        error.error
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.inner.descriptor).finish()
    }
}
