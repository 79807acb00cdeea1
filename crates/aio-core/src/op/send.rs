//! Send: a buffer, a list of buffers, a datagram to an address.

use super::{BUFFERS_PER_CALL, retry};
use crate::base::address::display_address;
use crate::base::buffer::IoBuf;
use crate::base::error::attempted;
use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::Blocked;
use crate::state::completion::{Kind, sealed};
use crate::state::in_flight::Call;
use crate::state::perform::{Attempt, Perform};
use socket2::{Domain, SockAddr};
use std::io::{self, IoSlice};

/// How many calls one attempt makes before others get their turn (I4): a peer that reads as fast as this side sends must
/// not hold a worker, or the thread that began the send, forever.
pub(super) const CALLS_PER_TURN: usize = 16;

/// A send to a peer that has gone is an error, never a signal that ends the process.
#[cfg(all(unix, not(target_vendor = "apple")))]
pub(super) const FLAGS: i32 = libc::MSG_NOSIGNAL;
/// Windows has no such signal; socket2 sets `SO_NOSIGPIPE` on every socket it makes on Apple's
/// systems.
#[cfg(any(not(unix), target_vendor = "apple"))]
pub(super) const FLAGS: i32 = 0;

/// How far a send has come.
#[derive(Debug, Default)]
struct Sent {
    /// How many bytes, from the front, the transport has taken.
    bytes: usize,
    /// Of how many; known when it is attempted. Not asked for later, when a lock may be held (I8).
    all: usize,
}

impl Sent {
    /// Calls `send` with how much has been sent and how much more may be, until `all` has been, or it would block, or
    /// the turn is over. `what` says what was attempted.
    fn advance(
        &mut self,
        call: Call<'_>,
        all: usize,
        what: impl FnOnce() -> String,
        mut send: impl FnMut(usize, usize) -> io::Result<usize>,
    ) -> Attempt<usize> {
        self.all = all;
        let is_stream = call.socket.is_stream();
        if all == 0 && is_stream {
            return Attempt::done(Ok(0));
        }
        let before = self.bytes;
        for _ in 0..CALLS_PER_TURN {
            let sent = retry(|| {
                let most = call.permit(Purpose::Send, all - self.bytes)?;
                call.told(send(self.bytes, most))
            });
            match sent {
                None if self.bytes > before => return Attempt::WouldBlock(Blocked::Advanced),
                None => return Attempt::WouldBlock(Blocked::InVain),
                Some(Err(error)) => return Attempt::done(Err(attempted(what(), error))),
                Some(Ok(more)) => {
                    self.bytes += more;
                    // A datagram is sent whole or not at all.
                    if self.bytes == all || !is_stream {
                        return Attempt::done(Ok(self.bytes));
                    }
                }
            }
        }
        Attempt::Yielded
    }

    fn is_partly_done(&self) -> bool {
        self.bytes > 0 && self.bytes < self.all
    }
}

/// Sends all bytes of a buffer: [`Socket::begin_send`](crate::Socket::begin_send).
#[derive(Debug)]
pub struct Send<B> {
    buffer: B,
    sent: Sent,
}

impl<B: IoBuf> Send<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, sent: Sent::default() }
    }
}

impl<B: IoBuf> sealed::Sealed for Send<B> {}

impl<B: IoBuf> Kind for Send<B> {
    const NAME: &'static str = Self::KIND.name();
    type Output = usize;
    type Buffer = B;
}

impl<B: IoBuf> Perform for Send<B> {
    const KIND: OperationKind = OperationKind::Send;
    const DIRECTION: Direction = Direction::Send;
    const IS_SEND: bool = true;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        let bytes = self.buffer.as_slice();
        let what = || "send".to_owned();
        self.sent.advance(call, bytes.len(), what, |sent, most| {
            call.system.send_with_flags(&bytes[sent..][..most], FLAGS)
        })
    }

    fn bytes_transferred(&self) -> usize {
        self.sent.bytes
    }

    fn is_partly_done(&self) -> bool {
        self.sent.is_partly_done()
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}

