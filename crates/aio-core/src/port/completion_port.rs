//! [`CompletionPort`]: a queue of completion packets for any number of threads, after Win32's I/O
//! completion port. Knows nothing of sockets, nor of the worker pool.
//!
//! The packets lie in a lock-free queue. Who may take one, who sleeps and who is to be woken is the
//! [`Gate`]'s business: a few counters and a stack of sleeping threads under one lock. The gate does
//! not know the packets' type, so a thread can hold on to the gate that counts it without holding on
//! to packets, which may borrow.
//!
//! # A thread's states
//!
//! ```text
//!                        permit                        permit
//!  ┌─────────┐ wait ───────────────▶ ┌─────────┐ wait ───────┐
//!  │ Outside │                       │ Running │ ◀───────────┘
//!  └─────────┘ ◀──────────────────── └─────────┘ ◀─────────────────┐
//!   │       ▲   blocks, leaves, exits,   │                         │
//!   │       │   waits at another port    │ wait, no permit         │
//!   │ wait, │ deadline, close            ▼                         │ permit
//!   │ no    │                        ┌─────────┐    claim     ┌─────────┐
//!   │ permit└─────────────────────── │ Waiting │ ───────────▶ │ Claimed │
//!   └──────────────────────────────▶ └─────────┘ ◀─────────── └─────────┘
//!                                                 no permit    │
//!                            (or, deadline or close: Outside) ◀┘
//! ```
//!
//! A *permit* is the right to pop one packet. To be *claimed* is to be taken off the stack and told
//! to come and look; it is not a packet. So a running thread that comes back takes the next packet at
//! once, ahead of a sleeper that would need a context switch for it, and the sleeper, finding nothing,
//! sleeps again.
//!
//! # Invariants
//!
//! They hold whenever the gate's lock is free.
//!
//! 1. There are at least `queued` packets in the queue, and one more for every permit that has been
//!    given out and not been used. Packets are pushed under the lock, so that a post comes before a
//!    close, and its packet is delivered, or after it, and its packet is given back.
//! 2. `running` is the number of threads that have this gate in their [`Seat`], but for those
//!    between the lock and the seat. A permit is given only if this makes it at most `limit`, or if
//!    the port is closed. A thread that was blocked resumes without a permit, and may exceed `limit`.
//! 3. A waiting thread is on the stack once, its event is nonsignaled, and nobody is about to signal
//!    it. A claimed thread is not on the stack, and exactly one signal has been or will be given to
//!    its event; it waits for that signal before it does anything else, whatever the time. So an
//!    event is always clean when its thread goes on the stack, at this port or another.
//! 4. `waking` is true from the claim of a thread, for packets, to that thread's return to the lock.
//!    One wake-up at a time is under way.
//! 5. If packets are queued and threads are waiting, then `waking` is true, or `running` has reached
//!    `limit`.
//! 6. If the port is closed, nobody is waiting.
//!
//! # No packet is left behind
//!
//! By 5, a queued packet that a waiting thread may take has a thread on its way to it. That thread
//! takes it, or finds that another has, and in both cases restores 5 for what is left: the wake-up of
//! the next is its doing. If instead `running` has reached `limit`, each running thread comes back,
//! and takes the packet, or stops running in another way, and restores 5. That is why every change
//! that adds a packet, gives a permit or ends a thread's running goes through [`Gate::settle`]. The
//! two changes that do not need it: a thread that gets no permit leaves a state in which there is
//! none to be had, and close empties the stack.
//!
//! # Races
//!
//! * *Post against deadline.* The lock decides. If the waiter takes itself off the stack first, no
//!   signal comes, and the post finds another thread or leaves the packet in the queue. If the claim
//!   is first, the waiter sees that it is no longer on the stack, takes the signal and looks for a
//!   permit: success wins over the deadline. Without a permit there is nothing left for others that
//!   they could take.
//! * *Close against wait.* Close takes everybody off the stack and signals them; each finds a packet,
//!   or that there is none, for good (6). After close nobody sleeps and no limit holds: a thread that
//!   counts as running and never comes back cannot keep others from the end.
//! * *A permit against the end of its thread.* Between the two nothing runs but the pop.
//! * *A look against a signal.* The event decides: the look takes the signal, or the sleep does.
//! * *The end of a thread against everything.* Its seat is dropped with its thread-locals and stops
//!   its running. A call made later still, from the destructor of another thread-local, gets a seat
//!   for the duration of the call.
//!
//! Under the lock no user code runs and no packet is dropped; the queue grows by a block at a time.
//! Signals are given after it is released. Nobody holds two gates' locks.
//!
//! # Before a thread sleeps
//!
//! A waiting thread first looks out (`spin.rs`), for its signal. It is on the stack meanwhile, and whoever
//! claims it does what they do to a sleeper, but need not call the system. So nothing above knows of it.
//!
//! Only the thread that began to wait last looks out, since it is the next to be claimed: `newest` says
//! whose event is worth looking at. It is a hint. One who wrongly believes to be the last looks a few
//! times more, one who wrongly believes not to be sleeps, and either takes its signal when it comes.

