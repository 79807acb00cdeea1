//! A socket and its operations.

use crate::async_result::{AsyncResult, Completion, OperationHandle};
use crate::buffer::{IoBuf, IoBufMut, Lent};
use crate::descriptor::Descriptor;
use crate::error::{Aborted, attempted};
use crate::in_flight;
use crate::op::{self, Direction, Perform, display_address};
use crate::operation::Operation;
use crate::operation_queue::OperationQueue;
use crate::runtime::{Runtime, RuntimeInner};
use socket2::{Domain, Protocol, SockAddr, Type};
use std::fmt;
use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::process;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// A socket whose operations are begun and ended.
///
/// A clone is another handle to the same socket. The socket is closed by [`close`](Self::close), or
/// when its last handle has been dropped and its last operation is over: a pending operation keeps
/// its socket open.
///
/// Each `begin_*` takes what the operation needs, a callback, and a state for the callback, and
/// returns at once. The operation is tried right away; if it would have to wait, it waits in the
/// runtime's [`Engine`](crate::Engine). When it is over, a worker runs the callback, which gets an
/// [`AsyncResult`] and gives it to the `end_*` of its kind. Operations of one direction (connect and
/// send, accept and receive) take effect in the order in which they were begun; the two directions
/// are independent. Callbacks of one socket may run at the same time and in any order.
///
/// [`connect`](Self::connect), [`send`](Self::send), [`receive`](Self::receive) and their like block
/// until it is over. Each `*_async` starts the same operation without a callback and returns an [`Operation`], to be
/// waited for with or without a limit, to be awaited, or to be canceled.
///
/// ```
/// use aio_core::{AsyncResult, Completion, Socket, op};
///
/// struct StateObject {
///     work_socket: Socket,
///     text: String,
/// }
///
/// fn receive(client: &Socket) {
///     let state = StateObject { work_socket: client.clone(), text: String::new() };
///     client.begin_receive(vec![0; 256], receive_callback, state);
/// }
///
/// fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, StateObject>) {
///     let client = ar.async_state().work_socket.clone();
///     let Completion { result, buffer, mut state, .. } = client.end_receive(ar);
///     match result {
///         Ok(0) => println!("{}", state.text),
///         Ok(n) => {
///             state.text.push_str(&String::from_utf8_lossy(&buffer[..n]));
///             client.begin_receive(buffer, receive_callback, state);
///         }
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # receive(&Socket::tcp_v4()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Socket {
    inner: Arc<SocketInner>,
    /// For the operations that are begun with this handle.
    limit: Limit,
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug)]
enum Limit {
    Never,
    /// From its begin.
    After(Duration),
    At(Instant),
}

impl Limit {
    /// The deadline of an operation that is begun now; none if it is further away than the clock goes.
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Never => None,
            Self::After(timeout) => Instant::now().checked_add(timeout),
            Self::At(deadline) => Some(deadline),
        }
    }
}

impl Socket {
    /// Makes a socket of the process-wide runtime ([`Runtime::global`]).
    ///
    /// # Errors
    ///
    /// As [`Runtime::global`] and [`Runtime::socket`].
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

    pub(crate) fn associate(
        runtime: &Arc<RuntimeInner>,
        socket: socket2::Socket,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let is_stream = socket.r#type()? == Type::STREAM;
        Ok(Self {
            inner: Arc::new(SocketInner {
                runtime: runtime.clone(),
                receive: OperationQueue::new(),
                send: OperationQueue::new(),
                #[cfg(unix)]
                registration: AtomicUsize::new(0),
                connection: AtomicU8::new(connection::NOT_ASKED),
                is_stream,
                is_tcp: is_stream && is_tcp(&socket),
                descriptor: Descriptor::new(socket),
            }),
            limit: Limit::Never,
        })
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
        Self { inner: self.inner.clone(), limit: Limit::After(timeout) }
    }

    /// Returns a handle to the same socket whose operations have `deadline` for a limit, all the same
    /// one: else as [`with_timeout`](Self::with_timeout).
    #[must_use = "the limit is that of the returned handle, not of this one"]
    pub fn with_deadline(&self, deadline: Instant) -> Self {
        Self { inner: self.inner.clone(), limit: Limit::At(deadline) }
    }

