//! I1: every started operation completes exactly once; its callback runs exactly once. The races are in
//! the conformance suite, with every face.

mod support;

use aio_core::Runtime;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use support::{connected, with_every_runtime};

/// AR-11, CB-1: many operations, counted.
#[test]
fn callbacks_equal_begins() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        peer.set_nonblocking(true).unwrap();
        let callbacks = Arc::new(AtomicUsize::new(0));
        let (report, done) = mpsc::channel::<()>();
        for round in 0..3_000 {
            let (callbacks, report) = (callbacks.clone(), report.clone());
            let count = move || {
                callbacks.fetch_add(1, Ordering::Relaxed);
                drop(report);
            };
            match round % 3 {
                0 => drop(socket.begin_send([1; 10], move |_| count(), ())),
                1 => drop(socket.begin_receive([0; 10], move |_| count(), ())),
                _ => drop(peer.write(&[2; 3])),
            }
        }
        socket.close();
        drop(report);
        assert!(done.recv().is_err());
        assert_eq!(callbacks.load(Ordering::Relaxed), 2_000);
    });
}
