//! A wait for several events at once, all or nothing, without a lock that all events share: protocol and proof.
//!
//! # How it works
//!
//! A wait for all locks its events in ascending order of their addresses. If all are signaled it takes
//! every signal and is done. Otherwise it queues *one* node, on an event that is nonsignaled: its watch.
//! Setting any other of its events cannot satisfy it, so their setters neither know of it nor pay for it.
//!
//! The setter of the watch holds that event's lock and a signal that nobody has seen. It looks for
//! another event of the wait that is nonsignaled:
//!
//! * there is one: the watch moves there, which nobody can see either;
//! * there is none, and every event is locked: the wait is claimed and takes all signals in this moment.
//!   All locks being held, no other operation on any of them comes between;
//! * an event is locked by somebody else: the setter must not wait for it, since that somebody may be
//!   waiting for the watch (invariant 4 of `raw_event`). It *pins* the wait, lets go of everything,
//!   having done nothing, locks the events of the pinned wait in order, and starts again.
//!
//! # Who keeps whom alive
//!
//! The list of events belongs to the waiter, on its stack. A setter may use it
//!
//! * while it holds the lock of the watch: a waiter that gives up must unlink its node there first;
//! * from its claim until it stores DONE;
//! * while it has the wait pinned: a waiter does not return before it is unpinned.
//!
//! So after it has moved a watch, a setter unlocks the new watch last, and forgets the wait with that.
//!
//! # Cost
//!
//! Two exchanges per event when all are signaled. A set of the watch costs one lock per move, or one per
//! event for the final claim. The setter of a manual-reset event that k waits watch, whose other events
//! are all signaled, makes k²/2 short searches; it locks the events of all of them first (see
//! `release_all`).

use std::fmt;
use std::ptr;

use crate::deadline::Deadline;
use crate::hooks::{Window, reached};
use crate::parker::{self, Word};
use crate::raw_event::{EventRef, RawEvent, Reset};
use crate::sleeper::Sleeper;
use crate::sync::{Acquire, AtomicPtr, AtomicU32, Relaxed, Release, UnsafeCell};
use crate::wait_block::WaitBlock;
use crate::wait_list::{WaitList, WaitNode, Waiter};
use crate::wait_options::WaitOptions;

/// `pins`: the owner sleeps until the wait is unpinned.
const SLEEPER: u32 = 1 << 31;

/// A wait for several events at once.
pub(crate) struct WaitAll {
    block: WaitBlock,
    /// The events, ascending by address, each once. The owner's, who keeps them as long as the wait.
    events: *const [EventRef<'static>],
    /// The event on which the node is queued.
    watch: AtomicPtr<RawEvent>,
    /// While a setter of the watch holds events of several waits: the wait it locked before this one.
    /// Belongs to the holder of the lock of the watch.
    held_before: UnsafeCell<*const Self>,
    /// The number of setters that have the wait pinned, and `SLEEPER`.
    pins: AtomicU32,
    /// To loom, using the list is a read of this, and freeing it is a write.
    #[cfg(loom)]
    lent: UnsafeCell<()>,
}

/// What a setter achieved by offering its signal to a wait for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// The wait is claimed, and took this signal and all others.
    Taken,
    /// The wait watches another event now, or was over already.
    Gone,
    /// One of its events is locked by another thread; nothing has been done.
    Busy,
}

