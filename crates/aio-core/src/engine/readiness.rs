//! A pending operation waits in the system's readiness queue; it holds no thread.
//!
//! One worker at a time, the *leader*, waits in the poller. It leaves with a batch of events and
//! runs them itself: no other thread stands between readiness, call and callback. The others park.
//! Who leads is decided by one lock that only idle workers try to take; whether somebody must take
//! over from a leader that got stuck in a callback is the worker pool's business.
//!
//! A socket is registered once, when its first operation has to wait, for both directions,
//! edge-triggered, and never again: no system call is made to wait, or to stop waiting. Lost edges
//! are impossible because a report that comes during an attempt makes it be repeated
//! (`operation_queue.rs`, invariant 2), and registering reports what is ready at that moment.
//!
//! The poller counts whole milliseconds on Linux, and ends a wait late rather than early. Deadlines are kept to
//! the microsecond: a longer wait ends early by the rest, and the worker comes back for that, which is
//! waited for with `ppoll` on the poller.
//!
//! A token is the socket's number (`socket_table.rs`): an event that was fetched before its socket was
//! closed finds a socket that wants nothing any more, or nobody, and never the one that has the descriptor
//! now (I6).
//!
//! A descriptor is taken out of the poller before it is closed, though closing would do that, too. While Linux
//! looks whether a socket is ready, in the leader's wait, that wait holds the file (as seen on Linux
//! 6.18); a close meanwhile then happens when the wait returns, and if it finds nothing else to report,
//! that may be never: the peer would not learn of the close. Taking the descriptor out waits for the look to end.

use super::{Driver, Engine};
use crate::op::Direction;
use crate::operation_queue::Ticket;
use crate::runtime::{Readiness as Report, Work};
use crate::socket::SocketInner;
use crate::socket_table::{self, SocketNumber};
use crate::worker_pool::Wait;
use aio_sync::AutoResetEvent;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

/// How many events one wait fetches. More only fills the cache with what waits longer.
const EVENTS_PER_WAIT: usize = 256;

const WAKER: Token = Token(usize::MAX);

/// No worker is in the poller.
const NOBODY: usize = usize::MAX;

pub(super) struct Readiness {
    registry: Registry,
    waker: Waker,
    /// Held by the leader while it is in the poller; only ever tried.
    leader: Mutex<Leader>,
    /// The worker that is about to enter, or is in, the poller.
    leading: AtomicUsize,
    /// One for each worker: set to wake it.
    woken: Box<[AutoResetEvent]>,
}

struct Leader {
    poll: Poll,
    events: Events,
}

impl Readiness {
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        Ok(Self {
            waker: Waker::new(&registry, WAKER)?,
            registry,
            leader: Mutex::new(Leader { poll, events: Events::with_capacity(EVENTS_PER_WAIT) }),
            leading: AtomicUsize::new(NOBODY),
            woken: (0..workers).map(|_| AutoResetEvent::new(false)).collect(),
        })
    }

    /// Waits in the poller.
    fn lead(
        &self,
        leader: &mut Leader,
        worker: usize,
        timeout: Option<Duration>,
        found: &mut Vec<Work>,
    ) {
        // Against `wake`, which sets the event and then looks who leads: one of the two sees what
        // the other did.
        self.leading.store(worker, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let timeout = if self.woken[worker].try_wait() { Some(Duration::ZERO) } else { timeout };
        let polled = poll(leader, timeout);
        self.leading.store(NOBODY, Ordering::Relaxed);
        match polled {
            Ok(()) => {}
            // A signal handler ran: the caller comes back.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => panic!("the poller is ours and open, but waiting in it failed: {error}"),
        }
        let sockets = socket_table::finder();
        for event in &leader.events {
            if event.token() == WAKER {
                // This wait has ended; the wake-up is not to end the next one too.
                let _ = self.woken[worker].try_wait();
                continue;
            }
            let number = SocketNumber::from(event.token().0);
            let Some(socket) = number.and_then(|number| sockets.find(number)) else { continue };
            found.push(Work::Ready {
                socket,
                report: Report {
                    receive: event.is_readable() || event.is_read_closed() || event.is_error(),
                    send: event.is_writable() || event.is_write_closed() || event.is_error(),
                    stays_ready: event.is_read_closed() || event.is_error() || event.is_priority(),
                    ticket: None,
                },
            });
        }
    }

    /// Registers `socket` with the poller, unless that has been done or has failed.
    fn register(&self, socket: &Arc<SocketInner>) -> io::Result<()> {
        match socket.registration.load(Ordering::Acquire) {
            registration::NONE => {}
            registration::FAILED => return Err(Self::failed()),
            _ => return Ok(()),
        }
        let claim = socket.registration.compare_exchange(
            registration::NONE,
            registration::UNDER_WAY,
            Ordering::Acquire,
            Ordering::Acquire,
        );
        match claim {
            Ok(_) => {}
            Err(registration::FAILED) => return Err(Self::failed()),
            // The other direction is about to, or has: its registration reports what is ready now
            // to both. If it fails, it fails both: against that, this direction is in *Waiting*
            // before the fence, and the other looks for it after its own.
            Err(_) => {
                fence(Ordering::SeqCst);
                return match socket.registration.load(Ordering::Relaxed) {
                    registration::FAILED => Err(Self::failed()),
                    _ => Ok(()),
                };
            }
        }
        let Some(system) = socket.descriptor.pin() else {
            // Closed, so both queues are stopped, or about to be: nobody waits any more.
            return Ok(());
        };
        let token = Token(socket.number.get());
        let (descriptor, interests) = (system.as_raw_fd(), Self::interests());
        let registered = self.registry.register(&mut SourceFd(&descriptor), token, interests);
        let registered = match registered {
            // A socket that had this number before was closed while a duplicate of its descriptor
            // was kept, and then duplicated to this number: the system still has it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.registry.reregister(&mut SourceFd(&descriptor), token, interests)
            }
            registered => registered,
        };
        let outcome = if registered.is_ok() { registration::DONE } else { registration::FAILED };
        let told = socket.registration.compare_exchange(
            registration::UNDER_WAY,
            outcome,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if told.is_err() {
            // It has been forgotten meanwhile.
            self.deregister(&system);
        }
        fence(Ordering::SeqCst);
        registered
    }

    fn deregister(&self, system: &socket2::Socket) {
        // Fails if the poller does not know it.
        let _ = self.registry.deregister(&mut SourceFd(&system.as_raw_fd()));
    }

    fn interests() -> Interest {
        let interests = Interest::READABLE | Interest::WRITABLE;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let interests = interests | Interest::PRIORITY;
        interests
    }

    fn failed() -> io::Error {
        io::Error::other("the socket could not be registered with the system's readiness queue")
    }
}

