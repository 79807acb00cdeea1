//! Calls on a broken connection without the signal that would end the process.
//!
//! Rust's programs ignore SIGPIPE, but they may restore its default action, and a library in a program of
//! another language finds that. A send has a flag against the signal; `sendfile` has none.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Makes `call` with SIGPIPE blocked, and takes the signal that it has left, if it has left one. It may
/// have done so even if it has moved some bytes and tells nothing of the rest.
pub(super) fn without_sigpipe<T>(call: impl FnOnce() -> T) -> T {
    let mut pipe = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    let mut pending = MaybeUninit::<libc::sigset_t>::uninit();
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: there is room for a set.
    unsafe { libc::sigemptyset(pipe.as_mut_ptr()) };
    // SAFETY: the set has just been written.
    unsafe { libc::sigaddset(pipe.as_mut_ptr(), libc::SIGPIPE) };
    // SAFETY: there is room for a set.
    unsafe { libc::sigpending(pending.as_mut_ptr()) };
    // SAFETY: the set has been written, and it fails for bad arguments only. One that was there before the
    // call is not ours to take.
    let was_pending = unsafe { libc::sigismember(pending.as_ptr(), libc::SIGPIPE) } == 1;
    // SAFETY: one set has been written, for the other there is room.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, pipe.as_ptr(), before.as_mut_ptr()) };
    let result = call();
    // SAFETY: set and time are there to be read; nothing is to be written.
    let take = || unsafe { libc::sigtimedwait(pipe.as_ptr(), ptr::null_mut(), &raw const now) };
    while !was_pending && take() == -1 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
    // SAFETY: `pthread_sigmask` has written the set.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    result
}
