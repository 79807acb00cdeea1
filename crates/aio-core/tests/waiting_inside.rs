//! A callback that waits for an operation of its own runtime holds a worker, and nothing else (I1, I4, I7).

mod support;

use aio_core::{Runtime, Socket};
use std::io::Write;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{connected, with_every_runtime};

/// Runs `callback` as one.
fn call(socket: &Socket, callback: impl FnOnce() + Send + 'static) {
    socket.begin_send([1], |_| callback(), ());
}

/// I1: a completion of a runtime that has ended, which waits for the callback to return, is not lost.
#[test]
fn what_is_to_be_run_after_the_callback_is_kept() {
    with_every_runtime(|runtime: &Runtime| {
        let ended = Runtime::builder().workers(1).build().unwrap();
        let (late, _late_peer) = connected(&ended);
        drop(ended);
        let (socket, mut peer) = connected(runtime);
        let (caller, _caller_peer) = connected(runtime);
        let (report, calls) = mpsc::channel();
        call(&caller, move || {
            let inner = report.clone();
            late.begin_send([1], move |_| inner.send("first").unwrap(), ());
            socket.receive_async([0; 1]).wait().result.unwrap();
            let inner = report.clone();
            late.begin_send([1], move |_| inner.send("second").unwrap(), ());
            report.send("callback ends").unwrap();
        });
        thread::sleep(Duration::from_millis(2));
        peer.write_all(&[1]).unwrap();
        assert_eq!(calls.iter().collect::<Vec<_>>(), ["callback ends", "first", "second"]);
    });
}