use crate::base::spin::Spinner;
use crossbeam::queue::SegQueue;
use std::cell::Cell;
use std::error::Error;
use std::fmt;
use std::mem;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;
use sync::{AtomicUsize, Deadline, Event, Mutex, MutexGuard, thread_local};

/// A queue of completion packets and the threads that wait for them.
///
/// Any thread may [`post`](Self::post) a packet, of any type, and any thread may
/// [`wait`](Self::wait) for one.
///
/// * Packets are taken first in, first out.
/// * Of the threads that wait, the one that began last is released first: its stack and its data are
///   the likeliest to be in a cache still. One thread is woken at a time; with more to do, it wakes
///   the next before it returns.
/// * At most *n* threads run at once, *n* being the port's concurrency value. A thread **runs** from
///   the moment when it gets a packet until it waits again, here or at another port, until it says
///   that it [leaves](Self::leave), or until it ends, by a panic or otherwise. While *n* threads run,
///   packets stay in the queue and waiters are not released. A thread that comes back takes the next
///   packet at once.
/// * Unlike Win32, a library does not notice that a thread blocks. Who is about to block for long
///   says so, with [`while_blocked`](Self::while_blocked), and another thread runs meanwhile.
///
/// A port lives in an [`Arc`], is borrowed by scoped threads, or is a `static`. Its memory is freed,
/// and the packets in it are dropped, with the port.
///
/// ```
/// use aio_core::CompletionPort;
/// use std::thread;
///
/// enum Packet {
///     Square(u64),
///     Quit,
/// }
///
/// let port = CompletionPort::new(0);
/// let sum = thread::scope(|scope| {
///     let worker = scope.spawn(|| {
///         let mut sum = 0;
///         while let Some(packet) = port.wait() {
///             match packet {
///                 Packet::Square(n) => sum += n * n,
///                 Packet::Quit => break,
///             }
///         }
///         sum
///     });
///     for packet in [Packet::Square(3), Packet::Square(4), Packet::Quit] {
///         port.post(packet)?;
///     }
///     Ok::<_, aio_core::PostError<Packet>>(worker.join().unwrap())
/// });
/// assert_eq!(sum.unwrap(), 25);
/// ```
pub struct CompletionPort<T> {
    packets: SegQueue<T>,
    /// How many threads may run at once; 0 for as many as there are processors.
    concurrency: usize,
    /// Made when it is first needed, so that a port can be a static.
    gate: OnceLock<Arc<Gate>>,
}

impl<T> CompletionPort<T> {
    /// Makes a port at which at most `concurrency` threads run at once: 0 means as many as there are
    /// processors.
    ///
    /// More threads than that should wait at it, so that others can run while some are
    /// [blocked](Self::while_blocked); Win32's rule of thumb is twice as many as there are processors.
    ///
    /// ```
    /// use aio_core::CompletionPort;
    ///
    /// static LOG: CompletionPort<String> = CompletionPort::new(1);
    ///
    /// LOG.post("begun".to_owned()).unwrap();
    /// assert_eq!(LOG.wait().unwrap(), "begun");
    /// ```
    #[must_use]
    pub const fn new(concurrency: usize) -> Self {
        Self { packets: SegQueue::new(), concurrency, gate: OnceLock::new() }
    }