/// Takes all signals at once, or returns false when the options say to give up; without options it only looks.
///
/// `events` are ascending by address, each once.
pub(crate) fn wait_for(events: &[EventRef<'_>], options: Option<&WaitOptions>) -> bool {
    // An event that is nonsignaled now answers a wait that must not block.
    if options.is_none() && events.iter().any(|event| !event.is_signaled()) {
        return false;
    }
    // Before the locks: what a thread does in place of sleeping is not ours, nor is the waker.
    let (sleeper, block) = Sleeper::current();
    for event in events {
        event.raw().lock_member();
    }
    // The last one: whoever sets the events in the order of their addresses meets the watch only once.
    let missing = events.iter().rfind(|event| !event.raw().is_set_member());
    let (Some(missing), Some(options)) = (missing, options) else {
        let satisfied = missing.is_none();
        for event in events {
            if satisfied && event.reset() == Reset::Auto {
                event.raw().take_and_unlock_member();
            } else {
                event.raw().unlock_member();
            }
        }
        return satisfied;
    };

    let wait = WaitAll::new(block, events, missing.raw());
    let node = WaitNode::new(Waiter::All(&wait));
    node.mark_linked();
    // SAFETY: the event is locked and nonsignaled. Node, wait and list stay until this function returns,
    // which is after the node was unlinked, DONE was seen if a setter claimed, and no pin is left.
    unsafe { missing.raw().push_member(&node) };
    for event in events {
        event.raw().unlock_member();
    }

    let mut satisfied = sleeper.park(&wait.block, options.useful_spins(), options.moment());
    if !satisfied {
        reached(Window::TimeOver);
        if wait.block.cancel() {
            reached(Window::GivenUp);
            wait.unlink(&node);
        } else {
            // A setter has claimed the wait: the signals accepted come before the time that is over.
            wait.block.await_release();
            satisfied = true;
        }
    }
    wait.await_unpinned();
    satisfied
}

impl WaitAll {
    fn new(block: WaitBlock, events: &[EventRef<'_>], watch: &RawEvent) -> Self {
        Self {
            block,
            events: ptr::slice_from_raw_parts(events.as_ptr().cast(), events.len()),
            watch: AtomicPtr::new(ptr::from_ref(watch).cast_mut()),
            held_before: UnsafeCell::new(ptr::null()),
            pins: AtomicU32::new(0),
            #[cfg(loom)]
            lent: UnsafeCell::new(()),
        }
    }

    pub(crate) fn block(&self) -> &WaitBlock {
        &self.block
    }

    fn events(&self) -> &[EventRef<'static>] {
        #[cfg(loom)]
        self.lent.with(|_| ());
        // SAFETY: the owner keeps the list as long as the wait (invariant 5 of `raw_event`).
        unsafe { &*self.events }
    }

    fn contains(&self, event: &RawEvent) -> bool {
        let address = ptr::from_ref(event).addr();
        self.events().binary_search_by_key(&address, |member| member.address()).is_ok()
    }

    /// Takes the owner's node out of the queue in which it is, following the watch if it moves.
    fn unlink(&self, node: &WaitNode) {
        while node.is_linked() {
            let watch = self.watch.load(Relaxed);
            let is_current = || ptr::eq(self.watch.load(Relaxed), watch);
            // SAFETY: the watch is one of the owner's events.
            let watch = unsafe { &*watch };
            // SAFETY: the node is queued on the watch, if that is still the watch once it is locked.
            unsafe { watch.unlink_if(node, is_current) };
        }
    }

    /// Offers the signal of `this`, an auto-reset event which the wait watches. Whatever the answer but
    /// `Busy`, the node has left `list`.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of `this` and of the events of `pins`; `node`, in `list`, the queue of
    /// `this`, is the node of this wait. After `Gone` the wait must not be used.
    pub(crate) unsafe fn offer(
        &self,
        node: &WaitNode,
        this: &RawEvent,
        list: &mut WaitList,
        pins: Option<&Pins<'_>>,
    ) -> Offer {
        // SAFETY: the contract of this function.
        if unsafe { self.leave_early(node, this, list, ptr::null(), pins) } {
            return Offer::Gone;
        }
        // SAFETY: the contract of this function; the watch is locked.
        if !unsafe { self.hold(this, ptr::null(), pins) } {
            return Offer::Busy;
        }
        // SAFETY: the node is in the list, and the lock is held.
        unsafe { list.remove(node) };
        // SAFETY: all events are locked, and the node is in no queue.
        let taken = unsafe { self.take_or_move(node, this) };
        // SAFETY: `hold` locked them.
        unsafe { self.let_go(this, pins) };
        match taken {
            Some(true) => Offer::Taken,
            Some(false) => {
                node.mark_unlinked();
                Offer::Gone
            }
            None => Offer::Gone,
        }
    }

    /// Locks the events of every wait for all in `list`, the queue of `this`, except those that can be
    /// sent to another event, or off, without. Returns the last of them (see `let_go_of_events`), or the
    /// one whose events cannot be locked; then nothing is held.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of `this` and of the events of `pins`.
    pub(crate) unsafe fn hold_events<'w>(
        this: &RawEvent,
        list: &mut WaitList,
        pins: Option<&Pins<'_>>,
    ) -> Result<*const Self, &'w Self> {
        let mut held = ptr::null();
        let mut next = if list.is_watched() { list.first() } else { ptr::null() };
        while !next.is_null() {
            // SAFETY: queued nodes are alive while the event is locked (invariant 5 of `raw_event`).
            let node = unsafe { &*next };
            // SAFETY: as before; the links are this thread's.
            next = unsafe { list.after(next) };
            let Waiter::All(wait) = node.waiter() else { continue };
            // SAFETY: as before.
            let wait = unsafe { &*wait };
            // SAFETY: the contract of this function.
            if unsafe { wait.leave_early(node, this, list, held, pins) } {
                continue;
            }
            // SAFETY: the contract of this function.
            if !unsafe { wait.hold(this, held, pins) } {
                // SAFETY: `held` is what was locked here.
                unsafe { Self::let_go_of_events(held, this, pins) };
                return Err(wait);
            }
            held = wait;
        }
        Ok(held)
    }

    /// Unlocks what `hold_events` locked, from the last wait to the first.
    ///
    /// Two waits may share an event; it belongs to the first that locked it. So an event of a wait, its
    /// watch included, is unlocked with that wait or with one before it, and no wait is forgotten while it
    /// is needed to tell whose an event is.
    ///
    /// # Safety
    ///
    /// `held` is what `hold_events` returned. Those waits whose watch was moved must not be used again.
    pub(crate) unsafe fn let_go_of_events(
        mut held: *const Self,
        this: &RawEvent,
        pins: Option<&Pins<'_>>,
    ) {
        while !held.is_null() {
            // SAFETY: its watch is locked, or it is claimed and not released.
            let wait = unsafe { &*held };
            held = wait.held_before();
            // SAFETY: the contract of this function.
            unsafe { wait.let_go(this, pins) };
        }
    }

    /// Satisfies the wait, or moves its watch, to an event that is nonsignaled. Returns true if it was
    /// satisfied, false if it had been given up, `None` if it was moved.
    ///
    /// # Safety
    ///
    /// The caller holds the locks of all its events; `node` is its node, and in no queue. After `None`
    /// the wait is alive only as long as its new watch is locked.
    pub(crate) unsafe fn take_or_move(&self, node: &WaitNode, this: &RawEvent) -> Option<bool> {
        if let Some(missing) = self.find_missing(this) {
            // SAFETY: the event is locked and nonsignaled, the node is in no queue.
            unsafe { missing.push_member(node) };
            self.watch.store(ptr::from_ref(missing).cast_mut(), Relaxed);
            return None;
        }
        let claimed = self.block.claim(0);
        if claimed {
            for event in self.events() {
                if event.reset() == Reset::Auto && !ptr::eq(event.raw(), this) {
                    event.raw().consume_member();
                }
            }
        }
        Some(claimed)
    }

    /// Takes the node out of `list` if that needs the lock of one other event at most: the wait is over,
    /// or it misses an event that can be locked at once.
    ///
    /// # Safety
    ///
    /// As for `offer`; `held` are the waits whose events the caller holds as well. After true the wait
    /// must not be used.
    unsafe fn leave_early(
        &self,
        node: &WaitNode,
        this: &RawEvent,
        list: &mut WaitList,
        held: *const Self,
        pins: Option<&Pins<'_>>,
    ) -> bool {
        if !self.block.is_waiting() {
            // SAFETY: the node is in the list, and the lock is held.
            unsafe { list.remove(node) };
            node.mark_unlinked();
            return true;
        }
        let Some(missing) = self.find_missing(this) else { return false };
        if is_held(missing, held, pins) || !missing.try_lock_member() {
            return false;
        }
        let moves = !missing.is_set_member();
        if moves {
            // SAFETY: the node is in the list, and the lock is held.
            unsafe { list.remove(node) };
            // SAFETY: the event is locked and nonsignaled, the node is in no queue.
            unsafe { missing.push_member(node) };
            self.watch.store(ptr::from_ref(missing).cast_mut(), Relaxed);
        }
        missing.unlock_member();
        moves
    }

    /// Returns an event other than `this` that is nonsignaled: a guess, unless all are locked.
    fn find_missing(&self, this: &RawEvent) -> Option<&'static RawEvent> {
        self.events()
            .iter()
            .map(|event| event.raw())
            .rfind(|event| !ptr::eq(*event, this) && !event.is_set_member())
    }

    /// Locks all events that this thread does not hold already; false, and nothing is locked here, if one
    /// of them is locked by another thread.
    ///
    /// # Safety
    ///
    /// The caller holds the lock of the watch, `this`, and the events of `held_before` and `pins`.
    unsafe fn hold(
        &self,
        this: &RawEvent,
        held_before: *const Self,
        pins: Option<&Pins<'_>>,
    ) -> bool {
        // SAFETY: the field belongs to the holder of the lock of the watch.
        self.held_before.with_mut(|before| unsafe { *before = held_before });
        for event in self.own_events(this, pins) {
            if !event.try_lock_member() {
                self.own_events(this, pins)
                    .take_while(|locked| !ptr::eq(*locked, event))
                    .for_each(RawEvent::unlock_member);
                return false;
            }
        }
        true
    }

    /// Unlocks what `hold` locked, the watch last: with that the wait may be gone.
    ///
    /// # Safety
    ///
    /// `hold` locked them, and nothing has been unlocked since.
    unsafe fn let_go(&self, this: &RawEvent, pins: Option<&Pins<'_>>) {
        let watch = self.watch.load(Relaxed).cast_const();
        let mut last = None;
        for event in self.own_events(this, pins) {
            if ptr::eq(event, watch) {
                last = Some(event);
            } else {
                event.unlock_member();
            }
        }
        if let Some(watch) = last {
            watch.unlock_member();
        }
    }

    /// The events that this wait, among all whose events the setter holds, is the first to need.
    fn own_events<'s>(
        &'s self,
        this: &'s RawEvent,
        pins: Option<&'s Pins<'s>>,
    ) -> impl Iterator<Item = &'static RawEvent> + 's {
        let held_before = self.held_before();
        self.events()
            .iter()
            .map(|event| event.raw())
            .filter(move |event| !ptr::eq(*event, this) && !is_held(event, held_before, pins))
    }

    fn held_before(&self) -> *const Self {
        // SAFETY: called by the holder of the lock of the watch only.
        self.held_before.with(|before| unsafe { *before })
    }

    /// Keeps the wait alive beyond the lock of its watch, which the caller holds.
    pub(crate) fn pin(&self) {
        self.pins.fetch_add(1, Relaxed);
    }

    /// Blocks until no setter has the wait pinned. No setter will pin it again: it is in no queue.
    fn await_unpinned(&self) {
        loop {
            let pins = self.pins.load(Acquire);
            if pins & !SLEEPER == 0 {
                return;
            }
            let sleeping = pins | SLEEPER;
            if pins == sleeping
                || self.pins.compare_exchange(pins, sleeping, Relaxed, Relaxed).is_ok()
            {
                parker::wait(&self.pins, sleeping, &Deadline::NEVER);
            }
        }
    }
}

