//! I1: every started operation completes exactly once; its callback runs exactly once.
//! I2: the buffer comes back in every outcome, and no byte is lost.

mod support;

use aio_core::{Completion, Runtime, is_aborted};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use support::{Received, accept, connected, listener, receive, send, with_every_runtime};

/// How often each race is run: enough to see it in every order, few enough for every day.
const ROUNDS: usize = 300;

/// CL-3, AC-9.
#[test]
fn close_completes_everything_pending_as_aborted() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let handles: Vec<_> = (0..5).map(|_| receive(&socket, 7, &report)).collect();
        socket.close();
        drop(report);
        let completions: Vec<Received> = received.iter().collect();
        assert_eq!(completions.len(), 5);
        for completion in completions {
            assert!(is_aborted(&completion.result.unwrap_err()));
            assert_eq!(completion.buffer.len(), 7);
        }
        assert!(handles.iter().all(|handle| handle.is_completed()));

        let (listener, _) = listener(runtime);
        let (report, accepted) = mpsc::channel();
        for _ in 0..3 {
            accept(&listener, &report);
        }
        listener.close();
        drop(report);
        let errors: Vec<_> = accepted.iter().map(|accepted| accepted.result.unwrap_err()).collect();
        assert!(errors.len() == 3 && errors.iter().all(is_aborted));
    });
}

#[test]
fn an_operation_begun_after_close_completes_as_aborted() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        socket.close();
        socket.close();
        let (report, sent) = mpsc::channel();
        send(&socket, vec![1, 2, 3], &report);
        let Completion { result, buffer, .. } = sent.recv().unwrap();
        assert!(is_aborted(&result.unwrap_err()));
        assert_eq!(buffer, [1, 2, 3]);
        assert!(is_aborted(&socket.local_addr().unwrap_err()));
    });
}

/// CL-6 as departed from: with receives pending the peer reads the end.
#[test]
fn close_with_a_receive_pending_is_an_ordinary_close() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, _received) = mpsc::channel();
        receive(&socket, 7, &report);
        socket.close();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    });
}

/// CL-6: the peer must not take half a message for a whole one.
#[test]
fn close_with_an_unfinished_send_is_a_reset() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        let handle = send(&socket, vec![1; 64 << 20], &report);
        assert!(!handle.wait_timeout(std::time::Duration::from_millis(20)));
        socket.close();
        let completion = sent.recv().unwrap();
        assert!(is_aborted(&completion.result.unwrap_err()));
        assert!(completion.bytes_transferred < 64 << 20);
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// CL-7: the outcome is success or aborted, never a hang, never twice.
#[test]
fn close_racing_with_begin_completes_once() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..ROUNDS {
            let (socket, mut peer) = connected(runtime);
            peer.write_all(&[1; 3]).unwrap();
            let barrier = Arc::new(Barrier::new(2));
            let (report, received) = mpsc::channel();
            let (closer, ready) = (socket.clone(), barrier.clone());
            let thread = thread::spawn(move || {
                ready.wait();
                closer.close();
            });
            barrier.wait();
            for _ in 0..3 {
                receive(&socket, 1, &report);
            }
            thread.join().unwrap();
            drop(report);
            let completions: Vec<Received> = received.iter().collect();
            assert_eq!(completions.len(), 3);
            for completion in completions {
                assert_eq!(completion.buffer.len(), 1);
                assert!(completion.result.is_ok_and(|n| n == 1) || completion.buffer == [0]);
            }
        }
    });
}

/// OR-7: a canceled operation in the middle does not disturb the rest.
#[test]
fn cancel_ends_one_operation_and_takes_nothing() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let [first, second, third] = [(); 3].map(|()| receive(&socket, 1, &report));
        second.cancel();
        assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
        assert!(second.is_completed() && !first.is_completed() && !third.is_completed());
        second.cancel();
        first.cancel();
        assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
        peer.write_all(&[42]).unwrap();
        let completion = received.recv().unwrap();
        assert_eq!((completion.result.unwrap(), completion.buffer), (1, vec![42]));
        third.cancel();
        receive(&socket, 1, &report);
        peer.write_all(&[43]).unwrap();
        assert_eq!(received.recv().unwrap().buffer, [43]);
    });
}

/// IO-13: the operation may win; then its bytes are delivered. If it loses, they are still there.
#[test]
fn cancel_racing_with_data_loses_no_byte() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let mut won = 0;
        for round in 0..ROUNDS {
            let byte = round as u8;
            let handle = receive(&socket, 4, &report);
            let barrier = Arc::new(Barrier::new(2));
            let ready = barrier.clone();
            let thread = thread::spawn(move || {
                ready.wait();
                handle.cancel();
            });
            barrier.wait();
            peer.write_all(&[byte]).unwrap();
            thread.join().unwrap();
            let mut completion = received.recv().unwrap();
            match completion.result {
                Ok(_) => won += 1,
                Err(error) => {
                    assert!(is_aborted(&error));
                    receive(&socket, 4, &report);
                    completion = received.recv().unwrap();
                    assert_eq!(completion.result.unwrap(), 1);
                }
            }
            assert_eq!(completion.buffer, [byte, 0, 0, 0]);
        }
        assert!(received.try_recv().is_err(), "{won} operations won, and one completed twice");
    });
}

#[test]
fn a_send_that_is_canceled_halfway_breaks_the_stream_there() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        let (report_second, sent_second) = mpsc::channel();
        let first = send(&socket, vec![1; 64 << 20], &report);
        send(&socket, vec![2; 3], &report_second);
        assert!(!first.wait_timeout(std::time::Duration::from_millis(20)));
        first.cancel();
        let completion = sent.recv().unwrap();
        assert!(completion.result.unwrap_err().to_string().contains("canceled"));
        let sent_bytes = completion.bytes_transferred;
        assert!(sent_bytes > 0 && completion.buffer.len() == 64 << 20);
        let completion = sent_second.recv().unwrap();
        assert!(completion.result.unwrap_err().to_string().contains("ended halfway"));
        assert_eq!((completion.bytes_transferred, completion.buffer.len()), (0, 3));
        send(&socket, vec![3; 3], &report);
        assert!(is_aborted(&sent.recv().unwrap().result.unwrap_err()));
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, vec![1; sent_bytes]);
    });
}

/// The peer of a broken stream that is closed without a word learns that it was.
#[test]
fn closing_a_broken_stream_is_a_reset() {
    with_every_runtime(|runtime: &Runtime| {
        for drops in [false, true] {
            let (socket, mut peer) = connected(runtime);
            let (report, sent) = mpsc::channel();
            let send = send(&socket, vec![1; 64 << 20], &report);
            assert!(!send.wait_timeout(std::time::Duration::from_millis(20)));
            send.cancel();
            assert!(sent.recv().unwrap().bytes_transferred > 0);
            if !drops {
                socket.close();
            }
            drop(socket);
            let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

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