    /// Makes another socket of the same runtime.
    ///
    /// ```
    /// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// use aio_core::socket2::{Domain, Type};
    ///
    /// let first = runtime.tcp_v4()?;
    /// let second = first.sibling(Domain::IPV4, Type::DGRAM, None)?;
    /// # drop(second);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Runtime::socket`].
    pub fn sibling(
        &self,
        domain: Domain,
        r#type: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        Self::associate(&self.inner.runtime, socket2::Socket::new(domain, r#type, protocol)?)
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
            if self.inner.is_stream {
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
    /// The system's.
    pub fn listen(&self, backlog: i32) -> io::Result<()> {
        self.with_socket(|socket| socket.listen(backlog))?
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

    /// Ends one or both directions of the connection. What has been sent is still delivered, and
    /// followed by the end of the stream; even the part of a send that ended halfway, after which closing
    /// alone would reset the connection.
    ///
    /// # Errors
    ///
    /// The system's: `NotConnected` if there is no connection (any more).
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.with_socket(|socket| {
            if how != Shutdown::Read && self.inner.send.is_broken() {
                // Who ends the stream in so many words wants what was sent to be read.
                socket.set_linger(None)?;
            }
            socket.shutdown(how)
        })?
    }

    /// Closes the socket, for all its handles. Returns at once.
    ///
    /// Every pending operation completes as aborted ([`is_aborted`](crate::is_aborted)), and so does
    /// every operation that is begun later; their callbacks may run after this has returned. The peer
    /// reads the end of the stream, unless a send was unfinished: then the connection is reset, since
    /// the peer must not take half a message for a whole one. Closing twice changes nothing.
    pub fn close(&self) {
        self.inner.runtime.driver.close(&self.inner);
    }

    /// Begins to connect to `address`.
    ///
    /// A socket connects once: after a failed attempt, connect a new one.
    pub fn begin_connect<S, F>(
        &self,
        address: impl Into<SockAddr>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Connect, S>) + Send + 'static,
    {
        self.begin(op::Connect::new(address.into()), callback, state)
    }

    /// Ends a connect.
    pub fn end_connect<S>(
        &self,
        result: AsyncResult<op::Connect, S>,
    ) -> Completion<op::Connect, S> {
        result.into_completion()
    }

    /// Begins to accept a connection. The result is its socket, of the same runtime.
    pub fn begin_accept<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Accept, S>) + Send + 'static,
    {
        self.begin(op::Accept::new(), callback, state)
    }

    /// Ends an accept.
    pub fn end_accept<S>(&self, result: AsyncResult<op::Accept, S>) -> Completion<op::Accept, S> {
        result.into_completion()
    }

    /// Begins to send the whole buffer.
    ///
    /// A send on a stream is over when the transport has taken all bytes; that says nothing of the
    /// peer. The result is their number.
    pub fn begin_send<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBuf,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Send<B>, S>) + Send + 'static,
    {
        self.begin(op::Send::new(buffer), callback, state)
    }

    /// Ends a send.
    pub fn end_send<B, S>(&self, result: AsyncResult<op::Send<B>, S>) -> Completion<op::Send<B>, S>
    where
        B: IoBuf,
    {
        result.into_completion()
    }

