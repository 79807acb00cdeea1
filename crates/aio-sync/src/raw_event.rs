//! The event: one word that holds the signal, the queue of waiters, and the lock that guards both.
//!
//! # The word
//!
//! ```text
//!   63 …                                  4    3         2          1       0
//!  ┌────────────────────────────────────────┬─────────┬───────────┬────────┬─────┐
//!  │ pointer to the first node of the queue │ WATCHED │ CONTENDED │ LOCKED │ SET │
//!  └────────────────────────────────────────┴─────────┴───────────┴────────┴─────┘
//! ```
//!
//! | pointer | SET | LOCKED | the event is                                                            |
//! |---------|-----|--------|-------------------------------------------------------------------------|
//! | null    | 0   | 0      | nonsignaled, and nobody waits                                           |
//! | null    | 1   | 0      | signaled (and so nobody waits)                                          |
//! | node    | 0   | 0      | nonsignaled, with waiters                                               |
//! | any     | any | 1      | in the hands of a thread that delivers a signal, edits the queue, or decides a wait for several events |
//!
//! CONTENDED is set only beside LOCKED: some thread sleeps on the word until it is unlocked. WATCHED is set
//! only beside a pointer, once a wait for all was queued, and stays until the queue is empty: without it
//! a broadcast need not look for such waits.
//!
//! ```text
//!                   set                              wait
//!        ┌───────────────────────►  SET      0 ─────────────────► node ◄──┐ wait, timeout:
//!        0                           │                             │ ▲    │ lock, edit, unlock
//!        └ ◄─────────────────────────┘                             │ └────┘
//!           reset, or a wait on an auto-reset event                │ set: lock, then
//!                                                                  ▼
//!              manual: claim every waiter, unlock as SET      node|LOCKED
//!              auto:   claim the first that still waits, unlock without it; none left: unlock as SET
//! ```
//!
//! Without waiters every operation is one atomic instruction on the word. With waiters the setter hands
//! its signal over itself: it *claims* (see `wait_block`) under the lock whom it releases, and tells them
//! after it has unlocked. So a waiter that was there when the event was set is released, whatever happens
//! to the event before that waiter runs: two sets release two, and set-then-reset releases all.
//!
//! # Invariants
//!
//! 1. SET implies that the pointer is null: a signaled event has no queue.
//! 2. The pointer and the links of queued nodes change only in the hands of the holder of LOCKED, except
//!    that the first node is queued by exchanging 0 for it.
//! 3. A wait for all is queued on at most one event, its *watch*, which is nonsignaled while the node is
//!    in its queue and unlocked. `watch` changes only under the locks of the old and the new event.
//! 4. No thread blocks on a lock while it holds one, except in ascending order of the events'
//!    addresses; out of that order it only tries.
//! 5. A wait block, its nodes, and the list of events of a wait for all stay where they are until each
//!    node is unlinked, DONE was seen if somebody else claimed the block, and no setter has it pinned.
//!    A future that is forgotten stays where it is for ever, being pinned.
//! 6. A block is claimed only by its owner, or by a holder of the lock of an event on which it has a
//!    linked node.
//! 7. A setter is done with the event, and with every other event it locked on the way, before it
//!    releases the first waiter. What it wakes afterwards it knows by address only. So a waiter may free
//!    the event as soon as its wait returns.
//! 8. Between taking the lock and giving it back no code of a user runs: wakers are cloned before, and
//!    woken and dropped after.
//! 9. An operation that finds the event locked waits for the unlock, and so never sees a half-done
//!    delivery. One exception: a manual-reset event that is SET and LOCKED counts as signaled, since
//!    no holder of the lock makes such an event nonsignaled.
//!
//! # Memory ordering
//!
//! What happened before a `set` is visible after any wait that this set, or a later one, satisfies:
//!
//! * without waiters, `set` is a read-modify-write with release even where the event was set before, and
//!   the wait reads the word with acquire. As only read-modify-writes ever change the word, all sets since
//!   the last wait are in the release sequence which that wait acquires;
//! * with waiters, the setter stores DONE with release and the waiter reads it with acquire;
//! * a waiter that gave up has promised nothing. It reads `linked` with acquire, which the setter that
//!   took its node out cleared with release, so the setter's accesses come before the memory is reused;
//! * the lock is acquired with acquire and given back with release; the first node, which is queued
//!   without it, is published with release.
//!
//! `reset` needs no more than acquire. For `reset; check; wait` against `write; set`: both are changes
//! of one word, so either the reset comes second, acquires the set, and the check sees the write; or the
//! set comes second and the wait finds its signal. There is no fence and nothing is sequentially
//! consistent.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;

