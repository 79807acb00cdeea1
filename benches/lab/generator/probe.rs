//! The time until a fresh connection's first echo.

use super::{STARVED_AFTER, dial, histogram, record, starved};
use crate::{interrupt, payload};
use hdrhistogram::Histogram;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

/// Connects, sends, waits for the echo and closes, one time after another.
pub(crate) fn fresh_connections(
    server: SocketAddr,
    message: usize,
    count: usize,
) -> io::Result<Histogram<u64>> {
    let mut latency = histogram();
    let mut echo = vec![0; message];
    for number in 0..count {
        interrupt::check()?;
        let begun = Instant::now();
        let mut stream = dial::connect(number, server)?;
        stream.set_read_timeout(Some(STARVED_AFTER))?;
        let sent = payload::bytes(number, 0, message);
        stream.write_all(sent)?;
        stream.read_exact(&mut echo).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => starved(),
            _ => error,
        })?;
        record(&mut latency, begun.elapsed());
        if echo != sent {
            return Err(io::Error::other("other bytes came back than were sent"));
        }
    }
    Ok(latency)
}
