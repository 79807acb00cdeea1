//! Connecting to whichever address of an end point answers first, after RFC 8305.
//!
//! ```text
//!           addresses                   a failure, or a while without any
//! ┌────────┐ ───────▶ ┌────────────┐ ─────────────────────────────┐
//! │ Lookup │          │ Attempting │ ◀─ the next address, beside ──┘
//! └────────┘          └────────────┘
//!     │ time, cancel        │ the first connection, or no address left; time, cancel
//!     └─────────────────────┴───▶ over
//! ```
//!
//! Attempts begin one after the other, each with a socket of its own. An address that stays silent so
//! costs a moment, not the deadline. The first connection made is kept; the other attempts are canceled.

use crate::end_point::{EndPoint, Whom};
use crate::error::{Attempt, Error, ErrorKind, in_words};
use crate::task::Call;
use aio_core::socket2::{Domain, Protocol, TcpKeepalive, Type};
use aio_core::{Operation, RegisteredWait, RuntimeHandle, Socket, is_aborted, op};
use aio_sync::{ManualResetEvent, WaitHandle};
use std::future::{self, Future};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use std::vec;

/// How long an attempt is waited for before the next one begins beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Options of the socket.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
}

/// A pending attempt. Dropping it cancels it.
struct Pending {
    address: SocketAddr,
    socket: Socket,
    operation: Pin<Box<Operation<op::Connect>>>,
}

/// What came first.
enum Event {
    Over(Pending, io::Result<()>),
    Delayed,
    Interrupted,
}

/// What has been tried, and what is left.
struct Route {
    left: vec::IntoIter<SocketAddr>,
    pending: Vec<Pending>,
    failures: Vec<(SocketAddr, io::Error)>,
}

pub(crate) async fn connect(
    runtime: RuntimeHandle,
    end_point: &EndPoint,
    options: &Options,
    call: &Arc<Call>,
) -> Result<(Socket, SocketAddr), Error> {
    let error = |kind, reason: &str| Error::new(kind, Attempt::Connect, end_point, reason);
    let interrupted = |progress: &str| {
        if call.is_canceled() {
            error(ErrorKind::Canceled, "canceled")
        } else {
            let reason = format!("timed out after {:?}{progress}", call.deadline.timeout());
            error(ErrorKind::TimedOut, &reason)
        }
    };
    let addresses = match end_point.whom() {
        Whom::Addresses(addresses) => addresses.clone(),
        Whom::Name { host, port } => {
            let _watch = call.watch();
            let lookup = pin!(runtime.look_up_async(host, *port));
            match call.outcome(lookup, pin!(future::pending())).await {
                (_, Some(_)) => return Err(interrupted(": the host was still being looked up")),
                (lookup, None) => lookup.result.map_err(|source| {
                    Error::system(ErrorKind::Resolve, Attempt::Connect, end_point, source)
                })?,
            }
        }
        Whom::Malformed { flaw, .. } => {
            return Err(error(ErrorKind::InvalidInput, &flaw.to_string()));
        }
    };
    if addresses.is_empty() {
        return Err(error(ErrorKind::Resolve, "there is no address"));
    }
    let mut route = Route {
        left: alternate_families(addresses).into_iter(),
        pending: Vec::with_capacity(1),
        failures: Vec::new(),
    };
    loop {
        if let Some(address) = route.left.next() {
            match start(&runtime, address, options, call) {
                Ok(attempt) => route.pending.push(attempt),
                Err(error) => {
                    route.failures.push((address, error));
                    continue;
                }
            }
        } else if route.pending.is_empty() {
            let source = all_of(route.failures);
            return Err(Error::system(ErrorKind::Connect, Attempt::Connect, end_point, source));
        }
        let delay = (route.left.len() > 0).then(|| Delay::begin(&runtime));
        match next(&mut route.pending, delay.as_ref(), call).await {
            Event::Over(attempt, Ok(())) => return Ok((attempt.socket, attempt.address)),
            // All attempts have the deadline of the call.
            Event::Over(attempt, Err(error)) if is_aborted(&error) && call.deadline.is_over() => {
                route.pending.insert(0, attempt);
                return Err(interrupted(&route.progress()));
            }
            Event::Over(attempt, Err(error)) => route.failures.push((attempt.address, error)),
            Event::Delayed => {}
            Event::Interrupted => return Err(interrupted(&route.progress())),
        }
    }
}

