//! The client: what its users hold.

use crate::builder::Builder;
use crate::connection::{Connection, Progress, Settings};
use crate::encoding::Encoding;
use crate::end_point::EndPoint;
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::Framing;
use aio_core::Socket;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A connection to a server, in blocking calls that end.
///
/// Every call wakes on every path: with what was asked for, or with an [`Error`] that says what was
/// attempted on whom, when it failed, when the time is over, or when another thread closes the client.
///
/// A clone is another handle to the same connection, which is closed with the last one, or by
/// [`close`](Self::close). The `with_` methods return a handle that goes by other settings: a handle
/// for lines beside one for the bytes that follow them, say. Several threads may use a client. Their
/// messages are sent whole and in the order of the calls; each receive takes the next message.
///
/// A call from a callback of aio-core holds a worker, as [`Operation::wait`](aio_core::Operation::wait)
/// does, and gets on even if it holds the only one; just a connect with several attempts under way at
/// once needs another to get on.
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
    settings: Settings,
}

impl Client {
    pub(crate) fn new(connection: Connection, settings: Settings) -> Self {
        Self { connection: Arc::new(connection), settings }
    }

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
    /// The call is made by the thread that receives, and counts against its deadline.
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
        self.with(|settings| settings.progress = Some(Progress(Arc::new(progress))))
    }

    fn with(&self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut client = self.clone();
        change(&mut client.settings);
        client
    }

    /// Sends a message, in its frame, and returns when the system has taken all of it. That says
    /// nothing of the peer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a message that the framing cannot carry;
    /// [`ErrorKind::TimedOut`], and the message says how much was sent; [`ErrorKind::Closed`];
    /// [`ErrorKind::Send`].
    pub fn send(&self, message: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.connection.send(message.into(), &self.settings)
    }

    /// Sends a text in the client's encoding.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: &str) -> Result<(), Error> {
        self.send(self.settings.encoding.get_bytes(text))
    }

    /// Receives the next message, without its frame.
    ///
    /// Nothing is lost when it fails: what has arrived of the message is there for the next receive.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`]; [`ErrorKind::Closed`] if there are no more messages;
    /// [`ErrorKind::Incomplete`]; [`ErrorKind::TooLong`]; [`ErrorKind::Receive`];
    /// [`ErrorKind::InvalidInput`] for a framing that cannot be.
    pub fn receive(&self) -> Result<Vec<u8>, Error> {
        self.connection.receive(&self.settings, |_| Ok(()))
    }

    /// Receives the next message as a text in the client's encoding.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and [`ErrorKind::Encoding`].
    pub fn receive_text(&self) -> Result<String, Error> {
        let encoding = self.settings.encoding;
        let peer = self.connection.peer;
        let error = |reason| Error::new(ErrorKind::Encoding, Attempt::Receive, peer, reason);
        let check = |bytes: &[u8]| match encoding {
            Encoding::Ascii => Ok(()),
            Encoding::Utf8 => encoding.get_string(bytes).map(drop).map_err(error),
        };
        let message = self.connection.receive(&self.settings, check)?;
        encoding.get_string(&message).map_err(error)
    }

    /// Tells the peer that nothing more will be sent: it reads the end of the stream. Receiving goes
    /// on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`] if there is no connection any more.
    pub fn shutdown_send(&self) -> Result<(), Error> {
        let Connection { socket, peer, .. } = &*self.connection;
        socket
            .shutdown(Shutdown::Write)
            .map_err(|error| Error::system(ErrorKind::Closed, Attempt::Send, peer, error))
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
        self.connection.socket.local_addr()
    }

    /// Returns the socket, for options and for operations of aio-core. Receive on it only if nobody
    /// receives on the client, which may hold bytes that have arrived already.
    #[must_use]
    pub fn socket(&self) -> &Socket {
        &self.connection.socket
    }
}
