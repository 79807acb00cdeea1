//! A thread that waits for an operation, and is no worker, sees to it itself.
//!
//! The thread blocks in the system's `poll`, on the operation's socket and on a descriptor of its own, the
//! thread's *alarm*. When the socket is ready, it takes the turn as a worker would. So a synchronous call needs no
//! worker: it makes progress while callbacks hold them all, and otherwise it saves two thread switches.
//!
//! While a thread polls, the engine need not know that the queue waits (`operation_queue.rs`, invariant 3). If
//! several threads wait at one socket and direction, one of them *polls* and the others *follow*: a report would
//! otherwise wake them all.
//!
//! 1. A wait that the engine does not know has a thread that polls, or one that will next: the thread that has begun
//!    the first in line and comes to wait for it, or, after a turn that a thread takes here, that thread or one that
//!    follows it.
//! 2. A thread stops polling to take a turn, or to leave. The turn ends the wait. After it, and before the thread
//!    pauses or leaves, a wait that is not known either gets another thread that polls, or the engine is told. A
//!    cancel may leave such a wait with others in line; the thread whose operation it was leaves then.
//! 3. A thread that follows first enters itself among the [`FOLLOWERS`], then asks once more whether another thread
//!    polls, under the queue's lock; the thread that polls leaves under that lock, then looks among them. So it finds
//!    the follower, or the follower polls. A follower that is taken out, but whose operation is over, passes it on.
//! 4. A thread is in `poll` for as long as nothing concerns it. What concerns it happens first, then its alarm goes
//!    off; and the thread says that it polls, then looks whether the alarm has gone off. Between the two steps of
//!    either there is a sequentially consistent fence, so that one of the two sees what the other did. The alarm
//!    may go off late, for a wait that is over: then the next one looks once more.
//! 5. The descriptor is pinned while the thread polls for it. A close aborts the operation, so the alarm goes off, and
//!    the close does not wait for the pin.
//!
//! `poll` reports what is ready for as long as it is, and the attempt may disagree: another thread is attempting
//! the operation in front, or what is reported concerns no operation (an error that is queued). After a report that
//! did not get its operation done, a thread pauses: it listens to its alarm alone, for longer each time, and the
//! engine waits meanwhile.
//!
//! A thread that waits for something that may block elsewhere (a file, a host name) leaves it to a worker, and waits
//! for the event. A thread that waits for an accept with first bytes sees to its parts, one after the other.

use crate::base::kind::Direction;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::CancelReason;
use crate::base::wake::{Signal, Wake};
use crate::engine::turns::{TryFirst, WaitSource};
use crate::state::in_flight::Handle;
use crate::state::socket::SocketInner;
use aio_sync::{Registration, WaitHandle};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::cell::OnceCell;
use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

/// For how long a thread leaves an operation to the workers that is none of a synchronous call: the engine knows of
/// it, and two threads that see to it cost more than one.
const WORKERS_FIRST: Duration = Duration::from_millis(1);

/// For how long a thread pauses at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(16));

/// Ends the `poll` of its thread.
#[derive(Debug)]
struct Alarm {
    /// True once it has gone off, until the thread notices.
    rung: AtomicBool,
    /// True while the thread polls, or is about to: invariant 4.
    polling: AtomicBool,
    wake: Wake,
}

impl std::task::Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.go_off();
    }
}

impl Alarm {
    /// An event has been set, or the thread has been taken out of the [`FOLLOWERS`].
    fn go_off(&self) {
        self.rung.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.polling.load(Ordering::Relaxed) {
            self.wake.signal();
        }
    }

    /// The calling thread's; `None` if the system has no descriptor left for it, or the thread is ending.
    fn of_this_thread() -> Option<Arc<Self>> {
        thread_local! {
            static ALARM: OnceCell<Arc<Alarm>> = const { OnceCell::new() };
        }
        let of = |alarm: &OnceCell<Arc<Self>>| {
            if alarm.get().is_none() {
                let (rung, polling) = (AtomicBool::new(false), AtomicBool::new(false));
                // There was none, so it is taken.
                let _ = alarm.set(Arc::new(Self { rung, polling, wake: Wake::new().ok()? }));
            }
            alarm.get().cloned()
        };
        ALARM.try_with(of).ok().flatten()
    }

