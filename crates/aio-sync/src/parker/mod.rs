//! Puts a thread to sleep on a word of memory, and wakes those who sleep on it.
//!
//! Three functions, the same on every system:
//!
//! * `wait(word, value, deadline)` sleeps if `word` holds `value`, until it is woken, or for no reason,
//!   or until the deadline. It returns false once the deadline has come, whatever the word holds.
//! * `wake_one(address)` and `wake_all(address)` wake threads that sleep on the word at `address`.
//!
//! A waker stores a new value *before* it wakes; then a sleeper either sees the value or is woken. The
//! waking functions use the address only as a number. The word may be gone by then, and the memory
//! may already be another sleeper's: that is why every sleeper looks at its word again and none
//! trusts a wake-up. How many threads were woken is not reported, because several systems cannot tell.
//!
//! Linux on 64-bit machines sleeps in `futex`. Every other system, and Linux under
//! `--cfg aio_force_condvar`, sleeps in a table of mutexes and condition variables. (So does 32-bit
//! Linux: which of its two `futex` calls exists depends on how old the kernel is and how it was built.)

use crate::sync::{AtomicPtr, AtomicU32, Relaxed};

#[cfg(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "loongarch64",
        target_arch = "powerpc64",
        target_arch = "s390x"
    ),
    not(any(aio_force_condvar, loom, shuttle))
))]
#[expect(unsafe_code, reason = "the futex system call")]
#[path = "futex.rs"]
mod system;

#[cfg(not(all(
    target_os = "linux",
    target_pointer_width = "64",
    any(
        target_arch = "x86_64",
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "loongarch64",
        target_arch = "powerpc64",
        target_arch = "s390x"
    ),
    not(any(aio_force_condvar, loom, shuttle))
)))]
#[path = "condvar.rs"]
mod system;

#[cfg(any(loom, shuttle))]
pub use system::Expiry;
pub(crate) use system::{wait, wake_all, wake_one};

mod processors;
pub(crate) use processors::spinning_helps;

/// A word that a thread can sleep on. Of a pointer that is the half with the tag bits, as a futex is 32
/// bits wide.
pub(crate) trait Word {
    /// Returns what the word holds now.
    fn value(&self) -> u32;

    /// Returns where it is.
    fn address(&self) -> *const u32;
}

impl Word for AtomicU32 {
    #[inline]
    fn value(&self) -> u32 {
        self.load(Relaxed)
    }

    #[inline]
    fn address(&self) -> *const u32 {
        std::ptr::from_ref(self).cast()
    }
}

impl<T> Word for AtomicPtr<T> {
    #[inline]
    fn value(&self) -> u32 {
        low_half(self.load(Relaxed))
    }

    #[inline]
    fn address(&self) -> *const u32 {
        let half = usize::from(cfg!(all(target_endian = "big", target_pointer_width = "64")));
        std::ptr::from_ref(self).cast::<u32>().wrapping_add(half)
    }
}

/// Returns what a thread that sleeps on a pointer compares of it.
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
pub(crate) fn low_half<T>(pointer: *mut T) -> u32 {
    pointer.addr() as u32
}
