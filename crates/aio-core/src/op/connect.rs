//! Connect and disconnect.

use crate::base::address::display_address;
use crate::base::error::{Aborted, attempted, came_to};
use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::Blocked;
use crate::state::completion::{Kind, sealed};
use crate::state::in_flight::Call;
use crate::state::perform::{Attempt, Perform};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socket2::{Domain, SockAddr};
use std::io;
use std::mem;
use std::net::Shutdown;

/// Connects a socket to an address: [`Socket::begin_connect`](crate::Socket::begin_connect).
#[derive(Debug)]
pub struct Connect {
    address: SockAddr,
    /// True exactly when the system has been asked to connect.
    asked: bool,
    /// True once it has answered.
    answered: bool,
}

impl Connect {
    pub(crate) fn new(address: SockAddr) -> Self {
        Self { address, asked: false, answered: false }
    }

    fn what(&self) -> String {
        format!("connect to {}", display_address(&self.address))
    }

    /// Asks the system to connect or, if it has been asked, what came of it; `None` if it is under way.
    pub(super) fn ask_or_answer(&mut self, call: Call<'_>) -> Option<io::Result<()>> {
        let put_off = match call.permit(Purpose::Connect, 0) {
            Ok(_) => false,
            // The system is asked all the same, once; that it has answered goes unnoticed.
            Err(error) if is_in_progress(&error) && self.asked => return None,
            Err(error) if is_in_progress(&error) => true,
            Err(error) => {
                // As a connect that the system has refused: the socket's one chance is gone.
                if !mem::replace(&mut self.asked, true) {
                    call.socket.may_connect();
                }
                self.answered = true;
                return Some(Err(error));
            }
        };
        let asked = mem::replace(&mut self.asked, true);
        let result = if asked { self.outcome(call) } else { self.ask(call) }?;
        if put_off && result.is_ok() {
            return None;
        }
        self.answered = true;
        // It may have been connected when it came to us; then there was nothing to ask for.
        if result.is_ok() || call.system.peer_addr().is_ok() {
            call.socket.has_connected();
        }
        Some(result)
    }

    fn ask(&mut self, call: Call<'_>) -> Option<io::Result<()>> {
        if !call.socket.may_connect() {
            return Some(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "this socket is connected, is being connected or has failed to connect; \
                 connect a new one",
            )));
        }
        self.asked = true;
        match call.system.connect(&self.address) {
            // A local connect is over at once, or cannot be: the listener's backlog is full, and
            // nothing will report when it is not.
            Err(error)
                if self.address.domain() == Domain::UNIX
                    && error.kind() == io::ErrorKind::WouldBlock =>
            {
                call.socket.may_connect_again();
                Some(Err(io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "the listener's backlog is full; connect again later",
                )))
            }
            Err(error) if is_in_progress(&error) => None,
            result => Some(result),
        }
    }

    /// The system reported the socket writable, or somebody else's report was mistaken for it.
    fn outcome(&self, call: Call<'_>) -> Option<io::Result<()>> {
        let answer = Self::answer(call);
        if answer.is_some() {
            return answer;
        }
        match is_writable(call.system) {
            Ok(false) => None,
            // It has connected or failed in between, or has failed before and the program has read the error,
            // which the system tells once.
            Ok(true) => Some(Self::answer(call).unwrap_or_else(|| Err(error_was_read()))),
            Err(_) => self.ask_again(call),
        }
    }

    /// The system does not poll for a process that may have no descriptors. To a second connect it says as well what
    /// has become of the first, but it could connect a socket anew that was shut down meanwhile.
    fn ask_again(&self, call: Call<'_>) -> Option<io::Result<()>> {
        #[cfg(unix)]
        match call.system.connect(&self.address) {
            Ok(()) => Some(Ok(())),
            Err(error) => match error.raw_os_error() {
                Some(libc::EALREADY) => None,
                Some(libc::EISCONN) => Self::answer(call),
                Some(libc::ECONNABORTED) => Some(Err(error_was_read())),
                _ if is_in_progress(&error) => None,
                _ => Some(Err(error)),
            },
        }
        #[cfg(not(unix))]
        {
            let _ = call;
            None
        }
    }

    /// Only a socket that has a peer is connected. One that has none has an error, or is still on its way.
    fn answer(call: Call<'_>) -> Option<io::Result<()>> {
        let Err(no_peer) = call.system.peer_addr() else { return Some(Ok(())) };
        match call.system.take_error() {
            Ok(Some(error)) | Err(error) => Some(Err(error)),
            // It may have been connected in between; then it is reported.
            Ok(None) if no_peer.kind() == io::ErrorKind::NotConnected => None,
            Ok(None) => Some(Err(no_peer)),
        }
    }
}

/// True if the system reports the socket writable, as it does when a connect is over. (It may report it as hung
/// up before, if it was shut down in vain.)
fn is_writable(system: &socket2::Socket) -> Result<bool, Errno> {
    let mut socket = [PollFd::new(system, PollFlags::OUT)];
    rustix::event::poll(&mut socket, Some(&Timespec::default()))?;
    Ok(socket[0].revents().contains(PollFlags::OUT))
}

/// As the system says of a connect that blocks.
fn error_was_read() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionAborted,
        "it has failed, and the program has read the error (SO_ERROR) itself",
    )
}

fn is_in_progress(error: &io::Error) -> bool {
    // POSIX: an interrupted connect goes on in the background.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) || {
        #[cfg(unix)]
        {
            error.raw_os_error() == Some(libc::EINPROGRESS)
        }
        #[cfg(not(unix))]
        {
            false
        }
    }
}

impl sealed::Sealed for Connect {}

impl Kind for Connect {
    const NAME: &'static str = Self::KIND.name();
    type Output = ();
    type Buffer = ();
}

impl Perform for Connect {
    const KIND: OperationKind = OperationKind::Connect;
    const DIRECTION: Direction = Direction::Send;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        let Some(result) = self.ask_or_answer(call) else {
            return Attempt::WouldBlock(Blocked::InVain);
        };
        Attempt::done(result.map_err(|error| attempted(self.what(), error)))
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match Aborted::reason(&error) {
            Some(reason) if self.is_partly_done() => {
                came_to(self.what(), format!("no answer {}", reason.until()), error)
            }
            _ => attempted(self.what(), error),
        }
    }

    /// The system goes on connecting a socket whose connect is canceled.
    fn is_partly_done(&self) -> bool {
        self.asked && !self.answered
    }

    fn into_buffer(self) {}
}

/// Ends the connection in both directions: [`Socket::begin_disconnect`](crate::Socket::begin_disconnect).
#[derive(Debug)]
pub struct Disconnect(());

impl Disconnect {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl sealed::Sealed for Disconnect {}

impl Kind for Disconnect {
    const NAME: &'static str = Self::KIND.name();
    type Output = ();
    type Buffer = ();
}

impl Perform for Disconnect {
    const KIND: OperationKind = OperationKind::Disconnect;
    const DIRECTION: Direction = Direction::Send;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        let result = call.socket.shut_down(call.system, Shutdown::Both);
        Attempt::done(result.map_err(|error| attempted("disconnect", error)))
    }

    fn into_buffer(self) {}
}
