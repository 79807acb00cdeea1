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
//! 3. `poll` reports what is ready at that moment, so no report can be lost. A socket that it reports for as
//!    long as the call would have to wait does not come back here at once (`operation_queue.rs`, invariant 7).
//! 4. A thread that ends a wait wakes the worker that polls for it, and no other (`base/wake.rs`): while it
//!    polls, the worker holds the socket.
//!
//! `poll` refuses more entries than the process may have descriptors, which a program can lower at any time. Then
//! an epoll instance that was made in time waits in its place. Where there is none, and for every other error that
//! stays, the operations that wait on that worker fail with it.

use crate::base::descriptor::Pinned;
use crate::base::engine::Engine;
use crate::base::kind::Direction;
use crate::base::operation_queue::Ticket;
use crate::base::wake::{Holder, Wake, Wakeable};
use crate::engine::outage::{Failures, Outage};
use crate::engine::turns::WaitSource;
use crate::pool::worker_pool as pool;
use crate::state::context::{Report, Work};
use crate::state::socket::SocketInner;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Blocking {
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
    wakeable: Wakeable<Wake>,
    outage: Outage,
    #[cfg(any(target_os = "linux", target_os = "android"))]
    substitute: Substitute,
}

#[derive(Debug, Default)]
struct Waits {
    list: Vec<Wait>,
    abandoned: bool,
    /// Not here while the worker polls.
    scratch: Scratch,
}

/// What a worker needs to poll, kept for the next time: the vectors are empty.
#[derive(Default)]
struct Scratch {
    pins: Vec<Pinned<'static>>,
    descriptors: Vec<PollFd<'static>>,
    failures: Failures,
}

impl fmt::Debug for Scratch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scratch").field("failures", &self.failures).finish_non_exhaustive()
    }
}

/// Returns an empty vector with the allocation of one that had other lifetimes.
fn emptied<A, B>(mut vector: Vec<A>) -> Vec<B> {
    vector.clear();
    vector.into_iter().map(|_| unreachable!("it is empty")).collect()
}

#[derive(Debug)]
struct Wait {
    /// Weak, since the operation that waits keeps the socket open, and a wait that is over must
    /// not: nobody may come to drop it, least of all once the workers have ended.
    socket: Weak<SocketInner>,
    /// The same, while a worker polls.
    held: Option<Arc<SocketInner>>,
    /// True once that worker has found that it is ready.
    is_ready: Cell<bool>,
    direction: Direction,
    ticket: Ticket,
}

impl Wait {
    /// Holds the socket for the worker `me`. Returns false if the wait has ended. `replaced` gets the worker that held
    /// the socket before.
    fn hold(&mut self, me: usize, replaced: impl FnOnce(usize)) -> bool {
        let Some(socket) = self.socket.upgrade() else { return false };
        if !socket.queue(self.direction).is_waiting(self.ticket) {
            return false;
        }
        if let Some(other) = socket.holders[self.direction as usize].enter(me) {
            replaced(other);
        }
        self.held = Some(socket);
        true
    }

    fn held(&self) -> &Arc<SocketInner> {
        self.held.as_ref().expect("a worker that polls holds the sockets")
    }

