//! [`SocketFaults`]: the faults of one socket's calls, waits, cancels and deadlines.
//!
//! Each decision is a function of the seed, the socket's number, a sequence of decisions, and how many decisions there
//! were in that sequence. The calls of a direction are one sequence, and so are the waits, the cancels, and the
//! deadlines of a direction.

use super::random::SplitMix64;
use super::{Fault, Faults, Injection};
use crate::base::kind::{Direction, Purpose};
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The sequences of decisions after those of calls, which are numbered as the directions are.
const WAITS: u64 = 2;
const CANCELS: u64 = 3;
/// And the direction.
const DEADLINES: u64 = 4;

/// Injects the faults of one socket.
#[derive(Debug)]
pub(crate) struct SocketFaults {
    faults: Arc<Faults>,
    number: u64,
    is_stream: bool,
    is_tcp: bool,
    /// How many calls there were, by direction.
    calls: [AtomicU64; 2],
    waits: AtomicU64,
    cancels: AtomicU64,
    /// True once the connection has been reset.
    is_broken: AtomicBool,
}

impl SocketFaults {
    pub(super) fn new(faults: Arc<Faults>, number: u64, is_stream: bool, is_tcp: bool) -> Self {
        Self {
            faults,
            number,
            is_stream,
            is_tcp,
            calls: Default::default(),
            waits: AtomicU64::new(0),
            cancels: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
        }
    }

    /// Decides what becomes of a call that is to move so many bytes. Returns how many it may move. A call that is put
    /// off is reported ready by `report`. Once the socket `has_ended` receiving, no call is put off: one that would
    /// block there has come to the end.
    pub(crate) fn permit(
        &self,
        system: &socket2::Socket,
        purpose: Purpose,
        bytes: usize,
        has_ended: bool,
        report: impl FnOnce(),
    ) -> io::Result<usize> {
        // One thread at a time is here for a socket and direction.
        let calls = &self.calls[purpose.direction() as usize];
        let call = calls.fetch_add(1, Ordering::Relaxed);
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(match purpose {
                Purpose::Send => io::ErrorKind::BrokenPipe.into(),
                _ => Fault::Broken.error(),
            });
        }
        let decided = self.faults.decide(self.number, call, purpose, bytes, self.is_stream);
        let Some(fault) = decided else { return Ok(bytes) };
        if fault == Fault::WouldBlock && has_ended {
            return Ok(bytes);
        }
        if fault == Fault::Broken && !self.break_connection(system) {
            return Ok(bytes);
        }
        self.record(purpose.name(), call, fault);
        match fault {
            Fault::Short(most) => return Ok(most),
            // The system has nothing to report. Even if this report comes before the operation is back in its queue,
            // it is not lost (`operation_queue.rs`, invariant 2).
            Fault::WouldBlock => report(),
            _ => {}
        }
        Err(fault.error())
    }

    /// An operation has to wait: refuses that, or has `report` report it ready.
    pub(crate) fn wait(&self, report: impl FnOnce()) -> io::Result<()> {
        let wait = self.waits.fetch_add(1, Ordering::Relaxed);
        let probabilities = &self.faults.probabilities;
        let mut random = self.decision(WAITS, wait);
        let is_unable = random.chance(probabilities.unable_to_wait);
        let is_spurious = random.chance(probabilities.spurious_reports);
        if is_unable {
            self.record("wait", wait, Fault::UnableToWait);
            return Err(Fault::UnableToWait.error());
        }
        if is_spurious {
            self.record("wait", wait, Fault::SpuriousReport);
            report();
        }
        Ok(())
    }

    /// True if an operation of the socket that is canceled is to be attempted before.
    pub(crate) fn cancels_late(&self) -> bool {
        let cancel = self.cancels.fetch_add(1, Ordering::Relaxed);
        let is_late = self.decision(CANCELS, cancel).chance(self.faults.probabilities.late_cancels);
        if is_late {
            self.record("cancel", cancel, Fault::LateCancel);
        }
        is_late
    }

    /// True if the deadline of an operation that is about to be attempted, and has one, passes now.
    pub(crate) fn deadline_passes(&self, direction: Direction) -> bool {
        let call = self.calls[direction as usize].load(Ordering::Relaxed);
        let passes = self
            .decision(DEADLINES + direction as u64, call)
            .chance(self.faults.probabilities.early_deadlines);
        if passes {
            self.record("wait", call, Fault::EarlyDeadline);
        }
        passes
    }

    fn decision(&self, sequence: u64, number: u64) -> SplitMix64 {
        SplitMix64::at([self.faults.seed, self.number, sequence, number])
    }

    fn record(&self, purpose: &'static str, call: u64, fault: Fault) {
        self.faults.record.add(Injection { socket: self.number, purpose, call, fault });
    }

    /// Resets a connection of TCP, if there is one; its descriptor stays open.
    fn break_connection(&self, system: &socket2::Socket) -> bool {
        if !self.is_tcp || system.peer_addr().is_err() {
            return false;
        }
        self.is_broken.store(true, Ordering::Relaxed);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if rustix::net::connect_unspec(system).is_ok() {
            return true;
        }
        // Elsewhere the peer sees it when the socket is closed, and the end of the stream until then.
        let _ = system.set_linger(Some(Duration::ZERO));
        let _ = system.shutdown(Shutdown::Both);
        true
    }
}

impl Purpose {
    pub(crate) fn direction(self) -> Direction {
        match self {
            Self::Accept | Self::Receive => Direction::Receive,
            Self::Connect | Self::Send => Direction::Send,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connect => "connect",
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }
}
