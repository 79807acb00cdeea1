//! The kinds of operation: what each needs, what it does, and what it yields.
//!
//! A kind is a type parameter of [`AsyncResult`](crate::AsyncResult) and
//! [`Completion`](crate::Completion), so that the result of a receive cannot be given to
//! `end_send`. Its value is the work itself: the buffer and how far the work has come.
//!
//! An attempt makes the socket2 call without blocking. It is made by the thread that begins the
//! operation or by a worker, always one at a time for a socket and direction
//! (`operation_queue.rs`), so the work needs no lock. A composite operation makes no attempt: it consists of parts that
//! do (`in_flight.rs`, invariant 5).

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
pub(crate) use connect_to::Target;
pub use connect_to::{ConnectTo, Destination};
pub use look_up::LookUp;
pub use receive::{Message, Receive, ReceiveFrom, ReceiveList, ReceiveMessageFrom};
pub use send::{Send, SendList, SendTo};
pub use send_file::SendFile;

pub use crate::state::completion::Kind;

use std::io;

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

/// The most buffers that one call on a stream is given; the system allows 1024.
const BUFFERS_PER_CALL: usize = 64;
