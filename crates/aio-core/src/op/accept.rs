//! Accept, and accept into the first data.

use super::{Attempt, Blocked, Call, Direction, Kind, Perform, Purpose, Receive, retry, sealed};
use crate::buffer::IoBufMut;
use crate::error::attempted;
use crate::socket::Socket;
use std::io;

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
    const NAME: &'static str = "accept";
    type Output = Socket;
    type Buffer = ();
}

impl Perform for Accept {
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<Socket> {
        accept(call).map_or(Attempt::WouldBlock(Blocked::InVain), Attempt::done)
    }

    fn into_buffer(self) {}
}

fn accept(call: Call<'_>) -> Option<io::Result<Socket>> {
    let accepted = retry(|| {
        call.permit(Purpose::Accept, 0)?;
        accept_nonblocking(call.system)
    });
    Some(match accepted {
        Some(Ok(socket)) => Ok(Socket::accepted(call.socket, socket)),
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
    accepted: bool,
}

impl<B: IoBufMut> AcceptReceive<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { receive: Receive::new(buffer), accepted: false }
    }
}

impl<B: IoBufMut> sealed::Sealed for AcceptReceive<B> {}

impl<B: IoBufMut> Kind for AcceptReceive<B> {
    const NAME: &'static str = "accept_receive";
    /// The accepted socket, and how many bytes it has received.
    type Output = (Socket, usize);
    type Buffer = B;
}

impl<B: IoBufMut> Perform for AcceptReceive<B> {
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<(Socket, usize)> {
        if self.accepted {
            return self.receive.attempt(call).map(|n| (Socket::of(call.socket), n));
        }
        match accept(call) {
            None => Attempt::WouldBlock(Blocked::InVain),
            Some(Err(error)) => Attempt::done(Err(error)),
            // AC-4: who has room for nothing waits for nothing.
            Some(Ok(socket)) if self.receive.has_no_room() => Attempt::done(Ok((socket, 0))),
            Some(Ok(socket)) => {
                self.accepted = true;
                Attempt::GoesOnAt(socket.into_inner())
            }
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.receive.bytes_transferred()
    }

    fn into_buffer(self) -> B {
        self.receive.into_buffer()
    }
}
