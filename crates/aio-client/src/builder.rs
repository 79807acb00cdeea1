//! The options of a client, and its connecting.

use crate::client::Client;
use crate::connect::{self, Failure};
use crate::connection::{Connection, Settings};
use crate::deadline::Deadline;
use crate::encoding::Encoding;
use crate::end_point::{EndPoint, Unresolved};
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::Framing;
use aio_core::socket2::TcpKeepalive;
use aio_core::{Runtime, Socket};
use std::io;
use std::time::Duration;

/// Configures a [`Client`], and connects it.
///
/// ```
/// use aio_client::{Client, Framing};
/// use std::time::Duration;
///
/// let runtime = aio_core::Runtime::builder().workers(1).build()?;
/// let server = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let client = Client::builder()
///     .runtime(&runtime)
///     .timeout(Duration::from_secs(5))
///     .framing(Framing::delimiter("\n"))
///     .keepalive(Duration::from_secs(60))
///     .connect(server.local_addr()?)?;
/// # drop(client);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "connect() makes the client"]
pub struct Builder<'r> {
    runtime: Option<&'r Runtime>,
    nodelay: bool,
    keepalive: Option<Duration>,
    settings: Settings,
}

impl Default for Builder<'_> {
    fn default() -> Self {
        Self {
            runtime: None,
            nodelay: true,
            keepalive: None,
            settings: Settings {
                timeout: Duration::from_secs(30),
                idle_timeout: Duration::MAX,
                max_response: 64 << 20,
                framing: Framing::default(),
                encoding: Encoding::default(),
                progress: None,
            },
        }
    }
}

impl<'r> Builder<'r> {
    /// Chooses the runtime. Default: [`Runtime::global`].
    pub fn runtime(mut self, runtime: &'r Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Chooses how long a call may take: a connect, a send, a receive, each as a whole. Default: 30
    /// seconds. [`Duration::MAX`] is for ever.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Chooses how long a receive may go without a byte, within its timeout. Default: for ever.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.idle_timeout = timeout;
        self
    }

    /// Chooses how many bytes a message may have that the peer delimits; one that has more is the
    /// error [`ErrorKind::TooLong`]. Memory is taken for what has arrived, never for what the peer
    /// announces. Default: 64 MiB.
    pub fn max_response(mut self, bytes: usize) -> Self {
        self.settings.max_response = bytes;
        self
    }

    /// Chooses what makes a message. Default: [`Framing::UntilClose`].
    pub fn framing(mut self, framing: Framing) -> Self {
        self.settings.framing = framing;
        self
    }

    /// Chooses how text is sent and received. Default: [`Encoding::Utf8`].
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.settings.encoding = encoding;
        self
    }

    /// Chooses whether small messages are sent at once (`TCP_NODELAY`). Default: they are, since the
    /// caller of a send waits for an answer.
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Has the system ask the peer for a sign of life when nothing has arrived for `idle` (TCP
    /// keepalive, in whole seconds): a peer that has vanished then ends the connection. Default: no.
    pub fn keepalive(mut self, idle: Duration) -> Self {
        self.keepalive = Some(idle);
        self
    }

    /// Connects, to whichever address of the end point answers first.
    ///
    /// A host name is resolved on the calling thread, which the timeout does not cut short. The
    /// addresses are then tried in turn as RFC 8305 has it: the next one when one has failed, or has
    /// not answered for a quarter of a second.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`], [`ErrorKind::Resolve`], [`ErrorKind::Connect`], of which the
    /// source tells what each address came to, or [`ErrorKind::TimedOut`].
    pub fn connect(self, end_point: impl Into<EndPoint>) -> Result<Client, Error> {
        let end_point = end_point.into();
        let deadline = Deadline::after(self.settings.timeout);
        let error = |kind, reason: &str| Error::new(kind, Attempt::Connect, &end_point, reason);
        let system = |kind, source| Error::system(kind, Attempt::Connect, &end_point, source);
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Runtime::global().map_err(|source| system(ErrorKind::Connect, source))?,
        };
        let addresses = end_point.resolve().map_err(|unresolved| match unresolved {
            Unresolved::Malformed => {
                error(ErrorKind::InvalidInput, "an end point is a host, a colon and a port")
            }
            Unresolved::Empty => error(ErrorKind::Resolve, "there is no address"),
            Unresolved::Failed(source) => system(ErrorKind::Resolve, source),
        })?;
        let connected = connect::connect(runtime, addresses, deadline, |socket| {
            prepare(socket, self.nodelay, self.keepalive)
        });
        match connected {
            Ok((socket, peer)) => Ok(Client::new(Connection::new(socket, peer), self.settings)),
            Err(Failure::TimedOut) => {
                let reason = format!("timed out after {:?}", deadline.timeout());
                Err(error(ErrorKind::TimedOut, &reason))
            }
            Err(Failure::Refused(failures)) => Err(system(ErrorKind::Connect, all_of(failures))),
        }
    }
}

fn prepare(socket: &Socket, nodelay: bool, keepalive: Option<Duration>) -> io::Result<()> {
    socket.with_socket(|socket| {
        socket.set_tcp_nodelay(nodelay)?;
        match keepalive {
            Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
            None => Ok(()),
        }
    })?
}

/// One error for what all attempts came to: of the first one's kind, saying all.
fn all_of(failures: Vec<io::Error>) -> io::Error {
    let mut failures = failures.into_iter();
    let first = failures.next().expect("an end point has an address, and each attempt failed");
    let rest: Vec<_> = failures.map(|failure| failure.to_string()).collect();
    if rest.is_empty() {
        return first;
    }
    io::Error::new(first.kind(), format!("{first}; {}", rest.join("; ")))
}
