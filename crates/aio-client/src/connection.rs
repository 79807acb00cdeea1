//! A connection: its socket, what has arrived on it, and who waits for that.
//!
//! Sends are independent of each other and of receives; aio-core orders them, and sees to their
//! deadlines. Receives go through [`Inbound`]:
//!
//! 1. One thread at a time makes a message of what arrives. It holds the turn: an event that is
//!    signaled exactly while nobody does, so that others can wait for it with a deadline.
//! 2. The thread with the turn receives when the bytes that are there are no message yet.
//! 3. A thread whose time is over leaves its receive pending, for the next one to go on with. It has
//!    not to wait for a cancellation, and loses nothing.

use crate::deadline::Deadline;
use crate::encoding::Encoding;
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::{Found, Framing, Misuse, Search};
use crate::inbound::{End, Inbound};
use aio_core::{Completion, Socket, is_aborted};
use aio_sync::AutoResetEvent;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a call goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_response: usize,
    pub(crate) framing: Framing,
    pub(crate) encoding: Encoding,
    pub(crate) progress: Option<Progress>,
}

/// Told how many bytes of the message have been received, of how many.
#[derive(Clone)]
pub(crate) struct Progress(pub(crate) Arc<dyn Fn(usize, Option<usize>) + Send + Sync>);

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Progress")
    }
}

/// What a look at the received bytes came to.
enum Look {
    Message(Vec<u8>),
    Incomplete { received: usize, expected: Option<usize> },
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) peer: SocketAddr,
    /// Signaled exactly while no thread is receiving.
    receive_turn: AutoResetEvent,
    /// Locked by the thread that has the turn alone, so that nobody ever waits for the lock.
    inbound: Mutex<Inbound>,
    /// True once this side has closed the connection.
    is_closed: AtomicBool,
}

