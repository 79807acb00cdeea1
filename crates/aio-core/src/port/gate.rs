//! [`Gate`]: which thread may take a packet of a port, which threads sleep, and which is to be woken.
//!
//! A few counters and a stack of sleeping threads under one lock. The gate does not know the packets' type, so a
//! thread can keep the gate that counts it without keeping packets, which may borrow.
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
//! A *permit* is the right to pop one packet. A thread that is *claimed* is taken off the stack and signaled to come
//! back for a permit. It has no packet yet. So a running thread that comes back takes the next packet at once, ahead
//! of a sleeper that would need a context switch for it, and the sleeper, finding nothing, sleeps again.
//!
//! # Invariants
//!
//! They hold whenever the gate's lock is free.
//!
//! 1. There are at least `queued` packets in the queue, and one more for every permit that has been
//!    given and not been used. Packets are pushed under the lock, so a post comes before a
//!    close, and its packet is delivered, or after it, and its packet is given back.
//! 2. `running` is the number of threads that have this gate in their [`Seat`], except for those
//!    between the lock and the seat. A permit is given only if this makes it at most `limit`, or if
//!    the port is closed. A thread that was blocked resumes without a permit, and may exceed `limit`.
//! 3. A waiting thread is on the stack once, its event is nonsignaled, and no thread is about to signal
//!    it. A claimed thread is not on the stack, and exactly one signal has been or will be given to
//!    its event; it waits for that signal before it does anything else, whatever the time. So an
//!    event is always clean when its thread goes on the stack, at this port or another.
//! 4. `waking` is true from the claim of a thread, for packets, to that thread's return to the lock.
//!    One wake-up at a time is under way.
//! 5. If packets are queued and threads are waiting, then `waking` is true, or `running` has reached
//!    `limit`.
//! 6. If the port is closed, no thread is waiting.
//!
//! # No packet is left behind
//!
//! By 5, a queued packet that a waiting thread may take has a thread on its way to it. That thread
//! takes it, or finds that another has, and in both cases restores 5 for the packets that are left: it wakes the
//! next thread. If instead `running` has reached `limit`, each running thread comes back
//! and takes the packet, or stops running in another way, and restores 5. So every change
//! that adds a packet, gives a permit or ends a thread's running goes through [`Gate::settle`]. Two
//! changes do not need it: a thread gets no permit only where there is none to be had, and close empties the stack.
//!
//! # Races
//!
//! * *Post against deadline.* The lock decides. If the waiter takes itself off the stack first, no
//!   signal comes, and the post finds another thread or leaves the packet in the queue. If the claim
//!   is first, the waiter sees that it is no longer on the stack, takes the signal and looks for a
//!   permit: success wins over the deadline. Without a permit there is nothing left that others
//!   could take.
//! * *Close against wait.* Close takes all threads off the stack and signals them; each finds a packet,
//!   or that there is none, for good (6). After close no thread sleeps and no limit holds: a thread that
//!   counts as running and never comes back cannot keep others from the end.
//! * *A permit against the end of its thread.* Between the two nothing runs but the pop.
//! * *Spinning against a signal.* The event decides: the spinning thread takes the signal, or its sleep does.
//! * *The end of a thread against everything.* Its seat is dropped with its thread-locals and stops
//!   its running. A call made later still, from the destructor of another thread-local, gets a seat
//!   for the duration of the call.
//!
//! Under the lock no user code runs, and no packet is taken or dropped. Signals are given after it is released. No
//! thread holds two gates' locks.
//!
//! # Before a thread sleeps
//!
//! A waiting thread first spins (`spin.rs`), for its signal. It is on the stack meanwhile, and a claim treats it as a
//! sleeper, but need not call the system. So nothing above knows of it.
//!
//! Only the thread that began to wait last spins, since it is the next to be claimed: `newest` says
//! whose event is worth polling. It is a hint. A thread that wrongly believes to be the last polls a few
//! times more, one that wrongly believes not to be sleeps, and either takes its signal when it comes.

use super::error::WaitError;
use super::seat::Seat;
use super::sync::{AtomicUsize, Deadline, Event, Mutex, MutexGuard};
use std::mem;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;

pub(super) struct Gate {
    limit: usize,
    /// The number of the seat whose thread began to wait last; whether it still waits is not said. Written
    /// under the lock.
    newest: AtomicUsize,
    state: Mutex<State>,
}

/// What a port says of itself.
pub(super) struct Counts {
    pub(super) queued: usize,
    pub(super) waiting: usize,
    pub(super) running: usize,
    pub(super) closed: bool,
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
    pub(super) fn new(concurrency: usize) -> Self {
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

    pub(super) fn counts(&self) -> Counts {
        let State { queued, running, waiting, closed, .. } = &*self.lock();
        Counts { queued: *queued, waiting: waiting.len(), running: *running, closed: *closed }
    }

    #[cfg(all(loom, test))]
    pub(super) fn is_waking(&self) -> bool {
        self.lock().waking
    }

    /// Has `push` queue a packet, unless the port is closed.
    pub(super) fn post<T>(&self, packet: T, push: impl FnOnce(T)) -> Result<(), T> {
        let mut state = self.lock();
        if state.closed {
            return Err(packet);
        }
        push(packet);
        state.queued += 1;
        self.settle(state);
        Ok(())
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let released = mem::take(&mut state.waiting);
        drop(state);
        released.iter().rev().for_each(|event| event.set());
    }

    /// Ends a change of the state: restores invariant 5, unlocks, and wakes the thread that was claimed.
    fn settle(&self, mut state: MutexGuard<'_, State>) {
        let claimed = state.claim(self.limit);
        drop(state);
        if let Some(event) = claimed {
            event.set();
        }
    }

    /// The calling thread comes for packets, `max` at most, and gets permits for those it may take.
    pub(super) fn enter(
        self: &Arc<Self>,
        max: usize,
        deadline: &Deadline,
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
        let mut expired = matches!(deadline, Deadline::Now);
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
            if expired {
                return Err(WaitError::TimedOut);
            }
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

    /// The thread of `seat`, which waits, polls for its signal as long as no other has begun to wait after it,
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
    pub(super) fn stop_running(&self) {
        let mut state = self.lock();
        state.running -= 1;
        self.settle(state);
    }

    /// A thread that was blocked runs again, without a permit.
    pub(super) fn resume_running(&self) {
        self.lock().running += 1;
    }

    /// If the calling thread runs by a permit of this gate, it stops; returns the gate if so.
    pub(super) fn leave(self: &Arc<Self>) -> Option<Arc<Self>> {
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
