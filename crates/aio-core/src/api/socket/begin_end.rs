//! Operations with a callback: begun here, ended in the callback.

use crate::api::async_result::{AsyncResult, OperationHandle};
use crate::base::buffer::{IoBuf, IoBufMut};
use crate::op;
use crate::state::completion::Completion;
use crate::state::socket::Socket;
use socket2::SockAddr;
use std::fs::File;
use std::ops::RangeBounds;

impl Socket {
    /// Begins to connect to `address`.
    ///
    /// A socket connects once: after a failed attempt, connect a new one.
    pub fn begin_connect<S, F>(
        &self,
        address: impl Into<SockAddr>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Connect, S>) + Send + 'static,
    {
        self.begin(op::Connect::new(address.into()), callback, state)
    }

    /// Ends a connect.
    pub fn end_connect<S>(
        &self,
        result: AsyncResult<op::Connect, S>,
    ) -> Completion<op::Connect, S> {
        result.into_completion()
    }

    /// Ends a connect that [`Runtime::begin_connect_to`](crate::RuntimeHandle::begin_connect_to) began. There is
    /// no socket before that, so it takes none.
    pub fn end_connect_to<S>(
        result: AsyncResult<op::ConnectTo, S>,
    ) -> Completion<op::ConnectTo, S> {
        result.into_completion()
    }