    /// Begins to receive into the front of the buffer.
    ///
    /// A receive on a stream is over as soon as there is a byte, and takes what there is, up to the
    /// buffer's length, which it never changes. The result is the number of bytes: 0 is the end of
    /// the stream, unless the buffer is empty. A receive into an empty buffer waits for bytes, or the
    /// end, and takes nothing.
    ///
    /// A receive on a socket that is still being connected fails: begin it when the connect is over.
    pub fn begin_receive<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Receive<B>, S>) + Send + 'static,
    {
        self.begin(op::Receive::new(buffer), callback, state)
    }

    /// Ends a receive.
    pub fn end_receive<B, S>(
        &self,
        result: AsyncResult<op::Receive<B>, S>,
    ) -> Completion<op::Receive<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to end the connection in both directions, after the sends that were begun before.
    ///
    /// The socket is not connected again.
    pub fn begin_disconnect<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Disconnect, S>) + Send + 'static,
    {
        self.begin(op::Disconnect::new(), callback, state)
    }

    /// Ends a disconnect.
    pub fn end_disconnect<S>(
        &self,
        result: AsyncResult<op::Disconnect, S>,
    ) -> Completion<op::Disconnect, S> {
        result.into_completion()
    }

    /// Begins to send all bytes of several buffers, in order, as one send. A datagram gets them all.
    pub fn begin_send_list<B, S, F>(
        &self,
        buffers: Vec<B>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBuf,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::SendList<B>, S>) + Send + 'static,
    {
        self.begin(op::SendList::new(buffers), callback, state)
    }

    /// Ends a send of several buffers.
    pub fn end_send_list<B, S>(
        &self,
        result: AsyncResult<op::SendList<B>, S>,
    ) -> Completion<op::SendList<B>, S>
    where
        B: IoBuf,
    {
        result.into_completion()
    }

    /// Begins to send a datagram to `address`.
    pub fn begin_send_to<B, S, F>(
        &self,
        buffer: B,
        address: impl Into<SockAddr>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBuf,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::SendTo<B>, S>) + Send + 'static,
    {
        self.begin(op::SendTo::new(buffer, address.into()), callback, state)
    }

    /// Ends the send of a datagram.
    pub fn end_send_to<B, S>(
        &self,
        result: AsyncResult<op::SendTo<B>, S>,
    ) -> Completion<op::SendTo<B>, S>
    where
        B: IoBuf,
    {
        result.into_completion()
    }

    /// Begins to receive into several buffers, in order: one is not touched until the one before it is
    /// full. Else as [`begin_receive`](Self::begin_receive); the result is the number of all bytes.
    pub fn begin_receive_list<B, S, F>(
        &self,
        buffers: Vec<B>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveList<B>, S>) + Send + 'static,
    {
        self.begin(op::ReceiveList::new(buffers), callback, state)
    }

    /// Ends a receive into several buffers.
    pub fn end_receive_list<B, S>(
        &self,
        result: AsyncResult<op::ReceiveList<B>, S>,
    ) -> Completion<op::ReceiveList<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to receive a datagram, and to learn whom it is from.
    ///
    /// One that does not fit into the buffer, an empty one too, is an error that says how long it was,
    /// and is lost; see [`begin_receive_message_from`](Self::begin_receive_message_from).
    pub fn begin_receive_from<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveFrom<B>, S>) + Send + 'static,
    {
        self.begin(op::ReceiveFrom::new(buffer), callback, state)
    }

    /// Ends the receive of a datagram.
    pub fn end_receive_from<B, S>(
        &self,
        result: AsyncResult<op::ReceiveFrom<B>, S>,
    ) -> Completion<op::ReceiveFrom<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to receive a datagram, or as much of it as fits, and to learn whom it is from.
    pub fn begin_receive_message_from<B, S, F>(
        &self,
        buffer: B,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveMessageFrom<B>, S>) + Send + 'static,
    {
        self.begin(op::ReceiveMessageFrom::new(buffer), callback, state)
    }

    /// Ends the receive of a datagram or a part of it.
    pub fn end_receive_message_from<B, S>(
        &self,
        result: AsyncResult<op::ReceiveMessageFrom<B>, S>,
    ) -> Completion<op::ReceiveMessageFrom<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Connects to `address`, and blocks until that is done.
    ///
    /// The synchronous calls are operations too: they take their turn among those that were begun, and a
    /// handle [`with_timeout`](Self::with_timeout) limits them. In a callback they hold a worker, but
    /// I/O goes on.
    ///
    /// ```
    /// use aio_core::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// let listener = runtime.associate(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// let client = runtime.tcp_v4()?;
    /// client.connect(listener.local_addr()?)?;
    /// let server = listener.accept()?;
    /// client.send(b"hello")?;
    /// let mut bytes = [0; 16];
    /// let n = server.receive(&mut bytes)?;
    /// assert_eq!(&bytes[..n], b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`end_connect`](Self::end_connect)'s result.
    pub fn connect(&self, address: impl Into<SockAddr>) -> io::Result<()> {
        self.connect_async(address).wait().result
    }

    /// Accepts a connection, and blocks until there is one: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_accept`](Self::end_accept)'s result.
    pub fn accept(&self) -> io::Result<Self> {
        self.accept_async().wait().result
    }

    /// Ends the connection in both directions, after the sends before it: see
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_disconnect`](Self::end_disconnect)'s result.
    pub fn disconnect(&self) -> io::Result<()> {
        self.disconnect_async().wait().result
    }

    /// Sends all bytes, and blocks until that is done: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_send`](Self::end_send)'s result. How many bytes were sent before the error is known to
    /// the other faces only.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: `finish` returns when the operation is over, and not otherwise; a send does not write.
        finish(|| self.send_async(unsafe { Lent::to_read(bytes) }))
    }

    /// Sends a datagram to `address`: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_send_to`](Self::end_send_to)'s result.
    pub fn send_to(&self, bytes: &[u8], address: impl Into<SockAddr>) -> io::Result<usize> {
        let address: SockAddr = address.into();
        // SAFETY: as in `send`.
        finish(|| self.send_to_async(unsafe { Lent::to_read(bytes) }, address))
    }

    /// Receives what there is, and blocks until there is something: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_receive`](Self::end_receive)'s result.
    pub fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        // SAFETY: `finish` returns when the operation is over, and not otherwise.
        finish(|| self.receive_async(unsafe { Lent::to_write(bytes) }))
    }

    /// Receives a datagram, and blocks until there is one: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_receive_from`](Self::end_receive_from)'s result.
    pub fn receive_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SockAddr)> {
        // SAFETY: as in `receive`.
        finish(|| self.receive_from_async(unsafe { Lent::to_write(bytes) }))
    }

    /// Starts to connect to `address`: [`begin_connect`](Self::begin_connect) without a callback.
    pub fn connect_async(&self, address: impl Into<SockAddr>) -> Operation<op::Connect> {
        self.start(op::Connect::new(address.into()))
    }

    /// Starts to accept a connection: [`begin_accept`](Self::begin_accept) without a callback.
    pub fn accept_async(&self) -> Operation<op::Accept> {
        self.start(op::Accept::new())
    }

    /// Starts to send the whole buffer: [`begin_send`](Self::begin_send) without a callback.
    pub fn send_async<B: IoBuf>(&self, buffer: B) -> Operation<op::Send<B>> {
        self.start(op::Send::new(buffer))
    }

    /// Starts to receive into the front of the buffer: [`begin_receive`](Self::begin_receive) without
    /// a callback.
    pub fn receive_async<B: IoBufMut>(&self, buffer: B) -> Operation<op::Receive<B>> {
        self.start(op::Receive::new(buffer))
    }

    /// Starts to end the connection: [`begin_disconnect`](Self::begin_disconnect) without a callback.
    pub fn disconnect_async(&self) -> Operation<op::Disconnect> {
        self.start(op::Disconnect::new())
    }

    /// Starts to send several buffers: [`begin_send_list`](Self::begin_send_list) without a callback.
    pub fn send_list_async<B: IoBuf>(&self, buffers: Vec<B>) -> Operation<op::SendList<B>> {
        self.start(op::SendList::new(buffers))
    }

    /// Starts to send a datagram: [`begin_send_to`](Self::begin_send_to) without a callback.
    pub fn send_to_async<B: IoBuf>(
        &self,
        buffer: B,
        address: impl Into<SockAddr>,
    ) -> Operation<op::SendTo<B>> {
        self.start(op::SendTo::new(buffer, address.into()))
    }

    /// Starts to receive into several buffers: [`begin_receive_list`](Self::begin_receive_list)
    /// without a callback.
    pub fn receive_list_async<B: IoBufMut>(
        &self,
        buffers: Vec<B>,
    ) -> Operation<op::ReceiveList<B>> {
        self.start(op::ReceiveList::new(buffers))
    }

    /// Starts to receive a datagram: [`begin_receive_from`](Self::begin_receive_from) without a
    /// callback.
    pub fn receive_from_async<B: IoBufMut>(&self, buffer: B) -> Operation<op::ReceiveFrom<B>> {
        self.start(op::ReceiveFrom::new(buffer))
    }

    /// Starts to receive a datagram or a part of it:
    /// [`begin_receive_message_from`](Self::begin_receive_message_from) without a callback.
    pub fn receive_message_from_async<B: IoBufMut>(
        &self,
        buffer: B,
    ) -> Operation<op::ReceiveMessageFrom<B>> {
        self.start(op::ReceiveMessageFrom::new(buffer))
    }

    fn start<K: Perform>(&self, work: K) -> Operation<K> {
        let (operation, pending) = in_flight::start(&self.inner, self.limit.deadline(), work);
        self.inner.runtime.watch_deadline(pending.handle());
        self.inner.runtime.driver.start(&self.inner, operation);
        Operation::new(pending)
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Arc<SocketInner> {
        &self.inner
    }

    fn begin<K, S, F>(&self, work: K, callback: F, state: S) -> OperationHandle
    where
        K: Perform,
        S: Send + 'static,
        F: FnOnce(AsyncResult<K, S>) + Send + 'static,
    {
        let deadline = self.limit.deadline();
        let (operation, handle) = in_flight::begin(&self.inner, deadline, work, callback, state);
        self.inner.runtime.watch_deadline(&handle);
        self.inner.runtime.driver.start(&self.inner, operation);
        OperationHandle::new(handle)
    }
}

