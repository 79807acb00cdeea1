//! Buffers are their owners' code and memory.

mod support;

use aio_core::{IoBuf, OperationHandle, Runtime};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use support::{connected, with_every_runtime};

/// I8: a buffer is its owner's code, and may do what it likes.
#[test]
fn no_buffer_is_asked_for_its_bytes_under_a_lock() {
    struct Cancels {
        bytes: Vec<u8>,
        next: Arc<OnceLock<OperationHandle>>,
    }
    // SAFETY: its heap block moves only through a mutable reference.
    unsafe impl IoBuf for Cancels {
        fn as_slice(&self) -> &[u8] {
            if let Some(next) = self.next.get() {
                next.cancel();
            }
            &self.bytes
        }
    }
    with_every_runtime(|runtime: &Runtime| {
        for list in [false, true] {
            let (socket, _peer) = connected(runtime);
            let next = Arc::new(OnceLock::new());
            let buffer = Cancels { bytes: vec![1; 64 << 20], next: next.clone() };
            let first = if list {
                socket.begin_send_list(vec![buffer], |_| {}, ())
            } else {
                socket.begin_send(buffer, |_| {}, ())
            };
            assert!(!first.wait_timeout(Duration::from_millis(5)));
            next.set(socket.begin_send([2], |_| {}, ())).unwrap();
            first.cancel();
            first.wait_one();
            next.get().unwrap().wait_one();
        }
    });
}

#[test]
#[should_panic(expected = "the range 3..11 does not lie within a buffer of 10 bytes")]
fn a_part_outside_the_buffer_is_refused() {
    let _ = [0_u8; 10].slice(3..11);
}
