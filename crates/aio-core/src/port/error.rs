//! Why a post or a wait at a port has come to nothing.

use std::error::Error;
use std::fmt;

/// The port is closed; here is the packet that was to be posted.
///
/// ```
/// use aio_core::{CompletionPort, PostError};
///
/// let port = CompletionPort::new(1);
/// port.close();
/// let error = port.post("late").unwrap_err();
/// assert_eq!(error.to_string(), "the completion port is closed");
/// assert_eq!(error, PostError("late"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PostError<T>(pub T);

impl<T> fmt::Debug for PostError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostError").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for PostError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        WaitError::Closed.fmt(f)
    }
}

impl<T> Error for PostError<T> {}

/// Why a wait has ended without a packet.
///
/// ```
/// use aio_core::{CompletionPort, WaitError};
/// use std::time::Duration;
///
/// fn idle_work() {}
///
/// let port = CompletionPort::new(1);
/// port.post("packet").unwrap();
/// port.close();
/// loop {
///     match port.wait_timeout(Duration::from_secs(1)) {
///         Ok(packet) => assert_eq!(packet, "packet"),
///         Err(WaitError::TimedOut) => idle_work(),
///         Err(WaitError::Closed) => break,
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitError {
    /// The time was over, and there was nothing that the thread could take. A later wait may succeed.
    TimedOut,
    /// The port is closed and all its packets have been taken. No later wait succeeds.
    Closed,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no completion packet arrived in time",
            Self::Closed => "the completion port is closed",
        })
    }
}

impl Error for WaitError {}
