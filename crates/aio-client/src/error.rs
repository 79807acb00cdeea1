//! The one error of this crate.

use std::error;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a call of this crate failed: what was attempted, on whom, and what went wrong.
///
/// The message says all three in one line. [`source`](error::Error::source) is the system's error,
/// where there is one.
///
/// ```
/// use aio_client::{Client, ErrorKind};
/// use std::error::Error;
///
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let address = listener.local_addr()?;
/// drop(listener); // nobody listens there now
///
/// let error = Client::connect(address).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Connect);
/// assert_eq!(error.peer(), address.to_string());
/// assert_eq!(error.to_string(), format!("connect to {address}: connection refused"));
/// assert!(error.source().is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    attempt: Attempt,
    peer: String,
    reason: String,
    source: Option<Arc<io::Error>>,
}

/// What kind of failure an [`Error`] tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call cannot be meant: an end point without a port, an empty delimiter, a message that its
    /// framing cannot carry. Nothing was attempted.
    InvalidInput,
    /// The host name has no address.
    Resolve,
    /// None of the addresses could be connected to.
    Connect,
    /// The connection broke while sending. How much the peer has read is unknown; nothing more can
    /// be sent, while what the peer had sent before can still be received. Or the runtime has as many
    /// operations as it may: then the source is [`io::ErrorKind::ResourceBusy`], nothing was sent, and
    /// it can be tried again.
    Send,
    /// The connection broke while receiving. Or the runtime has as many operations as it may: then
    /// the source is [`io::ErrorKind::ResourceBusy`], nothing is lost, and it can be tried again.
    Receive,
    /// The time was over first. A receive can be tried again and loses nothing. A send can be tried
    /// again only if nothing of it had been sent: otherwise the next send fails.
    TimedOut,
    /// The call was canceled. As after a timeout, a receive can be tried again and loses nothing, and a
    /// send only if nothing of it had been sent.
    Canceled,
    /// There is no connection any more: it was closed on this side, or the peer has closed it and
    /// every message before that has been received.
    Closed,
    /// The peer has closed the connection in the middle of a message.
    Incomplete,
    /// The message is longer than [`max_response`](crate::Builder::max_response). The rest of
    /// it has not been received, and the stream cannot be read past it.
    TooLong,
    /// The message is not text of the client's [`Encoding`](crate::Encoding). It has not been taken:
    /// [`receive`](crate::Client::receive) returns its bytes.
    Encoding,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Attempt {
    Connect,
    Send,
    Receive,
    ShutDownSend,
    LocalAddress,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect to",
            Self::Send => "send to",
            Self::Receive => "receive from",
            Self::ShutDownSend => "shut down sending to",
            Self::LocalAddress => "local address of the connection to",
        })
    }
}

impl Error {
    pub(crate) fn new(
        kind: ErrorKind,
        attempt: Attempt,
        peer: impl fmt::Display,
        reason: impl fmt::Display,
    ) -> Self {
        let (peer, reason) = (peer.to_string(), reason.to_string());
        Self { inner: Arc::new(Inner { kind, attempt, peer, reason, source: None }) }
    }

    /// An error that the system reported; its kind is the reason, in words.
    pub(crate) fn system(
        kind: ErrorKind,
        attempt: Attempt,
        peer: impl fmt::Display,
        source: impl Into<Arc<io::Error>>,
    ) -> Self {
        let source = source.into();
        let reason = in_words(&source);
        Self::new(kind, attempt, peer, reason).with_source(source)
    }

    pub(crate) fn with_source(self, source: impl Into<Arc<io::Error>>) -> Self {
        let mut inner = Arc::into_inner(self.inner).expect("an error is made before it is shared");
        inner.source = Some(source.into());
        Self { inner: Arc::new(inner) }
    }

    /// Returns the kind of failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns whom the attempt was made on: the end point of a connect as it was given, later the
    /// address that the client is connected to.
    #[must_use]
    pub fn peer(&self) -> &str {
        &self.inner.peer
    }
}

/// What the system reported, without what aio-core says of the attempt: this crate says that itself.
pub(crate) fn in_words(error: &io::Error) -> String {
    use io::ErrorKind::{
        AddrNotAvailable, BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset,
        HostUnreachable, NetworkDown, NetworkUnreachable, NotConnected, PermissionDenied, TimedOut,
    };
    match error.kind() {
        kind @ (AddrNotAvailable | BrokenPipe | ConnectionAborted | ConnectionRefused
        | ConnectionReset | HostUnreachable | NetworkDown | NetworkUnreachable
        | NotConnected | PermissionDenied | TimedOut) => kind.to_string(),
        // Of the others the kind says less than the system.
        _ => {
            let mut cause: &dyn error::Error = error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            cause.to_string()
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { attempt, peer, reason, .. } = &*self.inner;
        write!(f, "{attempt} {peer}: {reason}")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.inner.kind)
            .field("message", &self.to_string())
            .field("source", &self.inner.source)
            .finish()
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.inner.source.as_deref().map(|source| source as _)
    }
}

/// For functions that return [`io::Result`]: the message stays, the kind becomes the nearest one.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::Resolve => io::ErrorKind::NotFound,
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::Closed => io::ErrorKind::NotConnected,
            ErrorKind::Incomplete => io::ErrorKind::UnexpectedEof,
            ErrorKind::Canceled => io::ErrorKind::Other,
            ErrorKind::TooLong | ErrorKind::Encoding => io::ErrorKind::InvalidData,
            ErrorKind::Connect | ErrorKind::Send | ErrorKind::Receive => {
                error.inner.source.as_ref().map_or(io::ErrorKind::Other, |source| source.kind())
            }
        };
        Self::new(kind, error)
    }
}
