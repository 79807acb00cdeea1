//! Connecting to whichever address of an end point answers first, after RFC 8305.
//!
//! Attempts begin one after the other, each with a socket of its own: the next one as soon as one has
//! failed, or when none has succeeded for a while. An address that stays silent so costs a moment, not
//! the deadline. The first connection made is kept; the other attempts are canceled.

use crate::deadline::Deadline;
use aio_core::{Operation, Runtime, Socket, op};
use aio_sync::{WaitHandle, wait_any_timeout};
use std::io;
use std::net::SocketAddr;
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

/// A pending attempt. Dropping it cancels it.
#[derive(Debug)]
struct Attempt {
    address: SocketAddr,
    socket: Socket,
    operation: Operation<op::Connect>,
}

/// Connects to one of `addresses`, of which there is at least one. `prepare` sets the options of each
/// socket.
pub(crate) fn connect(
    runtime: &Runtime,
    addresses: Vec<SocketAddr>,
    deadline: Deadline,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> Result<(Socket, SocketAddr), Failure> {
    let mut left = alternate_families(addresses).into_iter();
    let mut attempts = Vec::new();
    let mut failures = Vec::new();
    loop {
        if let Some(address) = left.next() {
            match start(runtime, address, &prepare) {
                Ok(attempt) => attempts.push(attempt),
                Err(error) => {
                    failures.push(error);
                    continue;
                }
            }
        } else if attempts.is_empty() {
            return Err(Failure::Refused(failures));
        }
        let delay = if left.len() > 0 { ATTEMPT_DELAY } else { Duration::MAX };
        match wait(&mut attempts, delay.min(deadline.remaining())) {
            Some(Attempt { address, socket, operation }) => match operation.wait().result {
                Ok(()) => return Ok((socket, address)),
                Err(error) => failures.push(error),
            },
            None if deadline.is_over() => return Err(Failure::TimedOut),
            None => {}
        }
    }
}

fn start(
    runtime: &Runtime,
    address: SocketAddr,
    prepare: impl Fn(&Socket) -> io::Result<()>,
) -> io::Result<Attempt> {
    let socket = if address.is_ipv4() { runtime.tcp_v4()? } else { runtime.tcp_v6()? };
    prepare(&socket)?;
    let operation = socket.connect_async(address);
    Ok(Attempt { address, socket, operation })
}

/// Takes out an attempt that is over, waiting for one if need be. There is at least one attempt.
fn wait(attempts: &mut Vec<Attempt>, timeout: Duration) -> Option<Attempt> {
    let index = if let [only] = &attempts[..] {
        // In a callback this keeps I/O going, which a wait for one of several cannot.
        only.operation.handle().wait_timeout(timeout).then_some(0)
    } else {
        let operations: Vec<&dyn WaitHandle> =
            attempts.iter().map(|attempt| &attempt.operation as _).collect();
        wait_any_timeout(&operations, timeout)
    };
    index.map(|index| attempts.remove(index))
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
