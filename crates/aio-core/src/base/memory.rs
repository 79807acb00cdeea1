//! The memory of operations. A thread keeps some of what it frees for what it makes next: the callback of one
//! operation begins another, so that in a steady exchange nothing is allocated.
//!
//! 1. A block is as large as its operation, but for [`STEP`], so that ten thousand that are pending take no more
//!    than they need. A thread keeps [`KEPT_OF_A_SIZE`] of each size, up to [`LARGEST`]: of operations of several
//!    kinds that follow one another each finds its own, even if two of a kind end before one begins.
//! 2. Blocks of these sizes come from the allocator with the layout of their size, and go back with it. So it
//!    does not matter which thread frees what which other has made.

use std::alloc::{self, Layout};
use std::cell::Cell;
use std::ptr::NonNull;

const STEP: usize = 8;
const SIZES: usize = 64;
const LARGEST: usize = SIZES * STEP;
const ALIGNMENT: usize = 16;
const KEPT_OF_A_SIZE: usize = 2;

type Block = NonNull<u8>;

/// The blocks that this thread keeps, by size.
struct Kept([[Cell<Option<Block>>; KEPT_OF_A_SIZE]; SIZES]);

thread_local! {
    static KEPT: Kept = const { Kept([const { [const { Cell::new(None) }; _] }; _]) };
}

impl Kept {
    #[inline]
    fn take(&self, size: usize) -> Option<Block> {
        self.0[size].iter().find_map(Cell::take)
    }

    /// Returns false if there are enough of this size.
    #[inline]
    fn put(&self, size: usize, block: Block) -> bool {
        for place in &self.0[size] {
            if place.get().is_none() {
                place.set(Some(block));
                return true;
            }
        }
        false
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        for size in 0..SIZES {
            while let Some(block) = self.take(size) {
                // SAFETY: it was allocated with this layout (invariant 2), and nobody else has it.
                unsafe { alloc::dealloc(block.as_ptr(), layout_of(size)) };
            }
        }
    }
}

/// The layout of the blocks of a size.
const fn layout_of(index: usize) -> Layout {
    match Layout::from_size_align((index + 1) * STEP, ALIGNMENT) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

/// The size of the block that a `T` is in, if it is one of those that are kept, and its layout.
const fn block_of<T>() -> (Option<usize>, Layout) {
    let layout = Layout::new::<T>();
    assert!(layout.size() > 0);
    if layout.size() > LARGEST || layout.align() > ALIGNMENT {
        return (None, layout);
    }
    let index = (layout.size() - 1) / STEP;
    (Some(index), layout_of(index))
}

/// Returns memory for a `T`.
#[inline]
pub(crate) fn allocate<T>() -> NonNull<T> {
    let (size, layout) = const { block_of::<T>() };
    if let Some(size) = size {
        // A thread that ends keeps nothing.
        if let Ok(Some(block)) = KEPT.try_with(|kept| kept.take(size)) {
            return block.cast();
        }
    }
    // SAFETY: the size is not 0.
    let block = unsafe { alloc::alloc(layout) };
    NonNull::new(block.cast()).unwrap_or_else(|| alloc::handle_alloc_error(layout))
}

/// Takes back what [`allocate`] has returned.
///
/// # Safety
///
/// It is from `allocate::<T>`, nobody uses it any more, and what was in it has been dropped.
#[inline]
pub(crate) unsafe fn release<T>(memory: NonNull<T>) {
    let (size, layout) = const { block_of::<T>() };
    let block = memory.cast();
    if let Some(size) = size {
        if KEPT.try_with(|kept| kept.put(size, block)).unwrap_or(false) {
            return;
        }
    }
    // SAFETY: it was allocated with this layout (invariant 2), and the caller gives it away.
    unsafe { alloc::dealloc(block.as_ptr(), layout) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Returns how many blocks this thread keeps.
    fn kept() -> usize {
        KEPT.with(|kept| kept.0.iter().flatten().filter(|place| place.get().is_some()).count())
    }

    /// On a thread that has kept nothing yet.
    fn on_a_fresh_thread(test: fn()) {
        thread::spawn(test).join().unwrap();
    }

    #[test]
    fn a_block_is_used_again_by_what_fits_and_never_by_two() {
        on_a_fresh_thread(|| {
            let blocks = [(); KEPT_OF_A_SIZE + 1].map(|()| allocate::<[u64; 9]>());
            for (released, block) in blocks.into_iter().enumerate() {
                assert_eq!(kept(), released);
                // SAFETY: it is from there, and unused.
                unsafe { release(block) };
            }
            assert_eq!(kept(), KEPT_OF_A_SIZE, "no more of a size");
            let again = [(); KEPT_OF_A_SIZE + 1].map(|()| allocate::<[u8; 70]>());
            assert_eq!(kept(), 0);
            for block in again {
                let is_kept = blocks[..KEPT_OF_A_SIZE].contains(&block.cast());
                let times = again.iter().filter(|other| **other == block).count();
                assert_eq!((is_kept, times), (block != again[KEPT_OF_A_SIZE], 1));
            }
            for block in again {
                // SAFETY: as above.
                unsafe { release(block) };
            }
        });
    }

    #[test]
    fn what_is_too_large_or_too_much_aligned_is_not_kept() {
        #[repr(align(32))]
        struct Aligned {
            _bytes: [u8; 32],
        }
        on_a_fresh_thread(|| {
            let (large, aligned) = (allocate::<[u8; LARGEST + 1]>(), allocate::<Aligned>());
            assert_eq!(aligned.as_ptr().addr() % 32, 0);
            // SAFETY: it is from there, and unused.
            unsafe { release(large) };
            // SAFETY: as above.
            unsafe { release(aligned) };
            assert_eq!(kept(), 0);
        });
    }
}
