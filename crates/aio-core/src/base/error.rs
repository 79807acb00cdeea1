//! The errors that are not the system's own words.
//!
//! Everything is a [`std::io::Error`]. Where a person needs more than the system says, its inner
//! error tells what was attempted, on which address, and has the system's error as its source.

use std::error::Error;
use std::fmt;
use std::io;

/// Why an operation was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aborted {
    /// Its handle's `cancel` was called.
    Canceled,
    /// Its deadline passed.
    TimedOut,
    /// Its socket was closed.
    Closed,
    /// Its socket was taken out of the runtime.
    Released,
    /// A send before it on the same stream ended after some of its bytes, and what comes after the gap
    /// would be misread; or a connect before it was canceled.
    Broken,
    /// Its runtime has been shut down.
    ShutDown,
}

impl Aborted {
    /// When an answer that was waited for had not come.
    pub(crate) fn until(self) -> &'static str {
        match self {
            Self::Canceled => "until it was canceled",
            Self::TimedOut => "until the deadline",
            Self::Closed => "until the socket was closed",
            Self::Released => "until the socket left the runtime",
            Self::Broken => "until an earlier operation ended halfway",
            Self::ShutDown => "until the runtime was shut down",
        }
    }

    /// Why the operation that ended with `error` was aborted, if it was.
    pub(crate) fn reason(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        match inner.downcast_ref::<Attempted>() {
            Some(attempted) => Self::reason(&attempted.source),
            None => inner.downcast_ref().copied(),
        }
    }
}

impl fmt::Display for Aborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Canceled => "operation aborted: it was canceled",
            Self::TimedOut => "operation aborted: its deadline has passed",
            Self::Closed => "operation aborted: the socket is closed",
            Self::Released => "operation aborted: the socket has been taken out of the runtime",
            Self::Broken => {
                "operation aborted: an earlier send or connect on this socket ended halfway"
            }
            Self::ShutDown => "operation aborted: the runtime is shut down",
        })
    }
}

impl Error for Aborted {}

impl From<Aborted> for io::Error {
    fn from(reason: Aborted) -> Self {
        let kind = match reason {
            Aborted::TimedOut => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, reason)
    }
}

/// Returns true if the operation that ended with `error` was aborted: canceled, caught by the closing
/// of its socket or the shutdown of its runtime, or overtaken by its deadline, which alone has the kind
/// [`TimedOut`](io::ErrorKind::TimedOut).
///
/// ```
/// let runtime = aio_core::Runtime::builder().workers(1).build()?;
/// let socket = runtime.tcp_v4()?;
/// socket.close();
/// socket.begin_send(*b"too late", |sent| assert!(aio_core::is_aborted(sent.error().unwrap())), ());
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn is_aborted(error: &io::Error) -> bool {
    Aborted::reason(error).is_some()
}

/// An error with what was attempted.
#[derive(Debug)]
struct Attempted {
    attempt: String,
    /// What came of it, where there is more to say than the source does.
    outcome: Option<String>,
    source: io::Error,
}

impl fmt::Display for Attempted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Some(outcome) => write!(f, "{}: {outcome}", self.attempt),
            None => write!(f, "{}: {}", self.attempt, self.source),
        }
    }
}

impl Error for Attempted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Says in front of `source` what was attempted, for example `connect to 127.0.0.1:80`; the kind
/// stays, and the system's error is the source.
pub(crate) fn attempted(attempt: impl Into<String>, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), Attempted { attempt: attempt.into(), outcome: None, source })
}

/// Says instead of `source` what was attempted and what came of it; the kind stays, and `source` is the source.
pub(crate) fn came_to(attempt: String, outcome: String, source: io::Error) -> io::Error {
    io::Error::new(source.kind(), Attempted { attempt, outcome: Some(outcome), source })
}

/// Gives each of several operations the error that all of them have.
pub(crate) fn error_like(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}