/// To loom, freeing is a write: it reports a wait that goes while somebody may still use it.
#[cfg(loom)]
impl Drop for WaitAll {
    fn drop(&mut self) {
        self.held_before.with_mut(|_| ());
        self.lent.with_mut(|_| ());
    }
}

impl fmt::Debug for WaitAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitAll").finish_non_exhaustive()
    }
}

/// Returns true if `event` is among the events of the waits `held`, or of `pins`.
fn is_held(event: &RawEvent, mut held: *const WaitAll, pins: Option<&Pins<'_>>) -> bool {
    while !held.is_null() {
        // SAFETY: the watch of each is locked, or it is claimed and not released.
        let wait = unsafe { &*held };
        if wait.contains(event) {
            return true;
        }
        held = wait.held_before();
    }
    pins.is_some_and(|pins| pins.hold(event))
}

/// The waits that a setter has pinned because their events were busy, on its stack.
pub(crate) struct Pins<'p> {
    wait: *const WaitAll,
    outer: Option<&'p Self>,
}

impl<'p> Pins<'p> {
    /// `wait` is pinned by this thread, and so are those of `outer`.
    pub(crate) fn new(wait: *const WaitAll, outer: Option<&'p Self>) -> Self {
        Self { wait, outer }
    }

    fn iter(&self) -> impl Iterator<Item = &WaitAll> {
        std::iter::successors(Some(self), |pins| pins.outer).map(|pins| {
            // SAFETY: a pinned wait is alive.
            unsafe { &*pins.wait }
        })
    }

