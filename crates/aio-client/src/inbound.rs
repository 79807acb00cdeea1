//! What a connection has received and nobody has taken yet.

use aio_core::{Completion, Operation, Socket, op};
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How many bytes one receive asks for.
const RECEIVE_SIZE: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Inbound {
    /// Received bytes in their order, of which those before `taken` have left in messages.
    bytes: Vec<u8>,
    taken: usize,
    /// Empty exactly while a receive has it.
    buffer: Vec<u8>,
    /// A receive that nobody waited for to the end. What it brings comes next.
    pending: Option<Operation<op::Receive<Vec<u8>>>>,
    end: Option<End>,
    /// True once the end of the stream has ended a message: it ends only one.
    end_was_taken: bool,
}

/// Why nothing more will come.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The peer has closed its side.
    Closed,
    Failed(Arc<io::Error>),
}

impl Inbound {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            taken: 0,
            buffer: vec![0; RECEIVE_SIZE],
            pending: None,
            end: None,
            end_was_taken: false,
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Returns true if the peer has closed and no message has been made of that yet.
    pub(crate) fn can_end_a_message(&self) -> bool {
        matches!(self.end, Some(End::Closed)) && !self.end_was_taken
    }

    /// Receives once, or goes on with the receive that is pending. Returns false if the time was over
    /// first: then it stays pending, so that nothing is lost.
    pub(crate) fn receive(&mut self, socket: &Socket, timeout: Duration) -> bool {
        let mut operation = match self.pending.take() {
            Some(operation) => operation,
            None => socket.receive_async(mem::take(&mut self.buffer)),
        };
        match operation.wait_timeout(timeout) {
            Some(Completion { result, buffer, .. }) => {
                self.received(result, buffer);
                true
            }
            None => {
                self.pending = Some(operation);
                false
            }
        }
    }

    fn received(&mut self, result: io::Result<usize>, buffer: Vec<u8>) {
        match result {
            Ok(0) => self.end = Some(End::Closed),
            Ok(received) => {
                self.bytes.drain(..self.taken);
                self.taken = 0;
                self.bytes.extend_from_slice(&buffer[..received]);
            }
            Err(error) => self.end = Some(End::Failed(Arc::new(error))),
        }
        self.buffer = buffer;
    }

    /// Takes the bytes up to `end`, and returns those of `content`.
    pub(crate) fn take(&mut self, content: Range<usize>, end: usize) -> Vec<u8> {
        if self.taken == 0 && content.start == 0 && end == self.bytes.len() {
            // All there is: no copy, however long it is.
            let mut message = mem::take(&mut self.bytes);
            message.truncate(content.end);
            return message;
        }
        let message = self.bytes()[content].to_vec();
        self.taken += end;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
        message
    }

    /// Takes everything that is left, for which the stream's end was the end of a message.
    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        self.end_was_taken = true;
        self.take(0..self.bytes().len(), self.bytes().len())
    }
}
