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
//! A token is the socket's number (`number.rs`): an event that was fetched before its socket was
//! closed finds a socket that wants nothing any more, or nobody, and never the one that has the descriptor
//! now (I6).
//!
//! A descriptor is taken out of the poller before it is closed, though closing would do that, too. While Linux
//! looks whether a socket is ready, in the leader's wait, that wait holds the file (as seen on Linux
//! 6.18); a close meanwhile then happens when the wait returns, and if it finds nothing else to report,
//! that may be never: the peer would not learn of the close. Taking the descriptor out waits for the look to end.
//! A child of `fork` shares the poller and the open sockets with its parent: what it took out, the parent would
//! wait for in vain. So the process that made the poller alone takes descriptors out.

use crate::base::engine::Engine;
use crate::base::kind::Direction;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::Ticket;
use crate::engine::outage::{Failures, Outage};
use crate::engine::turns::WaitSource;
use crate::pool::worker_pool::Wait;
use crate::state::context::{Report, Work};
use crate::state::socket::{self, SocketInner};
use aio_sync::AutoResetEvent;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::Duration;

/// How many events one wait fetches. More only fills the cache with what waits longer.
const EVENTS_PER_WAIT: usize = 256;

const WAKER: Token = Token(usize::MAX);

/// No worker is in the poller.
const NOBODY: usize = usize::MAX;

pub(crate) struct Readiness {
    registry: Registry,
    waker: Waker,
    /// Held by the leader while it is in the poller; only ever tried.
    leader: Mutex<Leader>,
    /// The worker that is about to enter, or is in, the poller.
    leading: AtomicUsize,
    /// One for each worker: set to wake it.
    woken: Box<[AutoResetEvent]>,
    outage: Outage,
    /// The process that has made the poller.
    process: u32,
}

/// How long a leader does without the poller during an outage before it tries again.
const TIME_BETWEEN_LOOKS: Duration = Duration::from_millis(100);

struct Leader {
    poll: Poll,
    events: Events,
    failures: Failures,
}

impl Readiness {
    pub(crate) fn new(workers: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        Ok(Self {
            waker: Waker::new(&registry, WAKER)?,
            registry,
            leader: Mutex::new(Leader {
                poll,
                events: Events::with_capacity(EVENTS_PER_WAIT),
                failures: Failures::default(),
            }),
            leading: AtomicUsize::new(NOBODY),
            woken: (0..workers).map(|_| AutoResetEvent::new(false)).collect(),
            outage: Outage::default(),
            process: process::id(),
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
            Ok(()) => {
                leader.failures.end();
                self.outage.end();
            }
            // A signal handler ran: the caller comes back.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return,
            Err(error) => return self.fails(leader, worker, error, timeout, found),
        }
        let sockets = socket::finder();
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

    /// The poller has failed `worker`. What waits there fails with the error if it stays; see
    /// [`Outage`].
    #[cold]
    fn fails(
        &self,
        leader: &mut Leader,
        worker: usize,
        error: io::Error,
        timeout: Option<Duration>,
        found: &mut Vec<Work>,
    ) {
        let mut pause = leader.failures.pause();
        if leader.failures.last() {
            self.outage.begin(error);
            // When they find that they have to wait again they are told, for `wait_for` fails.
            // The leader is a worker of the runtime that waits here.
            let are_ours = |socket: &SocketInner| socket.runtime.pool.current_worker().is_some();
            for socket in socket::sockets_that(are_ours) {
                let [receive, send] =
                    [&socket.receive, &socket.send].map(|queue| queue.ticket().is_some());
                if receive || send {
                    let report = Report { receive, send, stays_ready: false, ticket: None };
                    found.push(Work::Ready { socket, report });
                }
            }
            pause = TIME_BETWEEN_LOOKS;
        }
        if found.is_empty() {
            let pause = timeout.map_or(pause, |timeout| timeout.min(pause));
            let _ = self.woken[worker].wait_timeout(pause);
        }
    }

    /// Registers `socket` with the poller, unless that has been done. After a failure the next wait tries again.
    fn register(&self, socket: &Arc<SocketInner>) -> io::Result<()> {
        while socket.registration.load(Ordering::Acquire) != registration::DONE {
            let claim = socket.registration.compare_exchange(
                registration::NONE,
                registration::UNDER_WAY,
                Ordering::Acquire,
                Ordering::Acquire,
            );
            match claim {
                Ok(_) => return self.register_now(socket),
                // The other direction is about to, or has: its registration reports what is ready now to
                // both. If it fails, it fails both: against that, this direction is in *Waiting* before the
                // fence, and the other looks for it after its own.
                Err(registration::UNDER_WAY) => {
                    fence(Ordering::SeqCst);
                    if socket.registration.load(Ordering::Relaxed) != registration::NONE {
                        break;
                    }
                }
                // A failure, whose thread may have looked for this direction too early: this one tries.
                Err(registration::NONE) => {}
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn register_now(&self, socket: &Arc<SocketInner>) -> io::Result<()> {
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
        let outcome = if registered.is_ok() { registration::DONE } else { registration::NONE };
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
}

/// Waits for events, for less than `timeout` perhaps, but for no longer.
fn poll(Leader { poll, events, .. }: &mut Leader, timeout: Option<Duration>) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let timeout = timeout.map(|timeout| whole_milliseconds(poll, timeout));
    poll.poll(events, timeout)
}

/// Returns the whole milliseconds of `timeout`. If there are none, what it has beyond has been waited for, or
/// an event has come, or the system refuses: `poll` takes no entry of a process that may have no descriptors.
/// Then the poller waits for a millisecond.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn whole_milliseconds(poller: &Poll, timeout: Duration) -> Duration {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::io::Errno;
    let beyond = timeout.subsec_nanos() % 1_000_000;
    let whole = timeout - Duration::from_nanos(beyond.into());
    if whole.is_zero() && beyond > 0 {
        let beyond = Timespec { tv_sec: 0, tv_nsec: beyond.into() };
        match poll(&mut [PollFd::new(poller.registry(), PollFlags::IN)], Some(&beyond)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return timeout,
        }
    }
    whole
}

/// The values of [`SocketInner::registration`].
mod registration {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const UNDER_WAY: u8 = 1;
    pub(crate) const DONE: u8 = 2;
    /// The descriptor is about to be closed.
    pub(crate) const FORGOTTEN: u8 = 3;
}

impl WaitSource for Readiness {
    fn engine(&self) -> Engine {
        Engine::Readiness
    }

    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        _direction: Direction,
        _ticket: Ticket,
    ) -> io::Result<()> {
        self.outage.check()?;
        self.register(socket)
    }

    fn forget(&self, socket: &SocketInner) {
        // A thread that is still registering the socket finds this, and deregisters it.
        if socket.registration.swap(registration::FORGOTTEN, Ordering::AcqRel) == registration::DONE
            && process::id() == self.process
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