use crate::deadline::Deadline;
use crate::hooks::{Window, reached};
use crate::parker::{self, Word};
use crate::sync::{Acquire, AtomicPtr, Relaxed, Release, const_fn};
use crate::wait_block::{WaitBlock, Wakeup};
use crate::wait_list::{WaitList, WaitNode, Waiter};
use crate::watch::{Offer, Pins, WaitAll};

/// How often a thread looks at a locked event before it sleeps. Locks are held for some tens of
/// instructions, so this is exceeded only when the holder lost its processor.
const LOCK_SPINS: u32 = 100;

/// Whether a wait takes the signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// The event stays signaled until it is reset.
    Manual,
    /// A satisfied wait makes the event nonsignaled.
    Auto,
}

/// An event of either kind. Which kind it is, each operation is told.
#[repr(transparent)]
pub(crate) struct RawEvent {
    word: AtomicPtr<WaitNode>,
}

/// A borrowed event of either kind: what can be waited for, but not set or reset.
///
/// Made by [`WaitHandle::event`](crate::WaitHandle::event). It is a wait handle itself.
///
/// ```
/// use aio_sync::{AutoResetEvent, WaitHandle};
///
/// let event = AutoResetEvent::new(true);
/// let reference = event.event();
/// assert!(reference.try_wait());
/// assert!(!reference.try_wait(), "the first wait took the signal");
/// ```
#[derive(Clone, Copy)]
pub struct EventRef<'e> {
    raw: &'e RawEvent,
    reset: Reset,
}

impl<'e> EventRef<'e> {
    pub(crate) const fn new(raw: &'e RawEvent, reset: Reset) -> Self {
        Self { raw, reset }
    }

    pub(crate) fn raw(self) -> &'e RawEvent {
        self.raw
    }

    pub(crate) fn reset(self) -> Reset {
        self.reset
    }

    pub(crate) fn address(self) -> usize {
        ptr::from_ref(self.raw).addr()
    }

    pub(crate) fn is_signaled(self) -> bool {
        self.raw.is_set(self.reset)
    }

    /// Satisfies a wait if the event is signaled, and never blocks; takes the signal of an auto-reset event.
    ///
    /// ```
    /// use aio_sync::{ManualResetEvent, WaitHandle};
    ///
    /// assert!(ManualResetEvent::new(true).event().try_wait());
    /// ```
    #[inline]
    #[must_use = "true may mean that the signal was taken"]
    pub fn try_wait(self) -> bool {
        self.raw.try_wait(self.reset)
    }
}

/// A value of the word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(*mut WaitNode);

const SET: usize = 1;
const LOCKED: usize = 2;
const CONTENDED: usize = 4;
const WATCHED: usize = 8;
const TAGS: usize = SET | LOCKED | CONTENDED | WATCHED;

impl State {
    const UNSET: Self = Self(ptr::null_mut());
    const SET: Self = Self(ptr::without_provenance_mut(SET));

    fn queue(list: WaitList) -> Self {
        let watched = if list.is_watched() { WATCHED } else { 0 };
        Self(list.first().cast_mut()).with(watched)
    }

    #[inline]
    fn is_set(self) -> bool {
        self.0.addr() & SET != 0
    }

    #[inline]
    fn is_locked(self) -> bool {
        self.0.addr() & LOCKED != 0
    }

    fn list(self) -> WaitList {
        let watched = self.0.addr() & WATCHED != 0;
        WaitList::starting_at(self.without(TAGS).0, watched)
    }

    fn with(self, tag: usize) -> Self {
        Self(self.0.map_addr(|address| address | tag))
    }

    fn without(self, tags: usize) -> Self {
        Self(self.0.map_addr(|address| address & !tags))
    }
}

