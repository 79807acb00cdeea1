//! What becomes of operations when the system fails in ways that cannot be provoked. This file's
//! `send` takes the place of the system's in its process.

#![cfg(target_os = "linux")]

mod support;

use aio_core::{Runtime, is_aborted};
use std::ffi::{c_int, c_void};
use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use support::{connected, with_every_runtime};

static FAILS: AtomicBool = AtomicBool::new(false);

/// # Safety
///
/// As for the system's.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(
    socket: c_int,
    bytes: *const c_void,
    length: usize,
    flags: c_int,
) -> isize {
    // One byte is what wakes a worker.
    if length > 1 && FAILS.swap(false, Ordering::Relaxed) {
        // SAFETY: it returns this thread's `errno`.
        let errno = unsafe { libc::__errno_location() };
        // SAFETY: as above.
        unsafe { *errno = libc::ENOBUFS };
        return -1;
    }
    // SAFETY: by this function's contract; without an address it is `send`.
    unsafe { libc::sendto(socket, bytes, length, flags, ptr::null(), 0) }
}

/// I2: a send that fails halfway says how much it sent, and those behind it are aborted: they would
/// fill the gap with something else.
#[test]
fn a_send_that_fails_halfway_breaks_the_stream_there() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        let (report_second, sent_second) = mpsc::channel();
        let first = support::send(&socket, vec![1; 64 << 20], &report);
        support::send(&socket, vec![2; 3], &report_second);
        let mut bytes = vec![0; 1 << 20];
        peer.read_exact(&mut bytes).unwrap();
        assert!(!first.is_completed());
        FAILS.store(true, Ordering::Relaxed);
        let reader = std::thread::spawn(move || {
            peer.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let first = sent.recv().unwrap();
        assert_ne!(first.result.unwrap_err().kind(), ErrorKind::WouldBlock);
        let second = sent_second.recv().unwrap();
        assert!(is_aborted(&second.result.unwrap_err()));
        socket.shutdown(Shutdown::Write).unwrap();
        assert!(reader.join().unwrap() == vec![1; first.bytes_transferred]);
    });
}