    /// Makes a port at which any number of threads may run at once.
    ///
    /// ```
    /// let port = aio_core::CompletionPort::unlimited();
    /// port.post('a').unwrap();
    /// assert_eq!(port.wait(), Some('a'));
    /// ```
    #[must_use]
    pub const fn unlimited() -> Self {
        Self::new(usize::MAX)
    }

    /// Queues a packet, and sees to it that a waiting thread takes it if one may run.
    ///
    /// It never waits for I/O, a callback or a consumer: there is no bound on the number of packets.
    /// What the caller has done before is visible to the thread that takes the packet.
    ///
    /// # Errors
    ///
    /// Fails if the port is closed; the packet comes back in the error. A post that races with
    /// [`close`](Self::close) succeeds, and the packet can be taken, or fails.
    ///
    /// ```
    /// use aio_core::{CompletionPort, PostError};
    ///
    /// let port = CompletionPort::new(1);
    /// port.post("kept")?;
    /// port.close();
    /// let PostError(packet) = port.post("late").unwrap_err();
    /// assert_eq!(packet, "late");
    /// # Ok::<(), PostError<&str>>(())
    /// ```
    pub fn post(&self, packet: T) -> Result<(), PostError<T>> {
        let gate = self.gate();
        let mut state = gate.lock();
        if state.closed {
            return Err(PostError(packet));
        }
        self.packets.push(packet);
        state.queued += 1;
        gate.settle(state);
        Ok(())
    }

    /// Waits for a packet.
    ///
    /// Returns `None` when the port is closed and every packet that was posted before has been
    /// taken; from then on it always does.
    ///
    /// ```
    /// let port = aio_core::CompletionPort::new(1);
    /// port.post(1).unwrap();
    /// port.post(2).unwrap();
    /// port.close();
    /// assert_eq!(port.wait(), Some(1));
    /// assert_eq!(port.wait(), Some(2));
    /// assert_eq!(port.wait(), None);
    /// ```
    pub fn wait(&self) -> Option<T> {
        self.wait_until(Some(&Deadline::NEVER)).ok()
    }

