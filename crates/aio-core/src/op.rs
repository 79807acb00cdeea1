//! The kinds of operation: what each needs, what it does, and what it yields.
//!
//! A kind is a type parameter of [`AsyncResult`](crate::AsyncResult) and
//! [`Completion`](crate::Completion), so that the result of a receive cannot be given to
//! `end_send`. Its value is the work itself: the buffer and how far the work has come.
//!
//! An attempt makes the socket2 call without blocking. It is made by the thread that begins the
//! operation or by a worker, always one at a time for a socket and direction
//! (`operation_queue.rs`), so the work needs no lock.

use crate::buffer::{IoBuf, IoBufMut};
use crate::error::attempted;
use crate::socket::{Socket, SocketInner};
use socket2::SockAddr;
use std::fmt;
use std::io::{self, Read};
use std::marker;
use std::mem;

/// A kind of operation.
///
/// Implemented by the types of this module and by nothing else.
pub trait Kind: sealed::Sealed + marker::Send + 'static {
    /// The operation's name, as in `begin_NAME`.
    const NAME: &'static str;
    /// What a successful operation yields.
    type Output: marker::Send + 'static;
    /// What the operation borrows from its caller and gives back in every outcome.
    type Buffer: marker::Send + 'static;
}

/// The two directions in which operations of a socket are ordered and otherwise independent (I5).
///
/// Accept waits for the same readiness as receive and connect for the same as send, so they share
/// their queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Send,
}

/// What one attempt came to.
#[derive(Debug)]
pub(crate) enum Attempt<T> {
    /// The operation is over. `drained` is true if the call found all there was, so that another
    /// one would block unless readiness is reported meanwhile.
    Done { result: io::Result<T>, drained: bool },
    /// The call would have to wait.
    WouldBlock,
    /// More could be done at once, but others are to be served first.
    Yielded,
}

impl<T> Attempt<T> {
    fn done(result: io::Result<T>) -> Self {
        Self::Done { result, drained: false }
    }
}

mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else can implement `Kind`")]
    pub trait Sealed {}
}

/// What the crate does with a [`Kind`].
pub(crate) trait Perform: Kind {
    const DIRECTION: Direction;

    /// True for what sends bytes: the peer has to learn if it did not finish.
    const IS_SEND: bool = false;

    /// Makes the call, without blocking.
    fn attempt(&mut self, call: Call<'_>) -> Attempt<Self::Output>;

    fn bytes_transferred(&self) -> usize {
        0
    }

    /// True exactly when the operation, if it ends now without success, leaves a gap in the stream.
    fn is_partly_done(&self) -> bool {
        false
    }

    fn into_buffer(self) -> Self::Buffer;
}

/// What an attempt may use: the socket, and its pinned descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) socket: &'a SocketInner,
    pub(crate) system: &'a socket2::Socket,
}

impl fmt::Debug for Call<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.system.fmt(f)
    }
}

/// Makes `call` until it is not interrupted by a signal; `None` if it would block.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> Option<io::Result<T>> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            result => return Some(result),
        }
    }
}

/// Connects a socket to an address: [`Socket::begin_connect`].
#[derive(Debug)]
pub struct Connect {
    address: SockAddr,
    /// True exactly when the system has been asked to connect.
    asked: bool,
}

impl Connect {
    pub(crate) fn new(address: SockAddr) -> Self {
        Self { address, asked: false }
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
            Err(error) if is_in_progress(&error) => None,
            result => Some(result),
        }
    }

    /// The system reported the socket writable, or somebody else's report was mistaken for it: only
    /// a socket that has a peer and no error is connected.
    fn outcome(call: Call<'_>) -> Option<io::Result<()>> {
        match call.system.take_error() {
            Ok(Some(error)) | Err(error) => Some(Err(error)),
            Ok(None) => match call.system.peer_addr() {
                Ok(_) => Some(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
                Err(error) => Some(Err(error)),
            },
        }
    }
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
    const NAME: &'static str = "connect";
    type Output = ();
    type Buffer = ();
}

impl Perform for Connect {
    const DIRECTION: Direction = Direction::Send;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<()> {
        let asked = mem::replace(&mut self.asked, true);
        let Some(result) = (if asked { Self::outcome(call) } else { self.ask(call) }) else {
            return Attempt::WouldBlock;
        };
        Attempt::done(result.map_err(|error| {
            attempted(format!("connect to {}", display_address(&self.address)), error)
        }))
    }

