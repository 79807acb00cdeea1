//! Linux: `futex(2)`, through the C library that std links.

use std::ffi::{c_int, c_long};
use std::ptr;
use std::time::Duration;

use super::Word;
use crate::deadline::Deadline;

/// The number of `futex` in the table of system calls.
#[cfg(target_arch = "x86_64")]
const SYS_FUTEX: c_long = 202;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64", target_arch = "loongarch64"))]
const SYS_FUTEX: c_long = 98;
#[cfg(target_arch = "powerpc64")]
const SYS_FUTEX: c_long = 221;
#[cfg(target_arch = "s390x")]
const SYS_FUTEX: c_long = 238;

const FUTEX_WAIT_PRIVATE: c_int = 128;
const FUTEX_WAKE_PRIVATE: c_int = 128 | 1;

/// `struct timespec` of 64-bit Linux.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    safe fn getpid() -> c_int;
    fn sched_getaffinity(pid: c_int, bytes: usize, mask: *mut u64) -> c_int;
}

/// Sleeps if `word` holds `value`; returns false once the deadline has come.
pub(crate) fn wait(word: &impl Word, value: u32, deadline: &Deadline) -> bool {
    // The kernel compares as well; this saves the call.
    if word.value() != value {
        return true;
    }
    let timeout = match deadline.left() {
        None => None,
        Some(Duration::ZERO) => return false,
        // The time is measured from the call on, on the clock of `Instant`, and the kernel rounds up.
        Some(left) => Some(Timespec {
            seconds: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(left.subsec_nanos()),
        }),
    };
    let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
    // Every outcome has the same answer: the caller looks at the word and at the clock again. The value
    // has changed (EAGAIN), a signal came (EINTR), the time is over (ETIMEDOUT), somebody woke us.
    //
    // SAFETY: `word` is borrowed, so its address is readable and aligned for 32 bits; the timeout is
    // null or points to a timespec on this frame.
    unsafe { syscall(SYS_FUTEX, word.address(), FUTEX_WAIT_PRIVATE, value, timeout) };
    true
}

/// Wakes a thread that sleeps on the word at `address`.
pub(crate) fn wake_one(address: *const u32) {
    wake(address, 1);
}

/// Wakes all threads that sleep on the word at `address`.
pub(crate) fn wake_all(address: *const u32) {
    wake(address, c_int::MAX);
}

fn wake(address: *const u32, threads: c_int) {
    // SAFETY: FUTEX_WAKE on a private word looks the address up and does not access the memory, which
    // may no longer be mapped.
    unsafe { syscall(SYS_FUTEX, address, FUTEX_WAKE_PRIVATE, threads) };
}

/// Returns true if this process may run on more than one processor.
///
/// The mask asked for is the main thread's: that of this thread may be narrower, and says nothing about
/// where the thread runs that will set the event.
pub(crate) fn several_processors() -> bool {
    let mut mask = [0_u64; 16];
    // SAFETY: the mask is as many bytes long as the call is told, and writable.
    let result = unsafe { sched_getaffinity(getpid(), size_of_val(&mask), mask.as_mut_ptr()) };
    // The call fails where the kernel knows more processors than the mask has bits.
    result != 0 || mask.iter().map(|word| word.count_ones()).sum::<u32>() > 1
}