    /// Waits for a packet, for `timeout` at most.
    ///
    /// A wait that has been given a packet returns it even if the time is over by then; one that
    /// reports a timeout has taken nothing. A time too long for the clock is no limit.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] if there was no packet that this thread was allowed to take in time;
    /// [`WaitError::Closed`] if the port is closed and empty.
    ///
    /// ```
    /// use aio_core::{CompletionPort, WaitError};
    /// use std::time::Duration;
    ///
    /// let port = CompletionPort::new(1);
    /// assert_eq!(port.wait_timeout(Duration::from_millis(1)), Err(WaitError::TimedOut));
    /// port.post(7).unwrap();
    /// port.close();
    /// assert_eq!(port.wait_timeout(Duration::from_millis(1)), Ok(7));
    /// assert_eq!(port.wait_timeout(Duration::MAX), Err(WaitError::Closed));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> Result<T, WaitError> {
        if timeout.is_zero() {
            return self.try_wait();
        }
        self.wait_until(Some(&Deadline::after(timeout)))
    }

    /// Takes a packet if there is one and the port lets this thread run, without waiting.
    ///
    /// The calling thread has come back, as if it had waited: if it gets nothing it no longer runs.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] if there is nothing to be had now; [`WaitError::Closed`] if the port is
    /// closed and empty.
    ///
    /// ```
    /// use aio_core::{CompletionPort, WaitError};
    ///
    /// let port = CompletionPort::new(1);
    /// assert_eq!(port.try_wait(), Err(WaitError::TimedOut));
    /// port.post(7).unwrap();
    /// assert_eq!(port.try_wait(), Ok(7));
    /// ```
    pub fn try_wait(&self) -> Result<T, WaitError> {
        self.wait_until(None)
    }

    /// Waits until there is a packet, then takes what is there, `max` packets at most, and appends
    /// them to `packets` in their order. Returns how many.
    ///
    /// It does not wait for more than one. Returns 0 if `max` is 0, at once, and when the port is
    /// closed and empty. Several packets make one running thread.
    ///
    /// ```
    /// let port = aio_core::CompletionPort::new(1);
    /// (1..=5).for_each(|n| port.post(n).unwrap());
    /// let mut packets = Vec::new();
    /// assert_eq!(port.wait_many(&mut packets, 3), 3);
    /// assert_eq!(port.wait_many(&mut packets, 3), 2);
    /// assert_eq!(packets, [1, 2, 3, 4, 5]);
    /// ```
    pub fn wait_many(&self, packets: &mut Vec<T>, max: usize) -> usize {
        if max == 0 {
            return 0;
        }
        let permits = self.gate().enter(max, Some(&Deadline::NEVER)).unwrap_or(0);
        packets.reserve(permits);
        packets.extend((0..permits).map(|_| self.take()));
        permits
    }

    /// Says that this thread is about to block in `blocking`: meanwhile it does not count as running,
    /// and another may run in its place. Returns what `blocking` returns.
    ///
    /// Afterwards the thread counts again without having to wait for its turn, so for a while more
    /// threads may run than the concurrency value says, until as many come back. If it has taken a
    /// packet inside `blocking`, from this port or another, then that port counts it already. A
    /// thread that does not run a packet of this port just runs `blocking`.
    ///
    /// ```
    /// use aio_core::CompletionPort;
    /// use std::thread;
    ///
    /// let port = CompletionPort::new(1);
    /// port.post("first").unwrap();
    /// port.post("second").unwrap();
    /// thread::scope(|scope| {
    ///     assert_eq!(port.wait(), Some("first"));
    ///     let other = scope.spawn(|| port.wait());
    ///     // It would never get its packet if this thread counted as running here.
    ///     let second = port.while_blocked(|| other.join().unwrap());
    ///     assert_eq!(second, Some("second"));
    /// });
    /// ```
    pub fn while_blocked<R>(&self, blocking: impl FnOnce() -> R) -> R {
        let _resume = Resume(self.gate().leave());
        blocking()
    }

    /// Says that this thread will not come back soon: it does not count as running any more. It may
    /// wait again at any time.
    ///
    /// A thread that ends need not say so. One that takes a last packet, breaks out of its loop and
    /// lives on should, or [`close`](Self::close) the port.
    ///
    /// ```
    /// use aio_core::CompletionPort;
    /// use std::thread;
    ///
    /// let port = CompletionPort::new(1);
    /// port.post("mine").unwrap();
    /// port.post("theirs").unwrap();
    /// assert_eq!(port.wait(), Some("mine"));
    /// port.leave();
    /// thread::scope(|scope| {
    ///     assert_eq!(scope.spawn(|| port.wait()).join().unwrap(), Some("theirs"));
    /// });
    /// ```
    pub fn leave(&self) {
        self.gate().leave();
    }

    /// Closes the port: nothing can be posted any more, and every wait returns without blocking, with
    /// a packet that was posted before as long as there is one.
    ///
    /// Threads that wait are released, all at once. The concurrency value no longer holds, so that a
    /// thread that does not come back cannot keep the others from the end. To close a closed port
    /// changes nothing.
    ///
    /// ```
    /// use aio_core::CompletionPort;
    /// use std::thread;
    ///
    /// let port = CompletionPort::<()>::new(1);
    /// thread::scope(|scope| {
    ///     let waiters = [(); 3].map(|()| scope.spawn(|| port.wait()));
    ///     port.close();
    ///     port.close();
    ///     assert!(waiters.into_iter().all(|waiter| waiter.join().unwrap().is_none()));
    /// });
    /// ```
    pub fn close(&self) {
        let mut state = self.gate().lock();
        state.closed = true;
        let released = mem::take(&mut state.waiting);
        drop(state);
        released.iter().rev().for_each(|event| event.set());
    }

    /// Returns how many packets no thread has taken. Like all counts of a port, it may be out of date
    /// when the caller looks at it.
    ///
    /// ```
    /// let port = aio_core::CompletionPort::new(1);
    /// port.post('a').unwrap();
    /// assert_eq!(port.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.gate().lock().queued
    }

    /// Returns true if no packet is queued.
    ///
    /// ```
    /// assert!(aio_core::CompletionPort::<u8>::new(1).is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns how many threads are asleep, or on the way, until a packet or a close releases them.
    ///
    /// ```
    /// use aio_core::CompletionPort;
    /// use std::thread;
    ///
    /// let port = CompletionPort::new(1);
    /// thread::scope(|scope| {
    ///     scope.spawn(|| port.wait());
    ///     while port.waiting() == 0 {
    ///         thread::yield_now();
    ///     }
    ///     port.post("good morning").unwrap();
    /// });
    /// ```
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.gate().lock().waiting.len()
    }

    /// Returns how many threads run: have taken a packet, and have not come back.
    ///
    /// ```
    /// let port = aio_core::CompletionPort::new(1);
    /// port.post('a').unwrap();
    /// assert_eq!(port.running(), 0);
    /// port.wait();
    /// assert_eq!(port.running(), 1);
    /// port.leave();
    /// assert_eq!(port.running(), 0);
    /// ```
    #[must_use]
    pub fn running(&self) -> usize {
        self.gate().lock().running
    }

    fn gate(&self) -> &Arc<Gate> {
        self.gate.get_or_init(|| Arc::new(Gate::new(self.concurrency)))
    }

    /// Does not wait without a deadline.
    fn wait_until(&self, deadline: Option<&Deadline>) -> Result<T, WaitError> {
        self.gate().enter(1, deadline).map(|_| self.take())
    }

    /// Uses a permit.
    fn take(&self) -> T {
        self.packets.pop().expect("a permit stands for a packet")
    }
}

