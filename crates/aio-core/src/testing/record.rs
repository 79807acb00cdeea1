//! What can be injected, and what has been: the one table of faults, with how each is counted, and the log.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many injections are kept for [`Faults::log`](super::Faults::log).
const LOGGED: usize = 4096;

/// Of each fault: its name, the name of its count, the word for it, and, if it makes calls fail, their error: on Unix
/// by its number, elsewhere by its kind.
macro_rules! faults {
    ($(
        $(#[$doc:meta])*
        $fault:ident $(($bytes:ty))? => $count:ident, $words:literal $(, $errno:ident, $kind:ident)?;
    )*) => {
        /// What is made of a call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $fault $(($bytes))?,)*
        }

        impl Fault {
            /// Returns the error of a call, or a wait, that is made to fail.
            pub(super) fn error(self) -> io::Error {
                match self {
                    $($(
                        #[cfg(unix)]
                        Self::$fault => io::Error::from_raw_os_error(libc::$errno),
                        #[cfg(not(unix))]
                        Self::$fault => io::ErrorKind::$kind.into(),
                    )?)*
                    _ => unreachable!("{self:?} makes nothing fail"),
                }
            }
        }

        /// How often a runtime's [`Faults`](super::Faults) were injected: see
        /// [`Faults::injected`](super::Faults::injected).
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        #[expect(missing_docs, reason = "each is named like what asks for it in `Faults`")]
        pub struct Injected {
            $(pub $count: u64,)*
            pub delays: u64,
        }

        impl fmt::Display for Injected {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, concat!("{} ", $words, ", "), self.$count)?;)*
                write!(f, "{} delayed", self.delays)
            }
        }

        #[derive(Debug, Default)]
        struct Counts {
            $($count: AtomicU64,)*
            delays: AtomicU64,
        }

        impl Counts {
            fn of(&self, fault: Fault) -> &AtomicU64 {
                match fault {
                    $(Fault::$fault { .. } => &self.$count,)*
                }
            }

            fn read(&self) -> Injected {
                let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
                Injected { $($count: read(&self.$count),)* delays: read(&self.delays) }
            }
        }
    };
}

faults! {
    /// It would block.
    WouldBlock => would_block, "would block", EAGAIN, WouldBlock;
    /// It moves no more than so many bytes.
    Short(usize) => short_transfers, "short";
    /// `ECONNRESET`.
    Reset => resets, "reset", ECONNRESET, ConnectionReset;
    /// `ETIMEDOUT`.
    TimedOut => timeouts, "timed out", ETIMEDOUT, TimedOut;
    /// `EMFILE`.
    OutOfDescriptors => out_of_descriptors, "out of descriptors", EMFILE, Other;
    /// `ENOBUFS`.
    NoBuffers => no_buffers, "without buffers", ENOBUFS, OutOfMemory;
    /// `ECONNABORTED`.
    Aborted => aborted_connections, "aborted", ECONNABORTED, ConnectionAborted;
    /// `EINTR`.
    Interrupted => interruptions, "interrupted", EINTR, Interrupted;
    /// The connection is reset.
    Broken => broken_connections, "broken", ECONNRESET, ConnectionReset;
    /// `ENOMEM`, for what waits.
    UnableToWait => unable_to_wait, "unable to wait", ENOMEM, OutOfMemory;
    /// What waits is reported ready.
    SpuriousReport => spurious_reports, "spurious reports";
    /// What is canceled is attempted before.
    LateCancel => late_cancels, "late cancels";
    /// The operation's deadline passes just before the call.
    EarlyDeadline => early_deadlines, "early deadlines";
}

impl Injected {
    /// Returns how many calls and waits were made to fail. After a broken connection, every call fails.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.resets
            + self.timeouts
            + self.out_of_descriptors
            + self.no_buffers
            + self.aborted_connections
            + self.broken_connections
            + self.unable_to_wait
    }
}

/// A fault that was injected: see [`Faults::log`](super::Faults::log).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// The socket's number: they are counted from 0 in the order in which the runtime has made them.
    pub socket: u64,
    /// What the call was for: `accept`, `connect`, `receive` or `send`; or `cancel` or `wait`, which no
    /// operation calls but those who cancel it and who have it wait.
    pub purpose: &'static str,
    /// How many calls, or cancels, or waits, there were before, of the socket and direction.
    pub call: u64,
    /// What was made of the call.
    pub fault: Fault,
}

/// What has been injected so far.
#[derive(Debug, Default)]
pub(super) struct Record {
    counts: Counts,
    log: Mutex<Vec<Injection>>,
}

impl Record {
    pub(super) fn add(&self, injection: Injection) {
        self.counts.of(injection.fault).fetch_add(1, Ordering::Relaxed);
        let mut log = self.log();
        if log.len() < LOGGED {
            log.push(injection);
        }
    }

    pub(super) fn add_delay(&self) {
        self.counts.delays.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn injected(&self) -> Injected {
        self.counts.read()
    }

    pub(super) fn log(&self) -> MutexGuard<'_, Vec<Injection>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
