//! What a connection has received and nobody has taken yet.

use std::io;
use std::ops::Range;
use std::sync::Arc;

/// How many bytes one receive asks for.
const RECEIVE_SIZE: usize = 16 * 1024;

#[derive(Debug)]
pub(crate) struct Inbound {
    /// Received bytes in their order, of which those before `taken` have left in messages.
    bytes: Vec<u8>,
    taken: usize,
    /// `None` exactly when a receive has been begun and its callback has not run.
    buffer: Option<Vec<u8>>,
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
            buffer: Some(vec![0; RECEIVE_SIZE]),
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

    /// Lends the buffer to a receive, unless it is lent already.
    pub(crate) fn lend_buffer(&mut self) -> Option<Vec<u8>> {
        self.buffer.take()
    }

    /// Takes the outcome of the receive, and its buffer back.
    pub(crate) fn received(&mut self, result: io::Result<usize>, buffer: Vec<u8>) {
        match result {
            Ok(0) => self.end = Some(End::Closed),
            Ok(received) => {
                self.bytes.drain(..self.taken);
                self.taken = 0;
                self.bytes.extend_from_slice(&buffer[..received]);
            }
            Err(error) => self.end = Some(End::Failed(Arc::new(error))),
        }
        self.buffer = Some(buffer);
    }

    /// Takes the bytes up to `end`, and returns those of `content`.
    pub(crate) fn take(&mut self, content: Range<usize>, end: usize) -> Vec<u8> {
        if self.taken == 0 && content.start == 0 && end == self.bytes.len() {
            // All there is: no copy, however long it is.
            let mut message = std::mem::take(&mut self.bytes);
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
