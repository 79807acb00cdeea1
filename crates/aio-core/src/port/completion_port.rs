//! [`CompletionPort`]: a queue of completion packets for any number of threads, after Win32's I/O
//! completion port. Knows nothing of sockets, nor of the worker pool.
//!
//! The packets lie in a lock-free queue. The [`Gate`] decides which thread may take one; its invariants are in
//! `gate.rs`.
//!
//! A packet is pushed under the gate's lock, but popped outside of it, by a thread that has a permit. A `VecDeque`
//! under a lock of its own would do, too. It would copy all packets whenever it grows, while other threads wait for its
//! lock to post (I9); the queue grows by a block at a time, and frees its blocks.

use super::error::{PostError, WaitError};
use super::gate::{Counts, Gate};
use super::seat::Resume;
use super::sync::Deadline;
use crossbeam::queue::SegQueue;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
        self.gate().post(packet, |packet| self.packets.push(packet)).map_err(PostError)
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
        self.wait_until(&Deadline::Never).ok()
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
        self.wait_until(&Deadline::after(timeout))
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
        self.wait_until(&Deadline::Now)
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
        let permits = self.gate().enter(max, &Deadline::Never).unwrap_or(0);
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
        self.gate().close();
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
        self.gate().counts().queued
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
        self.gate().counts().waiting
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
        self.gate().counts().running
    }

    pub(super) fn gate(&self) -> &Arc<Gate> {
        self.gate.get_or_init(|| Arc::new(Gate::new(self.concurrency)))
    }

    pub(super) fn wait_until(&self, deadline: &Deadline) -> Result<T, WaitError> {
        self.gate().enter(1, deadline).map(|_| self.take())
    }

    /// Uses a permit.
    fn take(&self) -> T {
        self.packets.pop().expect("a permit stands for a packet")
    }
}

impl<T> fmt::Debug for CompletionPort<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { queued, waiting, running, closed } = self.gate().counts();
        f.debug_struct("CompletionPort")
            .field("queued", &queued)
            .field("waiting", &waiting)
            .field("running", &running)
            .field("closed", &closed)
            .finish_non_exhaustive()
    }
}
