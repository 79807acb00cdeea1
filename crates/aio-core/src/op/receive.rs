//! Receive: into a buffer, into a list of buffers, or a datagram with its sender.

use super::receive_vectored::receive_vectored;
use super::{BUFFERS_PER_CALL, retry};
use crate::base::buffer::IoBufMut;
use crate::base::error::attempted;
use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::Blocked;
use crate::base::unread::{Envelope, Origin, Piece};
use crate::state::completion::{Completion, Kind, sealed};
use crate::state::in_flight::Call;
use crate::state::perform::{Attempt, GivenBack, Perform};
use socket2::SockAddr;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;

/// Makes the system report the whole length of a datagram that did not fit.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FLAGS: i32 = libc::MSG_TRUNC;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const FLAGS: i32 = 0;

/// A datagram that was received, or the part of it that fits, which is in the buffer.
struct Datagram {
    /// How many bytes are in the buffer.
    length: usize,
    /// How many bytes it had, as far as the system reports.
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

    /// What is received of a socket that receives no more. The system gives no address; the peer, if there is one,
    /// comes closest.
    fn from_nobody(call: Call<'_>) -> io::Result<Self> {
        let from = call.system.peer_addr().or_else(|_| call.system.local_addr())?;
        Ok(Self { length: 0, at_least: 0, truncated: false, from })
    }

    /// What an operation remembers that may have to give the datagram back.
    fn origin(&self) -> Box<Envelope> {
        let Self { at_least, truncated, from, .. } = self;
        let origin = Origin { from: from.clone(), at_least: *at_least, truncated: *truncated };
        Box::new(Envelope::Datagram(origin))
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

/// Fails before the socket is connected. The system would report the error of a failed connect to a receive, and only
/// once; after that it would report the end of a stream.
fn check_connection(call: Call<'_>) -> io::Result<()> {
    if call.socket.lacks_connection() {
        return Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "the socket is not connected (yet); begin it when its connect has succeeded",
        ));
    }
    Ok(())
}

/// The system has nothing for a receive now. The receive waits, unless it would wait forever.
///
/// RF-1: an unbound datagram socket cannot receive, so its receive fails. Once a datagram socket is shut down for
/// receiving, a blocking `recv(2)` returns 0, but one that does not block still reports that it would.
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

fn failed<T>(error: io::Error) -> Attempt<T> {
    Attempt::done(Err(attempted("receive", error)))
}

/// RC-5: a receive of zero bytes is the end of the stream, unless the connection has broken and the system has reported
/// that to another call. Then the receive fails with that error.
fn check_end<T>(call: Call<'_>, received: usize, room: usize) -> Option<Attempt<T>> {
    if received > 0 || room == 0 || !call.socket.is_connection() {
        return None;
    }
    // Asked before the failure: a send that gets the error at this moment notes it before its attempt ends.
    let may_be_told = call.socket.send.is_attempting();
    if let Some(error) = call.socket.failure() {
        return Some(failed(error));
    }
    // After a real end there is still a peer. The send may take long, if it waits for a disk.
    let is_gone = may_be_told && call.system.peer_addr().is_err();
    is_gone.then_some(Attempt::WouldBlock(Blocked::Unreported))
}

/// Gives back what a dropped operation has received: bytes of a stream, or a datagram.
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

/// What a receive has taken.
#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// Of a datagram.
    origin: Option<Box<Envelope>>,
}

impl Taken {
    /// Receives into `slices`: a datagram, or bytes of a stream. The latter by `read`, which gets at most so many bytes.
    #[inline]
    fn bytes(
        &mut self,
        call: Call<'_>,
        name: &str,
        slices: &mut [&mut [u8]],
        mut read: impl FnMut(&mut [&mut [u8]], usize) -> io::Result<usize>,
    ) -> Attempt<usize> {
        if let Err(error) = check_connection(call) {
            return failed(error);
        }
        let has_ended = call.socket.receives_no_more();
        let room: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut capacity = room;
        let received = retry(|| {
            if room == 0 {
                return peek(call);
            }
            if !call.socket.is_stream() {
                let datagram = Datagram::receive(call, slices)?;
                self.note(call, &datagram);
                return datagram.whole().map(|whole| whole.length);
            }
            if call.socket.unread.is_used() {
                if let Some(unread) = call.socket.unread.bytes(slices) {
                    capacity = unread;
                    return Ok(unread);
                }
            }
            capacity = call.permit(Purpose::Receive, room)?;
            call.told(read(slices, capacity))
        });
        match received {
            None => would_block(call, name, has_ended, || Ok(0)),
            Some(Err(error)) => failed(error),
            Some(Ok(received)) => check_end(call, received, room).unwrap_or_else(|| {
                self.bytes = received;
                let drained = drained(call, received, capacity);
                Attempt::Done { result: Ok(received), drained }
            }),
        }
    }

    /// Receives a datagram into `bytes`. The operation yields what `output` makes of it.
    fn datagram<T>(
        &mut self,
        call: Call<'_>,
        name: &str,
        bytes: &mut [u8],
        output: impl FnOnce(Datagram) -> io::Result<T>,
    ) -> Attempt<T> {
        if let Err(error) = check_connection(call) {
            return failed(error);
        }
        let has_ended = call.socket.receives_no_more();
        match retry(|| Datagram::receive(call, &mut [&mut *bytes])) {
            None => would_block(call, name, has_ended, || output(Datagram::from_nobody(call)?)),
            Some(Err(error)) => failed(error),
            Some(Ok(datagram)) => {
                check_end(call, datagram.length, bytes.len()).unwrap_or_else(|| {
                    self.note(call, &datagram);
                    output(datagram).map_or_else(failed, |output| Attempt::done(Ok(output)))
                })
            }
        }
    }

