//! Sockets that come connected.

use crate::api::async_result::{AsyncResult, OperationHandle};
use crate::api::operation::Operation;
use crate::api::runtime_handle::RuntimeHandle;
use crate::base::error::Aborted;
use crate::op::{self, Destination};
use crate::runtime::resolver;
use crate::state::body;
use crate::state::in_flight::Owner;
use crate::state::socket::Socket;
use std::io;

impl RuntimeHandle {
    /// Begins to connect a new TCP socket to `destination`: to one address, to several in turn, or to a
    /// host by its name. The result is the socket, connected to the first address that accepted.
    ///
    /// Each attempt has a socket of its own. A name is looked up on a thread kept for that, so that it holds
    /// no worker. If all addresses fail, the error says what came of each and has the kind of the last.
    ///
    /// ```
    /// use aio_core::op::Destination;
    /// use aio_core::{AsyncResult, Runtime, Socket, op};
    /// use std::time::Duration;
    ///
    /// # let runtime = Runtime::builder().workers(1).build()?;
    /// # let listener = runtime.associate(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// # let port = listener.local_addr()?.port();
    /// fn connect_callback(connected: AsyncResult<op::ConnectTo>) {
    ///     match Socket::end_connect_to(connected).result {
    ///         Ok(socket) => println!("connected to {:?}", socket.peer_addr()),
    ///         Err(error) => println!("{error}"),
    ///     }
    /// }
    /// let destination = Destination::from(("localhost", port)).timeout(Duration::from_secs(5));
    /// let connect = runtime.begin_connect_to(destination, connect_callback, ());
    /// connect.wait_one();
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn begin_connect_to<S, F>(
        &self,
        destination: impl Into<Destination>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ConnectTo, S>) + Send + 'static,
    {
        let destination = destination.into();
        let (deadline, work) = (destination.deadline(), op::ConnectTo::new(&destination));
        let (operation, handle) =
            body::begin(None, deadline, work, AsyncResult::to(callback), state);
        self.begin_connecting(&destination, operation);
        OperationHandle::new(handle)
    }

    /// Starts to connect a new socket: [`begin_connect_to`](Self::begin_connect_to) without a callback.
    pub fn connect_to_async(
        &self,
        destination: impl Into<Destination>,
    ) -> Operation<op::ConnectTo> {
        let destination = destination.into();
        let (deadline, work) = (destination.deadline(), op::ConnectTo::new(&destination));
        let (operation, pending) = body::start(None, deadline, work);
        self.begin_connecting(&destination, operation);
        Operation::new(pending)
    }

    /// Connects a new socket, and blocks until that is done: see
    /// [`begin_connect_to`](Self::begin_connect_to), and [`Socket::connect`] for what blocking means.
    ///
    /// ```
    /// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let port = listener.local_addr()?.port();
    /// let socket = runtime.connect_to(("localhost", port))?;
    /// socket.send(b"hello")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As the result of [`Socket::end_connect_to`].
    pub fn connect_to(&self, destination: impl Into<Destination>) -> io::Result<Socket> {
        self.connect_to_async(destination).wait().result
    }

    fn begin_connecting(&self, destination: &Destination, operation: Owner) {
        let runtime = &self.inner;
        let Some(operation) = runtime.admit(operation, false) else { return };
        match destination.name() {
            _ if runtime.is_stopping() => operation.fail(runtime, Aborted::ShutDown.into()),
            Some((name, port)) => {
                resolver::look_up(runtime, name, port, operation, op::ConnectTo::found);
            }
            None => op::ConnectTo::begin_connecting(runtime, operation),
        }
    }
}
