//! Accept.

use super::{Attempt, Call, Direction, Kind, Perform, retry, sealed};
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
        let Some(accepted) = retry(|| call.system.accept()) else {
            return Attempt::WouldBlock;
        };
        Attempt::done(match accepted {
            Ok((socket, _)) => Socket::associate(&call.socket.runtime, socket),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "begin_accept on a socket that is not listening; bind it and call listen first",
            )),
            Err(error) => Err(attempted("accept", error)),
        })
    }

    fn into_buffer(self) {}
}
