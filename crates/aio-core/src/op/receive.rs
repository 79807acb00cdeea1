//! Receive: into a buffer, into a list of buffers, a datagram and whom it is from.

use super::receive_vectored::receive_vectored;
use super::{BUFFERS_PER_CALL, retry};
use crate::base::buffer::IoBufMut;
use crate::base::error::attempted;
use crate::base::kind::Direction;
use crate::base::operation_queue::Blocked;
use crate::base::unread::{Envelope, Origin, Piece};
use crate::state::completion::Completion;
use crate::state::perform::GivenBack;
use crate::state::perform::sealed;
use crate::state::perform::{Attempt, Call, Kind, Perform, Purpose};
use socket2::SockAddr;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;

/// Has the system tell how long a datagram was that did not fit.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: i32 = libc::MSG_TRUNC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: i32 = 0;

/// A datagram that was received: its part that fitted is in the buffer.
struct Datagram {
    /// How many bytes are in the buffer.
    length: usize,
    /// How many bytes it had, as far as the system tells.
    at_least: usize,
    truncated: bool,
    from: SockAddr,
}

impl Datagram {
    /// RF-8: of a stream, receives what there is, from its peer.
    fn receive(call: Call<'_>, buffers: &mut [&mut [u8]]) -> io::Result<Self> {
        let is_stream = call.socket.is_stream();
        let capacity: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let unread = if is_stream { None } else { call.socket.unread.datagram(buffers) };
        if let Some((length, Origin { from, at_least, truncated })) = unread {
            return Ok(Self { length, at_least, truncated, from });
        }
        if is_stream && capacity == 0 {
            let length = peek(call)?;
            // If the peer has gone there may still be bytes; the address is missing then, as below.
            let from = call.system.peer_addr().or_else(|_| call.system.peek_sender())?;
            return Ok(Self { length, at_least: length, truncated: false, from });
        }
        if is_stream && call.socket.unread.look() {
            // Asked first: the bytes stay if that fails.
            let from = call.system.peer_addr().or_else(|_| call.told(call.system.peek_sender()))?;
            let length = call.socket.unread.bytes(buffers).unwrap_or(0);
            return Ok(Self { length, at_least: length, truncated: false, from });
        }
        let mut most = call.permit(Purpose::Receive, capacity)?;
        let buffers = buffers.iter_mut().map(|bytes| first(bytes, &mut most));
        // The flag has TCP throw away what it would have put into the buffer.
        let flags = if is_stream { 0 } else { FLAGS };
        let (received, flags, from) = call.told(receive_vectored(call.system, buffers, flags))?;
        // The bytes are taken: if the peer has gone meanwhile, the address is missing.
        let peer = if is_stream { call.system.peer_addr().ok() } else { None };
        let from = peer.unwrap_or(from);
        Ok(Self {
            length: received.min(capacity),
            at_least: received,
            truncated: flags.is_truncated(),
            from,
        })
    }

    /// What an operation remembers that may have to give the datagram back; nothing of a stream.
    fn origin(&self, call: Call<'_>) -> Option<Box<Envelope>> {
        if call.socket.is_stream() {
            return None;
        }
        let Self { at_least, truncated, from, .. } = self;
        let origin = Origin { from: from.clone(), at_least: *at_least, truncated: *truncated };
        Some(Box::new(Envelope::Datagram(origin)))
    }

    /// RC-8: what does not fit is lost, which must not go unnoticed.
    fn whole(self) -> io::Result<Self> {
        if !self.truncated {
            return Ok(self);
        }
        let message = if self.at_least > self.length {
            format!("the datagram had {} bytes and the buffer {}", self.at_least, self.length)
        } else {
            format!("the datagram had more than the buffer's {} bytes", self.length)
        };
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

/// TCP gives all it has, so a receive that got less than it had room for has emptied the stream. (It
/// also stops at urgent data; that is reported.) The end of the stream (0) stays readable for ever.
fn drained(call: Call<'_>, received: usize, capacity: usize) -> bool {
    call.socket.is_tcp() && received > 0 && received < capacity
}

/// Waits for readability without taking anything. A receive of no bytes would return at once from a
/// stream, and take a datagram and lose its bytes; so it looks at one and leaves it.
fn peek(call: Call<'_>) -> io::Result<usize> {
    if call.socket.unread.look() {
        return Ok(0);
    }
    call.permit(Purpose::Receive, 0)?;
    call.told(call.system.peek(&mut [MaybeUninit::uninit()])).map(|_| 0)
}

/// The first bytes of `bytes`, as many as `most` has left.
fn first<'a>(bytes: &'a mut [u8], most: &mut usize) -> &'a mut [u8] {
    let length = bytes.len().min(*most);
    *most -= length;
    &mut bytes[..length]
}