impl Route {
    /// Says what came of each address by now. Of one alone, for which the call is named, there is nothing to say.
    fn progress(&self) -> String {
        let failed = |(address, error): &(_, _)| format!("{address}: {}", in_words(error));
        let failed = self.failures.iter().map(failed);
        let silent = self.pending.iter().map(|attempt| format!("{}: no answer", attempt.address));
        let left = self.left.as_slice().iter().map(|address| format!("{address}: not tried"));
        match failed.chain(silent).chain(left).collect::<Vec<_>>().as_slice() {
            [_] if self.failures.is_empty() => String::new(),
            all => format!(": {}", all.join("; ")),
        }
    }
}

fn start(
    runtime: &RuntimeHandle,
    address: SocketAddr,
    options: &Options,
    call: &Call,
) -> io::Result<Pending> {
    let socket = runtime.socket(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.with_socket(|socket| {
        socket.set_tcp_nodelay(options.nodelay)?;
        match options.keepalive {
            Some(idle) => {
                let keepalive = TcpKeepalive::new().with_time(idle);
                // The system only says that it will not have something.
                let reason = |error| format!("no keepalive is possible after {idle:?}: {error}");
                let failed = |error: io::Error| io::Error::new(error.kind(), reason(error));
                socket.set_tcp_keepalive(&keepalive).map_err(failed)
            }
            None => Ok(()),
        }
    })??;
    let operation = Box::pin(match call.deadline.at() {
        Some(deadline) => socket.with_deadline(deadline).connect_async(address),
        None => socket.connect_async(address),
    });
    Ok(Pending { address, socket, operation })
}

/// Waits for the first of the attempts that is over, taking it out, or for what ends the wait.
async fn next(pending: &mut Vec<Pending>, delay: Option<&Delay>, call: &Call) -> Event {
    let mut interrupted = pin!(call.interrupted());
    let mut delayed = pin!(async {
        match delay {
            Some(delay) => delay.over.event().wait().await,
            None => future::pending().await,
        }
    });
    future::poll_fn(|context| {
        for index in 0..pending.len() {
            if let Poll::Ready(completion) = pending[index].operation.as_mut().poll(context) {
                return Poll::Ready(Event::Over(pending.remove(index), completion.result));
            }
        }
        if interrupted.as_mut().poll(context).is_ready() {
            return Poll::Ready(Event::Interrupted);
        }
        delayed.as_mut().poll(context).map(|()| Event::Delayed)
    })
    .await
}

/// A moment that passes; ends when dropped.
struct Delay {
    over: Arc<ManualResetEvent>,
    wait: RegisteredWait,
}

impl Delay {
    fn begin(runtime: &RuntimeHandle) -> Self {
        let over = Arc::new(ManualResetEvent::new(false));
        let wait = runtime.register_wait_step(over.clone(), Some(ATTEMPT_DELAY), true, {
            let over = over.clone();
            move |_| {
                over.set();
            }
        });
        Self { over, wait }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        // If it fires all the same, nobody waits for it.
        let _ = self.wait.unregister();
    }
}

/// One error for what all attempts came to: of the first one's kind, saying all.
fn all_of(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    if let [_] = *failures {
        return failures.remove(0).1;
    }
    let kind = failures.first().expect("an end point has an address").1.kind();
    let each = failures.iter().map(|(address, error)| {
        let (address, text) = (address.to_string(), error.to_string());
        // The attempt names it, but not what comes before that.
        if text.contains(&address) { text } else { format!("connect to {address}: {text}") }
    });
    io::Error::new(kind, each.collect::<Vec<_>>().join("; "))
}

/// Keeps the order of the resolver, but lets the families take turns (RFC 8305, section 4): when one
/// of them leads nowhere on this machine, the second attempt is of the other.
fn alternate_families(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == is_first_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut alternating = Vec::with_capacity(first.len() + second.len());
    while first.len() + second.len() > 0 {
        alternating.extend(first.next());
        alternating.extend(second.next());
    }
    alternating
}