    /// False once the operation was canceled, or its socket closed.
    fn is_wanted(&self) -> bool {
        self.held().queue(self.direction).is_waiting(self.ticket)
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

    /// What the worker is to do that polled for this, and still holds the socket.
    fn work(&mut self) -> Option<Work> {
        let socket = self.held.take()?;
        Some(Work::Ready {
            socket,
            report: Report {
                receive: self.direction == Direction::Receive,
                send: self.direction == Direction::Send,
                // The next wait reports it again.
                stays_ready: false,
                ticket: Some(self.ticket),
            },
        })
    }
}

impl Blocking {
    pub(crate) fn new(workers: usize) -> io::Result<Self> {
        let workers: io::Result<_> = (0..workers)
            .map(|_| {
                Ok(Waiter {
                    waits: Mutex::default(),
                    count: AtomicUsize::new(0),
                    wakeable: Wakeable::new(Wake::new()?),
                    outage: Outage::default(),
                    #[cfg(any(target_os = "linux", target_os = "android"))]
                    substitute: Substitute::new()?,
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
            let idle = self.workers.iter().position(|worker| worker.wakeable.is_polling());
            self.wake(idle.unwrap_or(worker));
        } else {
            self.wake(worker);
        }
    }

    /// The worker that is best placed for another wait.
    fn choose(&self) -> usize {
        let busy =
            |worker: &Waiter| (!worker.wakeable.is_polling(), worker.count.load(Ordering::Relaxed));
        let best = (0..self.workers.len()).min_by_key(|&index| busy(&self.workers[index]));
        best.expect("a runtime has a worker")
    }

    /// A wait has ended for which `worker` may be polling: the worker must let go of the socket now, not at the next
    /// event.
    fn have_let_go(&self, worker: usize) {
        if self.workers[worker].wakeable.is_polling() {
            self.wake(worker);
        }
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

    /// Polls for `waits`, whose sockets are held, and lets go of them; turns those that are ready into work.
    fn poll(
        &self,
        waits: &mut Vec<Wait>,
        scratch: &mut Scratch,
        timeout: Option<Duration>,
        found: &mut Vec<Work>,
    ) {
        match self.poll_held(waits, scratch, timeout) {
            Ok(()) => {
                scratch.failures.end();
                self.outage.end();
            }
            // A signal handler ran: the caller comes back.
            Err(Errno::INTR) => {}
            Err(error) => {
                thread::sleep(scratch.failures.pause());
                if scratch.failures.last() {
                    // When they find that they have to wait again they are told, for `wait_for` fails.
                    self.outage.begin(error.into());
                    found.extend(waits.drain(..).filter_map(|mut wait| wait.work()));
                }
            }
        }
        waits.retain_mut(|wait| {
            let is_ready = wait.is_ready.get();
            if is_ready {
                found.extend(wait.work());
            }
            wait.held = None;
            !is_ready
        });
    }

    /// Polls for `waits`, whose sockets are held, and marks those that are ready.
    fn poll_held(
        &self,
        waits: &[Wait],
        scratch: &mut Scratch,
        timeout: Option<Duration>,
    ) -> Result<(), Errno> {
        let mut pins = emptied(mem::take(&mut scratch.pins));
        for wait in waits {
            // A wait that was ended this moment: the caller comes back, and drops it.
            if !wait.is_wanted() {
                return Ok(());
            }
            // One whose socket was closed was ended before.
            let Some(pin) = wait.held().descriptor.pin() else { return Ok(()) };
            pins.push(pin);
        }
        let mut descriptors = emptied(mem::take(&mut scratch.descriptors));
        descriptors.push(PollFd::new(&self.wakeable.signal, PollFlags::IN));
        let mut before: Option<&Wait> = None;
        for (wait, system) in waits.iter().zip(&pins) {
            let mut events = wait.events();
            // A socket has one entry, not one for each direction.
            if let Some(other) = before.filter(|before| before.is_beside(wait)) {
                events |= other.events();
                descriptors.pop();
            }
            descriptors.push(PollFd::new(&**system, events));
            before = Some(wait);
        }
        let limit = timeout.map(|timeout| {
            Timespec::try_from(timeout).unwrap_or(Timespec { tv_sec: i64::MAX, tv_nsec: 0 })
        });
        let result = match rustix::event::poll(&mut descriptors, limit.as_ref()) {
            Ok(_) => {
                self.mark(waits, |entry| descriptors[entry].revents());
                Ok(())
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Err(Errno::INVAL) => self
                .substitute
                .poll(&descriptors, waits, timeout)
                .map(|reported| self.mark(waits, |entry| reported[entry])),
            Err(error) => Err(error),
        };
        scratch.descriptors = emptied(descriptors);
        scratch.pins = emptied(pins);
        result
    }

    /// Marks the waits that are ready. `reported`: by entry, of which the signal has the first.
    fn mark(&self, waits: &[Wait], reported: impl Fn(usize) -> PollFlags) {
        let (mut entry, mut before) = (0, None);
        for wait in waits {
            entry += usize::from(!before.is_some_and(|before: &Wait| before.is_beside(wait)));
            wait.is_ready.set(wait.is_answered_by(reported(entry)));
            before = Some(wait);
        }
        if !reported(0).is_empty() {
            self.wakeable.notice();
        }
    }
}

impl WaitSource for Blocking {
    fn engine(&self) -> Engine {
        Engine::Blocking
    }

    fn wait_for(
        &self,
        socket: &Arc<SocketInner>,
        direction: Direction,
        ticket: Ticket,
    ) -> io::Result<()> {
        let wait = Wait {
            socket: Arc::downgrade(socket),
            held: None,
            is_ready: Cell::new(false),
            direction,
            ticket,
        };
        if let Some(me) = socket.runtime.pool.current_worker() {
            let mut waits = self.workers[me].waits();
            if !waits.abandoned {
                self.workers[me].outage.check()?;
                waits.list.push(wait);
                self.workers[me].count.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
        }
        let worker = self.choose();
        self.workers[worker].outage.check()?;
        self.give(worker, wait);
        Ok(())
    }

    fn wait_ended(&self, socket: &SocketInner) {
        let [receive, send] = &socket.holders;
        Holder::to_wake([receive, send]).into_iter().flatten().for_each(|it| self.have_let_go(it));
    }

    fn wait(&self, worker: usize, wait: pool::Wait, found: &mut Vec<Work>) {
        let me = &self.workers[worker];
        let woken = me.wakeable.begin();
        let (mut waits, mut scratch) = {
            let mut mine = me.waits();
            if mem::take(&mut mine.abandoned) {
                self.abandoned.fetch_sub(1, Ordering::Relaxed);
            }
            (mem::take(&mut mine.list), mem::take(&mut mine.scratch))
        };
        self.adopt(worker, &mut waits);
        let before = waits.len();
        // This puts the two directions of a socket side by side. The front of the list is sorted already.
        waits.sort_by_key(|wait| wait.socket.as_ptr());
        waits.retain_mut(|wait| wait.hold(worker, |replaced| self.have_let_go(replaced)));
        let timeout = if woken { Some(Duration::ZERO) } else { wait.timeout };
        me.poll(&mut waits, &mut scratch, timeout, found);
        me.wakeable.end();
        me.count.fetch_sub(before - waits.len(), Ordering::Relaxed);
        let mut mine = me.waits();
        // What has come meanwhile goes behind them.
        waits.append(&mut mine.list);
        mine.list = waits;
        mine.scratch = scratch;
    }

    fn wake(&self, worker: usize) {
        self.workers[worker].wakeable.wake();
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

/// Waits where `poll` refuses to: it takes no number of entries that could be too great. Holds nothing between
/// one wait and the next.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug)]
struct Substitute {
    epoll: std::os::fd::OwnedFd,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Substitute {
    fn new() -> io::Result<Self> {
        use rustix::event::epoll::{CreateFlags, create};
        Ok(Self { epoll: create(CreateFlags::CLOEXEC)? })
    }

    /// As `poll`, to the millisecond. Returns what is reported of each descriptor.
    fn poll(
        &self,
        descriptors: &[PollFd<'_>],
        waits: &[Wait],
        timeout: Option<Duration>,
    ) -> Result<Vec<PollFlags>, Errno> {
        let added = self.add(descriptors, waits);
        let result = added.and_then(|()| self.wait(descriptors.len(), timeout));
        for descriptor in descriptors {
            // Fails for those that could not be added.
            let _ = rustix::event::epoll::delete(&self.epoll, descriptor);
        }
        result
    }

    fn add(&self, descriptors: &[PollFd<'_>], waits: &[Wait]) -> Result<(), Errno> {
        use rustix::event::epoll::{EventData, EventFlags, add};
        let mut asked = vec![PollFlags::IN];
        for wait in waits.chunk_by(Wait::is_beside) {
            asked.push(wait.iter().map(Wait::events).collect());
        }
        (0..).zip(descriptors).zip(asked).try_for_each(|((index, descriptor), asked)| {
            // Linux has the same bits for both.
            let events = EventFlags::from_bits_retain(asked.bits().into());
            add(&self.epoll, descriptor, EventData::new_u64(index), events)
        })
    }

    fn wait(&self, entries: usize, timeout: Option<Duration>) -> Result<Vec<PollFlags>, Errno> {
        let mut events = Vec::with_capacity(entries);
        let timeout = timeout.map(|timeout| {
            let milliseconds = timeout.as_nanos().div_ceil(1_000_000);
            let most = i32::MAX.unsigned_abs().into();
            Duration::from_millis(u64::try_from(milliseconds).unwrap_or(most).min(most))
        });
        let timeout = timeout.map(|timeout| {
            Timespec::try_from(timeout).expect("so many milliseconds are so many seconds")
        });
        let space = rustix::buffer::spare_capacity(&mut events);
        rustix::event::epoll::wait(&self.epoll, space, timeout.as_ref())?;
        let mut reported = vec![PollFlags::empty(); entries];
        for event in events {
            let (data, flags) = (event.data, event.flags);
            reported[data.u64() as usize] = PollFlags::from_bits_retain(flags.bits() as u16);
        }
        Ok(reported)
    }
}