/// Waits for events, for less than `timeout` perhaps, but for no longer.
fn poll(Leader { poll, events }: &mut Leader, timeout: Option<Duration>) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let timeout = match timeout {
        Some(timeout) => Some(whole_milliseconds(poll, timeout)?),
        None => None,
    };
    poll.poll(events, timeout)
}

/// Returns the whole milliseconds of `timeout`. If there are none, what it has beyond has been waited for, or
/// an event has come.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn whole_milliseconds(poller: &Poll, timeout: Duration) -> io::Result<Duration> {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let beyond = timeout.subsec_nanos() % 1_000_000;
    let whole = timeout - Duration::from_nanos(beyond.into());
    if whole.is_zero() && beyond > 0 {
        let beyond = Timespec { tv_sec: 0, tv_nsec: beyond.into() };
        poll(&mut [PollFd::new(poller.registry(), PollFlags::IN)], Some(&beyond))?;
    }
    Ok(whole)
}

/// The values of [`SocketInner::registration`].
mod registration {
    pub(super) const NONE: u8 = 0;
    pub(super) const UNDER_WAY: u8 = 1;
    pub(super) const FAILED: u8 = 2;
    pub(super) const DONE: u8 = 3;
    /// The descriptor is about to be closed.
    pub(super) const FORGOTTEN: u8 = 4;
}

impl Driver for Readiness {
    fn engine(&self) -> Engine {
        Engine::Readiness
    }

    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        _direction: Direction,
        _ticket: Ticket,
    ) -> io::Result<()> {
        self.register(socket)
    }

    fn forget(&self, socket: &SocketInner) {
        // Who is registering it finds this, and deregisters it in our place.
        if socket.registration.swap(registration::FORGOTTEN, Ordering::AcqRel) == registration::DONE
        {
            if let Some(system) = socket.descriptor.pin() {
                self.deregister(&system);
            }
        }
    }

    fn wait(&self, worker: usize, wait: Wait, found: &mut Vec<Work>) {
        if wait.alone {
            match self.leader.try_lock() {
                Ok(mut leader) => return self.lead(&mut leader, worker, wait.timeout, found),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Poisoned(_)) => unreachable!("a leader does not panic"),
            }
        }
        match wait.timeout {
            None => self.woken[worker].wait_one(),
            Some(timeout) => {
                let _ = self.woken[worker].wait_timeout(timeout);
            }
        }
    }

    fn wake(&self, worker: usize) {
        self.woken[worker].set();
        fence(Ordering::SeqCst);
        if self.leading.load(Ordering::Relaxed) == worker {
            // The system refuses a wake-up only when one is pending already.
            let _ = self.waker.wake();
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness").field("workers", &self.woken.len()).finish_non_exhaustive()
    }
}
