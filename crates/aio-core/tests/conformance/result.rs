//! What a caller holds of an operation while it is pending and when it is over.

use crate::face::{Case, conforms};
use crate::support::connected;
use aio_sync::{ManualResetEvent, wait_all, wait_any, wait_any_timeout};
use std::io::Write;
use std::thread;
use std::time::Duration;

/// AR-1, AR-4: false until it is over and then true for ever, and the wait handle with it.
#[test]
fn an_operation_is_completed_when_it_is_over_and_stays_so() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        let handle = receive.handle();
        let is_set = || handle.async_wait_handle().try_wait();
        assert!(!handle.is_completed() && !is_set());
        peer.write_all(&[1]).unwrap();
        receive.end();
        assert!(handle.is_completed() && is_set() && is_set());
    });
}

/// AR-6, AR-8, AR-12: anybody may wait for the handle, before and after the end, beside other events.
#[test]
fn the_wait_handle_is_waited_for_beside_others_and_outlives_the_operation() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let quit = ManualResetEvent::new(false);
        let receives = [(); 2].map(|()| case.receive(&socket, [0; 1]));
        let [first, second] = [receives[0].handle(), receives[1].handle()];
        assert_eq!(wait_any_timeout(&[&quit, &first, &second], Duration::from_millis(1)), None);
        let waiter = second.clone();
        let thread = thread::spawn(move || waiter.wait_one());
        peer.write_all(&[1]).unwrap();
        assert_eq!(wait_any(&[&quit, &second, &first]), 2);
        peer.write_all(&[2]).unwrap();
        wait_all(&[&first, &second]);
        thread.join().unwrap();
        assert_eq!(receives.map(|receive| receive.end().buffer[0]), [1, 2]);
        drop(socket);
        assert_eq!(wait_any(&[&second, &first]), 0);
    });
}

/// BE-7: the end waits for the operation; in another thread than the one that began it.
#[test]
fn the_end_waits_until_the_operation_is_over() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        let thread = thread::spawn(move || receive.end());
        peer.write_all(&[5]).unwrap();
        assert_eq!(thread.join().unwrap().buffer, [5]);
    });
}

/// BE-7: and returns at once when it is.
#[test]
fn the_end_of_what_is_over_is_there_for_whoever_comes_late() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        peer.write_all(&[5]).unwrap();
        receive.wait_one();
        assert_eq!(receive.end().buffer, [5]);
    });
}

/// BE-16: an operation outlives the thread that began it.
#[test]
fn an_operation_outlives_the_thread_that_began_it() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive =
            thread::scope(|scope| scope.spawn(|| case.receive(&socket, [0; 1])).join().unwrap());
        peer.write_all(&[5]).unwrap();
        assert_eq!(receive.end().buffer, [5]);
    });
}

/// BE-13, BE-14, I2: it is the very buffer that was given, in every outcome.
#[test]
fn the_buffer_that_comes_back_is_the_one_that_was_given() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let buffer = vec![0_u8; 8];
        let address = buffer.as_ptr();
        peer.write_all(&[1]).unwrap();
        let received = case.receive(&socket, buffer).end();
        assert!(received.result.is_ok());
        let receive = case.receive(&socket, received.buffer);
        receive.cancel();
        let canceled = receive.end();
        assert!(canceled.result.is_err());
        let sent = case.send(&socket, canceled.buffer).end();
        assert!(sent.result.is_ok());
        let unconnected = case.runtime.tcp_v4().unwrap();
        let failed = case.send(&unconnected, sent.buffer).end();
        assert!(failed.result.is_err());
        socket.close();
        let aborted = case.receive_list(&socket, vec![failed.buffer]).end();
        assert!(aborted.result.is_err());
        assert_eq!(aborted.buffer[0].as_ptr(), address);
    });
}

/// AR-13: canceling what is over changes nothing, nor does canceling twice.
#[test]
fn canceling_what_is_over_changes_nothing() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        peer.write_all(&[5]).unwrap();
        receive.wait_one();
        receive.cancel();
        receive.cancel();
        assert_eq!(receive.end().buffer, [5]);
        let receive = case.receive(&socket, [0; 1]);
        peer.write_all(&[6]).unwrap();
        assert_eq!(receive.end().buffer, [6]);
    });
}

/// BE-14: an operation that fails leaves nothing behind: the socket goes on.
#[test]
fn an_operation_that_fails_leaves_the_socket_as_it_was() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        for byte in 0..3 {
            case.accept(&socket).error();
            case.connect(&socket, peer.local_addr().unwrap()).error();
            peer.write_all(&[byte]).unwrap();
            assert_eq!(case.receive(&socket, [0; 1]).end().buffer, [byte]);
            assert_eq!(case.send(&socket, [byte]).output(), 1);
        }
    });
}