/// What became of an attempt to queue a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// The node is in the queue.
    Queued,
    /// The event was signaled, and the wait has its signal.
    Signaled,
    /// Another event of the same wait has claimed it meanwhile.
    Decided,
}

/// A setter met a wait for all whose events it could not lock out of order. It has pinned that wait and
/// let go of everything, without having done anything.
struct Conflict(*const WaitAll);

impl RawEvent {
    const_fn! {
        pub(crate) const fn new(signaled: bool) -> Self {
            let state = if signaled { State::SET } else { State::UNSET };
            Self { word: AtomicPtr::new(state.0) }
        }
    }

    /// Returns true if the event is signaled.
    #[inline]
    pub(crate) fn is_set(&self, reset: Reset) -> bool {
        let state = State(self.word.load(Acquire));
        if state.is_locked() { self.is_set_when_unlocked(reset) } else { state.is_set() }
    }

    #[cold]
    fn is_set_when_unlocked(&self, reset: Reset) -> bool {
        loop {
            let state = State(self.word.load(Acquire));
            if !state.is_locked() {
                return state.is_set();
            }
            if state.is_set() && reset == Reset::Manual {
                return true;
            }
            self.await_unlock();
        }
    }

    /// Satisfies a wait if the event is signaled. Never because of, and never despite, other threads:
    /// the answer was right at some moment during the call.
    #[inline]
    pub(crate) fn try_wait(&self, reset: Reset) -> bool {
        match reset {
            Reset::Manual => self.is_set(reset),
            Reset::Auto => self.reset(),
        }
    }

    /// Makes the event nonsignaled; returns true if it was signaled.
    #[inline]
    pub(crate) fn reset(&self) -> bool {
        match self.word.compare_exchange(State::SET.0, State::UNSET.0, Acquire, Relaxed) {
            Ok(_) => true,
            Err(state) => State(state).is_locked() && self.reset_when_unlocked(),
        }
    }

    #[cold]
    fn reset_when_unlocked(&self) -> bool {
        loop {
            self.await_unlock();
            match self.word.compare_exchange(State::SET.0, State::UNSET.0, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(state) if State(state).is_locked() => {}
                Err(_) => return false,
            }
        }
    }

    /// Signals the event; returns true if it was signaled before.
    #[inline]
    pub(crate) fn set(&self, reset: Reset) -> bool {
        match self.word.compare_exchange(State::UNSET.0, State::SET.0, Release, Relaxed) {
            Ok(_) => false,
            Err(state) => self.set_slow(reset, State(state)),
        }
    }

    #[cold]
    #[inline(never)]
    fn set_slow(&self, reset: Reset, mut state: State) -> bool {
        loop {
            let exchanged = if state.is_locked() {
                self.await_unlock();
                Err(self.word.load(Relaxed))
            } else if state.list().is_empty() {
                // 0 => SET, or SET => SET, which publishes what this setter wrote.
                self.word
                    .compare_exchange_weak(state.0, State::SET.0, Release, Relaxed)
                    .map(|_| state.is_set())
            } else {
                let locked = state.with(LOCKED).0;
                self.word.compare_exchange_weak(state.0, locked, Acquire, Relaxed).map(|_| {
                    // SAFETY: this thread has just locked the event, and pinned nothing.
                    unsafe { self.deliver(reset, state.list(), None) }
                })
            };
            match exchanged {
                Ok(was_set) => return was_set,
                Err(current) => state = State(current),
            }
        }
    }

