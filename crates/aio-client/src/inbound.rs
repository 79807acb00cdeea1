//! What a connection has received and nobody has taken yet.

use crate::received::{GivenBack, Piece, Taken};
use crate::task::{Call, Cause};
use aio_core::{Completion, IoBuf, Socket, is_aborted};
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::fmt;
use std::future;
use std::io;
use std::mem;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

/// How many bytes the first receive asks for: few, since thousands of connections may be waiting for their first
/// byte. Those that follow ask for more by this factor whenever one has got all that it asked for, or for
/// as many as are missing, if that is known, and for so many at most.
const FIRST_SIZE: usize = 1024;
const GROWTH: usize = 4;
const LARGEST_SIZE: usize = 64 * 1024;

pub(crate) struct Inbound {
    /// What has been received is in `buffer[taken..filled]`, in its order, and what is behind it is room. What
    /// is before it has left in messages. A receive has the buffer while it is pending.
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    /// How many bytes the next receive asks for.
    size: usize,
    end: Option<End>,
    /// True once the end of the stream has ended a message: it ends only one.
    end_was_taken: bool,
    /// The first bytes have come back, and this is where they were in the stream: its order is theirs. Where
    /// such a run borders on what follows it is one with that, so that there seldom are any.
    runs: VecDeque<Run>,
    /// The offset in the stream of the first byte behind them.
    offset: u64,
    given_back: Arc<GivenBack>,
}

/// Bytes that were one after the other in the stream.
#[derive(Clone, Copy, Debug)]
struct Run {
    offset: u64,
    length: usize,
}

