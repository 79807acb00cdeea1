//! [`SocketNumber`]: names a socket of the process without keeping it open.
//!
//! A number is the index of a slot of the table of sockets (`table.rs`) and the slot's generation. Each socket that
//! gets a slot gets the slot's next generation, so no number names two sockets, ever: the number of a socket that is
//! gone finds nothing (I6). A number is copied at no cost, where a `Weak` would cost two locked instructions for each
//! operation.

use std::num::NonZeroUsize;

/// How many of a number's lower bits are the slot's index; the others are its generation.
const INDEX_BITS: u32 = if usize::BITS == 64 { 32 } else { 20 };
const INDEX: usize = SocketNumber::SLOTS - 1;

/// Neither 0 nor `usize::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SocketNumber(NonZeroUsize);

impl SocketNumber {
    /// How many slots numbers can tell apart.
    pub(super) const SLOTS: usize = 1 << INDEX_BITS;
    /// The first generation is 1. So no number is 0, nor all ones.
    pub(super) const LAST_GENERATION: usize = (usize::MAX >> INDEX_BITS) - 1;

    pub(super) fn new(index: usize, generation: usize) -> Self {
        let number = NonZeroUsize::new(generation << INDEX_BITS | index);
        Self(number.expect("a generation is not 0"))
    }

    /// Returns the number that [`get`](Self::get) has returned as `number`; `None` for 0.
    pub(crate) fn from(number: usize) -> Option<Self> {
        NonZeroUsize::new(number).map(Self)
    }

    pub(crate) fn get(self) -> usize {
        self.0.get()
    }

    pub(super) fn index(self) -> usize {
        self.get() & INDEX
    }

    pub(super) fn generation(self) -> usize {
        self.get() >> INDEX_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_not_all_ones() {
        let last = SocketNumber::new(INDEX, SocketNumber::LAST_GENERATION);
        assert_eq!((last.index(), last.generation()), (INDEX, SocketNumber::LAST_GENERATION));
        assert_ne!(last.get(), usize::MAX);
    }
}
