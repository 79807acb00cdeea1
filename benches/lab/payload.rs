//! The bytes that are sent, and that must come back.
//!
//! The byte at a position of a connection's stream depends on that position and on the connection. The
//! period is a prime number, so that a message that is lost, doubled or out of place shows.

use std::sync::LazyLock;

/// So [`SLOW`](servers::SLOW), which takes the place of a message's first byte, is no part of it.
const PERIOD: usize = 251;
/// The longest run that can be had at once.
pub(crate) const LONGEST: usize = 64 * 1024;

static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..PERIOD + LONGEST).map(|index| (index % PERIOD) as u8).collect());

/// The bytes from `position` on of the stream of a connection.
pub(crate) fn bytes(connection: usize, position: u64, length: usize) -> &'static [u8] {
    let start = (connection as u64 * 31 + position) % PERIOD as u64;
    &PATTERN[start as usize..][..length]
}