/// Starts an operation that works on borrowed bytes, and waits for it.
fn finish<K: Perform<Buffer = Lent>>(
    start: impl FnOnce() -> Operation<K>,
) -> io::Result<K::Output> {
    /// The operation may not outlive the borrow, so nothing may unwind before it is over.
    struct NotBefore;
    impl Drop for NotBefore {
        fn drop(&mut self) {
            process::abort();
        }
    }
    let not_before = NotBefore;
    let completion = start().wait();
    mem::forget(not_before);
    completion.result
}

/// True if that stream socket is known to be one of TCP.
fn is_tcp(socket: &socket2::Socket) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.protocol().is_ok_and(|protocol| protocol == Some(Protocol::TCP))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        socket.local_addr().is_ok_and(|address| address.as_socket().is_some())
    }
}

fn internet_address(address: SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "the address is not one of the internet; use with_socket",
        )
    })
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Socket").field(&self.inner.descriptor).finish()
    }
}

/// The values of [`SocketInner::connection`].
mod connection {
    /// It may be connected all the same, if it came to us so.
    pub(super) const NOT_ASKED: u8 = 0;
    pub(super) const ASKED: u8 = 1;
    pub(super) const CONNECTED: u8 = 2;
}

/// What the handles and the operations of a socket share.
#[derive(Debug)]
pub(crate) struct SocketInner {
    pub(crate) runtime: Arc<RuntimeInner>,
    pub(crate) descriptor: Descriptor,
    pub(crate) receive: OperationQueue,
    pub(crate) send: OperationQueue,
    /// For the engine that waits for readiness; 0 until it knows the socket.
    #[cfg(unix)]
    pub(crate) registration: AtomicUsize,
    /// How far a stream socket has come with its one chance to connect.
    connection: AtomicU8,
    is_stream: bool,
    is_tcp: bool,
}