/// What a receive came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// More bytes, or the end.
    More,
    /// Nothing, but a message has come back: see [`Inbound::take_back`].
    GivenBack,
    /// Nothing: the time was over, or the call was interrupted.
    Nothing,
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
            buffer: Vec::new(),
            taken: 0,
            filled: 0,
            size: FIRST_SIZE,
            end: None,
            end_was_taken: false,
            runs: VecDeque::new(),
            offset: 0,
            given_back: Arc::new(GivenBack::new()),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer[self.taken..self.filled]
    }

    pub(crate) fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Returns true if the peer has closed and no message has been made of that yet.
    pub(crate) fn can_end_a_message(&self) -> bool {
        matches!(self.end, Some(End::Closed)) && !self.end_was_taken
    }

    /// Receives once. `None` is for ever. If the time is over already, takes what is there. `missing` is how
    /// many bytes the message still lacks, if that is known. An error is one that says nothing of the
    /// connection; the next receive may be luckier.
    pub(crate) async fn receive(
        &mut self,
        socket: &Socket,
        missing: Option<usize>,
        until: Option<Instant>,
        call: &Call,
    ) -> io::Result<Outcome> {
        let may_come_back = Arc::get_mut(&mut self.given_back).is_none();
        if self.given_back.some().is_set() {
            return Ok(Outcome::GivenBack);
        }
        let is_late = until.is_some_and(|until| until <= Instant::now());
        self.make_room(missing.unwrap_or(0).clamp(self.size, LARGEST_SIZE));
        let buffer = mem::take(&mut self.buffer).slice(self.filled..);
        let room = buffer.as_slice().len();
        let operation = pin!(match until {
            Some(until) if !is_late => socket.with_deadline(until).receive_async(buffer),
            _ => socket.receive_async(buffer),
        });
        if is_late {
            operation.cancel();
        }
        let given_back = &self.given_back;
        let comes_back = pin!(async {
            match may_come_back {
                true => given_back.some().wait().await,
                false => future::pending().await,
            }
        });
        let (Completion { result, buffer, .. }, canceled_for) =
            call.outcome(operation, comes_back).await;
        self.buffer = buffer.into_inner();
        match result {
            Ok(0) => self.end = Some(End::Closed),
            Ok(received) => {
                self.filled += received;
                if received == room {
                    self.size = (GROWTH * self.size).min(LARGEST_SIZE);
                }
            }
            Err(error) if is_aborted(&error) => {
                if canceled_for == Some(Cause::Other) {
                    return Ok(Outcome::GivenBack);
                }
                if canceled_for.is_some() || is_late || error.kind() == io::ErrorKind::TimedOut {
                    return Ok(Outcome::Nothing);
                }
                self.end = Some(End::Failed(Arc::new(error)));
            }
            // The runtime did not take the operation: see `max_pending` of its builder.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Err(error),
            Err(error) => self.end = Some(End::Failed(Arc::new(error))),
        }
        Ok(Outcome::More)
    }

    /// Sees to it that there is room for `wanted` bytes, or at least for half as many.
    fn make_room(&mut self, wanted: usize) {
        let is_enough = |buffer: &[u8], filled| buffer.len() - filled >= wanted / 2;
        if is_enough(&self.buffer, self.filled) {
            return;
        }
        if self.taken > 0 {
            self.buffer.copy_within(self.taken..self.filled, 0);
            self.filled -= mem::take(&mut self.taken);
        }
        if self.buffer.is_empty() {
            // The system has memory that is zero already.
            self.buffer = vec![0; wanted];
        } else if !is_enough(&self.buffer, self.filled) {
            self.buffer.resize(self.filled + wanted, 0);
        }
    }

    /// Takes the bytes up to `end`, and returns those of `content`.
    pub(crate) fn take(&mut self, content: Range<usize>, end: usize) -> Taken {
        let offset = self.pass(end);
        Taken { content: self.take_bytes(content, end), offset, ends_stream: false }
    }

    /// Takes everything that is left, for which the stream's end was the end of a message.
    pub(crate) fn take_rest(&mut self) -> Taken {
        self.end_was_taken = true;
        let end = self.bytes().len();
        Taken { ends_stream: true, ..self.take(0..end, end) }
    }

    /// Returns the offset in the stream of the first of the first bytes that leave, which are so many.
    fn pass(&mut self, mut count: usize) -> u64 {
        let offset = self.runs.front().map_or(self.offset, |run| run.offset);
        while let Some(run) = self.runs.front_mut().filter(|_| count > 0) {
            let passed = run.length.min(count);
            (run.offset, run.length) = (run.offset + passed as u64, run.length - passed);
            count -= passed;
            if run.length == 0 {
                self.runs.pop_front();
            }
        }
        self.offset += count as u64;
        offset
    }

    fn take_bytes(&mut self, content: Range<usize>, end: usize) -> Vec<u8> {
        let is_all = self.taken + end == self.filled;
        if is_all && content.len() >= self.buffer.capacity() / 2 {
            // The message is most of the buffer, and becomes it, so that a long one is not copied.
            let mut message = mem::take(&mut self.buffer);
            message.truncate(self.taken + content.end);
            message.drain(..self.taken + content.start);
            (self.taken, self.filled) = (0, 0);
            return message;
        }
        let message = self.bytes()[content].to_vec();
        self.taken += end;
        if is_all {
            (self.taken, self.filled) = (0, 0);
            if self.buffer.capacity() > LARGEST_SIZE {
                // A long message had it.
                self.buffer = Vec::new();
            }
        }
        message
    }

    /// What the messages of this connection refer to, to come back by.
    pub(crate) fn given_back(&self) -> &Arc<GivenBack> {
        &self.given_back
    }

    /// Puts what has come back in its place. Returns true if there was anything.
    pub(crate) fn take_back(&mut self) -> bool {
        let Some(mut pieces) = self.given_back.take() else { return false };
        // The last one first: then each comes to the front, where there is room most often, and few bytes move.
        pieces.sort_by_key(|piece| Reverse(piece.offset));
        pieces.into_iter().for_each(|piece| self.put_back(piece));
        true
    }

    fn put_back(&mut self, piece: Piece) {
        let Piece { bytes, offset, ends_stream } = piece;
        if ends_stream {
            self.end_was_taken = false;
        }
        let length = bytes.len();
        if length == 0 {
            return;
        }
        let index = self.runs.partition_point(|run| run.offset < offset);
        let before: usize = self.runs.range(..index).map(|run| run.length).sum();
        if before == 0 && self.taken >= length {
            self.taken -= length;
            self.buffer[self.taken..][..length].copy_from_slice(&bytes);
        } else {
            let start = self.taken + before;
            self.buffer.splice(start..start, bytes);
            self.filled += length;
        }
        self.runs.insert(index, Run { offset, length });
        self.join(index);
        if index > 0 {
            self.join(index - 1);
        }
    }

    /// Makes a run one with what follows it if it borders on that.
    fn join(&mut self, index: usize) {
        let Run { offset, length } = self.runs[index];
        let end = offset + length as u64;
        match self.runs.get_mut(index + 1) {
            Some(next) if next.offset == end => {
                (next.offset, next.length) = (offset, length + next.length);
            }
            None if self.offset == end => self.offset = offset,
            _ => return,
        }
        self.runs.remove(index);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Does what a receive does that gets `bytes`; it may get them in several.
    fn arrive(inbound: &mut Inbound, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            inbound.make_room(inbound.size);
            let room = inbound.buffer.len() - inbound.filled;
            assert!(room >= inbound.size / 2);
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            inbound.buffer[inbound.filled..][..now.len()].copy_from_slice(now);
            inbound.filled += now.len();
            bytes = rest;
        }
    }

    #[test]
    fn messages_leave_as_they_arrived_whatever_their_lengths() {
        let mut inbound = Inbound::new();
        let stream: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let (mut arrived, mut left) = (0, 0);
        for round in 0_usize.. {
            if arrived == stream.len() {
                break;
            }
            // Now a few bytes, now many; now all of them leave, now a part, behind a frame of one byte.
            let pieces = [1, 300, 5_000, 1_024, 40_000, 17];
            let piece = pieces[round % pieces.len()].min(stream.len() - arrived);
            arrive(&mut inbound, &stream[arrived..arrived + piece]);
            arrived += piece;
            let there = inbound.bytes().len();
            assert_eq!(there, arrived - left);
            let end = if round % 5 == 0 { there } else { there - there / 3 };
            assert_eq!(inbound.take(1..end, end).content, stream[left + 1..left + end]);
            left += end;
        }
    }

    /// Each message is taken out of one run, as it is while the framing stays.
    #[test]
    fn what_comes_back_in_any_order_is_in_the_order_of_the_stream() {
        let mut random = 7_u64;
        let mut below = move |end: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % end
        };
        for _ in 0..300 {
            let mut inbound = Inbound::new();
            let stream: Vec<u8> = (0..3_000).map(|_| below(256) as u8).collect();
            let (mut arrived, mut outstanding) = (0, Vec::new());
            for _ in 0..100 {
                let piece = below(100).min(stream.len() - arrived);
                arrive(&mut inbound, &stream[arrived..arrived + piece]);
                arrived += piece;
                for _ in 0..below(4) {
                    let first = inbound.runs.front().map(|run| run.length);
                    let there = first.unwrap_or(inbound.bytes().len());
                    if there > 0 {
                        let end = if below(5) == 0 { there } else { 1 + below(there) };
                        outstanding.push(inbound.take(0..end, end));
                    }
                }
                for _ in 0..below(6).min(outstanding.len()) {
                    put(&inbound, outstanding.swap_remove(below(outstanding.len())));
                }
                if below(2) == 0 {
                    inbound.take_back();
                }
            }
            outstanding.into_iter().for_each(|taken| put(&inbound, taken));
            inbound.take_back();
            assert_eq!(inbound.bytes(), &stream[..arrived]);
            assert!(inbound.runs.is_empty(), "{:?}", inbound.runs);
            assert_eq!(inbound.offset, 0);
        }
    }

    /// Does what the drop of a message without a frame does.
    fn put(inbound: &Inbound, taken: Taken) {
        let Taken { content: bytes, offset, ends_stream } = taken;
        inbound.given_back.put(Piece { bytes, offset, ends_stream });
    }

    #[test]
    fn a_message_of_bytes_that_came_back_and_others_loses_none() {
        let mut inbound = Inbound::new();
        arrive(&mut inbound, b"firstsecondthird");
        let first = inbound.take(0..5, 5);
        let second = inbound.take(0..6, 6);
        put(&inbound, first);
        inbound.take_back();
        let both = inbound.take(0..7, 7);
        assert_eq!((&both.content[..], both.offset), (&b"firstth"[..], 0));
        put(&inbound, both);
        put(&inbound, second);
        assert!(inbound.take_back());
        assert_eq!(inbound.bytes(), b"firstthsecondird");
        assert!(!inbound.take_back());
    }

    #[test]
    fn a_long_message_leaves_no_long_buffer_behind() {
        let mut inbound = Inbound::new();
        arrive(&mut inbound, &[1; 1_000_000]);
        // It is not all there is, so that it is copied.
        assert_eq!(inbound.take(0..999_990, 999_990).content.len(), 999_990);
        assert_eq!(inbound.take(0..10, 10).content, [1; 10]);
        assert!(inbound.buffer.capacity() <= LARGEST_SIZE);
    }
}