/// The system would tell a receive the error of a connect that fails, and tell it once; and on a socket
/// that has failed to connect it would report the end of a stream.
fn check_connection(call: Call<'_>) -> io::Result<()> {
    if call.socket.lacks_connection() {
        return Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the socket is not connected (yet); begin it when its connect has succeeded",
        ));
    }
    Ok(())
}

/// The system has nothing for a receive now. Some that wait would wait for ever.
///
/// RF-1: nothing arrives at a socket before it has an address. And once it is shut down for receiving,
/// `recv(2)` returns 0 if it may block; if it may not, it goes on to say that it would, on a datagram socket.
///
/// `has_ended` was asked of the socket before the call. An end that came during the call may follow a datagram,
/// or be a reset: only the next call can tell.
fn would_block<T>(
    call: Call<'_>,
    name: &str,
    has_ended: bool,
    nothing: impl FnOnce() -> io::Result<T>,
) -> Attempt<T> {
    if call.socket.is_stream() {
        return Attempt::WouldBlock(Blocked::InVain);
    }
    if has_ended {
        return Attempt::Done { result: nothing(), drained: false };
    }
    if call.socket.is_bound(call.system) {
        return Attempt::WouldBlock(Blocked::InVain);
    }
    let message =
        format!("{name} on a socket that is not bound; bind it, or send or connect first");
    Attempt::done(Err(io::Error::new(io::ErrorKind::InvalidInput, message)))
}

/// Whom nothing is from. The system gives no address; the peer, if there is one, comes closest.
fn from_nobody(call: Call<'_>) -> io::Result<SockAddr> {
    call.system.peer_addr().or_else(|_| call.system.local_addr())
}

fn failed<T>(error: io::Error) -> Attempt<T> {
    Attempt::done(Err(attempted("receive", error)))
}

/// RC-5: what has got nothing into its room has come to the end of the stream, or to what the system
/// reports so when it has told somebody else that the connection is broken. The latter is no end.
fn check_end<T>(call: Call<'_>, received: usize, room: usize) -> Option<Attempt<T>> {
    if received > 0 || room == 0 || !call.socket.is_connection() {
        return None;
    }
    // Asked before the failure: a send that is being told it at this moment has noted it afterwards.
    let may_be_told = call.socket.send.is_attempting();
    if let Some(error) = call.socket.failure() {
        return Some(failed(error));
    }
    // After an end there is a peer. The send may take long, if a disk does.
    let is_gone = may_be_told && call.system.peer_addr().is_err();
    is_gone.then_some(Attempt::WouldBlock(Blocked::Unreported))
}

/// Gives back what an operation has received that was dropped: the bytes of a stream, or a datagram.
fn give_back(to: GivenBack<'_>, bytes: Vec<u8>) {
    let GivenBack { socket, order, envelope } = to;
    match envelope.map(|envelope| *envelope) {
        Some(Envelope::Datagram(origin)) => {
            socket.give_back(order, Piece::Datagram(bytes, origin));
        }
        _ if !bytes.is_empty() => socket.give_back(order, Piece::Bytes(bytes)),
        _ => {}
    }
}

/// Receives into a buffer: [`Socket::begin_receive`](crate::Socket::begin_receive).
#[derive(Debug)]
pub struct Receive<B> {
    buffer: B,
    received: usize,
    /// Of a datagram that was received.
    origin: Option<Box<Envelope>>,
}