/// Gives the turn to the next thread when dropped.
struct Turn<'a>(&'a AutoResetEvent);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Connection {
    pub(crate) fn new(socket: Socket, peer: SocketAddr) -> Self {
        Self {
            socket,
            peer,
            receive_turn: AutoResetEvent::new(true),
            inbound: Mutex::new(Inbound::new()),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // No shutdown before it: that would end a pending receive as if the peer had closed.
        self.socket.close();
    }

    pub(crate) fn send(&self, message: Vec<u8>, settings: &Settings) -> Result<(), Error> {
        let deadline = Deadline::after(settings.timeout);
        let framed = settings.framing.frame(message).map_err(|m| self.misuse(Attempt::Send, m))?;
        let length = framed.len();
        let operation = match deadline.at() {
            Some(at) => self.socket.with_deadline(at).send_async(framed),
            None => self.socket.send_async(framed),
        };
        let Completion { result, bytes_transferred: sent, .. } = operation.wait();
        match result {
            Ok(_) => Ok(()),
            Err(error) if is_aborted(&error) && error.kind() == io::ErrorKind::TimedOut => {
                let progress = format_args!("{sent} of {length} bytes sent");
                Err(self.timed_out(Attempt::Send, deadline.timeout(), progress).with_source(error))
            }
            Err(error) if self.is_closed_error(&error) => {
                Err(self.closed_here(Attempt::Send).with_source(error))
            }
            Err(error) => Err(Error::system(ErrorKind::Send, Attempt::Send, self.peer, error)),
        }
    }

    /// Receives a message and takes it away, unless `check` refuses it.
    pub(crate) fn receive(
        &self,
        settings: &Settings,
        check: impl Fn(&[u8]) -> Result<(), Error>,
    ) -> Result<Vec<u8>, Error> {
        let deadline = Deadline::after(settings.timeout);
        let search = settings.framing.search(settings.max_response);
        let mut search = search.map_err(|misuse| self.misuse(Attempt::Receive, misuse))?;
        if !self.receive_turn.wait_timeout(deadline.remaining()) {
            let progress = "another receive was not over";
            return Err(self.timed_out(Attempt::Receive, deadline.timeout(), progress));
        }
        let _turn = Turn(&self.receive_turn);
        let mut inbound = self.inbound.lock().unwrap_or_else(PoisonError::into_inner);
        let mut has_received = false;
        loop {
            let (received, expected) = match self.take_message(&mut inbound, &mut search, &check)? {
                Look::Message(message) => return Ok(message),
                Look::Incomplete { received, expected } => (received, expected),
            };
            if let Some(Progress(progress)) = &settings.progress {
                progress(received, expected);
            }
            // A peer that always has a little more must not keep the thread for ever. But the first
            // receive comes before the clock, so that a timeout of zero takes what there is.
            let remaining = deadline.remaining();
            let is_over = has_received && remaining.is_zero();
            if is_over || !inbound.receive(&self.socket, remaining.min(settings.idle_timeout)) {
                return Err(if settings.idle_timeout < remaining {
                    let progress = "nothing was received";
                    self.timed_out(Attempt::Receive, settings.idle_timeout, progress)
                } else {
                    let received = bytes(inbound.bytes().len());
                    let progress = format_args!("{received} of the message received");
                    self.timed_out(Attempt::Receive, deadline.timeout(), progress)
                });
            }
            has_received = true;
        }
    }

    /// Returns the next message if all of it is there.
    fn take_message(
        &self,
        inbound: &mut Inbound,
        search: &mut Search<'_>,
        check: impl Fn(&[u8]) -> Result<(), Error>,
    ) -> Result<Look, Error> {
        let fail = |kind, reason: &dyn fmt::Display| {
            Err(Error::new(kind, Attempt::Receive, self.peer, reason))
        };
        match search.next(inbound.bytes(), inbound.can_end_a_message()) {
            Found::Message { content, end } => {
                check(&inbound.bytes()[content.clone()])?;
                Ok(Look::Message(inbound.take(content, end)))
            }
            Found::Rest => {
                check(inbound.bytes())?;
                Ok(Look::Message(inbound.take_rest()))
            }
            Found::TooLong => {
                let limit = search.limit();
                fail(ErrorKind::TooLong, &format_args!("the message is longer than {limit} bytes"))
            }
            Found::Incomplete { received, expected } => match inbound.end() {
                None => Ok(Look::Incomplete { received, expected }),
                Some(End::Closed) if inbound.bytes().is_empty() => {
                    fail(ErrorKind::Closed, &"the peer has closed the connection")
                }
                Some(End::Closed) => {
                    let arrived = bytes(inbound.bytes().len());
                    let reason = "the peer has closed the connection in the middle of a message";
                    fail(ErrorKind::Incomplete, &format_args!("{reason}, with {arrived} received"))
                }
                Some(End::Failed(error)) if self.is_closed_error(error) => {
                    Err(self.closed_here(Attempt::Receive).with_source(error.clone()))
                }
                Some(End::Failed(error)) => Err(Error::system(
                    ErrorKind::Receive,
                    Attempt::Receive,
                    self.peer,
                    error.clone(),
                )),
            },
        }
    }

    fn is_closed_error(&self, error: &io::Error) -> bool {
        self.is_closed.load(Ordering::Relaxed) && is_aborted(error)
    }

    fn closed_here(&self, attempt: Attempt) -> Error {
        Error::new(ErrorKind::Closed, attempt, self.peer, "the client is closed")
    }

    fn timed_out(&self, attempt: Attempt, limit: Duration, progress: impl fmt::Display) -> Error {
        let reason = format_args!("timed out after {limit:?}: {progress}");
        Error::new(ErrorKind::TimedOut, attempt, self.peer, reason)
    }

    fn misuse(&self, attempt: Attempt, misuse: Misuse) -> Error {
        Error::new(ErrorKind::InvalidInput, attempt, self.peer, misuse)
    }
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}