    fn hold(&self, event: &RawEvent) -> bool {
        self.iter().any(|wait| wait.contains(event))
    }

    /// Returns the event with the lowest address above `floor`.
    fn above(&self, floor: usize) -> Option<&'static RawEvent> {
        self.iter()
            .filter_map(|wait| {
                let events = wait.events();
                let first = events.partition_point(|event| event.address() <= floor);
                events.get(first).map(|event| event.raw())
            })
            .min_by_key(|event| ptr::from_ref(*event).addr())
    }

    /// All events of all pinned waits, ascending by address, each once.
    fn events(&self) -> impl Iterator<Item = &'static RawEvent> {
        std::iter::successors(self.above(0), |event| self.above(ptr::from_ref(*event).addr()))
    }

    /// Locks all events of all pinned waits, in order.
    ///
    /// # Safety
    ///
    /// The calling thread holds no lock of an event.
    pub(crate) unsafe fn lock_all(&self) {
        self.events().for_each(RawEvent::lock_member);
    }

    /// Unlocks all but `this`.
    ///
    /// # Safety
    ///
    /// The calling thread holds their locks.
    pub(crate) unsafe fn unlock_others(&self, this: &RawEvent) {
        self.events().filter(|event| !ptr::eq(*event, this)).for_each(RawEvent::unlock_member);
    }

    /// Lets the owner of the innermost wait go, which may then be gone.
    ///
    /// # Safety
    ///
    /// The calling thread pinned it once for this value, and unpins it once.
    pub(crate) unsafe fn unpin(&self) {
        // SAFETY: a pinned wait is alive.
        let pins = unsafe { &(*self.wait).pins };
        let address = pins.address();
        if pins.fetch_sub(1, Release) == SLEEPER | 1 {
            parker::wake_all(address);
        }
    }
}
