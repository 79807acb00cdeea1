//! A client's connection: what it has sent, and what must still come back.

use super::dial;
use crate::payload;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

pub(super) struct Connection {
    index: usize,
    pub(super) stream: TcpStream,
    /// What could not be written yet, as the server does not take it.
    unsent: VecDeque<u8>,
    queued: u64,
    received: u64,
    /// In the order in which they were sent.
    outstanding: VecDeque<Message>,
}

/// A message whose echo is not complete.
#[derive(Clone, Copy)]
pub(super) struct Message {
    /// Positions in the stream of its first byte, and after its last.
    begin: u64,
    end: u64,
    pub(super) intended: Instant,
    /// Whether its handler blocks.
    pub(super) is_slow: bool,
}

impl Connection {
    pub(super) fn open(index: usize, server: SocketAddr) -> io::Result<Self> {
        let stream = dial::connect(index, server)?;
        stream.set_nonblocking(true)?;
        let (unsent, outstanding) = (VecDeque::new(), VecDeque::new());
        Ok(Self { index, stream, unsent, queued: 0, received: 0, outstanding })
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.outstanding.is_empty()
    }

    pub(super) fn send(
        &mut self,
        length: usize,
        intended: Instant,
        is_slow: bool,
    ) -> io::Result<()> {
        let (begin, end) = (self.queued, self.queued + length as u64);
        self.outstanding.push_back(Message { begin, end, intended, is_slow });
        self.queued = end;
        let bytes = payload::bytes(self.index, begin, length);
        if is_slow {
            self.unsent.push_back(servers::SLOW);
            self.unsent.extend(&bytes[1..]);
            return self.flush();
        }
        let sent = if self.unsent.is_empty() { self.write(bytes)? } else { 0 };
        self.unsent.extend(&bytes[sent..]);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let bytes = self.unsent.make_contiguous();
            let sent = unless_blocked((&self.stream).write(bytes))?;
            if sent == 0 {
                break;
            }
            self.unsent.drain(..sent);
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        unless_blocked((&self.stream).write(bytes))
    }

    /// Takes what has arrived, checks every byte of it, and gives the messages that are complete.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut complete: impl FnMut(Message),
    ) -> io::Result<()> {
        loop {
            let received = match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server has closed the connection")),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.check(&mut buffer[..received])?;
            self.received += received as u64;
            while let Some(message) = self.outstanding.front().copied() {
                if message.end > self.received {
                    break;
                }
                self.outstanding.pop_front();
                complete(message);
            }
            // A short read has emptied the stream; what comes later is another event.
            if received < buffer.len() {
                return Ok(());
            }
        }
    }

    fn check(&self, bytes: &mut [u8]) -> io::Result<()> {
        let expected = payload::bytes(self.index, self.received, bytes.len());
        for message in self.outstanding.iter().filter(|message| message.is_slow) {
            let mark = message.begin.checked_sub(self.received).map(|offset| offset as usize);
            if let Some(mark) = mark.filter(|mark| *mark < bytes.len()) {
                if bytes[mark] != servers::SLOW {
                    return Err(io::Error::other("a mark did not come back"));
                }
                bytes[mark] = expected[mark];
            }
        }
        if bytes != expected {
            return Err(io::Error::other("other bytes came back than were sent"));
        }
        let queued = self.outstanding.back().map_or(self.received, |message| message.end);
        if self.received + bytes.len() as u64 > queued {
            return Err(io::Error::other("more bytes came back than were sent"));
        }
        Ok(())
    }
}

/// Nothing is 0 bytes.
fn unless_blocked(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