impl<T> fmt::Debug for CompletionPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.gate().lock();
        let (queued, waiting) = (state.queued, state.waiting.len());
        let (running, closed) = (state.running, state.closed);
        drop(state);
        f.debug_struct("CompletionPort")
            .field("queued", &queued)
            .field("waiting", &waiting)
            .field("running", &running)
            .field("closed", &closed)
            .finish_non_exhaustive()
    }
}

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

/// Who may take a packet, who sleeps, and who is to be woken.
struct Gate {
    limit: usize,
    /// The number of the seat whose thread began to wait last; whether it still waits is not said. Written
    /// under the lock.
    newest: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Packets that no permit has been given for.
    queued: usize,
    running: usize,
    /// The threads that sleep or are about to; the one that came last is the last.
    waiting: Vec<Arc<Event>>,
    waking: bool,
    closed: bool,
}

impl State {
    /// Gives permits, from 1 to `max`, to a thread that is not counted as running, and counts it.
    fn permit(&mut self, limit: usize, max: usize) -> Option<usize> {
        if self.queued == 0 || (self.running >= limit && !self.closed) {
            return None;
        }
        let permits = max.min(self.queued);
        self.queued -= permits;
        self.running += 1;
        Some(permits)
    }

    /// Restores invariant 5: takes a thread off the stack if one has to be woken.
    fn claim(&mut self, limit: usize) -> Option<Arc<Event>> {
        if self.queued == 0 || self.waking || self.running >= limit {
            return None;
        }
        let claimed = self.waiting.pop();
        self.waking = claimed.is_some();
        claimed
    }

    /// Takes a thread off the stack; false if it has been claimed or released.
    fn forget(&mut self, event: &Arc<Event>) -> bool {
        let position = self.waiting.iter().rposition(|waiting| Arc::ptr_eq(waiting, event));
        position.map(|position| self.waiting.remove(position)).is_some()
    }
}

