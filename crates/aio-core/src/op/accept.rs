//! Accept, and accept into the first data.

use super::receive::Receive;
use super::retry;
use crate::base::buffer::IoBufMut;
use crate::base::error::attempted;
use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::Blocked;
use crate::state::completion::Completion;
use crate::state::departed::Departure;
use crate::state::perform::sealed;
use crate::state::perform::{Attempt, Call, Kind, Perform};
use crate::state::socket::Socket;
use crate::state::socket::SocketInner;
use crate::state::unread::{Envelope, GivenBack, Order, Piece};
use std::io;
use std::sync::Arc;

/// Accepts a connection on a listening socket: [`Socket::begin_accept`](crate::Socket::begin_accept).
#[derive(Debug)]
pub struct Accept(());

impl Accept {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl sealed::Sealed for Accept {}

impl Kind for Accept {
    const NAME: &'static str = Self::KIND.name();
    type Output = Socket;
    type Buffer = ();
}

impl Perform for Accept {
    const KIND: OperationKind = OperationKind::Accept;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<Socket> {
        accept(call).map_or(Attempt::WouldBlock(Blocked::InVain), Attempt::done)
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        if let Ok(connection) = completion.result {
            to.socket.give_back(to.order, Piece::Connection(connection));
        }
    }

    fn into_buffer(self) {}
}

fn accept(call: Call<'_>) -> Option<io::Result<Socket>> {
    if let Some(connection) = call.socket.unread.connection() {
        return Some(Ok(connection));
    }
    let accepted = retry(|| {
        call.permit(Purpose::Accept, 0)?;
        accept_nonblocking(call.system)
    });
    Some(match accepted {
        Some(Ok(socket)) => Socket::accepted(call.socket, socket),
        // A local listener has connections until they have been accepted. Then its accept fails if it may
        // block; if it may not, it says that it would.
        None if call.socket.receives_no_more() => Err(is_shut_down(invalid())),
        None => return None,
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(if call.socket.receives_no_more() {
                is_shut_down(error)
            } else {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "accept on a socket that is not listening; bind it and call listen first",
                )
            })
        }
        Some(Err(error)) => Err(attempted("accept", error)),
    })
}

fn is_shut_down(error: io::Error) -> io::Error {
    attempted("accept on a listener that was shut down", error)
}

/// What the system says of an accept on a listener that was shut down.
fn invalid() -> io::Error {
    #[cfg(unix)]
    {
        io::Error::from_raw_os_error(libc::EINVAL)
    }
    #[cfg(not(unix))]
    {
        io::ErrorKind::InvalidInput.into()
    }
}

fn accept_nonblocking(listener: &socket2::Socket) -> io::Result<socket2::Socket> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).map(|(socket, _)| socket)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let (socket, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Accepts a connection and receives its first bytes:
/// [`Socket::begin_accept_receive`](crate::Socket::begin_accept_receive).
///
/// Once it has a connection it leaves the listener, whose next accept has its turn, and goes on at the
/// accepted socket.
#[derive(Debug)]
pub struct AcceptReceive<B> {
    receive: Receive<B>,
    /// There once it has a connection, and is at the accepted socket.
    accepted: Option<Accepted>,
}

/// What an [`AcceptReceive`] knows once it has a connection.
#[derive(Debug)]
struct Accepted {
    #[expect(
        dead_code,
        reason = "dropping it takes the operation out of those that have left the listener"
    )]
    departure: Departure,
    listener: Arc<SocketInner>,
    /// Where the connection stands among the listener's connections.
    order: Order,
}

impl<B: IoBufMut> AcceptReceive<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { receive: Receive::new(buffer), accepted: None }
    }
}

impl<B: IoBufMut> sealed::Sealed for AcceptReceive<B> {}

impl<B: IoBufMut> Kind for AcceptReceive<B> {
    const NAME: &'static str = Self::KIND.name();
    /// The accepted socket, and how many bytes it has received.
    type Output = (Socket, usize);
    type Buffer = B;
}

impl<B: IoBufMut> Perform for AcceptReceive<B> {
    const KIND: OperationKind = OperationKind::AcceptReceive;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<(Socket, usize)> {
        if self.accepted.is_some() {
            return self.receive.attempt(call).map(|n| (Socket::of(call.socket), n));
        }
        match accept(call) {
            None => Attempt::WouldBlock(Blocked::InVain),
            Some(Err(error)) => Attempt::done(Err(error)),
            Some(Ok(socket)) => {
                let (listener, order) = (call.socket, call.socket.unread.order());
                let socket = socket.into_inner();
                self.accepted = Some(Accepted {
                    departure: Departure::new(listener, &socket),
                    listener: listener.clone(),
                    order,
                });
                // AC-4: an operation without room for a byte does not wait for one.
                if self.receive.has_no_room() {
                    return Attempt::done(Ok((Socket::of(&socket), 0)));
                }
                Attempt::GoesOnAt(socket)
            }
        }
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        let Accepted { order, .. } = self.accepted.take()?;
        Some(Box::new(Envelope::Connection(order)))
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        let (Ok((connection, received)), Some(Envelope::Connection(order))) =
            (completion.result, to.envelope.map(|envelope| *envelope))
        else {
            return;
        };
        if received > 0 {
            let bytes = completion.buffer.as_slice()[..received].to_vec();
            connection.shared().give_back(to.order, Piece::Bytes(bytes));
        }
        to.socket.give_back(order, Piece::Connection(connection));
    }

    fn give_up(&mut self, socket: &Arc<SocketInner>) {
        if let Some(Accepted { listener, order, .. }) = self.accepted.take() {
            listener.give_back(order, Piece::Connection(Socket::of(socket)));
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.receive.bytes_transferred()
    }

    fn into_buffer(self) -> B {
        self.receive.into_buffer()
    }
}
