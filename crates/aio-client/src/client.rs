//! The client: what its users hold. Its calls in their three faces are in `client/`.

mod begin_end;
mod blocking;
mod calls;
mod started;

use crate::connect::Options;
use crate::connection::{Connection, Settings};
use crate::encoding::Encoding;
use crate::end_point::EndPoint;
use crate::error::{Attempt, Error};
use crate::framing::Framing;
use crate::progress::Progress;
use aio_core::Socket;
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
/// [`receive_async`](Self::receive_async) returns an [`Operation`](crate::Operation) to be waited for with or
/// without a limit, beside events, or to be awaited.
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
    origin: Origin,
}

/// What a client is made from: where it connects to, and how its calls go.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) end_point: Arc<EndPoint>,
    pub(crate) options: Options,
    pub(crate) settings: Settings,
}

impl Client {
    /// Returns a handle whose calls may take this long: see [`Builder::timeout`](crate::Builder::timeout).
    /// With no time at all a receive takes what has arrived already, and begins to receive more for the next one.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        self.with(|settings| settings.timeout = timeout)
    }

    /// Returns a handle whose receives may go without a byte this long:
    /// see [`Builder::idle_timeout`](crate::Builder::idle_timeout).
    #[must_use]
    pub fn with_idle_timeout(&self, timeout: Duration) -> Self {
        self.with(|settings| settings.idle_timeout = timeout)
    }

    /// Returns a handle whose messages may have this many bytes:
    /// see [`Builder::max_response`](crate::Builder::max_response).
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
    /// inside begin, and its time counts against the receive's deadline. If it panics, the receive ends
    /// with [`ErrorKind::InvalidInput`](crate::ErrorKind::InvalidInput).
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
        change(&mut client.origin.settings);
        client
    }

    /// Tells the peer that nothing more will be sent: it reads the end of the stream. Receiving goes
    /// on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed) if there is no connection any more.
    pub fn shutdown_send(&self) -> Result<(), Error> {
        let shutdown = self.connection.socket.shutdown(Shutdown::Write);
        shutdown.map_err(|error| self.connection.gone(Attempt::ShutDownSend, error))
    }

    /// Closes the connection, for all handles. Calls that wait on it end with
    /// [`ErrorKind::Closed`](crate::ErrorKind::Closed). Closing twice changes nothing.
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
