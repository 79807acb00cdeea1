//! A pending operation waits on a worker.
//!
//! The worker blocks in the system's `poll`, on the sockets whose operations it waits for and on a
//! descriptor of its own that wakes it, and makes an operation's call when its socket is ready. It
//! never blocks in the call itself, where it could not be woken.
//!
//! A new wait goes to the worker that begins it, if it is one, else to the idle worker with the
//! fewest waits: as long as there are no more waits than workers, each has a worker to itself. When
//! there are more, a worker's `poll` covers several, and its cost grows with their number; that is
//! this engine's nature.
//!
//! A worker's waits lie where others can take them. While it runs a callback nobody polls for them,
//! which is as it should be for a callback that returns soon. The worker pool notices one that does
//! not and has another worker take the waits over (I4).
//!
//! 1. A wait is in exactly one place: the list of a worker, or the hands of a worker that polls for
//!    it, which puts it back, or turns it into a [`Work::Ready`], or drops it because it is over.
//! 2. A list is *abandoned* from the moment its worker is found to be stuck until the worker comes
//!    to wait again. Every worker that comes to wait empties the abandoned lists first; whoever adds
//!    to an abandoned list wakes somebody to do so.
//! 3. `poll` reports what is ready at that moment, so no report can be lost.

use super::wake::Wake;
use super::{Driver, Engine};
use crate::op::Direction;
use crate::operation_queue::Ticket;
use crate::runtime::{Readiness as Report, Work};
use crate::socket::SocketInner;
use crate::worker_pool::{self as pool, Current};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Blocking {
    workers: Box<[Waiter]>,
    /// How many lists are abandoned.
    abandoned: AtomicUsize,
}

/// A worker as this engine sees it.
#[derive(Debug)]
struct Waiter {
    waits: Mutex<Waits>,
    /// How many waits the worker has, those that it polls for included.
    count: AtomicUsize,
    /// True from before the worker looks for a wake-up until it has left `poll`.
    polling: AtomicBool,
    /// True once somebody has asked to wake the worker, until it notices.
    woken: AtomicBool,
    wake: Wake,
}

#[derive(Debug, Default)]
struct Waits {
    list: Vec<Wait>,
    abandoned: bool,
}

#[derive(Debug)]
struct Wait {
    /// Weak, since the operation that waits keeps the socket open, and a wait that is over must
    /// not: nobody may come to drop it, least of all once the workers have ended.
    socket: Weak<SocketInner>,
    direction: Direction,
    ticket: Ticket,
}

impl Wait {
    /// The socket; `None` once the operation was canceled, or its socket closed.
    fn wanted(&self) -> Option<Arc<SocketInner>> {
        let socket = self.socket.upgrade()?;
        socket.queue(self.direction).is_waiting(self.ticket).then_some(socket)
    }

    /// True for the wait in the other direction of the same socket.
    fn is_beside(&self, other: &Self) -> bool {
        self.socket.ptr_eq(&other.socket)
    }

    fn events(&self) -> PollFlags {
        match self.direction {
            Direction::Receive => PollFlags::IN,
            Direction::Send => PollFlags::OUT,
        }
    }

    /// True if `poll` has returned `revents` for the socket and this direction is concerned: errors
    /// and hang-ups concern both.
    fn is_answered_by(&self, revents: PollFlags) -> bool {
        revents.intersects(self.events())
            || !(revents - (PollFlags::IN | PollFlags::OUT)).is_empty()
    }

    fn work(&self, socket: Arc<SocketInner>) -> Work {
        Work::Ready {
            socket,
            report: Report {
                receive: self.direction == Direction::Receive,
                send: self.direction == Direction::Send,
                // The next wait reports it again.
                stays_ready: false,
                ticket: Some(self.ticket),
            },
        }
    }
}

impl Blocking {
    pub(super) fn new(workers: usize) -> io::Result<Self> {
        let workers: io::Result<_> = (0..workers)
            .map(|_| {
                Ok(Waiter {
                    waits: Mutex::default(),
                    count: AtomicUsize::new(0),
                    polling: AtomicBool::new(false),
                    woken: AtomicBool::new(false),
                    wake: Wake::new()?,
                })
            })
            .collect();
        Ok(Self { workers: workers?, abandoned: AtomicUsize::new(0) })
    }

    /// Gives `wait` to `worker`.
    fn give(&self, worker: usize, wait: Wait) {
        let mut waits = self.workers[worker].waits();
        waits.list.push(wait);
        self.workers[worker].count.fetch_add(1, Ordering::Relaxed);
        let abandoned = waits.abandoned;
        drop(waits);
        if abandoned {
            let idle =
                self.workers.iter().position(|worker| worker.polling.load(Ordering::Relaxed));
            self.wake(idle.unwrap_or(worker));
        } else {
            self.wake(worker);
        }
    }

    /// The worker that is best placed for another wait.
    fn choose(&self) -> usize {
        let busy = |worker: &Waiter| {
            (!worker.polling.load(Ordering::Relaxed), worker.count.load(Ordering::Relaxed))
        };
        let best = (0..self.workers.len()).min_by_key(|&index| busy(&self.workers[index]));
        best.expect("a runtime has a worker")
    }

    /// Empties the lists that were abandoned into `waits`.
    fn adopt(&self, me: usize, waits: &mut Vec<Wait>) {
        if self.abandoned.load(Ordering::Relaxed) == 0 {
            return;
        }
        for (index, other) in self.workers.iter().enumerate() {
            if index == me {
                continue;
            }
            let mut theirs = other.waits();
            if theirs.abandoned && !theirs.list.is_empty() {
                self.workers[me].count.fetch_add(theirs.list.len(), Ordering::Relaxed);
                other.count.fetch_sub(theirs.list.len(), Ordering::Relaxed);
                waits.append(&mut theirs.list);
            }
        }
    }
}