    /// Begins to accept a connection. The result is its socket, of the same runtime.
    ///
    /// It fails with [`InvalidInput`](std::io::ErrorKind::InvalidInput) on a socket that does not listen, and on a
    /// listener that was shut down for receiving, once it has no more connections.
    pub fn begin_accept<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Accept, S>) + Send + 'static,
    {
        self.begin(op::Accept::new(), callback, state)
    }

    /// Ends an accept.
    pub fn end_accept<S>(&self, result: AsyncResult<op::Accept, S>) -> Completion<op::Accept, S> {
        result.into_completion()
    }

    /// Begins to accept a connection and to receive its first bytes. The result is its socket and their
    /// number: 0 if the peer sent nothing and closed, or the buffer is empty.
    ///
    /// A peer that connects and is silent keeps this operation pending, but no other: the next accept
    /// gets the next connection. If the operation fails or is aborted after it has accepted, the connection
    /// is closed.
    pub fn begin_accept_receive<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::AcceptReceive<B>, S>) + Send + 'static,
    {
        self.begin(op::AcceptReceive::new(buffer), callback, state)
    }

    /// Ends an accept with first data.
    pub fn end_accept_receive<B, S>(
        &self,
        result: AsyncResult<op::AcceptReceive<B>, S>,
    ) -> Completion<op::AcceptReceive<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to send the whole buffer.
    ///
    /// A send on a stream is over when the transport has taken all bytes; that says nothing of the
    /// peer. The result is their number.
    pub fn begin_send<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBuf,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Send<B>, S>) + Send + 'static,
    {
        self.begin(op::Send::new(buffer), callback, state)
    }

    /// Ends a send.
    pub fn end_send<B, S>(&self, result: AsyncResult<op::Send<B>, S>) -> Completion<op::Send<B>, S>
    where
        B: IoBuf,
    {
        result.into_completion()
    }

    /// Begins to receive into the front of the buffer.
    ///
    /// A receive on a stream is over as soon as there is a byte, and takes what there is, up to the
    /// buffer's length, which it never changes. The result is the number of bytes: 0 is the end of
    /// the stream, unless the buffer is empty. A receive into an empty buffer waits for bytes, or the
    /// end, and takes nothing. A connection that has broken is an error for every receive that finds no
    /// bytes, even if the system has told a send of it before and reports the end ever since.
    ///
    /// A receive on a socket that is still being connected fails: begin it when the connect is over. So does one on a
    /// datagram socket that has neither an address nor a peer, for nothing can arrive there. A datagram socket that
    /// was shut down for receiving gives what is there, and then 0.
    pub fn begin_receive<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Receive<B>, S>) + Send + 'static,
    {
        self.begin(op::Receive::new(buffer), callback, state)
    }

    /// Ends a receive.
    pub fn end_receive<B, S>(
        &self,
        result: AsyncResult<op::Receive<B>, S>,
    ) -> Completion<op::Receive<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to end the connection in both directions, after the sends that were begun before.
    ///
    /// The socket is not connected again.
    pub fn begin_disconnect<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Disconnect, S>) + Send + 'static,
    {
        self.begin(op::Disconnect::new(), callback, state)
    }

    /// Ends a disconnect.
    pub fn end_disconnect<S>(
        &self,
        result: AsyncResult<op::Disconnect, S>,
    ) -> Completion<op::Disconnect, S> {
        result.into_completion()
    }

    /// Begins to send all bytes of several buffers, in order, as one send. A datagram gets them all.
    pub fn begin_send_list<B, S, F>(
        &self,
        buffers: Vec<B>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBuf,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::SendList<B>, S>) + Send + 'static,
    {
        self.begin(op::SendList::new(buffers), callback, state)
    }

    /// Ends a send of several buffers.
    pub fn end_send_list<B, S>(
        &self,
        result: AsyncResult<op::SendList<B>, S>,
    ) -> Completion<op::SendList<B>, S>
    where
        B: IoBuf,
    {
        result.into_completion()
    }

    /// Begins to send a datagram to `address`.
    pub fn begin_send_to<B, S, F>(
        &self,
        buffer: B,
        address: impl Into<SockAddr>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBuf,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::SendTo<B>, S>) + Send + 'static,
    {
        self.begin(op::SendTo::new(buffer, address.into()), callback, state)
    }

    /// Ends the send of a datagram.
    pub fn end_send_to<B, S>(
        &self,
        result: AsyncResult<op::SendTo<B>, S>,
    ) -> Completion<op::SendTo<B>, S>
    where
        B: IoBuf,
    {
        result.into_completion()
    }

    /// Begins to receive into several buffers, in order: one is not touched until the one before it is
    /// full. Else as [`begin_receive`](Self::begin_receive); the result is the number of all bytes.
    pub fn begin_receive_list<B, S, F>(
        &self,
        buffers: Vec<B>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveList<B>, S>) + Send + 'static,
    {
        self.begin(op::ReceiveList::new(buffers), callback, state)
    }

    /// Ends a receive into several buffers.
    pub fn end_receive_list<B, S>(
        &self,
        result: AsyncResult<op::ReceiveList<B>, S>,
    ) -> Completion<op::ReceiveList<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to receive a datagram, and to learn whom it is from.
    ///
    /// One that does not fit into the buffer, an empty one too, is an error that says how long it was,
    /// and is lost; see [`begin_receive_message_from`](Self::begin_receive_message_from).
    ///
    /// It fails on a socket that has no address yet, to which nobody can send: bind it first. Once the socket was shut
    /// down for receiving it yields what is there, and then 0 bytes from the peer.
    pub fn begin_receive_from<B, S, F>(&self, buffer: B, callback: F, state: S) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveFrom<B>, S>) + Send + 'static,
    {
        self.begin(op::ReceiveFrom::new(buffer), callback, state)
    }

    /// Ends the receive of a datagram.
    pub fn end_receive_from<B, S>(
        &self,
        result: AsyncResult<op::ReceiveFrom<B>, S>,
    ) -> Completion<op::ReceiveFrom<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to receive a datagram, or as much of it as fits, and to learn whom it is from.
    pub fn begin_receive_message_from<B, S, F>(
        &self,
        buffer: B,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        B: IoBufMut,
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveMessageFrom<B>, S>) + Send + 'static,
    {
        self.begin(op::ReceiveMessageFrom::new(buffer), callback, state)
    }

    /// Ends the receive of a datagram or a part of it.
    pub fn end_receive_message_from<B, S>(
        &self,
        result: AsyncResult<op::ReceiveMessageFrom<B>, S>,
    ) -> Completion<op::ReceiveMessageFrom<B>, S>
    where
        B: IoBufMut,
    {
        result.into_completion()
    }

    /// Begins to send the bytes of a file in `range`, which are read from there and not from the file's own
    /// position. The result is their number; the file comes back.
    ///
    /// A worker sends it in parts, by sendfile(2) where the system has it, and may have to wait for the
    /// disk. A file that ends before the range does is an error, after what there was has been sent. For
    /// sockets that are streams.
    pub fn begin_send_file<S, F>(
        &self,
        file: File,
        range: impl RangeBounds<u64>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::SendFile, S>) + Send + 'static,
    {
        self.begin(op::SendFile::new(file, range), callback, state)
    }

    /// Ends the send of a file.
    pub fn end_send_file<S>(
        &self,
        result: AsyncResult<op::SendFile, S>,
    ) -> Completion<op::SendFile, S> {
        result.into_completion()
    }
}