    /// Polls for `socket`, too, if there is one, until `until`, if there is one, or until the alarm goes off.
    /// Returns true if the socket is ready.
    fn poll(
        &self,
        socket: Option<(&SocketInner, Direction)>,
        until: Option<Instant>,
    ) -> Result<bool, Unable> {
        // One that was closed this moment has aborted the operation, or is about to.
        let pin = socket.and_then(|(socket, _)| socket.descriptor.pin());
        let wake = PollFd::new(&self.wake, PollFlags::IN);
        let events = match socket {
            Some((_, Direction::Send)) => PollFlags::OUT,
            _ => PollFlags::IN,
        };
        let mut both;
        let mut alone;
        let entries: &mut [PollFd<'_>] = if let Some(system) = &pin {
            both = [wake, PollFd::new(&**system, events)];
            &mut both
        } else {
            alone = [wake];
            &mut alone
        };
        let timeout = until.map(|until| {
            Timespec::try_from(until.saturating_duration_since(Instant::now()))
                .unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        });
        self.polling.store(true, Ordering::Relaxed);
        // Invariant 4.
        fence(Ordering::SeqCst);
        let polled = if self.rung.swap(false, Ordering::Acquire) {
            Ok(0)
        } else {
            rustix::event::poll(entries, timeout.as_ref())
        };
        self.polling.store(false, Ordering::Relaxed);
        match polled {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            // The system is short of memory, or allows fewer descriptors than these.
            Err(_) => return Err(Unable),
        }
        if !entries[0].revents().is_empty() {
            self.wake.clear();
            // What this was about is seen from here on.
            self.rung.swap(false, Ordering::Acquire);
        }
        Ok(entries.get(1).is_some_and(|socket| !socket.revents().is_empty()))
    }
}

/// The threads that wait for an operation while another polls for the same socket and direction. Few: only where
/// several threads make synchronous calls of one direction on one socket at the same time.
#[derive(Debug)]
struct Follower {
    socket: SocketNumber,
    direction: Direction,
    alarm: Arc<Alarm>,
}

static FOLLOWERS: Mutex<Vec<Follower>> = Mutex::new(Vec::new());

fn followers() -> MutexGuard<'static, Vec<Follower>> {
    // Nothing that can panic runs under the lock.
    FOLLOWERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has the thread that has followed for longest poll. Returns false if there is none.
fn promote(socket: SocketNumber, direction: Direction) -> bool {
    let mut followers = followers();
    let is_there = |other: &Follower| other.socket == socket && other.direction == direction;
    let Some(position) = followers.iter().position(is_there) else { return false };
    let follower = followers.remove(position);
    drop(followers);
    follower.alarm.go_off();
    true
}

/// Blocks until `operation` has completed or the deadline has passed; true if it has completed. The calling
/// thread is no worker. Returns `None` if the thread cannot poll for the operation.
pub(super) fn wait<S: WaitSource>(
    turns: &TryFirst<S>,
    socket: &Arc<SocketInner>,
    operation: &Handle,
    deadline: Option<Instant>,
) -> Option<bool> {
    let waited = if operation.is_composite() {
        attend_parts(turns, operation, deadline)
    } else {
        attend(turns, socket, operation, deadline)
    };
    waited.ok()
}

/// The thread cannot poll for an operation.
#[derive(Debug)]
struct Unable;

/// The parts of a composite operation, one after the other, if the calling thread has begun it.
fn attend_parts<S: WaitSource>(
    turns: &TryFirst<S>,
    operation: &Handle,
    deadline: Option<Instant>,
) -> Result<bool, Unable> {
    if operation.thread().is_none() {
        return Err(Unable);
    }
    // When a part has completed, the next one has begun.
    while let Some(part) = operation.part() {
        let is_over = attend(turns, &part.place().ok_or(Unable)?, &part, deadline)?;
        if !is_over || operation.completed().is_set() {
            return Ok(is_over);
        }
    }
    Err(Unable)
}

fn attend<S: WaitSource>(
    turns: &TryFirst<S>,
    socket: &Arc<SocketInner>,
    operation: &Handle,
    deadline: Option<Instant>,
) -> Result<bool, Unable> {
    if operation.may_block() {
        return Err(Unable);
    }
    if operation.thread().is_none() {
        let soon = Instant::now() + WORKERS_FIRST;
        if operation.event().wait_until(deadline.map_or(soon, |deadline| deadline.min(soon))) {
            return Ok(true);
        }
    }
    let mut attending = Attending {
        turns,
        operation,
        alarm: Alarm::of_this_thread(),
        deadline,
        own: operation.deadline(),
        socket: Some(socket.clone()),
        polls: false,
        follows: false,
    };
    let waited = attending.attend();
    attending.leave();
    waited
}

/// A thread that waits for an operation.
struct Attending<'a, S> {
    turns: &'a TryFirst<S>,
    operation: &'a Handle,
    alarm: Option<Arc<Alarm>>,
    deadline: Option<Instant>,
    /// The operation's own deadline, until it has passed.
    own: Option<Instant>,
    /// That of the operation, until the thread leaves.
    socket: Option<Arc<SocketInner>>,
    /// True if this is the thread that polls there.
    polls: bool,
    /// True if this thread was entered among the [`FOLLOWERS`], and has not been seen to be taken out.
    follows: bool,
}

