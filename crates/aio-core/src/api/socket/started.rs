//! Operations without a callback: started here, to be waited for, awaited, or posted to a port.

use crate::api::operation::Operation;
use crate::base::buffer::{IoBuf, IoBufMut};
use crate::op;
use crate::state::socket::Socket;
use socket2::SockAddr;
use std::fs::File;
use std::ops::RangeBounds;

impl Socket {
    /// Starts to connect to `address`: [`begin_connect`](Self::begin_connect) without a callback.
    pub fn connect_async(&self, address: impl Into<SockAddr>) -> Operation<op::Connect> {
        self.start(op::Connect::new(address.into()))
    }

    /// Starts to accept a connection: [`begin_accept`](Self::begin_accept) without a callback.
    pub fn accept_async(&self) -> Operation<op::Accept> {
        self.start(op::Accept::new())
    }

    /// Starts to send the whole buffer: [`begin_send`](Self::begin_send) without a callback.
    pub fn send_async<B: IoBuf>(&self, buffer: B) -> Operation<op::Send<B>> {
        self.start(op::Send::new(buffer))
    }

    /// Starts to receive into the front of the buffer: [`begin_receive`](Self::begin_receive) without
    /// a callback.
    pub fn receive_async<B: IoBufMut>(&self, buffer: B) -> Operation<op::Receive<B>> {
        self.start(op::Receive::new(buffer))
    }

    /// Starts to end the connection: [`begin_disconnect`](Self::begin_disconnect) without a callback.
    pub fn disconnect_async(&self) -> Operation<op::Disconnect> {
        self.start(op::Disconnect::new())
    }

    /// Starts to send several buffers: [`begin_send_list`](Self::begin_send_list) without a callback.
    pub fn send_list_async<B: IoBuf>(&self, buffers: Vec<B>) -> Operation<op::SendList<B>> {
        self.start(op::SendList::new(buffers))
    }

    /// Starts to send a datagram: [`begin_send_to`](Self::begin_send_to) without a callback.
    pub fn send_to_async<B: IoBuf>(
        &self,
        buffer: B,
        address: impl Into<SockAddr>,
    ) -> Operation<op::SendTo<B>> {
        self.start(op::SendTo::new(buffer, address.into()))
    }

    /// Starts to receive into several buffers: [`begin_receive_list`](Self::begin_receive_list)
    /// without a callback.
    pub fn receive_list_async<B: IoBufMut>(
        &self,
        buffers: Vec<B>,
    ) -> Operation<op::ReceiveList<B>> {
        self.start(op::ReceiveList::new(buffers))
    }

    /// Starts to receive a datagram: [`begin_receive_from`](Self::begin_receive_from) without a
    /// callback.
    pub fn receive_from_async<B: IoBufMut>(&self, buffer: B) -> Operation<op::ReceiveFrom<B>> {
        self.start(op::ReceiveFrom::new(buffer))
    }

    /// Starts to receive a datagram or a part of it:
    /// [`begin_receive_message_from`](Self::begin_receive_message_from) without a callback.
    pub fn receive_message_from_async<B: IoBufMut>(
        &self,
        buffer: B,
    ) -> Operation<op::ReceiveMessageFrom<B>> {
        self.start(op::ReceiveMessageFrom::new(buffer))
    }

    /// Starts to accept a connection and to receive its first bytes:
    /// [`begin_accept_receive`](Self::begin_accept_receive) without a callback.
    pub fn accept_receive_async<B: IoBufMut>(&self, buffer: B) -> Operation<op::AcceptReceive<B>> {
        self.start(op::AcceptReceive::new(buffer))
    }

    /// Starts to send a file: [`begin_send_file`](Self::begin_send_file) without a callback.
    pub fn send_file_async(
        &self,
        file: File,
        range: impl RangeBounds<u64>,
    ) -> Operation<op::SendFile> {
        self.start(op::SendFile::new(file, range))
    }
}
