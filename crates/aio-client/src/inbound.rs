//! What a connection has received and nobody has taken yet.

use crate::task::Call;
use aio_core::{Completion, Socket, is_aborted};
use std::fmt;
use std::io;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// How many bytes a receive asks for, and how many it asks for at most: when as many are missing, or the
/// receives before it have got all that they asked for.
const USUAL_SIZE: usize = 16 * 1024;
const LARGEST_SIZE: usize = 64 * 1024;

pub(crate) struct Inbound {
    /// Received bytes in their order, of which those before `taken` have left in messages.
    bytes: Vec<u8>,
    taken: usize,
    /// Empty exactly while a receive has it.
    buffer: Vec<u8>,
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
            buffer: vec![0; USUAL_SIZE],
            end: None,
            end_was_taken: false,
        }
    }

    /// Stands where an inbound was that has been taken away.
    pub(crate) fn empty() -> Self {
        let (bytes, buffer) = (Vec::new(), Vec::new());
        Self { bytes, taken: 0, buffer, end: None, end_was_taken: false }
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

    /// Receives once. Returns false if `until` came first, or the call was interrupted: nothing has been
    /// taken then. `None` is for ever. If the time is over already, takes what is there. `missing` is how
    /// many bytes the message still lacks, if that is known. An error is one that says nothing of the
    /// connection; the next receive may be luckier.
    pub(crate) async fn receive(
        &mut self,
        socket: &Socket,
        missing: Option<usize>,
        until: Option<Instant>,
        call: &Call,
    ) -> io::Result<bool> {
        let is_late = until.is_some_and(|until| until <= Instant::now());
        let mut buffer = mem::take(&mut self.buffer);
        if let Some(missing) = missing.filter(|missing| *missing > buffer.len()) {
            buffer.resize(missing.min(LARGEST_SIZE), 0);
        }
        let operation = match until {
            Some(until) if !is_late => socket.with_deadline(until).receive_async(buffer),
            _ => socket.receive_async(buffer),
        };
        if is_late {
            operation.cancel();
        }
        let (Completion { result, buffer, .. }, is_canceled) = call.outcome(operation).await;
        self.buffer = buffer;
        match result {
            Ok(0) => self.end = Some(End::Closed),
            Ok(received) => {
                self.bytes.drain(..self.taken);
                self.taken = 0;
                self.bytes.extend_from_slice(&self.buffer[..received]);
                if received == self.buffer.len() && received < LARGEST_SIZE {
                    self.buffer.resize((2 * received).min(LARGEST_SIZE), 0);
                }
            }
            Err(error) if is_aborted(&error) => {
                if is_canceled || is_late || error.kind() == io::ErrorKind::TimedOut {
                    return Ok(false);
                }
                self.end = Some(End::Failed(Arc::new(error)));
            }
            // The runtime did not take the operation: see `max_pending` of its builder.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(error),
            Err(error) => self.end = Some(End::Failed(Arc::new(error))),
        }
        Ok(true)
    }

    /// Takes the bytes up to `end`, and returns those of `content`.
    pub(crate) fn take(&mut self, content: Range<usize>, end: usize) -> Vec<u8> {
        if self.taken == 0 && end == self.bytes.len() {
            // All there is: no other memory for it, and without a prefix no copy, however long it is.
            let mut message = mem::take(&mut self.bytes);
            message.truncate(content.end);
            message.drain(..content.start);
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

/// Without the bytes, which may be many, and secret.
impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("received", &self.bytes().len())
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
