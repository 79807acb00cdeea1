//! The client's calls without a callback: started here, to be waited for or awaited.

use super::Client;
use crate::op;
use crate::operation::Operation;

impl Client {
    /// Starts to [`send`](Self::send) a message. Messages are sent in the order in which this is
    /// called.
    pub fn send_async(&self, message: impl Into<Vec<u8>>) -> Operation<op::Send> {
        Operation::new(self.start_send(message.into(), None))
    }

    /// Starts to send a text in the client's encoding.
    pub fn send_text_async(&self, text: &str) -> Operation<op::Send> {
        self.send_async(self.origin.settings.encoding.get_bytes(text))
    }

    /// Starts to [`receive`](Self::receive) the next message. Several may be pending: each takes the
    /// next message, in the order in which this is called. Dropping the operation loses nothing: the next
    /// receive gets what this one had taken.
    pub fn receive_async(&self) -> Operation<op::Receive> {
        Operation::new(self.start_receive_bytes(None))
    }

    /// Starts to receive the next message as a text in the client's encoding.
    pub fn receive_text_async(&self) -> Operation<op::ReceiveText> {
        Operation::new(self.start_receive_text(None))
    }

    /// Closes this connection, and starts to make another: [`reconnect`](Self::reconnect).
    pub fn reconnect_async(&self) -> Operation<op::Connect> {
        self.close();
        self.origin.clone().connect_async(Ok(self.socket().runtime()))
    }
}