    /// Hands the signal to the waiters, or keeps it, and unlocks the event. Returns true if the event had
    /// become signaled in the meantime.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of this event and of every event of `pins`, and `list` is the queue.
    unsafe fn deliver(&self, reset: Reset, list: WaitList, pins: Option<&Pins<'_>>) -> bool {
        reached(Window::Locked);
        let delivered = match reset {
            // SAFETY: the contract of this function.
            Reset::Auto => unsafe { self.offer_to_each(list, pins) },
            // SAFETY: the contract of this function.
            Reset::Manual => unsafe { self.release_all(list, pins) },
        };
        let Err(Conflict(wait)) = delivered else { return false };

        // The wait is pinned, so its events are alive, and they can be locked in order now. Each round
        // pins one wait more, and what is pinned cannot be in the way again.
        let pins = Pins::new(wait, pins);
        reached(Window::Pinned);
        // SAFETY: this thread holds no lock.
        unsafe { pins.lock_all() };
        let state = State(self.word.load(Relaxed));
        let was_set = if state.is_set() {
            // SAFETY: the locks were taken above.
            unsafe { pins.unlock_others(self) };
            self.unlock(State::SET);
            true
        } else {
            // SAFETY: as before; an event of every pinned wait is this one, so it is locked.
            unsafe { self.deliver(reset, state.list(), Some(&pins)) }
        };
        // SAFETY: this thread pinned the wait, and is done with it.
        unsafe { pins.unpin() };
        was_set
    }

    /// Auto-reset: the first waiter that can take the signal gets it. Nobody can: the event keeps it.
    ///
    /// # Safety
    ///
    /// As for `deliver`.
    unsafe fn offer_to_each(
        &self,
        mut list: WaitList,
        pins: Option<&Pins<'_>>,
    ) -> Result<(), Conflict> {
        let let_go = |state: State| {
            if let Some(pins) = pins {
                // SAFETY: the caller locked them, and nobody uses them any more.
                unsafe { pins.unlock_others(self) };
            }
            self.unlock(state);
        };
        while !list.is_empty() {
            let first = list.first();
            // SAFETY: a queued node is alive while the event is locked (invariants 2 and 5).
            let node = unsafe { &*first };
            let claimed = match node.waiter() {
                Waiter::Any { block, index } => {
                    // SAFETY: invariant 5.
                    let block = unsafe { &*block };
                    // SAFETY: the node is in this list, and this thread holds the lock.
                    unsafe { list.remove(first) };
                    if block.claim(index) {
                        Some(block)
                    } else {
                        // The owner has given up, or has been claimed elsewhere.
                        node.mark_unlinked();
                        None
                    }
                }
                Waiter::All(wait) => {
                    // SAFETY: invariant 5.
                    let wait = unsafe { &*wait };
                    // SAFETY: this event is locked, and the wait watches it.
                    match unsafe { wait.offer(node, self, &mut list, pins) } {
                        Offer::Taken => Some(wait.block()),
                        Offer::Gone => None,
                        Offer::Busy => {
                            wait.pin();
                            let_go(State::queue(list));
                            return Err(Conflict(wait));
                        }
                    }
                }
            };
            if let Some(block) = claimed {
                node.mark_unlinked();
                reached(Window::Claimed);
                let_go(State::queue(list));
                reached(Window::Unlocked);
                // SAFETY: this thread claimed the block, and is done with the events.
                let wakeup = unsafe { block.release() };
                reached(Window::Released);
                wakeup.wake();
                return Ok(());
            }
        }
        let_go(State::SET);
        Ok(())
    }