    fn into_buffer(self) {}
}

fn display_address(address: &SockAddr) -> String {
    match address.as_socket() {
        Some(address) => address.to_string(),
        None => format!("{address:?}"),
    }
}

/// Accepts a connection on a listening socket: [`Socket::begin_accept`].
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

/// Sends all bytes of a buffer: [`Socket::begin_send`].
#[derive(Debug)]
pub struct Send<B> {
    buffer: B,
    /// How many bytes from the front of the buffer the transport has taken.
    sent: usize,
}

impl<B: IoBuf> Send<B> {
    /// Calls that one attempt makes before it lets others have their turn (I4): a peer that reads
    /// as fast as we send must not hold a worker, or the thread that began the send, for ever.
    const CALLS_PER_TURN: usize = 16;

    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, sent: 0 }
    }
}

/// A send to a peer that has gone is an error, never a signal that ends the process.
#[cfg(all(unix, not(target_vendor = "apple")))]
const SEND_FLAGS: i32 = libc::MSG_NOSIGNAL;
/// Windows has no such signal; socket2 sets `SO_NOSIGPIPE` on every socket it makes on Apple's
/// systems.
#[cfg(any(not(unix), target_vendor = "apple"))]
const SEND_FLAGS: i32 = 0;

impl<B: IoBuf> sealed::Sealed for Send<B> {}

impl<B: IoBuf> Kind for Send<B> {
    const NAME: &'static str = "send";
    type Output = usize;
    type Buffer = B;
}

impl<B: IoBuf> Perform for Send<B> {
    const DIRECTION: Direction = Direction::Send;
    const IS_SEND: bool = true;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        if self.buffer.as_slice().is_empty() && call.socket.is_stream() {
            return Attempt::done(Ok(0));
        }
        for _ in 0..Self::CALLS_PER_TURN {
            let bytes = &self.buffer.as_slice()[self.sent..];
            match retry(|| call.system.send_with_flags(bytes, SEND_FLAGS)) {
                None => return Attempt::WouldBlock,
                Some(Err(error)) => return Attempt::done(Err(attempted("send", error))),
                Some(Ok(sent)) => {
                    self.sent += sent;
                    // A datagram is sent whole or not at all.
                    if self.sent == self.buffer.as_slice().len() || !call.socket.is_stream() {
                        return Attempt::done(Ok(self.sent));
                    }
                }
            }
        }
        Attempt::Yielded
    }

    fn bytes_transferred(&self) -> usize {
        self.sent
    }

    fn is_partly_done(&self) -> bool {
        self.sent > 0 && self.sent < self.buffer.as_slice().len()
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}

/// Receives into a buffer: [`Socket::begin_receive`].
#[derive(Debug)]
pub struct Receive<B> {
    buffer: B,
    received: usize,
}

impl<B: IoBufMut> Receive<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, received: 0 }
    }

    /// Waits for readability without taking anything. A receive of no bytes would return at once,
    /// so it looks at one byte and leaves it.
    fn peek(system: &socket2::Socket) -> io::Result<usize> {
        system.peek(&mut [mem::MaybeUninit::uninit()]).map(|_| 0)
    }
}

impl<B: IoBufMut> sealed::Sealed for Receive<B> {}

impl<B: IoBufMut> Kind for Receive<B> {
    const NAME: &'static str = "receive";
    type Output = usize;
    type Buffer = B;
}

impl<B: IoBufMut> Perform for Receive<B> {
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        let buffer = self.buffer.as_mut_slice();
        let capacity = buffer.len();
        let mut system = call.system;
        let received = if capacity == 0 && call.socket.is_stream() {
            retry(|| Self::peek(system))
        } else {
            retry(|| system.read(buffer))
        };
        match received {
            None => Attempt::WouldBlock,
            Some(Err(error)) => Attempt::done(Err(attempted("receive", error))),
            Some(Ok(received)) => {
                self.received = received;
                // A stream gives all it has, so a short receive has emptied it. The end of the
                // stream (0) stays readable for ever.
                let drained = call.socket.is_stream() && received > 0 && received < capacity;
                Attempt::Done { result: Ok(received), drained }
            }
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.received
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}