impl Waiter {
    fn waits(&self) -> MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls for `waits`; turns those that are ready into work, and drops those that are over.
    fn poll(&self, waits: &mut Vec<Wait>, timeout: Option<Duration>, found: &mut Vec<Work>) {
        // The two directions of a socket side by side. What was sorted before still is.
        waits.sort_by_key(|wait| wait.socket.as_ptr());
        let mut sockets = Vec::with_capacity(waits.len());
        waits.retain(|wait| wait.wanted().map(|socket| sockets.push(socket)).is_some());
        let mut pins = Vec::with_capacity(sockets.len());
        for socket in &sockets {
            // One that was closed this moment was stopped before: its wait is over, and the caller comes back.
            let Some(pin) = socket.descriptor.pin() else { return };
            pins.push(pin);
        }
        let mut descriptors = Vec::with_capacity(1 + waits.len());
        descriptors.push(PollFd::new(&self.wake, PollFlags::IN));
        let mut before: Option<&Wait> = None;
        for (wait, system) in waits.iter().zip(&pins) {
            let mut events = wait.events();
            // `poll` refuses more entries than a process may have descriptors, so a socket has one
            // entry, not one for each direction.
            if let Some(other) = before.filter(|before| before.is_beside(wait)) {
                events |= other.events();
                descriptors.pop();
            }
            descriptors.push(PollFd::new(&**system, events));
            before = Some(wait);
        }
        let timeout = timeout.map(|timeout| {
            Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        });
        match rustix::event::poll(&mut descriptors, timeout.as_ref()) {
            Ok(_) => {}
            // A signal handler ran, or the system is short of memory for a moment: the caller comes
            // back.
            Err(_) => descriptors.iter_mut().for_each(PollFd::clear_revents),
        }
        let woken = !descriptors[0].revents().is_empty();
        let mut is_ready = Vec::with_capacity(waits.len());
        let (mut entry, mut before) = (0, None);
        for wait in &*waits {
            entry += usize::from(!before.is_some_and(|before: &Wait| before.is_beside(wait)));
            is_ready.push(wait.is_answered_by(descriptors[entry].revents()));
            before = Some(wait);
        }
        drop(descriptors);
        drop(pins);
        if woken {
            self.wake.clear();
            // This wait has ended; the wake-up is not to end the next one too. One that comes now
            // finds `woken` and sends nothing, but what it is about is seen from here on.
            self.woken.swap(false, Ordering::AcqRel);
        }
        let mut answers = is_ready.into_iter().zip(sockets);
        waits.retain(|wait| {
            let (is_ready, socket) = answers.next().expect("there is one of each wait");
            if is_ready {
                found.push(wait.work(socket));
            }
            !is_ready
        });
    }
}

impl Driver for Blocking {
    fn engine(&self) -> Engine {
        Engine::Blocking
    }

    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        ticket: Ticket,
    ) -> io::Result<()> {
        let wait = Wait { socket: Arc::downgrade(socket), direction, ticket };
        if let Some(me) = Current::worker_of(&socket.runtime.pool) {
            let mut waits = self.workers[me].waits();
            if !waits.abandoned {
                waits.list.push(wait);
                self.workers[me].count.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        self.give(self.choose(), wait);
        Ok(())
    }

    fn wait_ended(&self, _socket: &SocketInner) {
        // Whoever polls for it holds the socket: it must let go now, not at the next event.
        for (index, worker) in self.workers.iter().enumerate() {
            if worker.polling.load(Ordering::Relaxed) && worker.count.load(Ordering::Relaxed) > 0 {
                self.wake(index);
            }
        }
    }

    fn wait(&self, worker: usize, wait: pool::Wait, found: &mut Vec<Work>) {
        let me = &self.workers[worker];
        me.polling.store(true, Ordering::Relaxed);
        // Against `wake`, which says so in `woken` and then looks whether this worker polls: one of
        // the two sees what the other did. What was done before the wake-up is seen below.
        fence(Ordering::SeqCst);
        let woken = me.woken.swap(false, Ordering::Acquire);
        let mut waits = {
            let mut mine = me.waits();
            if mem::take(&mut mine.abandoned) {
                self.abandoned.fetch_sub(1, Ordering::Relaxed);
            }
            mem::take(&mut mine.list)
        };
        self.adopt(worker, &mut waits);
        let before = waits.len();
        let timeout = if woken { Some(Duration::ZERO) } else { wait.timeout };
        me.poll(&mut waits, timeout, found);
        me.polling.store(false, Ordering::Relaxed);
        me.count.fetch_sub(before - waits.len(), Ordering::Relaxed);
        let mut mine = me.waits();
        // What has come meanwhile goes behind them.
        waits.append(&mut mine.list);
        mine.list = waits;
    }

    fn wake(&self, worker: usize) {
        let worker = &self.workers[worker];
        if worker.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        fence(Ordering::SeqCst);
        if worker.polling.load(Ordering::Relaxed) {
            worker.wake.signal();
        }
    }

    fn take_over(&self, from: usize, to: usize) {
        let list = {
            let mut theirs = self.workers[from].waits();
            if !mem::replace(&mut theirs.abandoned, true) {
                self.abandoned.fetch_add(1, Ordering::Relaxed);
            }
            mem::take(&mut theirs.list)
        };
        self.workers[from].count.fetch_sub(list.len(), Ordering::Relaxed);
        self.workers[to].count.fetch_add(list.len(), Ordering::Relaxed);
        self.workers[to].waits().list.extend(list);
    }
}