impl<B: IoBufMut> Receive<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, received: 0, origin: None }
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
        if let Err(error) = check_connection(call) {
            return failed(error);
        }
        let has_ended = call.socket.receives_no_more();
        let (mut system, is_stream) = (call.system, call.socket.is_stream());
        let bytes = self.buffer.as_mut_slice();
        let room = bytes.len();
        let mut capacity = room;
        let received = retry(|| match (is_stream, room) {
            (_, 0) => peek(call),
            (true, all) => {
                if call.socket.unread.is_used() {
                    if let Some(unread) = call.socket.unread.bytes(&mut [&mut *bytes]) {
                        capacity = unread;
                        return Ok(unread);
                    }
                }
                capacity = call.permit(Purpose::Receive, all)?;
                call.told(system.read(&mut bytes[..capacity]))
            }
            (false, _) => {
                let datagram = Datagram::receive(call, &mut [&mut *bytes])?;
                self.received = datagram.length;
                self.origin = datagram.origin(call);
                datagram.whole().map(|whole| whole.length)
            }
        });
        match received {
            None => would_block(call, Self::NAME, has_ended, || Ok(0)),
            Some(Err(error)) => failed(error),
            Some(Ok(received)) => check_end(call, received, room).unwrap_or_else(|| {
                self.received = received;
                let drained = drained(call, received, capacity);
                Attempt::Done { result: Ok(received), drained }
            }),
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.received
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.origin.take()
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        give_back(to, completion.buffer.as_slice()[..completion.bytes_transferred].to_vec());
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}

/// Receives into several buffers, in order:
/// [`Socket::begin_receive_list`](crate::Socket::begin_receive_list).
#[derive(Debug)]
pub struct ReceiveList<B> {
    buffers: Vec<B>,
    received: usize,
    /// Of a datagram that was received.
    origin: Option<Box<Envelope>>,
}

impl<B: IoBufMut> ReceiveList<B> {
    pub(crate) fn new(buffers: Vec<B>) -> Self {
        Self { buffers, received: 0, origin: None }
    }
}

impl<B: IoBufMut> sealed::Sealed for ReceiveList<B> {}

impl<B: IoBufMut> Kind for ReceiveList<B> {
    const NAME: &'static str = "receive_list";
    type Output = usize;
    type Buffer = Vec<B>;
}

impl<B: IoBufMut> Perform for ReceiveList<B> {
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        if let Err(error) = check_connection(call) {
            return failed(error);
        }
        let has_ended = call.socket.receives_no_more();
        let (mut system, is_stream) = (call.system, call.socket.is_stream());
        let mut slices: Vec<_> = self.buffers.iter_mut().map(B::as_mut_slice).collect();
        slices.retain(|slice| !slice.is_empty());
        if is_stream {
            // A receive may be short, so the rest can stay empty; a datagram must fit.
            slices.truncate(BUFFERS_PER_CALL);
        }
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut capacity = all;
        let received = if all == 0 {
            retry(|| peek(call))
        } else if is_stream {
            retry(|| {
                if let Some(unread) = call.socket.unread.bytes(&mut slices) {
                    capacity = unread;
                    return Ok(unread);
                }
                capacity = call.permit(Purpose::Receive, all)?;
                let mut most = capacity;
                let slices =
                    slices.iter_mut().map(|slice| IoSliceMut::new(first(slice, &mut most)));
                call.told(system.read_vectored(&mut slices.collect::<Vec<_>>()))
            })
        } else {
            retry(|| {
                let datagram = Datagram::receive(call, &mut slices)?;
                self.received = datagram.length;
                self.origin = datagram.origin(call);
                datagram.whole().map(|whole| whole.length)
            })
        };
        match received {
            None => would_block(call, Self::NAME, has_ended, || Ok(0)),
            Some(Err(error)) => failed(error),
            Some(Ok(received)) => check_end(call, received, all).unwrap_or_else(|| {
                self.received = received;
                let drained = drained(call, received, capacity);
                Attempt::Done { result: Ok(received), drained }
            }),
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.received
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.origin.take()
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        let mut left = completion.bytes_transferred;
        let parts = completion.buffer.iter().map(|buffer| {
            let part = buffer.as_slice();
            let part = &part[..part.len().min(left)];
            left -= part.len();
            part
        });
        give_back(to, parts.collect::<Vec<_>>().concat());
    }