/// Sends all bytes of several buffers, in order:
/// [`Socket::begin_send_list`](crate::Socket::begin_send_list).
#[derive(Debug)]
pub struct SendList<B> {
    buffers: Vec<B>,
    sent: Sent,
}

impl<B: IoBuf> SendList<B> {
    pub(crate) fn new(buffers: Vec<B>) -> Self {
        Self { buffers, sent: Sent::default() }
    }
}

/// What is left of `buffers` after `sent` bytes, and of that the first `most`.
fn part<B: IoBuf>(
    buffers: &[B],
    mut sent: usize,
    mut most: usize,
) -> impl Iterator<Item = IoSlice<'_>> {
    buffers.iter().filter_map(move |buffer| {
        let bytes = buffer.as_slice();
        let skipped = sent.min(bytes.len());
        sent -= skipped;
        let taken = most.min(bytes.len() - skipped);
        most -= taken;
        (taken > 0).then(|| IoSlice::new(&bytes[skipped..][..taken]))
    })
}

impl<B: IoBuf> sealed::Sealed for SendList<B> {}

impl<B: IoBuf> Kind for SendList<B> {
    const NAME: &'static str = Self::KIND.name();
    type Output = usize;
    type Buffer = Vec<B>;
}

impl<B: IoBuf> Perform for SendList<B> {
    const KIND: OperationKind = OperationKind::SendList;
    const DIRECTION: Direction = Direction::Send;
    const IS_SEND: bool = true;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        let all = self.buffers.iter().map(|buffer| buffer.as_slice().len()).sum();
        // A datagram must leave in one call; the system says so if it has too many parts.
        let most_slices = if call.socket.is_stream() { BUFFERS_PER_CALL } else { usize::MAX };
        let mut slices = Vec::new();
        let what = || "send".to_owned();
        self.sent.advance(call, all, what, |sent, most| {
            slices.clear();
            slices.extend(part(&self.buffers, sent, most).take(most_slices));
            call.system.send_vectored_with_flags(&slices, FLAGS)
        })
    }

    fn bytes_transferred(&self) -> usize {
        self.sent.bytes
    }

    fn is_partly_done(&self) -> bool {
        self.sent.is_partly_done()
    }

    fn into_buffer(self) -> Vec<B> {
        self.buffers
    }
}

/// Sends a datagram to an address: [`Socket::begin_send_to`](crate::Socket::begin_send_to).
#[derive(Debug)]
pub struct SendTo<B> {
    buffer: B,
    address: SockAddr,
    sent: Sent,
}

impl<B: IoBuf> SendTo<B> {
    pub(crate) fn new(buffer: B, address: SockAddr) -> Self {
        Self { buffer, address, sent: Sent::default() }
    }
}

impl<B: IoBuf> sealed::Sealed for SendTo<B> {}

impl<B: IoBuf> Kind for SendTo<B> {
    const NAME: &'static str = Self::KIND.name();
    type Output = usize;
    type Buffer = B;
}

impl<B: IoBuf> Perform for SendTo<B> {
    const KIND: OperationKind = OperationKind::SendTo;
    const DIRECTION: Direction = Direction::Send;
    const IS_SEND: bool = true;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        let (bytes, address) = (self.buffer.as_slice(), &self.address);
        let what = || format!("send to {}", display_address(address));
        let attempt = self.sent.advance(call, bytes.len(), what, |sent, most| {
            call.system.send_to_with_flags(&bytes[sent..][..most], address, FLAGS)
        });
        match attempt {
            // The queue of a local receiver is full. The system reports room again only to senders that are
            // connected to the receiver; this one may not be.
            Attempt::WouldBlock(_)
                if !call.socket.is_stream() && address.domain() == Domain::UNIX =>
            {
                Attempt::WouldBlock(Blocked::Unreported)
            }
            attempt => attempt,
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.sent.bytes
    }

    fn is_partly_done(&self) -> bool {
        self.sent.is_partly_done()
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}
