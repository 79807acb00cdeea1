//! The client: what its users hold. Its calls in their three faces are in `client/`.

mod begin_end;
mod blocking;
mod started;

use crate::async_result::{AsyncResult, Completion};
use crate::builder::Builder;
use crate::connect::{self, Options};
use crate::connection::{Connection, Progress, Settings};
use crate::deadline::Deadline;
use crate::encoding::Encoding;
use crate::end_point::EndPoint;
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::Framing;
use crate::op::{self, Kind};
use crate::operation::{Operation, OperationHandle};
use crate::received::Received;
use crate::task::{self, Call, Place, Task, Won};
use aio_core::{RuntimeHandle, Socket};
use std::future::Future;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A connection to a server, and calls on it that end.
///
/// Every call wakes on every path: with what was asked for, or with an [`Error`] that says what was
/// attempted on whom, when it failed, when the time is over, or when another thread closes the client.
///
/// Each call has three faces, which differ in nothing else: [`receive`](Self::receive) blocks,
/// [`begin_receive`](Self::begin_receive) runs a callback on a worker,
/// [`receive_async`](Self::receive_async) returns an [`Operation`] to be waited for with or without a
/// limit, beside events, or to be awaited.
///
/// A clone is another handle to the same connection, which is closed with the last one, or by
/// [`close`](Self::close). The `with_` methods return a handle that goes by other settings: a handle
/// for lines beside one for the bytes that follow them, say. Several threads may use a client. Their
/// messages are sent whole and in the order of the calls; each receive takes the next message.
///
/// A blocking call in a callback holds a worker, and makes progress even if that is the only one; so do the calls
/// that it has to wait for, such as a receive that was begun before it. The exception is a receive with a
/// [progress callback](Self::with_progress) for which no thread waits: it needs another worker, because that
/// callback never runs inside another one. A receive behind it waits with it, until its deadline.
///
/// ```
/// use aio_client::Client;
/// use std::io::Write;
///
/// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let client = Client::connect(server.local_addr()?)?;
/// client.send("This is a test<EOF>")?;
///
/// let (mut peer, _) = server.accept()?;
/// peer.write_all(b"This is an answer")?;
/// peer.shutdown(std::net::Shutdown::Write)?;
///
/// assert_eq!(client.receive()?, b"This is an answer");
/// client.close();
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    connection: Arc<Connection>,
    end_point: Arc<EndPoint>,
    options: Options,
    settings: Settings,
}

/// What a client is made from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) end_point: Arc<EndPoint>,
    pub(crate) options: Options,
    pub(crate) settings: Settings,
}

impl Client {
    /// Connects with the defaults of [`builder`](Self::builder).
    ///
    /// # Errors
    ///
    /// As [`Builder::connect`].
    pub fn connect(end_point: impl Into<EndPoint>) -> Result<Self, Error> {
        Self::builder().connect(end_point)
    }

    /// Returns a builder with the defaults: the process-wide runtime, 30 seconds for each call,
    /// messages of up to 64 MiB that the peer ends by closing.
    pub fn builder<'r>() -> Builder<'r> {
        Builder::default()
    }

    /// Returns a handle whose calls may take this long: see [`Builder::timeout`]. With no time at all
    /// a receive takes what has arrived already, and begins to receive more for the next one.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeout = timeout)
    }

    /// Returns a handle whose receives may go without a byte this long: see [`Builder::idle_timeout`].
    #[must_use]
    pub fn with_idle_timeout(&self, timeout: Duration) -> Self {
        self.with(|settings| settings.idle_timeout = timeout)
    }

    /// Returns a handle whose messages may have this many bytes: see [`Builder::max_response`].
    #[must_use]
    pub fn with_max_response(&self, bytes: usize) -> Self {
        self.with(|settings| settings.max_response = bytes)
    }

    /// Returns a handle with another framing. It goes on where the stream is: bytes that were received
    /// with the last message, and belong to the next, are not lost.
    ///
    /// ```
    /// use aio_client::{Client, Framing};
    /// use std::io::Write;
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let lines = Client::builder()
    ///     .framing(Framing::delimiter("\r\n"))
    ///     .connect(server.local_addr()?)?;
    /// server.accept()?.0.write_all(b"length: 5\r\nhello\r\n")?;
    ///
    /// let length = lines.receive_text()?.replace("length: ", "").parse().unwrap();
    /// assert_eq!(lines.with_framing(Framing::Fixed(length)).receive()?, b"hello");
    /// assert_eq!(lines.receive()?, b"");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn with_framing(&self, framing: Framing) -> Self {
        self.with(|settings| settings.framing = framing)
    }

    /// Returns a handle with another encoding.
    #[must_use]
    pub fn with_encoding(&self, encoding: Encoding) -> Self {
        self.with(|settings| settings.encoding = encoding)
    }

    /// Returns a handle whose receives call `progress` whenever they have to wait for more of a
    /// message: with the number of bytes received, and that of the whole message if its frame tells.
    /// It is called by a worker that is in no callback, or by a thread that blocks in the receive, but never
    /// inside begin, and its time counts against the receive's deadline. If it panics, the receive ends with [`ErrorKind::InvalidInput`].
    ///
    /// ```
    /// use aio_client::{Client, Framing, LengthPrefix};
    /// use std::io::Write;
    ///
    /// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let client = Client::connect(server.local_addr()?)?
    ///     .with_framing(Framing::LengthPrefix(LengthPrefix::U32Be))
    ///     .with_progress(|received, expected| println!("{received} of {expected:?} bytes"));
    /// # std::thread::spawn(move || -> std::io::Result<()> {
    /// #     let mut peer = server.accept()?.0;
    /// #     peer.write_all(&100_000_u32.to_be_bytes())?;
    /// #     peer.write_all(&[0; 100_000])
    /// # });
    /// assert_eq!(client.receive()?.len(), 100_000);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn with_progress(
        &self,
        progress: impl Fn(usize, Option<usize>) + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.progress = Some(Progress::new(progress)))
    }

    fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut client = self.clone();
        change(&mut client.settings);
        client
    }

    /// Tells the peer that nothing more will be sent: it reads the end of the stream. Receiving goes
    /// on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if there is no connection any more.
    pub fn shutdown_send(&self) -> Result<(), Error> {
        let shutdown = self.connection.socket.shutdown(Shutdown::Write);
        shutdown.map_err(|error| self.connection.gone(Attempt::ShutDownSend, error))
    }

    /// Closes the connection, for all handles. Calls that wait on it end with
    /// [`ErrorKind::Closed`]. Closing twice changes nothing.
    pub fn close(&self) {
        self.connection.close();
    }

    /// Returns the address that the client is connected to.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.connection.peer
    }

    /// Returns the address of this side.
    ///
    /// # Errors
    ///
    /// If the client is closed.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let address = self.connection.socket.local_addr();
        address.map_err(|error| self.connection.gone(Attempt::LocalAddress, error).into())
    }

    /// Returns the socket, for options and for operations of aio-core. Receive on it only if nobody
    /// receives on the client, which may hold bytes that have arrived already.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.connection.socket
    }
}