    /// Notes what may have to be given back: of a stream, its bytes alone.
    fn note(&mut self, call: Call<'_>, datagram: &Datagram) {
        self.bytes = datagram.length;
        self.origin = (!call.socket.is_stream()).then(|| datagram.origin());
    }
}

/// Receives into a buffer: [`Socket::begin_receive`](crate::Socket::begin_receive).
#[derive(Debug)]
pub struct Receive<B> {
    buffer: B,
    taken: Taken,
}

impl<B: IoBufMut> Receive<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, taken: Taken::default() }
    }
}

impl<B: IoBufMut> sealed::Sealed for Receive<B> {}

impl<B: IoBufMut> Kind for Receive<B> {
    const NAME: &'static str = Self::KIND.name();
    type Output = usize;
    type Buffer = B;
}

impl<B: IoBufMut> Perform for Receive<B> {
    const KIND: OperationKind = OperationKind::Receive;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        let mut system = call.system;
        let slices = &mut [self.buffer.as_mut_slice()];
        self.taken
            .bytes(call, Self::NAME, slices, |slices, most| system.read(&mut slices[0][..most]))
    }

    fn bytes_transferred(&self) -> usize {
        self.taken.bytes
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.taken.origin.take()
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
    taken: Taken,
}

impl<B: IoBufMut> ReceiveList<B> {
    pub(crate) fn new(buffers: Vec<B>) -> Self {
        Self { buffers, taken: Taken::default() }
    }
}

impl<B: IoBufMut> sealed::Sealed for ReceiveList<B> {}

impl<B: IoBufMut> Kind for ReceiveList<B> {
    const NAME: &'static str = Self::KIND.name();
    type Output = usize;
    type Buffer = Vec<B>;
}

impl<B: IoBufMut> Perform for ReceiveList<B> {
    const KIND: OperationKind = OperationKind::ReceiveList;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<usize> {
        let mut system = call.system;
        let mut slices: Vec<_> = self.buffers.iter_mut().map(B::as_mut_slice).collect();
        slices.retain(|slice| !slice.is_empty());
        if call.socket.is_stream() {
            // A receive may be short, so the rest can stay empty; a datagram must fit.
            slices.truncate(BUFFERS_PER_CALL);
        }
        self.taken.bytes(call, Self::NAME, &mut slices, |slices, mut most| {
            let slices = slices.iter_mut().map(|slice| IoSliceMut::new(first(slice, &mut most)));
            system.read_vectored(&mut slices.collect::<Vec<_>>())
        })
    }

    fn bytes_transferred(&self) -> usize {
        self.taken.bytes
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.taken.origin.take()
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

/// Receives a datagram, with its sender:
/// [`Socket::begin_receive_from`](crate::Socket::begin_receive_from).
#[derive(Debug)]
pub struct ReceiveFrom<B> {
    buffer: B,
    taken: Taken,
}

impl<B: IoBufMut> ReceiveFrom<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, taken: Taken::default() }
    }
}

impl<B: IoBufMut> sealed::Sealed for ReceiveFrom<B> {}

impl<B: IoBufMut> Kind for ReceiveFrom<B> {
    const NAME: &'static str = Self::KIND.name();
    /// How many bytes, and the sender.
    type Output = (usize, SockAddr);
    type Buffer = B;
}

impl<B: IoBufMut> Perform for ReceiveFrom<B> {
    const KIND: OperationKind = OperationKind::ReceiveFrom;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<(usize, SockAddr)> {
        self.taken.datagram(call, Self::NAME, self.buffer.as_mut_slice(), |datagram| {
            datagram.whole().map(|whole| (whole.length, whole.from))
        })
    }

    fn bytes_transferred(&self) -> usize {
        self.taken.bytes
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.taken.origin.take()
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
    /// The sender.
    pub from: SockAddr,
    /// True if the datagram had more bytes than the buffer; they are lost.
    pub truncated: bool,
}

/// Receives a datagram, or the part of it that fits, with its sender:
/// [`Socket::begin_receive_message_from`](crate::Socket::begin_receive_message_from).
#[derive(Debug)]
pub struct ReceiveMessageFrom<B> {
    buffer: B,
    taken: Taken,
}

impl<B: IoBufMut> ReceiveMessageFrom<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer, taken: Taken::default() }
    }
}

impl<B: IoBufMut> sealed::Sealed for ReceiveMessageFrom<B> {}

impl<B: IoBufMut> Kind for ReceiveMessageFrom<B> {
    const NAME: &'static str = Self::KIND.name();
    type Output = Message;
    type Buffer = B;
}

impl<B: IoBufMut> Perform for ReceiveMessageFrom<B> {
    const KIND: OperationKind = OperationKind::ReceiveMessageFrom;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<Message> {
        self.taken.datagram(call, Self::NAME, self.buffer.as_mut_slice(), |datagram| {
            let Datagram { length, truncated, from, .. } = datagram;
            Ok(Message { length, from, truncated })
        })
    }

    fn bytes_transferred(&self) -> usize {
        self.taken.bytes
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        self.taken.origin.take()
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        give_back(to, completion.buffer.as_slice()[..completion.bytes_transferred].to_vec());
    }

    fn into_buffer(self) -> B {
        self.buffer
    }
}