impl SocketInner {
    pub(crate) fn queue(&self, direction: Direction) -> &OperationQueue {
        match direction {
            Direction::Receive => &self.receive,
            Direction::Send => &self.send,
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.is_stream
    }

    /// Gives the chance back after an attempt that left the socket as it was.
    pub(crate) fn may_connect_again(&self) {
        self.connection.store(connection::NOT_ASKED, Ordering::Relaxed);
    }

    /// True if a receive that gets less than it has room for has emptied the stream. Others stop
    /// short for other reasons: a Unix socket where descriptors were passed, SCTP after a message.
    pub(crate) fn is_tcp(&self) -> bool {
        self.is_tcp
    }

    /// Takes the socket's one chance to connect. A datagram socket may change its peer at will.
    pub(crate) fn may_connect(&self) -> bool {
        let claim = |from| {
            let order = Ordering::Relaxed;
            self.connection.compare_exchange(from, connection::ASKED, order, order)
        };
        !self.is_stream || claim(connection::NOT_ASKED).is_ok()
    }

    /// The system has been asked to connect, and the socket is connected.
    pub(crate) fn has_connected(&self) {
        self.connection.store(connection::CONNECTED, Ordering::Relaxed);
    }

    /// True from the time when the system is asked to connect until that has succeeded.
    pub(crate) fn lacks_connection(&self) -> bool {
        self.connection.load(Ordering::Relaxed) == connection::ASKED
    }
}

impl Drop for SocketInner {
    fn drop(&mut self) {
        self.runtime.driver.forget(self);
    }
}