/// `None` for the faces that have no callback.
type Then<T> = Option<task::Then<T>>;

fn then<K, T, S, F>(callback: F, state: S) -> Then<T>
where
    K: Kind,
    T: Won + Into<K::Output>,
    S: Send + 'static,
    F: FnOnce(AsyncResult<K, S>) + Send + 'static,
{
    Some(Box::new(move |task, outcome| {
        let completion = Completion::new(outcome.map(T::into), state);
        callback(AsyncResult::new(completion, OperationHandle::new(task)));
    }))
}

/// The calls, each written once for all its faces.
impl Client {
    fn start<T: Won, F>(
        &self,
        place: Place,
        call: impl FnOnce(Arc<Call>) -> F,
        then: Then<T>,
    ) -> Arc<Task<T>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let deadline = Deadline::after(self.settings.timeout);
        Task::start(self.connection.socket.runtime(), deadline, place, call, then)
    }

    fn start_send(&self, message: Vec<u8>, then: Then<()>) -> Arc<Task<()>> {
        let (connection, settings) = (self.connection.clone(), self.settings.clone());
        let send = |call| connection.send(message, settings, call);
        self.start(Place::InsideCallback, send, then)
    }

    fn start_receive(
        &self,
        check: impl Fn(&[u8]) -> Result<(), Error> + Send + 'static,
        then: Then<Received>,
    ) -> Arc<Task<Received>> {
        let (connection, settings) = (self.connection.clone(), self.settings.clone());
        let tells_progress = settings.progress.is_some();
        let place = if tells_progress { Place::OnWorker } else { Place::InsideCallback };
        self.start(place, |call| connection.receive(settings, check, call), then)
    }

    fn start_receive_bytes(&self, then: Then<Received>) -> Arc<Task<Received>> {
        self.start_receive(|_| Ok(()), then)
    }

    fn start_receive_text(&self, then: Then<Received>) -> Arc<Task<Received>> {
        let (encoding, peer) = (self.settings.encoding, self.connection.peer);
        let error = move |reason| Error::new(ErrorKind::Encoding, Attempt::Receive, peer, reason);
        self.start_receive(move |bytes| encoding.check(bytes).map_err(error), then)
    }

    fn origin(&self) -> Origin {
        let (options, settings) = (self.options.clone(), self.settings.clone());
        Origin { end_point: self.end_point.clone(), options, settings }
    }
}

impl Won for Client {
    type Turn = ();

    fn turn(&mut self) -> Option<()> {
        None
    }
}

impl Origin {
    pub(crate) fn begin_connect<S, F>(
        self,
        runtime: Result<RuntimeHandle, Error>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Connect, S>) + Send + 'static,
    {
        OperationHandle::new(self.start(runtime, then::<op::Connect, _, _, _>(callback, state)))
    }

    pub(crate) fn connect_async(
        self,
        runtime: Result<RuntimeHandle, Error>,
    ) -> Operation<op::Connect> {
        Operation::new(self.start(runtime, None))
    }

    fn start(self, runtime: Result<RuntimeHandle, Error>, then: Then<Client>) -> Arc<Task<Client>> {
        let deadline = Deadline::after(self.settings.timeout);
        match runtime {
            Ok(runtime) => {
                let connect = |call| self.connect(runtime.clone(), call);
                Task::start(runtime.clone(), deadline, Place::InsideCallback, connect, then)
            }
            Err(error) => Task::failed(error, then),
        }
    }

    async fn connect(self, runtime: RuntimeHandle, call: Arc<Call>) -> Result<Client, Error> {
        let Self { end_point, options, settings } = self;
        let (socket, peer) = connect::connect(runtime, &end_point, &options, &call).await?;
        let connection = Arc::new(Connection::new(socket, peer));
        Ok(Client { connection, end_point, options, settings })
    }
}