impl<S: WaitSource> Attending<'_, S> {
    fn attend(&mut self) -> Result<bool, Unable> {
        let alarm = self.alarm.clone().ok_or(Unable)?;
        let operation = self.operation;
        // What it went off for before is over.
        alarm.rung.store(false, Ordering::Relaxed);
        let mut registration = pin!(Registration::new(operation.event()));
        if !registration.as_mut().register(Waker::from(alarm.clone())) {
            return Ok(true);
        }
        let direction = operation.direction();
        let socket = self.socket.clone().ok_or(Unable)?;
        let mut pause = None;
        while !self.is_over() {
            if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                return Ok(false);
            }
            if let Some(pause) = pause {
                self.listen(&alarm, Some(Instant::now() + pause))?;
                if self.is_over() {
                    break;
                }
            }
            if !self.polls && !self.begin_to_poll(&socket, &alarm)? {
                if self.follows {
                    pause = None;
                }
                continue;
            }
            let begun = pause.map(|_| Instant::now());
            let until = self.until(None);
            if !alarm.poll(Some((&socket, direction)), until)? {
                continue;
            }
            self.polls = false;
            self.turns.ready_here(&socket, direction);
            if self.is_over() {
                break;
            }
            self.turns.tell(&socket, direction);
            let at_once = begun.is_some_and(|begun| begun.elapsed() < PAUSES.0);
            pause = Some(match pause {
                Some(pause) if at_once => PAUSES.1.min(2 * pause),
                _ => PAUSES.0,
            });
        }
        Ok(true)
    }

    /// Returns true if this thread is to poll now. Else it has taken a turn, or has followed another thread, or
    /// begins to.
    fn begin_to_poll(
        &mut self,
        socket: &Arc<SocketInner>,
        alarm: &Arc<Alarm>,
    ) -> Result<bool, Unable> {
        // Others may follow with it.
        let may_be_followed = self.follows;
        self.follows = self.follows && self.is_among_followers();
        match self.turns.poll_here(socket, self.operation, may_be_followed) {
            Some(polls) => self.polls = polls,
            None if self.follows => self.listen(alarm, None)?,
            None => {
                // The thread that polls may have left before it could find this one: it is asked once more.
                let direction = self.operation.direction();
                let alarm = alarm.clone();
                followers().push(Follower { socket: socket.number, direction, alarm });
                self.follows = true;
            }
        }
        if self.polls && self.follows {
            self.stop_following();
            self.follows = false;
        }
        Ok(self.polls)
    }

    fn is_among_followers(&self) -> bool {
        followers().iter().any(|other| self.is(other))
    }

    /// Returns false if another thread has had it poll.
    fn stop_following(&self) -> bool {
        let mut followers = followers();
        let position = followers.iter().position(|other| self.is(other));
        position.map(|position| followers.remove(position)).is_some()
    }

    /// A thread follows in one place at a time.
    fn is(&self, follower: &Follower) -> bool {
        self.alarm.as_ref().is_some_and(|alarm| Arc::ptr_eq(alarm, &follower.alarm))
    }

    /// True if the operation has completed. If its own deadline has passed, it is canceled.
    fn is_over(&mut self) -> bool {
        if !self.operation.completed().is_set() {
            // The timekeeper may be held by a callback.
            let is_due = |own: &mut Instant| *own <= Instant::now();
            if self.own.take_if(is_due).is_some() {
                self.operation.cancel(CancelReason::TimedOut);
            }
        }
        self.operation.completed().is_set()
    }

    /// Listens to the alarm alone.
    fn listen(&self, alarm: &Alarm, until: Option<Instant>) -> Result<(), Unable> {
        alarm.poll(None, self.until(until)).map(drop)
    }

    /// The first of the deadlines.
    fn until(&self, until: Option<Instant>) -> Option<Instant> {
        until.into_iter().chain(self.own).chain(self.deadline).min()
    }

    /// Polls, or follows, no longer.
    fn leave(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        let (number, direction) = (socket.number, self.operation.direction());
        let is_followed = if mem::take(&mut self.follows) {
            self.operation.thread_leaves();
            // If it was to poll, another is to.
            !self.stop_following()
        } else {
            self.turns.leave(&socket, self.operation, mem::take(&mut self.polls))
        };
        if is_followed && !promote(number, direction) {
            self.turns.hand_over(&socket, direction);
        }
    }
}
