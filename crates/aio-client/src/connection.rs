//! A connection: its socket, what has arrived on it, and who waits for that.
//!
//! Sends are independent of each other and of receives; aio-core orders them. Receives go through
//! [`Inbound`]:
//!
//! 1. One thread at a time makes a message of what arrives; it holds the turn, an event that stays
//!    signaled exactly while nobody does, so that others wait for it with a deadline.
//! 2. A receive is begun when that thread needs bytes, and only if none is pending: `Inbound` has
//!    lent its buffer or it has not. Its callback puts the bytes into `Inbound` and sets `arrived`.
//! 3. A thread whose time is over leaves the receive pending. What it brings is there for the next
//!    one, so a deadline loses nothing, and does not wait for a callback that cannot run.
//! 4. `arrived` resets itself. A signal that nobody waited for costs the next thread a look.

use crate::deadline::Deadline;
use crate::encoding::Encoding;
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::{Found, Framing, Misuse, Search};
use crate::inbound::{End, Inbound};
use aio_core::{AsyncResult, Completion, Socket, is_aborted, op};
use aio_sync::{AutoResetEvent, ManualResetEvent};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a send that was canceled at its deadline is waited for. Its callback runs at once, unless
/// all workers are held by callbacks, the caller's own perhaps.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);

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
    inbound: Mutex<Inbound>,
    /// Set when a receive is over.
    arrived: AutoResetEvent,
    /// Signaled exactly while no thread is receiving.
    receive_turn: AutoResetEvent,
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

/// What a send came to, for the thread that waits.
#[derive(Debug)]
struct Sent {
    done: ManualResetEvent,
    /// The result, and how many bytes were sent. `None` until `done` is set.
    outcome: Mutex<Option<(io::Result<usize>, usize)>>,
}

impl Connection {
    pub(crate) fn new(socket: Socket, peer: SocketAddr) -> Self {
        Self {
            socket,
            peer,
            inbound: Mutex::new(Inbound::new()),
            arrived: AutoResetEvent::new(false),
            receive_turn: AutoResetEvent::new(true),
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
        let sent = Arc::new(Sent { done: ManualResetEvent::new(false), outcome: Mutex::new(None) });
        let operation = self.socket.begin_send(
            framed,
            Self::send_callback,
            (self.socket.clone(), sent.clone()),
        );
        let in_time = sent.done.wait_timeout(deadline.remaining());
        if !in_time {
            operation.cancel();
            // Whether it was over in time, the outcome tells.
            let _ = sent.done.wait_timeout(CANCEL_LIMIT);
        }
        let outcome = sent.outcome.lock().unwrap_or_else(PoisonError::into_inner).take();
        match outcome {
            Some((Ok(_), _)) => Ok(()),
            Some((Err(error), bytes)) if is_aborted(&error) && !in_time => {
                let progress = format_args!("{bytes} of {length} bytes sent");
                Err(self.timed_out(Attempt::Send, deadline.timeout(), progress).with_source(error))
            }
            Some((Err(error), _)) if self.is_closed_error(&error) => {
                Err(self.closed_here(Attempt::Send).with_source(error))
            }
            Some((Err(error), _)) => {
                Err(Error::system(ErrorKind::Send, Attempt::Send, self.peer, error))
            }
            None => {
                let progress = "no worker was free to tell how much was sent";
                Err(self.timed_out(Attempt::Send, deadline.timeout(), progress))
            }
        }
    }

    fn send_callback(ar: AsyncResult<op::Send<Vec<u8>>, (Socket, Arc<Sent>)>) {
        let (socket, _) = ar.async_state().clone();
        let Completion { result, bytes_transferred, state: (_, sent), .. } = socket.end_send(ar);
        let mut outcome = sent.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        *outcome = Some((result, bytes_transferred));
        drop(outcome);
        sent.done.set();
    }

    /// Receives a message and takes it away, unless `check` refuses it.
    pub(crate) fn receive(
        self: &Arc<Self>,
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
        let mut has_waited = false;
        loop {
            match self.take_message(&mut search, settings, &check)? {
                Look::Message(message) => return Ok(message),
                Look::Incomplete { received, expected } => {
                    if let Some(Progress(progress)) = &settings.progress {
                        progress(received, expected);
                    }
                }
            }
            // A peer that always has a little more must not keep the thread for ever. But the first
            // look comes before the clock, so that a timeout of zero takes what there is.
            if has_waited && deadline.is_over() {
                return Err(self.incomplete_in_time(deadline));
            }
            self.begin_receive();
            let time = deadline.remaining().min(settings.idle_timeout);
            if !self.arrived.wait_timeout(time) {
                return Err(if deadline.is_over() {
                    self.incomplete_in_time(deadline)
                } else {
                    let progress = "nothing was received";
                    self.timed_out(Attempt::Receive, settings.idle_timeout, progress)
                });
            }
            has_waited = true;
        }
    }

    /// Returns the next message if all of it is there.
    fn take_message(
        &self,
        search: &mut Search<'_>,
        settings: &Settings,
        check: impl Fn(&[u8]) -> Result<(), Error>,
    ) -> Result<Look, Error> {
        let mut inbound = self.inbound();
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
                let limit = settings.max_response;
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

    fn begin_receive(self: &Arc<Self>) {
        let buffer = self.inbound().lend_buffer();
        if let Some(buffer) = buffer {
            self.socket.begin_receive(buffer, Self::receive_callback, self.clone());
        }
    }

    fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, Arc<Self>>) {
        let connection = ar.async_state().clone();
        let Completion { result, buffer, .. } = connection.socket.end_receive(ar);
        connection.inbound().received(result, buffer);
        connection.arrived.set();
    }

    fn inbound(&self) -> MutexGuard<'_, Inbound> {
        self.inbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed_error(&self, error: &io::Error) -> bool {
        self.is_closed.load(Ordering::Relaxed) && is_aborted(error)
    }

    fn closed_here(&self, attempt: Attempt) -> Error {
        Error::new(ErrorKind::Closed, attempt, self.peer, "the client is closed")
    }

    fn incomplete_in_time(&self, deadline: Deadline) -> Error {
        let arrived = bytes(self.inbound().bytes().len());
        let progress = format_args!("{arrived} of the message received");
        self.timed_out(Attempt::Receive, deadline.timeout(), progress)
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
