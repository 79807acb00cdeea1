//! The queue of an event: an intrusive circular list, first come first served.
//!
//! ```text
//!   word ──► first ◄──► second ◄──► last ◄─┐
//!              ▲                           │      first.prev is the last node
//!              └───────────────────────────┘
//! ```
//!
//! One pointer is enough to append, to take the first, and to take any node out, each in a few writes.
//! The links belong to the holder of the event's lock (invariant 2 of `raw_event`).

use std::fmt;
use std::ptr;

use crate::sync::{Acquire, AtomicBool, Relaxed, Release, UnsafeCell};
use crate::wait_block::WaitBlock;
use crate::watch::WaitAll;

/// One wait's place in the queue of one event.
///
/// Aligned so that its address leaves the four tag bits of the event's word free.
#[repr(align(16))]
pub(crate) struct WaitNode {
    prev: UnsafeCell<*const Self>,
    next: UnsafeCell<*const Self>,
    /// Whose place this is, taken apart so that a node is half a cache line: the block and the index of
    /// `Waiter::Any`, or the wait of `Waiter::All` and `ALL`. Constant while the node is linked.
    owner: *const (),
    index: u32,
    /// True exactly while the node is in a queue. Set by the owner before it queues the node, cleared by
    /// whoever takes the node out, under the event's lock. When a setter clears it on a node whose wait
    /// it did not claim, that is the setter's last access to node and block.
    linked: AtomicBool,
}

/// The index of a node whose owner is a wait for all.
const ALL: u32 = u32::MAX;

/// Whose place in a queue a node is.
#[derive(Clone, Copy)]
pub(crate) enum Waiter {
    /// A wait that this event alone can end. `index` is what it reports then.
    Any { block: *const WaitBlock, index: u32 },
    /// A wait for several events at once, which watches this one.
    All(*const WaitAll),
}

impl WaitNode {
    pub(crate) fn new(waiter: Waiter) -> Self {
        let (owner, index) = match waiter {
            Waiter::Any { block, index } => (block.cast(), index),
            Waiter::All(wait) => (wait.cast(), ALL),
        };
        Self {
            prev: UnsafeCell::new(ptr::null()),
            next: UnsafeCell::new(ptr::null()),
            owner,
            index,
            linked: AtomicBool::new(false),
        }
    }

    #[inline]
    pub(crate) fn waiter(&self) -> Waiter {
        match self.index {
            ALL => Waiter::All(self.owner.cast()),
            index => Waiter::Any { block: self.owner.cast(), index },
        }
    }

    /// Returns true while the node is in a queue. After false, whoever took it out is done with it,
    /// unless it claimed the wait.
    #[inline]
    pub(crate) fn is_linked(&self) -> bool {
        self.linked.load(Acquire)
    }

    pub(crate) fn mark_linked(&self) {
        self.linked.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn mark_unlinked(&self) {
        self.linked.store(false, Release);
    }
}

/// To loom, freeing is a write: it reports a node that goes while somebody may still use it.
#[cfg(loom)]
impl Drop for WaitNode {
    fn drop(&mut self) {
        self.prev.with_mut(|_| ());
        self.next.with_mut(|_| ());
    }
}

impl fmt::Debug for WaitNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitNode").finish_non_exhaustive()
    }
}

/// A queue, or a part of one that a setter took out. The value is a copy of the first pointer: after a
/// change its owner stores it back where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitList {
    first: *const WaitNode,
    /// True if a wait for all may be among the nodes.
    watched: bool,
}

/// The safety contract of all its functions: the nodes are alive, and their links are the caller's, as
/// the holder of the lock of the event in whose queue they are, or as the one who took them out.
impl WaitList {
    pub(crate) const EMPTY: Self = Self { first: ptr::null(), watched: false };

    pub(crate) fn starting_at(first: *const WaitNode, watched: bool) -> Self {
        Self { first, watched }
    }

    pub(crate) fn is_watched(self) -> bool {
        self.watched
    }

    pub(crate) fn mark_watched(&mut self) {
        self.watched = true;
    }

    pub(crate) fn first(self) -> *const WaitNode {
        self.first
    }

    pub(crate) fn is_empty(self) -> bool {
        self.first.is_null()
    }

    pub(crate) unsafe fn push_back(&mut self, node: *const WaitNode) {
        if self.is_empty() {
            self.first = node;
            // SAFETY: the contract of the type.
            unsafe { tie(node, node) };
        } else {
            // SAFETY: the contract of the type; the list is not empty.
            let last = unsafe { prev(self.first) };
            // SAFETY: as before.
            unsafe { tie(last, node) };
            // SAFETY: as before.
            unsafe { tie(node, self.first) };
        }
    }

    /// Takes `node` out, which is in this list.
    pub(crate) unsafe fn remove(&mut self, node: *const WaitNode) {
        // SAFETY: the contract of the type.
        let after = unsafe { next(node) };
        if after == node {
            *self = Self::EMPTY;
            return;
        }
        // SAFETY: as before.
        let before = unsafe { prev(node) };
        // SAFETY: as before; both are in the list.
        unsafe { tie(before, after) };
        if self.first == node {
            self.first = after;
        }
    }

    pub(crate) unsafe fn pop_front(&mut self) -> Option<*const WaitNode> {
        let first = self.first;
        if first.is_null() {
            return None;
        }
        // SAFETY: the contract of the type.
        unsafe { self.remove(first) };
        Some(first)
    }

    /// Returns the node behind `node`, or null if that is the last.
    pub(crate) unsafe fn after(self, node: *const WaitNode) -> *const WaitNode {
        // SAFETY: the contract of the type.
        let next = unsafe { next(node) };
        if next == self.first { ptr::null() } else { next }
    }
}

/// Makes `right` the node behind `left`.
unsafe fn tie(left: *const WaitNode, right: *const WaitNode) {
    // SAFETY: the caller's nodes are alive.
    let before = unsafe { &*left };
    // SAFETY: as before.
    let after = unsafe { &*right };
    // SAFETY: the links are the caller's.
    before.next.with_mut(|next| unsafe { *next = right });
    // SAFETY: as before.
    after.prev.with_mut(|prev| unsafe { *prev = left });
}

unsafe fn prev(node: *const WaitNode) -> *const WaitNode {
    // SAFETY: the caller's node is alive.
    let node = unsafe { &*node };
    // SAFETY: the links are the caller's.
    node.prev.with(|prev| unsafe { *prev })
}

unsafe fn next(node: *const WaitNode) -> *const WaitNode {
    // SAFETY: the caller's node is alive.
    let node = unsafe { &*node };
    // SAFETY: the links are the caller's.
    node.next.with(|next| unsafe { *next })
}