    /// Manual-reset: everybody in the queue is released, except waits for all that miss another event.
    ///
    /// It must not stop half way, with one wait for all satisfied and this event unlocked as
    /// nonsignaled because the events of another are busy: a third thread could see that. So the events
    /// of all of them are locked before the first effect.
    ///
    /// # Safety
    ///
    /// As for `deliver`.
    unsafe fn release_all(
        &self,
        mut list: WaitList,
        pins: Option<&Pins<'_>>,
    ) -> Result<(), Conflict> {
        // SAFETY: the contract of this function.
        let held = match unsafe { WaitAll::hold_events(self, &mut list, pins) } {
            Ok(held) => held,
            Err(wait) => {
                wait.pin();
                if let Some(pins) = pins {
                    // SAFETY: the caller locked them, and nobody uses them any more.
                    unsafe { pins.unlock_others(self) };
                }
                self.unlock(State::queue(list));
                return Err(Conflict(wait));
            }
        };
        // What stays in `list` are the claimed waits for this event, in their places.
        let mut satisfied = WaitList::EMPTY;
        let mut dead = WaitList::EMPTY;
        let mut next = list.first();
        while !next.is_null() {
            let this_node = next;
            // SAFETY: a queued node is alive while the event is locked (invariants 2 and 5).
            let node = unsafe { &*this_node };
            // SAFETY: as before; this thread holds the lock.
            next = unsafe { list.after(this_node) };
            match node.waiter() {
                Waiter::Any { block, index } => {
                    // SAFETY: invariant 5.
                    if !unsafe { &*block }.claim(index) {
                        // SAFETY: the node is in this list.
                        unsafe { list.remove(this_node) };
                        node.mark_unlinked();
                    }
                }
                Waiter::All(wait) => {
                    // SAFETY: the node is in this list.
                    unsafe { list.remove(this_node) };
                    // SAFETY: invariant 5.
                    let wait = unsafe { &*wait };
                    // SAFETY: `hold_events` locked its events, and the node was taken out.
                    match unsafe { wait.take_or_move(node, self) } {
                        // SAFETY: the node was taken out; its links are this thread's.
                        Some(true) => unsafe { satisfied.push_back(this_node) },
                        // SAFETY: as before.
                        Some(false) => unsafe { dead.push_back(this_node) },
                        None => {}
                    }
                }
            }
        }
        reached(Window::Claimed);
        // SAFETY: `held` is what `hold_events` locked.
        unsafe { WaitAll::let_go_of_events(held, self, pins) };
        // The dead are told before the unlock: an owner that finds its node linked and this event
        // unlocked would take the node out of a queue in which it is not.
        //
        // SAFETY: they were taken out above, and are alive until they are marked.
        while let Some(node) = unsafe { dead.pop_front() } {
            // SAFETY: as before.
            unsafe { (*node).mark_unlinked() };
        }
        if let Some(pins) = pins {
            // SAFETY: the caller locked them, and nobody uses them any more.
            unsafe { pins.unlock_others(self) };
        }
        self.unlock(State::SET);
        reached(Window::Unlocked);
        // SAFETY: this thread claimed them all, and is done with the events.
        unsafe { release_claimed([list, satisfied]) };
        Ok(())
    }

    /// Queues `node` unless the event is signaled.
    ///
    /// `rivals` says that other events may claim the wait at the same time, so that it must be claimed
    /// before a signal is taken for it.
    ///
    /// # Safety
    ///
    /// `node` is not linked, is a place of `block` with `index`, and both keep invariant 5.
    pub(crate) unsafe fn enqueue(
        &self,
        reset: Reset,
        node: &WaitNode,
        rivals: Option<(&WaitBlock, u32)>,
    ) -> Enqueued {
        node.mark_linked();
        // SAFETY: the contract of this function.
        let enqueued = unsafe { self.try_enqueue(reset, node, rivals) };
        if enqueued != Enqueued::Queued {
            node.mark_unlinked();
        }
        enqueued
    }

    /// # Safety
    ///
    /// As for `enqueue`.
    unsafe fn try_enqueue(
        &self,
        reset: Reset,
        node: &WaitNode,
        rivals: Option<(&WaitBlock, u32)>,
    ) -> Enqueued {
        loop {
            let state = State(self.word.load(Acquire));
            if state.is_set() && reset == Reset::Manual {
                let claimed = rivals.is_none_or(|(block, index)| block.claim(index));
                return if claimed { Enqueued::Signaled } else { Enqueued::Decided };
            }
            if state.is_locked() {
                self.await_unlock();
            } else if state.is_set() {
                let Some((block, index)) = rivals else {
                    if self.exchange(state, State::UNSET) {
                        return Enqueued::Signaled;
                    }
                    continue;
                };
                if self.exchange(state, state.with(LOCKED)) {
                    let claimed = block.claim(index);
                    self.unlock(if claimed { State::UNSET } else { State::SET });
                    return if claimed { Enqueued::Signaled } else { Enqueued::Decided };
                }
            } else if state == State::UNSET {
                let mut list = WaitList::EMPTY;
                // SAFETY: nobody else knows the node yet.
                unsafe { list.push_back(node) };
                let queue = State::queue(list).0;
                if self.word.compare_exchange_weak(state.0, queue, Release, Relaxed).is_ok() {
                    return Enqueued::Queued;
                }
            } else if self.exchange(state, state.with(LOCKED)) {
                let mut list = state.list();
                // SAFETY: this thread has just locked the event.
                unsafe { list.push_back(node) };
                self.unlock(State::queue(list));
                return Enqueued::Queued;
            }
        }
    }

