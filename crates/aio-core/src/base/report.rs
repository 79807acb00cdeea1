//! An operation in words, for reports.

use crate::base::address::display_address;
use crate::base::kind::OperationKind;
use socket2::SockAddr;
use std::fmt;
use std::time::Duration;

/// An operation, or its callback, in words: see [`Runtime::starvation_report`](crate::Runtime::starvation_report) and
/// [`ShutdownReport`](crate::ShutdownReport).
#[derive(Clone)]
#[non_exhaustive]
pub struct OperationReport {
    /// The name of its kind, as in `begin_NAME`; `post` or `register_wait` for a callback of these, and
    /// `rayon_job` for a job that a callback has given to rayon.
    pub operation: &'static str,
    /// The address of its socket, if it has one that is open and bound.
    pub local_addr: Option<SockAddr>,
    /// The address of the peer, if the socket is connected.
    pub peer_addr: Option<SockAddr>,
    /// How long it has been pending, or its callback running; on Linux right to some milliseconds.
    pub age: Duration,
}

impl OperationReport {
    pub(crate) fn new(
        kind: OperationKind,
        system: Option<&socket2::Socket>,
        age: Duration,
    ) -> Self {
        Self {
            operation: kind.name(),
            local_addr: system.and_then(|system| system.local_addr().ok()),
            peer_addr: system.and_then(|system| system.peer_addr().ok()),
            age,
        }
    }
}

/// The addresses in words.
impl fmt::Debug for OperationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationReport")
            .field("operation", &self.operation)
            .field("local_addr", &self.local_addr.as_ref().map(display_address))
            .field("peer_addr", &self.peer_addr.as_ref().map(display_address))
            .field("age", &self.age)
            .finish()
    }
}

impl fmt::Display for OperationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.operation)?;
        if let Some(local) = &self.local_addr {
            write!(f, " on {}", display_address(local))?;
        }
        if let Some(peer) = &self.peer_addr {
            write!(f, " with {}", display_address(peer))?;
        }
        write!(f, ", for {:?}", self.age)
    }
}
