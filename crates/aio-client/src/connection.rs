//! A connection: its socket, what has arrived on it, and whose turn it is to receive.
//!
//! Sends are independent of each other and of receives; aio-core orders them. A receive makes a
//! message of what arrives:
//!
//! ```text
//!          the turn                no message yet: receive
//! ┌──────┐ ───────▶ ┌───────────┐ ────────────────────────▶ ┌───────────┐
//! │ Queue│          │ Searching │                           │ Receiving │
//! └──────┘          └───────────┘ ◀──────────────────────── └───────────┘
//!    │                    │         bytes, or the end             │
//!    │ time, cancel       │ a message, an error                   │ time, cancel
//!    └────────────────────┴───────────────▶ over ◀────────────────┘
//! ```
//!
//! 1. One call at a time has the turn, and with it [`Inbound`]. The turn is an event, signaled exactly
//!    while nobody has it; its queue is first come, first served, so each receive takes the next message.
//!    A call that has won a message keeps the turn until its outcome stands (`task.rs`, 4).
//! 2. At most one operation of aio-core is pending, that of the call with the turn. When the call's time is
//!    over it is canceled, which takes nothing from the stream (I2), and what had arrived before stays in
//!    [`Inbound`] for the next call. No operation is dropped while it is pending.
//! 3. A message that its caller does not take comes back (`received.rs`). A call that has the turn puts it in its
//!    place before it looks for a message, and also waits for that, beside its operation: then it cancels the
//!    operation and looks again.

use crate::encoding::Encoding;
use crate::error::{Attempt, Error, ErrorKind};
use crate::framing::{Found, Framing, Misuse, Search};
use crate::inbound::{End, Inbound, Outcome};
use crate::progress::Progress;
use crate::received::{Received, Taken};
use crate::task::{Call, yield_once};
use aio_core::{Completion, Socket, is_aborted};
use aio_sync::{AutoResetEvent, WaitHandle};
use std::fmt;
use std::future::{self, Future};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

/// How many receives a call makes before it lets others have the worker.
const RECEIVES_PER_TURN: u32 = 16;

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

/// What a look at the received bytes came to.
enum Look {
    Message(Taken),
    Incomplete { received: usize, expected: Option<usize> },
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) socket: Socket,
    pub(crate) peer: SocketAddr,
    /// Signaled exactly while no call is receiving.
    receive_turn: AutoResetEvent,
    /// There exactly while no call has the turn.
    inbound: Mutex<Option<Box<Inbound>>>,
    /// True once this side has closed the connection.
    is_closed: AtomicBool,
}

/// The turn to receive, and what has been received. Goes to the next call when dropped.
pub(crate) struct Turn {
    connection: Arc<Connection>,
    /// `None` only while it is dropped.
    inbound: Option<Box<Inbound>>,
}

impl Turn {
    /// The turn of a call that has been [given](Connection::wait_for_turn) it.
    fn take(connection: Arc<Connection>) -> Self {
        let inbound = connection.inbound.lock().unwrap_or_else(PoisonError::into_inner).take();
        assert!(inbound.is_some(), "one call at a time has the turn");
        Self { connection, inbound }
    }

    fn parts(&mut self) -> (&Connection, &mut Inbound) {
        (&self.connection, self.inbound.as_mut().expect("it is there until the turn is dropped"))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let inbound = self.inbound.take();
        *self.connection.inbound.lock().unwrap_or_else(PoisonError::into_inner) = inbound;
        self.connection.receive_turn.set();
    }
}