    /// Takes `node` out of the queue, if a setter has not done so.
    ///
    /// # Safety
    ///
    /// `node` was queued on this event, and nowhere else since.
    pub(crate) unsafe fn unlink(&self, node: &WaitNode) {
        if node.is_linked() {
            // SAFETY: the contract of this function.
            unsafe { self.unlink_if(node, || true) };
        }
    }

    /// Takes `node` out of the queue, if `is_here` says under the lock that it is in this one.
    ///
    /// # Safety
    ///
    /// If `is_here` returns true and the node is linked, then it is queued on this event.
    pub(crate) unsafe fn unlink_if(&self, node: &WaitNode, is_here: impl FnOnce() -> bool) {
        let state = self.lock();
        let mut list = state.list();
        if node.is_linked() && is_here() {
            // SAFETY: the node is in this queue, and this thread holds the lock.
            unsafe { list.remove(node) };
            node.mark_unlinked();
        }
        self.unlock(if state.is_set() { state } else { State::queue(list) });
    }

    /// Runs `look` under the lock. It must not run code of a user.
    pub(crate) fn with_lock<R>(&self, look: impl FnOnce() -> R) -> R {
        let state = self.lock();
        let result = look();
        self.unlock(state);
        result
    }

    /// Looks at the word up to `spins` times, as long as nobody is queued; true if that satisfied a wait.
    pub(crate) fn spin(&self, reset: Reset, spins: u32) -> bool {
        for _ in 0..spins {
            let state = State(self.word.load(Relaxed));
            if state.is_set() {
                if self.try_wait(reset) {
                    return true;
                }
            } else if state != State::UNSET {
                break;
            }
            std::hint::spin_loop();
        }
        false
    }

    #[inline]
    fn exchange(&self, from: State, to: State) -> bool {
        self.word.compare_exchange_weak(from.0, to.0, Acquire, Relaxed).is_ok()
    }

    /// Locks the event; returns its state without the lock's bits.
    fn lock(&self) -> State {
        loop {
            let state = State(self.word.load(Relaxed));
            if state.is_locked() {
                self.await_unlock();
            } else if self.exchange(state, state.with(LOCKED)) {
                return state;
            }
        }
    }

    /// Unlocks the event and gives it its new state. The last access to the event.
    fn unlock(&self, state: State) {
        let address = self.word.address();
        let before = State(self.word.swap(state.0, Release));
        if before.0.addr() & CONTENDED != 0 {
            parker::wake_all(address);
        }
    }

    /// Returns when the event has been seen unlocked, or may have been unlocked.
    #[cold]
    fn await_unlock(&self) {
        let spins = if parker::spinning_helps() { LOCK_SPINS } else { 0 };
        for _ in 0..spins {
            std::hint::spin_loop();
            if !State(self.word.load(Relaxed)).is_locked() {
                return;
            }
        }
        let state = State(self.word.load(Relaxed));
        let contended = state.with(CONTENDED);
        if state.is_locked() && (state == contended || self.contend(state, contended)) {
            parker::wait(&self.word, parker::low_half(contended.0), &Deadline::NEVER);
        }
    }

    fn contend(&self, from: State, to: State) -> bool {
        self.word.compare_exchange(from.0, to.0, Relaxed, Relaxed).is_ok()
    }
}

/// What a wait for all does with an event that it, or a setter on its behalf, has locked.
impl RawEvent {
    pub(crate) fn lock_member(&self) {
        self.lock();
    }

    pub(crate) fn try_lock_member(&self) -> bool {
        loop {
            let state = State(self.word.load(Relaxed));
            if state.is_locked() {
                return false;
            }
            if self.exchange(state, state.with(LOCKED)) {
                return true;
            }
        }
    }

    /// Unlocks the event and leaves it as the holder of the lock made it.
    pub(crate) fn unlock_member(&self) {
        let state = State(self.word.load(Relaxed)).without(LOCKED | CONTENDED);
        self.unlock(state);
    }

