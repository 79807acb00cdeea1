//! A line of operations: first in, first out, and out of the middle in constant time, without an allocation.
//!
//! Each operation brings its own [`Place`], which links it to its two neighbors. The line is circular and knows
//! its first operation, so it takes one word, and so does an empty one. A line that has been taken out of a
//! queue ([`Line::detach`]) is handed out whole.
//!
//! 1. A place is linked exactly while its operation is in a line, and the line owns the operation then. Only a
//!    thread that has the line to itself (under the queue's lock, or since the line was handed out) touches the
//!    links of the places in it.
//! 2. `Place::line` is the mark of the queue's line that the operation is in, and 0 in none. It is written under the
//!    queue's lock. [`Line::detach`] moves the queue on to another mark, so that every operation that was in the
//!    line is out of it at once: a handle finds it there no more, whatever becomes of the line that was taken.
//! 3. An operation is in the line of one queue in its life. So a queue that reads its mark on an operation, under its
//!    lock, has the operation in its line.

use crate::base::sync::{AtomicU32, Ordering};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

/// An operation's place in a line.
#[derive(Debug)]
pub(crate) struct Place {
    /// Invariant 2.
    line: AtomicU32,
    next: Cell<Option<NonNull<Self>>>,
    previous: Cell<Option<NonNull<Self>>>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { line: AtomicU32::new(0), next: Cell::new(None), previous: Cell::new(None) }
    }
}

/// What can stand in a line.
///
/// # Safety
///
/// `into_place` gives the value up and returns a pointer to a place that stays where it is and that no other
/// value has. `from_place` is its inverse.
pub(crate) unsafe trait Placed: Sized {
    fn place(&self) -> &Place;

    fn into_place(self) -> NonNull<Place>;

    /// # Safety
    ///
    /// `into_place` returned the pointer, and it has not been given back since.
    unsafe fn from_place(place: NonNull<Place>) -> Self;
}

/// The mark of a queue's line: invariant 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(u32);

impl Mark {
    /// The mark of operations that are in no queue.
    const NONE: Self = Self(0);
    pub(super) const FIRST: Self = Self(1);

    /// True if the operation with this place, which is in no other queue, is in the line (invariant 3).
    pub(super) fn is_on(self, place: &Place) -> bool {
        place.line.load(Ordering::Relaxed) == self.0
    }

    fn put_on(self, place: &Place) {
        place.line.store(self.0, Ordering::Relaxed);
    }

    fn next(self) -> Self {
        Self(self.0.checked_add(1).unwrap_or(Self::FIRST.0))
    }
}

pub(crate) struct Line<O: Placed> {
    /// `None` exactly when the line is empty.
    first: Option<NonNull<Place>>,
    operations: PhantomData<O>,
}

// SAFETY: the line owns its operations, which may be sent, and alone reaches their links (invariant 1).
unsafe impl<O: Placed + Send> Send for Line<O> {}

impl<O: Placed> Line<O> {
    pub(crate) const fn new() -> Self {
        Self { first: None, operations: PhantomData }
    }

    /// A line of one operation.
    pub(super) fn of(operation: O) -> Self {
        let mut line = Self::new();
        line.add(operation);
        line
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(super) fn push_back(&mut self, mark: Mark, operation: O) {
        mark.put_on(operation.place());
        let place = operation.into_place();
        let first = *self.first.get_or_insert(place);
        // SAFETY: an operation in this line keeps its place, and the line has that to itself (invariant 1).
        let linked = unsafe { place.as_ref() };
        if first == place {
            linked.next.set(Some(place));
            linked.previous.set(Some(place));
        } else {
            self.link(linked, place, first);
        }
    }

    /// Links a place behind the last one.
    #[cold]
    fn link(&mut self, linked: &Place, place: NonNull<Place>, first: NonNull<Place>) {
        // SAFETY: as in `push_back`.
        let at_front = unsafe { first.as_ref() };
        let last = at_front.previous.replace(Some(place)).unwrap_or(first);
        linked.next.set(Some(first));
        linked.previous.set(Some(last));
        // SAFETY: as in `push_back`.
        unsafe { last.as_ref() }.next.set(Some(place));
    }

    pub(super) fn push_front(&mut self, mark: Mark, operation: O) {
        self.push_back(mark, operation);
        // In a circle the last is the one before the first.
        // SAFETY: as above.
        self.first = self.first.and_then(|first| unsafe { first.as_ref() }.previous.get());
    }

    #[inline]
    pub(crate) fn pop_front(&mut self) -> Option<O> {
        let first = self.first?;
        // SAFETY: it is in this line.
        Some(unsafe { self.remove(first) })
    }

    /// Takes an operation out, wherever it stands.
    ///
    /// # Safety
    ///
    /// The operation is in this line: `into_place` returned the place, and it has this line's [`Mark`] (invariant 3).
    #[inline]
    pub(super) unsafe fn remove(&mut self, place: NonNull<Place>) -> O {
        // SAFETY: the operation is in this line, which has its place and its neighbors' to itself (invariant 1).
        let linked = unsafe { place.as_ref() };
        let (next, previous) = (linked.next.get(), linked.previous.get());
        if next == Some(place) {
            self.first = None;
        } else if let (Some(next), Some(previous)) = (next, previous) {
            // SAFETY: as above.
            unsafe { next.as_ref() }.previous.set(Some(previous));
            // SAFETY: as above.
            unsafe { previous.as_ref() }.next.set(Some(next));
            if self.first == Some(place) {
                self.first = Some(next);
            }
        }
        Mark::NONE.put_on(linked);
        // SAFETY: it came from `into_place` in `push_back`, and is in no line any more.
        unsafe { O::from_place(place) }
    }

    /// Takes everything out, and moves `mark` on.
    pub(super) fn detach(&mut self, mark: &mut Mark) -> Self {
        *mark = mark.next();
        Self { first: self.first.take(), operations: PhantomData }
    }

    /// Looks at the first operation.
    pub(super) fn first<R>(&self, look: impl FnOnce(&O) -> R) -> Option<R> {
        let first = self.first?;
        // SAFETY: the operation is in this line, to which it is given back: this one is not dropped.
        let operation = ManuallyDrop::new(unsafe { O::from_place(first) });
        Some(look(&operation))
    }

    /// Adds an operation to a line that is no queue's.
    pub(crate) fn add(&mut self, operation: O) {
        self.push_back(Mark::NONE, operation);
    }

    /// Adds an operation in front of a line that is no queue's.
    pub(super) fn add_in_front(&mut self, operation: O) {
        self.push_front(Mark::NONE, operation);
    }

    /// Looks at the first operation of a line that is no queue's.
    pub(crate) fn first_mut<R>(&mut self, look: impl FnOnce(&mut O) -> R) -> Option<R> {
        let mut first = self.pop_front()?;
        let result = look(&mut first);
        self.add_in_front(first);
        Some(result)
    }
}

impl<O: Placed> Iterator for Line<O> {
    type Item = O;

    fn next(&mut self) -> Option<O> {
        self.pop_front()
    }
}

impl<O: Placed> Drop for Line<O> {
    fn drop(&mut self) {
        self.for_each(drop);
    }
}

impl<O: Placed> fmt::Debug for Line<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("is_empty", &self.is_empty()).finish()
    }
}