impl Gate {
    fn new(concurrency: usize) -> Self {
        let limit = match concurrency {
            0 => thread::available_parallelism().map_or(1, usize::from),
            limit => limit,
        };
        Self { limit, newest: AtomicUsize::new(0), state: Mutex::new(State::default()) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a change of the state: restores invariant 5, unlocks, and wakes whom that claimed.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let claimed = state.claim(self.limit);
        drop(state);
        if let Some(event) = claimed {
            event.set();
        }
    }

    /// The calling thread comes for packets, `max` at most, and gets permits for those it may take.
    /// It does not wait without a deadline.
    fn enter(
        self: &Arc<Self>,
        max: usize,
        deadline: Option<&Deadline>,
    ) -> Result<usize, WaitError> {
        let seat = Seat::current();
        let came_from = seat.gate.take();
        let is_back = came_from.as_ref().is_some_and(|gate| Arc::ptr_eq(gate, self));
        if let (Some(other), false) = (&came_from, is_back) {
            other.stop_running();
        }
        let mut state = self.lock();
        if is_back {
            state.running -= 1;
        }
        let mut expired = false;
        loop {
            if let Some(permits) = state.permit(self.limit, max) {
                self.settle(state);
                // The common case is to come back; it does not touch the reference count.
                seat.gate.set(came_from.filter(|_| is_back).or_else(|| Some(self.clone())));
                return Ok(permits);
            }
            if state.closed {
                return Err(WaitError::Closed);
            }
            let Some(deadline) = deadline.filter(|_| !expired) else {
                return Err(WaitError::TimedOut);
            };
            state.waiting.push(seat.event.clone());
            self.newest.store(seat.number(), Ordering::Relaxed);
            drop(state);
            expired = !self.spin(&seat, deadline) && !seat.event.wait_until(deadline);
            state = self.lock();
            if expired {
                if state.forget(&seat.event) {
                    return Err(WaitError::TimedOut);
                }
                // Claimed just before. The signal has been given, or is about to be.
                drop(state);
                seat.event.wait_one();
                state = self.lock();
            }
            state.waking = false;
        }
    }

    /// The thread of `seat`, which waits, looks for its signal as long as no other has begun to wait after it,
    /// for a while at most. Returns true if it has taken the signal.
    fn spin(&self, seat: &Seat, deadline: &Deadline) -> bool {
        seat.spinner.should_spin()
            && seat.spinner.spin(|| {
                if seat.event.try_wait() {
                    ControlFlow::Break(true)
                } else if self.newest.load(Ordering::Relaxed) != seat.number()
                    || deadline.has_come()
                {
                    ControlFlow::Break(false)
                } else {
                    ControlFlow::Continue(())
                }
            })
    }

    /// A thread that ran, and has this gate in its seat no longer, has stopped.
    fn stop_running(&self) {
        let mut state = self.lock();
        state.running -= 1;
        self.settle(state);
    }

    /// If the calling thread runs by a permit of this gate, it stops; returns the gate if so.
    fn leave(self: &Arc<Self>) -> Option<Arc<Self>> {
        let seat = Seat::current();
        let gate = seat.gate.take()?;
        if Arc::ptr_eq(&gate, self) {
            gate.stop_running();
            return Some(gate);
        }
        seat.gate.set(Some(gate));
        None
    }
}

/// What a thread is to the ports of the process: asleep at one, running for one, or neither (IO-9).
struct Seat {
    /// What the thread sleeps on.
    event: Arc<Event>,
    /// The gate that counts the thread as running, if one does.
    gate: Cell<Option<Arc<Gate>>>,
    /// Whether it pays for the thread to spin before it sleeps.
    spinner: Spinner,
}

thread_local! {
    static SEAT: Rc<Seat> = Rc::new(Seat::new());
}

impl Seat {
    fn new() -> Self {
        Self { event: Arc::new(Event::new()), gate: Cell::new(None), spinner: Spinner::default() }
    }

    /// Tells apart the threads that wait; not 0.
    fn number(&self) -> usize {
        Arc::as_ptr(&self.event).addr()
    }

