//! The client's calls with a callback: begun here, and ended in the callback.

use super::Client;
use super::calls::then;
use crate::async_result::{AsyncResult, Completion};
use crate::op;
use crate::operation::OperationHandle;

/// Begin never blocks and never fails: every outcome arrives at end.
impl Client {
    /// Ends a connect that [`Builder::begin_connect`](crate::Builder::begin_connect) began, or a
    /// reconnect. There is no client before that, so it takes none.
    pub fn end_connect<S>(result: AsyncResult<op::Connect, S>) -> Completion<op::Connect, S> {
        result.into_completion()
    }

    /// Begins to [`send`](Self::send) a message; `callback` gets the outcome, on a worker.
    pub fn begin_send<S, F>(
        &self,
        message: impl Into<Vec<u8>>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Send, S>) + Send + 'static,
    {
        OperationHandle::new(self.start_send(message.into(), then(callback, state)))
    }

    /// Begins to send a text in the client's encoding.
    pub fn begin_send_text<S, F>(&self, text: &str, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Send, S>) + Send + 'static,
    {
        self.begin_send(self.origin.settings.encoding.get_bytes(text), callback, state)
    }

    /// Ends a send.
    pub fn end_send<S>(&self, result: AsyncResult<op::Send, S>) -> Completion<op::Send, S> {
        result.into_completion()
    }

    /// Begins to [`receive`](Self::receive) the next message; `callback` gets the outcome, on a worker.
    /// Several may be pending: each takes the next message, in the order in which they were begun.
    pub fn begin_receive<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Receive, S>) + Send + 'static,
    {
        OperationHandle::new(self.start_receive_bytes(then(callback, state)))
    }

    /// Ends a receive.
    pub fn end_receive<S>(
        &self,
        result: AsyncResult<op::Receive, S>,
    ) -> Completion<op::Receive, S> {
        result.into_completion()
    }

    /// Begins to receive the next message as a text in the client's encoding.
    pub fn begin_receive_text<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::ReceiveText, S>) + Send + 'static,
    {
        OperationHandle::new(self.start_receive_text(then(callback, state)))
    }

    /// Ends a receive of a text.
    pub fn end_receive_text<S>(
        &self,
        result: AsyncResult<op::ReceiveText, S>,
    ) -> Completion<op::ReceiveText, S> {
        result.into_completion()
    }

    /// Closes this connection, and begins to make another: [`reconnect`](Self::reconnect).
    pub fn begin_reconnect<S, F>(&self, callback: F, state: S) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Connect, S>) + Send + 'static,
    {
        self.close();
        self.origin.clone().begin_connect(Ok(self.socket().runtime()), callback, state)
    }
}