    /// Takes the signal of an auto-reset event and unlocks it: `SET|LOCKED => 0`.
    pub(crate) fn take_and_unlock_member(&self) {
        self.unlock(State::UNSET);
    }

    /// Returns true if the event is signaled; exact while it is locked, a guess otherwise.
    pub(crate) fn is_set_member(&self) -> bool {
        State(self.word.load(Relaxed)).is_set()
    }

    /// Takes the signal: `SET|LOCKED => LOCKED`.
    pub(crate) fn consume_member(&self) {
        self.change_locked(|state| state.without(SET));
    }

    /// Appends `node` to the queue.
    ///
    /// # Safety
    ///
    /// The caller holds the lock, the event is nonsignaled, and the node is marked as linked, is in no
    /// queue, and keeps invariant 5.
    pub(crate) unsafe fn push_member(&self, node: &WaitNode) {
        let mut list = State(self.word.load(Relaxed)).list();
        // SAFETY: the contract of this function.
        unsafe { list.push_back(node) };
        list.mark_watched();
        self.change_locked(|state| State::queue(list).with(state.0.addr() & (LOCKED | CONTENDED)));
    }

    /// Changes the word of an event that this thread has locked. Others may add CONTENDED meanwhile.
    fn change_locked(&self, change: impl Fn(State) -> State) {
        let mut state = State(self.word.load(Relaxed));
        // Relaxed: whoever comes next acquires the unlock.
        while let Err(current) =
            self.word.compare_exchange_weak(state.0, change(state).0, Relaxed, Relaxed)
        {
            state = State(current);
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
impl RawEvent {
    /// The number of nodes in the queue.
    pub(crate) fn waiters(&self) -> usize {
        let state = self.lock();
        let list = state.list();
        let mut count = 0;
        let mut node = list.first();
        while !node.is_null() {
            count += 1;
            // SAFETY: the node is in the queue, and this thread holds the lock.
            node = unsafe { list.after(node) };
        }
        self.unlock(state);
        count
    }

    pub(crate) fn is_contended(&self) -> bool {
        self.word.load(Relaxed).addr() & CONTENDED != 0
    }
}

impl fmt::Debug for RawEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = State(self.word.load(Relaxed));
        f.debug_struct("RawEvent")
            .field("signaled", &state.is_set())
            .field("has_waiters", &!state.list().is_empty())
            .finish()
    }
}

impl fmt::Debug for EventRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRef").field("event", self.raw).field("reset", &self.reset).finish()
    }
}

/// Releases every wait of the lists, then wakes those who sleep.
///
/// All waits of a batch are released before the first of them is woken, because waking takes long: a
/// wait whose deadline comes after its claim has to stay until it is released. A waker that panics
/// does not keep the others asleep; its panic goes on when all have been woken.
///
/// # Safety
///
/// The caller claimed the block of every node, took the lists out, and is done with their events.
unsafe fn release_claimed(claimed: [WaitList; 2]) {
    const BATCH: usize = 32;
    let mut batch = [const { None::<Wakeup> }; BATCH];
    let mut panic = None;
    for list in claimed {
        let mut next = list.first();
        while !next.is_null() {
            for wakeup in &mut batch {
                if next.is_null() {
                    break;
                }
                // SAFETY: the nodes are alive until their blocks are released.
                let node = unsafe { &*next };
                // SAFETY: as before; the links are this thread's.
                next = unsafe { list.after(next) };
                let block = match node.waiter() {
                    // SAFETY: as before.
                    Waiter::Any { block, .. } => unsafe { &*block },
                    // SAFETY: as before.
                    Waiter::All(wait) => unsafe { &*wait }.block(),
                };
                node.mark_unlinked();
                // SAFETY: the contract of this function.
                *wakeup = Some(unsafe { block.release() });
            }
            reached(Window::Released);
            let mut asleep = batch.iter_mut();
            let mut wake = || asleep.by_ref().filter_map(Option::take).for_each(Wakeup::wake);
            // A waker that panicked is used up; those behind it are woken in the next turn.
            while let Err(payload) = catch_unwind(AssertUnwindSafe(&mut wake)) {
                panic.get_or_insert(payload);
            }
        }
    }
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}