    /// Returns the seat of this thread; one for the caller alone if the thread is so near its end
    /// that it has lost its own.
    fn current() -> Rc<Self> {
        SEAT.try_with(Rc::clone).unwrap_or_else(|_| Rc::new(Self::new()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.stop_running();
        }
    }
}

/// When dropped, a thread that ran for this gate before it blocked runs again.
struct Resume(Option<Arc<Gate>>);

impl Drop for Resume {
    fn drop(&mut self) {
        let Some(gate) = self.0.take() else { return };
        let seat = Seat::current();
        // Unless it has begun to run for somebody else.
        let now = seat.gate.take().unwrap_or_else(|| {
            gate.lock().running += 1;
            gate
        });
        seat.gate.set(Some(now));
    }
}

/// What threads share and sleep on: std's and aio-sync's, or loom's.
#[cfg(not(loom))]
mod sync {
    use aio_sync::{AutoResetEvent, WaitOptions};
    pub(super) use std::sync::atomic::AtomicUsize;
    pub(super) use std::sync::{Mutex, MutexGuard};
    pub(super) use std::thread_local;
    use std::time::{Duration, Instant};

    /// Whether to look out before is the gate's business.
    const AT_ONCE: WaitOptions = WaitOptions::new().spins(0);

    pub(super) struct Event(AutoResetEvent);

    impl Event {
        pub(super) fn new() -> Self {
            Self(AutoResetEvent::new(false))
        }

        pub(super) fn set(&self) {
            self.0.set();
        }

        pub(super) fn try_wait(&self) -> bool {
            self.0.try_wait()
        }

        pub(super) fn wait_one(&self) {
            self.0.wait_one();
        }

        /// Returns false if the moment came before a signal.
        pub(super) fn wait_until(&self, deadline: &Deadline) -> bool {
            match deadline.0 {
                None => self.0.wait_with(&AT_ONCE),
                Some(moment) => self.0.wait_with(&AT_ONCE.deadline(moment)),
            }
        }
    }

    /// The moment at which a wait gives up, or never.
    pub(super) struct Deadline(Option<Instant>);

    impl Deadline {
        pub(super) const NEVER: Self = Self(None);

        pub(super) fn after(timeout: Duration) -> Self {
            Self(Instant::now().checked_add(timeout))
        }

        pub(super) fn has_come(&self) -> bool {
            self.0.is_some_and(|moment| Instant::now() >= moment)
        }
    }
}

/// Under loom, time is another thread: a deadline comes when that thread says so.
#[cfg(loom)]
mod sync {
    use loom::sync::Condvar;
    pub(super) use loom::sync::atomic::AtomicUsize;
    pub(super) use loom::sync::{Mutex, MutexGuard};
    pub(super) use loom::thread_local;
    use std::mem;
    use std::sync::Arc;
    use std::time::Duration;

    pub(super) struct Event {
        state: Mutex<EventState>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct EventState {
        signaled: bool,
        expired: bool,
    }

    impl Event {
        pub(super) fn new() -> Self {
            Self { state: Mutex::default(), changed: Condvar::new() }
        }

        pub(super) fn set(&self) {
            self.state.lock().unwrap().signaled = true;
            self.changed.notify_one();
        }

        pub(super) fn try_wait(&self) -> bool {
            mem::take(&mut self.state.lock().unwrap().signaled)
        }

        pub(super) fn wait_one(&self) {
            self.wait_until(&Deadline::NEVER);
        }

        pub(super) fn wait_until(&self, deadline: &Deadline) -> bool {
            let mut state = self.state.lock().unwrap();
            while !state.signaled {
                if state.expired && deadline.0.is_some() {
                    return false;
                }
                state = self.changed.wait(state).unwrap();
            }
            state.signaled = false;
            true
        }
    }

    /// The moment at which a wait on this event gives up, or never.
    #[derive(Clone)]
    pub(super) struct Deadline(Option<Arc<Event>>);

    impl Deadline {
        pub(super) const NEVER: Self = Self(None);

        pub(super) fn after(_: Duration) -> Self {
            Self::NEVER
        }

        pub(super) fn has_come(&self) -> bool {
            self.0.as_ref().is_some_and(|event| event.state.lock().unwrap().expired)
        }

        #[cfg(test)]
        pub(super) fn of(event: &Arc<Event>) -> Self {
            Self(Some(event.clone()))
        }

        #[cfg(test)]
        pub(super) fn come(&self) {
            let event = self.0.as_ref().unwrap();
            event.state.lock().unwrap().expired = true;
            event.changed.notify_one();
        }
    }
}

#[cfg(all(loom, test))]
mod models;
