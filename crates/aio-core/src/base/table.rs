//! [`Table`]: finds things by number, and keeps none of them alive.
//!
//! A slot is reserved before the thing that it is for exists, so that the thing can know its number. A slot that has
//! come to its last generation is not used again. With 64-bit addresses the numbers do not run out. With 32-bit
//! addresses a million things can exist at once, and four billion can be made.

use crate::base::number::SocketNumber;
use std::mem;
use std::sync::{Arc, Weak};

#[derive(Debug)]
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    /// The indexes of the unused slots that have a generation left.
    free: Vec<usize>,
    most_slots: usize,
    last_generation: usize,
}

#[derive(Debug)]
struct Slot<T> {
    /// The generation of the thing that has this slot or, if the slot is free, had it last.
    generation: usize,
    thing: Weak<T>,
}

impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Self::with_bounds(SocketNumber::SLOTS, SocketNumber::LAST_GENERATION)
    }

    const fn with_bounds(most_slots: usize, last_generation: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), most_slots, last_generation }
    }

    /// Reserves a number for something that is about to be [entered](Self::enter); `None` if no number is left.
    pub(crate) fn reserve(&mut self) -> Option<SocketNumber> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() == self.most_slots => return None,
            None => {
                self.slots.push(Slot { generation: 0, thing: Weak::new() });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[index];
        slot.generation += 1;
        Some(SocketNumber::new(index, slot.generation))
    }

    /// Enters `thing` under the number that was reserved for it.
    pub(crate) fn enter(&mut self, number: SocketNumber, thing: Weak<T>) {
        self.slots[number.index()].thing = thing;
    }

    /// Frees the number, and returns what was entered under it.
    pub(crate) fn remove(&mut self, number: SocketNumber) -> Weak<T> {
        let slot = &mut self.slots[number.index()];
        debug_assert_eq!(slot.generation, number.generation(), "a number is freed once");
        if slot.generation < self.last_generation {
            self.free.push(number.index());
        }
        mem::take(&mut slot.thing)
    }

    /// Returns what has the number, if it is there.
    pub(crate) fn get(&self, number: SocketNumber) -> Option<Arc<T>> {
        let slot = self.slots.get(number.index())?;
        (slot.generation == number.generation()).then(|| slot.thing.upgrade())?
    }

    /// Returns all that is there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Arc<T>> {
        self.slots.iter().filter_map(|slot| slot.thing.upgrade())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// I6.
    #[test]
    fn a_slot_that_is_used_again_has_another_number() {
        let [first, second] = [1, 2].map(Arc::new);
        let mut table = Table::new();
        let insert = |table: &mut Table<_>, thing| {
            let number = table.reserve().unwrap();
            table.enter(number, Arc::downgrade(thing));
            number
        };
        let old = insert(&mut table, &first);
        assert_eq!(table.get(old), Some(first.clone()));
        table.remove(old);
        assert_eq!(table.get(old), None);
        let new = insert(&mut table, &second);
        assert_eq!(table.slots.len(), 1);
        assert_eq!(table.get(old), None);
        assert_eq!(table.get(new), Some(second.clone()));
    }

    /// I6, with few generations and few slots, as where addresses have 32 bits.
    #[test]
    fn no_number_is_used_twice_and_numbers_end() {
        let mut table = Table::<()>::with_bounds(4, 10);
        let mut numbers = HashSet::new();
        let kept = table.reserve().unwrap();
        while let Some(number) = table.reserve() {
            assert!(numbers.insert(number.get()), "{number:?}");
            assert!(number.index() < 4 && number != kept);
            table.remove(number);
        }
        assert_eq!(numbers.len(), 3 * 10);
        table.remove(kept);
        assert_eq!(table.reserve().unwrap().index(), kept.index());
    }
}