    fn into_buffer(self) -> Vec<B> {
        self.buffers
    }
}

/// Receives a datagram and whom it is from:
/// [`Socket::begin_receive_from`](crate::Socket::begin_receive_from).
#[derive(Debug)]
pub struct ReceiveFrom<B> {
    buffer: B,
    received: usize,
    /// Of a datagram that was received.
    origin: Option<Box<Envelope>>,
}

impl<B: IoBufMut> ReceiveFrom<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, received: 0, origin: None }
    }
}

impl<B: IoBufMut> sealed::Sealed for ReceiveFrom<B> {}

impl<B: IoBufMut> Kind for ReceiveFrom<B> {
    const NAME: &'static str = "receive_from";
    /// How many bytes, and from whom.
    type Output = (usize, SockAddr);
    type Buffer = B;
}

impl<B: IoBufMut> Perform for ReceiveFrom<B> {
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<(usize, SockAddr)> {
        if let Err(error) = check_connection(call) {
            return failed(error);
        }
        let has_ended = call.socket.receives_no_more();
        let bytes = self.buffer.as_mut_slice();
        let received = retry(|| Datagram::receive(call, &mut [&mut *bytes]));
        match received {
            None => would_block(call, Self::NAME, has_ended, || Ok((0, from_nobody(call)?))),
            Some(Err(error)) => failed(error),
            Some(Ok(datagram)) => {
                check_end(call, datagram.length, bytes.len()).unwrap_or_else(|| {
                    self.received = datagram.length;
                    self.origin = datagram.origin(call);
                    match datagram.whole() {
                        Ok(whole) => Attempt::done(Ok((whole.length, whole.from))),
                        Err(error) => failed(error),
                    }
                })
            }
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.received
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.origin.take()
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        give_back(to, completion.buffer.as_slice()[..completion.bytes_transferred].to_vec());
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}

/// What a [`ReceiveMessageFrom`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Message {
    /// How many bytes are in the buffer.
    pub length: usize,
    /// Whom they are from.
    pub from: SockAddr,
    /// True if the datagram had more bytes than the buffer; they are lost.
    pub truncated: bool,
}

/// Receives a datagram, or the part of it that fits, and whom it is from:
/// [`Socket::begin_receive_message_from`](crate::Socket::begin_receive_message_from).
#[derive(Debug)]
pub struct ReceiveMessageFrom<B> {
    buffer: B,
    received: usize,
    /// Of a datagram that was received.
    origin: Option<Box<Envelope>>,
}

impl<B: IoBufMut> ReceiveMessageFrom<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, received: 0, origin: None }
    }
}

impl<B: IoBufMut> sealed::Sealed for ReceiveMessageFrom<B> {}

impl<B: IoBufMut> Kind for ReceiveMessageFrom<B> {
    const NAME: &'static str = "receive_message_from";
    type Output = Message;
    type Buffer = B;
}

impl<B: IoBufMut> Perform for ReceiveMessageFrom<B> {
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<Message> {
        if let Err(error) = check_connection(call) {
            return failed(error);
        }
        let has_ended = call.socket.receives_no_more();
        let bytes = self.buffer.as_mut_slice();
        match retry(|| Datagram::receive(call, &mut [&mut *bytes])) {
            None => would_block(call, Self::NAME, has_ended, || {
                Ok(Message { length: 0, from: from_nobody(call)?, truncated: false })
            }),
            Some(Err(error)) => failed(error),
            Some(Ok(datagram)) => {
                check_end(call, datagram.length, bytes.len()).unwrap_or_else(|| {
                    self.origin = datagram.origin(call);
                    let Datagram { length, truncated, from, .. } = datagram;
                    self.received = length;
                    Attempt::done(Ok(Message { length, from, truncated }))
                })
            }
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.received
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.origin.take()
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        give_back(to, completion.buffer.as_slice()[..completion.bytes_transferred].to_vec());
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}
