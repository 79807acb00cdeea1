//! Deadlines: an operation that is not over in time ends as if it had been canceled (I1, I2).

mod support;

use aio_core::{Runtime, is_aborted};
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::{connected, full_listener, listener, receive, refusing_address, with_every_runtime};

const SOON: Duration = Duration::from_millis(5);
const LATE: Duration = Duration::from_secs(3600);

#[test]
fn a_receive_that_is_too_late_takes_nothing() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        for round in 0..10 {
            let begun = Instant::now();
            let error = socket.with_timeout(SOON).receive_async([0; 4]).wait().result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(is_aborted(&error) && begun.elapsed() >= SOON);
            peer.write_all(&[round]).unwrap();
            let received = socket.with_timeout(LATE).receive_async([0; 4]).wait();
            assert_eq!((received.result.unwrap(), received.buffer), (1, [round, 0, 0, 0]));
        }
    });
}

/// With callbacks, many at once, in the reverse order of their deadlines, and all of them together.
#[test]
fn every_deadline_is_kept_and_none_before_its_time() {
    with_every_runtime(|runtime: &Runtime| {
        let pairs: Vec<_> = (0..20).map(|_| connected(runtime)).collect();
        let (report, received) = mpsc::channel();
        let begun = Instant::now();
        for (index, (socket, _)) in (1_u32..).zip(&pairs) {
            let timeout = SOON + Duration::from_millis(1) * (20 - index);
            let report = report.clone();
            socket.with_timeout(timeout).begin_receive(
                [0; 1],
                move |ar| {
                    assert_eq!(ar.error().unwrap().kind(), ErrorKind::TimedOut);
                    report.send(begun.elapsed() >= timeout).unwrap();
                },
                (),
            );
        }
        let deadline = Instant::now() + SOON;
        for (socket, _) in &pairs {
            let report = report.clone();
            socket.with_deadline(deadline).begin_receive(
                [0; 1],
                move |_| report.send(Instant::now() >= deadline).unwrap(),
                (),
            );
        }
        drop(report);
        let outcomes: Vec<bool> = received.iter().collect();
        assert!(outcomes.len() == 40 && outcomes.iter().all(|in_time| *in_time));
    });
}

#[test]
fn accept_connect_and_send_have_deadlines_too() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, _) = listener(runtime);
        let error = listener.with_timeout(SOON).accept_async().wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);

        let (socket, mut peer) = connected(runtime);
        let sent = socket.with_timeout(SOON).send_async(vec![1; 64 << 20]).wait();
        assert_eq!(sent.result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!(sent.buffer.len(), 64 << 20);
        // What was sent is said, and is what arrives.
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), sent.bytes_transferred);

        let Some((_listener, address, _connections)) = full_listener(runtime) else { return };
        let socket = runtime.tcp_v4().unwrap().with_timeout(Duration::from_millis(50));
        let error = socket.connect_async(address).wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_deadline_that_has_passed_and_one_that_never_comes() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let past = socket.with_deadline(Instant::now());
        let error = past.receive_async([0; 1]).wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let zero = socket.with_timeout(Duration::ZERO);
        // A second one behind the first, which cannot be tried at once.
        let operations = [zero.receive_async([0; 1]), zero.receive_async([0; 1])];
        for operation in operations {
            assert_eq!(operation.wait().result.unwrap_err().kind(), ErrorKind::TimedOut);
        }
        let never = socket.with_timeout(Duration::MAX).receive_async([0; 1]);
        peer.write_all(&[1]).unwrap();
        assert_eq!(never.wait().buffer, [1]);
    });
}

/// I2: data and the deadline at the same moment.
#[test]
fn a_deadline_racing_with_data_loses_no_byte() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let writer = thread::spawn(move || {
            for round in 0..=255 {
                thread::sleep(Duration::from_micros(300));
                peer.write_all(&[round]).unwrap();
            }
            peer
        });
        let hasty = socket.with_timeout(Duration::from_micros(300));
        let mut expected = 0;
        while expected <= 255 {
            let completion = hasty.receive_async([0; 1]).wait();
            match completion.result {
                Ok(_) => {
                    assert_eq!(i32::from(completion.buffer[0]), expected);
                    expected += 1;
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
        }
        drop(writer.join().unwrap());
    });
}

/// A new deadline that comes before the one that is waited for, from another thread and from a
/// callback.
#[test]
fn an_earlier_deadline_is_not_slept_through() {
    with_every_runtime(|runtime: &Runtime| {
        let (slow, _slow_peer) = connected(runtime);
        let (fast, _fast_peer) = connected(runtime);
        let late = slow.with_timeout(LATE).receive_async([0; 1]);
        thread::sleep(Duration::from_millis(2));
        assert!(fast.with_timeout(SOON).receive_async([0; 1]).wait().result.is_err());
        let (report, received) = mpsc::channel();
        let inner = fast.with_timeout(SOON);
        fast.begin_send([1], move |_| drop(receive(&inner, 1, &report)), ());
        assert!(received.recv().unwrap().result.is_err());
        assert!(!late.is_completed());
    });
}

#[test]
fn a_refused_connect_does_not_wait_for_its_deadline() {
    with_every_runtime(|runtime: &Runtime| {
        let address = refusing_address();
        let connect = runtime.tcp_v4().unwrap().with_timeout(LATE).connect_async(address);
        assert_eq!(connect.wait().result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}
