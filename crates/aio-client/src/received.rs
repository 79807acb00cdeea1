//! A message between the receive that has won it and the caller that takes it, and the way back of one that
//! the caller does not take.
//!
//! ```text
//!                      the caller takes it
//! ┌─────────┐ won ┌──────────┐ ───────▶ the caller's
//! │ Inbound │ ──▶ │ Received │
//! └─────────┘     └──────────┘ ───────▶ ┌───────────┐
//!      ▲               it is dropped    │ GivenBack │
//!      └────────────────────────────────└───────────┘
//!        the call that has the turn takes the bytes back
//! ```
//!
//! 1. A message goes back as the bytes that it was in the stream, its frame included: the next receive may go by
//!    another framing. They have the offset of their first byte in the stream with them, so that messages
//!    that come back in any order are put in the stream's. (One case has no right answer: a receive with
//!    another framing may find bytes that came back, and behind them what follows a message that is still its
//!    caller's to take. It makes its message of both, rather than wait for that caller. Nothing is lost then, either,
//!    but what the caller gives back later comes after that message.)
//! 2. What comes back is listed before the event is set, and the event is reset before the list is taken. So
//!    once the drop of a message has returned, a call that has the turn finds it.
//! 3. Only a call that has the turn makes messages, and each refers to the connection's [`GivenBack`]. So
//!    while the one with the turn has the only reference, nothing comes back, and it need not wait for that. The
//!    reference does not keep the connection open: nobody can receive on one that nobody has.

use crate::connection::Turn;
use crate::encoding::Encoding;
use crate::framing::Framing;
use crate::task::Won;
use aio_sync::ManualResetEvent;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// A message that a receive has won. Goes back to the stream when it is dropped.
pub(crate) struct Received {
    /// Without its frame. `None` once the caller has it.
    content: Option<Vec<u8>>,
    /// What it was cut out of the stream by.
    framing: Framing,
    offset: u64,
    ends_stream: bool,
    encoding: Encoding,
    given_back: Arc<GivenBack>,
    /// `None` once the outcome of the receive stands.
    turn: Option<Turn>,
}

/// A message as [`Inbound`](crate::inbound::Inbound) lets it go.
#[derive(Debug)]
pub(crate) struct Taken {
    /// Without its frame.
    pub(crate) content: Vec<u8>,
    /// How many bytes of the stream came before it and its frame.
    pub(crate) offset: u64,
    /// True if the end of the stream was the end of the message.
    pub(crate) ends_stream: bool,
}

/// Bytes that come back to the stream.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) offset: u64,
    /// True if the end of the stream comes back with them.
    pub(crate) ends_stream: bool,
}

/// What has come back, for the call that has the turn.
#[derive(Debug)]
pub(crate) struct GivenBack {
    pieces: Mutex<Vec<Piece>>,
    /// Set when there are some, and reset before they are taken.
    some: ManualResetEvent,
}

impl Received {
    pub(crate) fn new(
        message: Taken,
        framing: Framing,
        encoding: Encoding,
        given_back: Arc<GivenBack>,
        turn: Turn,
    ) -> Self {
        let Taken { content, offset, ends_stream } = message;
        let (content, turn) = (Some(content), Some(turn));
        Self { content, framing, offset, ends_stream, encoding, given_back, turn }
    }

    fn take(&mut self) -> Vec<u8> {
        self.content.take().expect("a message has one caller")
    }
}

impl Won for Received {
    type Turn = Turn;

    fn turn(&mut self) -> Option<Turn> {
        self.turn.take()
    }
}

impl From<Received> for Vec<u8> {
    fn from(mut received: Received) -> Self {
        received.take()
    }
}

/// Of a receive that has checked that it is text.
impl From<Received> for String {
    fn from(mut received: Received) -> Self {
        received.encoding.into_string(received.take())
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        let Some(content) = self.content.take() else { return };
        let bytes = self.framing.restore(content);
        let Self { offset, ends_stream, .. } = *self;
        self.given_back.put(Piece { bytes, offset, ends_stream });
    }
}

/// Without the bytes, which may be many, and secret.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl GivenBack {
    pub(crate) fn new() -> Self {
        Self { pieces: Mutex::new(Vec::new()), some: ManualResetEvent::new(false) }
    }

    pub(crate) fn put(&self, piece: Piece) {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner).push(piece);
        // It wakes the call that has the turn, if that waits, and not under the lock.
        self.some.set();
    }

    /// Returns what has come back since the last time, in no order; `None` if that is nothing.
    pub(crate) fn take(&self) -> Option<Vec<Piece>> {
        if !self.some.is_set() {
            return None;
        }
        self.some.reset();
        Some(mem::take(&mut self.pieces.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Set when something has come back.
    pub(crate) fn some(&self) -> &ManualResetEvent {
        &self.some
    }
}
