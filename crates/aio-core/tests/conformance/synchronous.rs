//! Synchronous calls, among operations that were begun with every face.

use crate::face::{Case, conforms};
use crate::support::{connected, listener};
use aio_core::is_aborted;
use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

/// RC-13: a synchronous receive waits behind those that were begun before it.
#[test]
fn a_synchronous_receive_waits_for_its_turn() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let first = case.receive(&socket, [0; 1]);
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let mut byte = [0];
                socket.receive(&mut byte).map(|_| byte)
            });
            peer.write_all(&[1]).unwrap();
            assert_eq!(first.end().buffer, [1]);
            peer.write_all(&[2]).unwrap();
            assert_eq!(second.join().unwrap().unwrap(), [2]);
        });
    });
}

/// OR-1: so does a synchronous send, and what is begun behind it waits for that.
#[test]
fn a_synchronous_send_waits_for_its_turn() {
    conforms(|case: &Case| {
        const SIZE: usize = 6 << 20;
        let (socket, mut peer) = connected(&case.runtime);
        let first = case.send(&socket, vec![1; SIZE]);
        thread::scope(|scope| {
            let second = scope.spawn(|| socket.send(&[2; 5]));
            let mut received = vec![0; SIZE + 5];
            peer.read_exact(&mut received).unwrap();
            assert!(received == [vec![1; SIZE], vec![2; 5]].concat());
            assert_eq!(second.join().unwrap().unwrap(), 5);
        });
        assert_eq!(first.output(), SIZE);
    });
}

/// `ReceiveTimesOut_Throws`, `SendTimesOut_Throws`; and what was begun is not disturbed.
#[test]
fn a_synchronous_call_has_a_timeout() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let pending = case.receive(&socket, [0; 1]);
        let hasty = socket.with_timeout(Duration::from_millis(2));
        assert_eq!(hasty.receive(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
        peer.write_all(&[7]).unwrap();
        assert_eq!(pending.end().buffer, [7]);
        let error = hasty.send(&vec![0; 64 << 20]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let (listener, _) = listener(&case.runtime);
        let hasty = listener.with_timeout(Duration::from_millis(2));
        assert_eq!(hasty.accept().unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

/// CL-3, LS-6: close ends the synchronous call of another thread.
#[test]
fn close_ends_a_synchronous_call() {
    conforms(|case: &Case| {
        let (socket, _peer) = connected(&case.runtime);
        let (listener, _) = listener(&case.runtime);
        thread::scope(|scope| {
            let receive = scope.spawn(|| socket.receive(&mut [0; 1]));
            let accept = scope.spawn(|| listener.accept());
            // The calls may come before or after it.
            socket.close();
            listener.close();
            assert!(is_aborted(&receive.join().unwrap().unwrap_err()));
            assert!(is_aborted(&accept.join().unwrap().unwrap_err()));
        });
        assert!(is_aborted(&case.receive(&socket, [0; 1]).error()));
    });
}
