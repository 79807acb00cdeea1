//! Connecting to whichever address of an end point answers first, after RFC 8305.
//!
//! Attempts begin one after the other, each with a socket of its own: the next one as soon as one has
//! failed, or when none has succeeded for a while. An address that stays silent so costs a moment, not
//! the deadline. The first connection made is kept; the other attempts are canceled.

use crate::deadline::Deadline;
use aio_core::{AsyncResult, OperationHandle, Runtime, Socket, op};
use aio_sync::AutoResetEvent;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long an attempt is waited for before the next one begins beside it (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Why no connection was made.
#[derive(Debug)]
pub(crate) enum Failure {
    TimedOut,
    /// What each attempt came to, in the order in which they failed; never empty.
    Refused(Vec<io::Error>),
}

/// What attempts have come to and nobody has looked at yet, by their number.
#[derive(Debug)]
struct Outcomes {
    list: Mutex<Vec<(usize, io::Result<()>)>>,
    /// Set after each addition to the list.
    added: AutoResetEvent,
}

#[derive(Debug)]
struct Attempt {
    address: SocketAddr,
    socket: Socket,
    operation: OperationHandle,
}

/// Cancels the attempts that are still pending when the race is over, however it is over.
#[derive(Debug, Default)]
struct Attempts(Vec<Attempt>);

impl Drop for Attempts {
    fn drop(&mut self) {
        self.0.iter().for_each(|attempt| attempt.operation.cancel());
    }
}

/// Connects to one of `addresses`, of which there is at least one. `prepare` sets the options of each
/// socket.
pub(crate) fn connect(
    runtime: &Runtime,
    addresses: Vec<SocketAddr>,
    deadline: Deadline,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<(Socket, SocketAddr), Failure> {
    let outcomes = Arc::new(Outcomes { list: Mutex::default(), added: AutoResetEvent::new(false) });
    let mut left = alternate_families(addresses).into_iter();
    let mut attempts = Attempts::default();
    let mut failures = Vec::new();
    let mut pending = 0;
    loop {
        if let Some(address) = left.next() {
            match begin(runtime, address, &prepare, &outcomes, attempts.0.len()) {
                Ok(attempt) => {
                    attempts.0.push(attempt);
                    pending += 1;
                }
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            }
        } else if pending == 0 {
            return Err(Failure::Refused(failures));
        }
        let delay = if left.len() > 0 { ATTEMPT_DELAY } else { Duration::MAX };
        // Signaled or not, there is a look at the list.
        let _ = outcomes.added.wait_timeout(delay.min(deadline.remaining()));
        let news = mem::take(&mut *outcomes.list.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, result) in news {
            pending -= 1;
            match result {
                Ok(()) => {
                    let Attempt { address, socket, .. } = attempts.0.swap_remove(number);
                    return Ok((socket, address));
                }
                Err(error) => failures.push(error),
            }
        }
        if deadline.is_over() {
            return Err(Failure::TimedOut);
        }
    }
}

fn begin(
    runtime: &Runtime,
    address: SocketAddr,
    prepare: impl Fn(&Socket) -> io::Result<()>,
    outcomes: &Arc<Outcomes>,
    number: usize,
) -> io::Result<Attempt> {
    let socket = if address.is_ipv4() { runtime.tcp_v4()? } else { runtime.tcp_v6()? };
    prepare(&socket)?;
    let outcomes = outcomes.clone();
    let operation = socket.begin_connect(
        address,
        move |connected: AsyncResult<op::Connect, Socket>| {
            let socket = connected.async_state().clone();
            let result = socket.end_connect(connected).result;
            let mut list = outcomes.list.lock().unwrap_or_else(PoisonError::into_inner);
            list.push((number, result));
            drop(list);
            outcomes.added.set();
        },
        socket.clone(),
    );
    Ok(Attempt { address, socket, operation })
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