impl Connection {
    pub(crate) fn new(socket: Socket, peer: SocketAddr) -> Self {
        Self {
            socket,
            peer,
            receive_turn: AutoResetEvent::new(true),
            inbound: Mutex::new(Some(Box::new(Inbound::new()))),
            is_closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
        // No shutdown before it: that would end a pending receive as if the peer had closed.
        self.socket.close();
    }

    pub(crate) async fn send(
        self: Arc<Self>,
        message: Vec<u8>,
        settings: Settings,
        call: Arc<Call>,
    ) -> Result<(), Error> {
        let framed = settings.framing.frame(message).map_err(|m| self.misuse(Attempt::Send, m))?;
        let length = framed.len();
        let operation = pin!(match call.deadline.at() {
            Some(at) => self.socket.with_deadline(at).send_async(framed),
            None => self.socket.send_async(framed),
        });
        let (Completion { result, bytes_transferred: sent, .. }, canceled_for) =
            call.outcome(operation, pin!(future::pending())).await;
        let Err(error) = result else { return Ok(()) };
        let progress = format_args!("{sent} of {length} bytes sent");
        let is_late = canceled_for.is_some() || error.kind() == io::ErrorKind::TimedOut;
        Err(if is_aborted(&error) && is_late {
            self.interrupted(Attempt::Send, &call, call.deadline.timeout(), progress)
                .with_source(error)
        } else if self.is_closed_error(&error) {
            self.closed_here(Attempt::Send).with_source(error)
        } else {
            Error::system(ErrorKind::Send, Attempt::Send, self.peer, error)
        })
    }

    /// Receives a message and takes it away, unless `check` refuses it.
    pub(crate) async fn receive(
        self: Arc<Self>,
        settings: Settings,
        check: impl Fn(&[u8]) -> Result<(), Error> + Send,
        call: Arc<Call>,
    ) -> Result<Received, Error> {
        let search = settings.framing.search(settings.max_response);
        let mut search = search.map_err(|misuse| self.misuse(Attempt::Receive, misuse))?;
        if !self.wait_for_turn(&call).await {
            let progress = "another receive was not over";
            let timeout = call.deadline.timeout();
            return Err(self.interrupted(Attempt::Receive, &call, timeout, progress));
        }
        let mut turn = Turn::take(self);
        let (connection, inbound) = turn.parts();
        let mut last_byte = Instant::now();
        let mut receives = 0;
        let mut has_left_begin = false;
        let message = loop {
            if inbound.take_back() {
                search.restart();
            }
            let (received, expected) =
                match connection.take_message(inbound, &mut search, &check)? {
                    Look::Message(message) => break message,
                    Look::Incomplete { received, expected } => (received, expected),
                };
            if let Some(progress) = &settings.progress {
                if !mem::replace(&mut has_left_begin, true) {
                    // The callback must not run inside begin (I3), which may be where this is.
                    yield_once().await;
                }
                if !progress.tell(received, expected) {
                    return Err(connection.misuse(Attempt::Receive, Misuse::ProgressPanicked));
                }
            }
            let idle = last_byte.checked_add(settings.idle_timeout);
            let until = idle.into_iter().chain(call.deadline.at()).min();
            // A peer that always has a little more must not keep the call for ever. But the first
            // receive comes before the clock, so that a timeout of zero takes what there is.
            let missing = expected.map(|expected| expected - received);
            let is_over = receives > 0 && call.deadline.is_over();
            let outcome = if is_over {
                Outcome::Nothing
            } else {
                let outcome = inbound.receive(&connection.socket, missing, until, &call).await;
                outcome.map_err(|error| {
                    Error::system(ErrorKind::Receive, Attempt::Receive, connection.peer, error)
                })?
            };
            match outcome {
                Outcome::More => {
                    last_byte = Instant::now();
                    receives += 1;
                    if receives % RECEIVES_PER_TURN == 0 {
                        yield_once().await;
                    }
                }
                Outcome::GivenBack => {}
                Outcome::Nothing if idle.is_some() && idle == until => {
                    let (limit, progress) = (settings.idle_timeout, "nothing was received");
                    return Err(connection.interrupted(Attempt::Receive, &call, limit, progress));
                }
                Outcome::Nothing => {
                    let (limit, received) = (call.deadline.timeout(), bytes(received));
                    let progress = format_args!("{received} of the message received");
                    return Err(connection.interrupted(Attempt::Receive, &call, limit, progress));
                }
            }
        };
        let given_back = inbound.given_back().clone();
        Ok(Received::new(message, settings.framing, settings.encoding, given_back, turn))
    }

    /// Returns false if the call is interrupted before it is its turn.
    async fn wait_for_turn(&self, call: &Arc<Call>) -> bool {
        if self.receive_turn.event().try_wait() {
            return true;
        }
        let _watch = call.watch();
        let mut mine = pin!(self.receive_turn.event().wait());
        let mut interrupted = pin!(call.interrupted());
        future::poll_fn(|context| {
            if mine.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            interrupted.as_mut().poll(context).map(|()| false)
        })
        .await
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

    /// There is no connection any more, as the system said.
    pub(crate) fn gone(&self, attempt: Attempt, error: io::Error) -> Error {
        if self.is_closed_error(&error) {
            return self.closed_here(attempt).with_source(error);
        }
        Error::system(ErrorKind::Closed, attempt, self.peer, error)
    }

    fn closed_here(&self, attempt: Attempt) -> Error {
        Error::new(ErrorKind::Closed, attempt, self.peer, "the client is closed")
    }

    /// The call was canceled, or its time is over.
    fn interrupted(
        &self,
        attempt: Attempt,
        call: &Call,
        limit: Duration,
        progress: impl fmt::Display,
    ) -> Error {
        if call.is_canceled() {
            let reason = format_args!("canceled: {progress}");
            return Error::new(ErrorKind::Canceled, attempt, self.peer, reason);
        }
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
