//! The kinds of operation: what each needs, what it does, and what it yields.
//!
//! A kind is a type parameter of [`AsyncResult`](crate::AsyncResult) and
//! [`Completion`], so that the result of a receive cannot be given to
//! `end_send`. Its value is the work itself: the buffer and how far the work has come.
//!
//! An attempt makes the socket2 call without blocking. It is made by the thread that begins the
//! operation or by a worker, always one at a time for a socket and direction
//! (`operation_queue.rs`), so the work needs no lock.

mod accept;
mod connect;
mod connect_to;
mod look_up;
mod receive;
#[expect(
    unsafe_code,
    reason = "lends initialized bytes to a call that takes uninitialized ones, too"
)]
mod receive_vectored;
mod send;
mod send_file;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[expect(
    unsafe_code,
    reason = "blocks a signal for the time of a call that nothing else keeps it from"
)]
mod sigpipe;

pub use accept::{Accept, AcceptReceive};
pub use connect::{Connect, Disconnect};
pub use connect_to::{ConnectTo, Destination};
pub(crate) use connect_to::{Route, Target, set_out};
pub use look_up::LookUp;
pub use receive::{Message, Receive, ReceiveFrom, ReceiveList, ReceiveMessageFrom};
pub use send::{Send, SendList, SendTo};
pub use send_file::SendFile;

use crate::async_result::Completion;
use crate::operation_queue::Blocked;
use crate::socket::{Envelope, GivenBack, SocketInner};
use socket2::SockAddr;
use std::fmt;
use std::io;
use std::marker;
use std::net::SocketAddr;
use std::sync::Arc;

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
    WouldBlock(Blocked),
    /// More could be done at once, but others are to be served first.
    Yielded,
    /// The operation has done what it had to do here, and goes on at another socket.
    GoesOnAt(Arc<SocketInner>),
}

impl<T> Attempt<T> {
    fn done(result: io::Result<T>) -> Self {
        Self::Done { result, drained: false }
    }

    fn map<U>(self, f: impl FnOnce(T) -> U) -> Attempt<U> {
        match self {
            Self::Done { result, drained } => Attempt::Done { result: result.map(f), drained },
            Self::WouldBlock(how) => Attempt::WouldBlock(how),
            Self::Yielded => Attempt::Yielded,
            Self::GoesOnAt(socket) => Attempt::GoesOnAt(socket),
        }
    }
}

/// The names of all kinds, and of what else a runtime runs: what was posted to it, registered waits, and
/// jobs of rayon's. By these it counts.
pub(crate) const KIND_NAMES: [&str; 17] = [
    "accept",
    "accept_receive",
    "connect",
    "connect_to",
    "disconnect",
    "look_up",
    "receive",
    "receive_from",
    "receive_list",
    "receive_message_from",
    "send",
    "send_file",
    "send_list",
    "send_to",
    "post",
    "register_wait",
    "rayon_job",
];

/// The index of a name among [`KIND_NAMES`]; does not compile for another, where it is a constant.
pub(crate) const fn kind_index(name: &str) -> usize {
    let mut index = 0;
    while index < KIND_NAMES.len() {
        let (known, name) = (KIND_NAMES[index].as_bytes(), name.as_bytes());
        let mut at = 0;
        while at < name.len() && at < known.len() && name[at] == known[at] {
            at += 1;
        }
        if at == name.len() && at == known.len() {
            return index;
        }
        index += 1;
    }
    panic!("every kind is among KIND_NAMES")
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

    /// True for what may have to wait for something that is not the socket, a disk for example.
    const MAY_BLOCK: bool = false;

    /// Makes the call, without blocking.
    fn attempt(&mut self, call: Call<'_>) -> Attempt<Self::Output>;

    fn bytes_transferred(&self) -> usize {
        0
    }

    /// True exactly when the operation, if it ends now without success, leaves a socket on which nothing
    /// can follow it in this direction: with a gap in the stream, say.
    fn is_partly_done(&self) -> bool {
        false
    }

    /// Says in `error`, with which the operation ends without a result of its own, what it was.
    fn explain(&self, error: io::Error) -> io::Error {
        error
    }

    /// What is before an operation that connects to one of several addresses.
    fn route(&mut self) -> Option<&mut Route> {
        None
    }

    /// A name has been looked up for the operation. Returns its result, if that is what it was for.
    fn found(
        &mut self,
        addresses: io::Result<Vec<SocketAddr>>,
    ) -> Option<io::Result<Self::Output>> {
        drop(addresses);
        None
    }

    fn into_buffer(self) -> Self::Buffer;

    /// What has to be known of what it has taken, beside what it yields, to give it back.
    fn envelope(&mut self) -> Option<Box<Envelope>> {
        None
    }

    /// Nobody will look at this completion: what was taken goes back to the socket where it was taken (I2).
    fn give_back(completion: Completion<Self>, to: GivenBack<'_>)
    where
        Self: Sized,
    {
        drop((completion, to));
    }

    /// The operation was dropped, and ends at `socket` without a success: what it has taken so far goes back.
    fn give_up(&mut self, socket: &Arc<SocketInner>) {
        let _ = socket;
    }
}

/// What an attempt may use: the socket, and its pinned descriptor.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) socket: &'a Arc<SocketInner>,
    pub(crate) system: &'a socket2::Socket,
}

/// What a system call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Accept,
    Connect,
    Receive,
    Send,
}

impl Call<'_> {
    /// To be asked before each system call that is to move so many bytes. Returns how many it may move: all
    /// of them, except in a test, where the call may also be refused.
    #[inline]
    fn permit(self, purpose: Purpose, bytes: usize) -> io::Result<usize> {
        #[cfg(feature = "testing")]
        if let Some(injector) = &self.socket.runtime.injector {
            return injector.permit(self.socket, purpose, bytes);
        }
        #[cfg(not(feature = "testing"))]
        let _ = purpose;
        Ok(bytes)
    }

    /// Passes on what a system call came to. How the connection broke, the system tells once: see
    /// [`SocketInner::note_failure`].
    #[inline]
    fn told<T>(self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.socket.note_failure(error);
        }
        result
    }
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

/// An address in words.
pub(crate) fn display_address(address: &SockAddr) -> String {
    if let Some(address) = address.as_socket() {
        return address.to_string();
    }
    #[cfg(unix)]
    if let Some(path) = address.as_pathname() {
        return path.display().to_string();
    }
    // As the system's tools write it.
    #[cfg(unix)]
    if let Some(name) = address.as_abstract_namespace() {
        return format!("@{}", name.escape_ascii());
    }
    #[cfg(unix)]
    if address.is_unix() {
        return "an unnamed Unix socket".to_owned();
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some((machine, port)) = address.as_vsock_address() {
        let number = |number| match number {
            u32::MAX => "any".to_owned(),
            number => number.to_string(),
        };
        return format!("vsock {}:{}", number(machine), number(port));
    }
    format!("an address of family {}", address.family())
}

/// The most buffers that one call on a stream is given; the system allows 1024.
const BUFFERS_PER_CALL: usize = 64;
