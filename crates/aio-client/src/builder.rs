//! The options of a client, and its connecting.

use crate::async_result::AsyncResult;
use crate::client::{Client, Origin};
use crate::connect::Options;
use crate::connection::Settings;
use crate::encoding::Encoding;
use crate::end_point::EndPoint;
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::Framing;
use crate::op;
use crate::operation::{Operation, OperationHandle};
use aio_core::{Runtime, RuntimeHandle};
use std::sync::Arc;
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
    options: Options,
    settings: Settings,
}

impl Default for Builder<'_> {
    fn default() -> Self {
        Self {
            runtime: None,
            options: Options { nodelay: true, keepalive: None },
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
        self.options.nodelay = nodelay;
        self
    }

    /// Has the system ask the peer for a sign of life when nothing has arrived for `idle` (TCP
    /// keepalive, in whole seconds): a peer that has vanished then ends the connection. Default: no.
    pub fn keepalive(mut self, idle: Duration) -> Self {
        self.options.keepalive = Some(idle);
        self
    }

    /// Connects, to whichever address of the end point answers first.
    ///
    /// A host name is looked up, on a thread kept for that. Its addresses are then tried in turn as RFC
    /// 8305 has it: the next one when one has failed, or has not answered for a quarter of a second. The
    /// timeout is for the whole.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`], [`ErrorKind::Resolve`], [`ErrorKind::Connect`], of which the
    /// source tells what each address came to, or [`ErrorKind::TimedOut`].
    pub fn connect(self, end_point: impl Into<EndPoint>) -> Result<Client, Error> {
        self.connect_async(end_point).wait()
    }

    /// Begins to [`connect`](Self::connect); `callback` gets the outcome, on a worker.
    ///
    /// Never blocks and never fails: every outcome arrives at [`Client::end_connect`]. (If the
    /// process-wide runtime cannot be started, there is no worker, and a thread is made to tell so.)
    ///
    /// ```
    /// use aio_client::{AsyncResult, Client, op};
    ///
    /// fn connect_callback(ar: AsyncResult<op::Connect>) {
    ///     match Client::end_connect(ar).result {
    ///         Ok(client) => println!("connected to {}", client.peer_addr()),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let address = server.local_addr()?;
    /// let connect = Client::builder().begin_connect(address, connect_callback, ());
    /// connect.wait_one();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn begin_connect<S, F>(
        self,
        end_point: impl Into<EndPoint>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Connect, S>) + Send + 'static,
    {
        let (origin, runtime) = self.origin(end_point.into());
        origin.begin_connect(runtime, callback, state)
    }

    /// Starts to [`connect`](Self::connect), without a callback.
    pub fn connect_async(self, end_point: impl Into<EndPoint>) -> Operation<op::Connect> {
        let (origin, runtime) = self.origin(end_point.into());
        origin.connect_async(runtime)
    }

    fn origin(self, end_point: EndPoint) -> (Origin, Result<RuntimeHandle, Error>) {
        let runtime = match self.runtime {
            Some(runtime) => Ok(runtime.handle()),
            None => Runtime::global().map(Runtime::handle).map_err(|source| {
                Error::system(ErrorKind::Connect, Attempt::Connect, &end_point, source)
            }),
        };
        let end_point = Arc::new(end_point);
        (Origin { end_point, options: self.options, settings: self.settings }, runtime)
    }
}
