//! Connects that are pending, for which it takes a listener whose backlog is full: Linux leaves them so.

use crate::face::{Case, conforms};
use crate::support::{full_listener, hold, refusing_address};
use aio_core::is_aborted;
use aio_core::op::Destination;
use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

/// CN-11, CN-12, LS-6: `ConnectGetsCanceledByDispose`, from another thread.
#[test]
fn close_ends_a_pending_connect() {
    conforms(|case: &Case| {
        let (_listener, address, _first) = full_listener(&case.runtime).unwrap();
        let client = case.runtime.tcp_v4().unwrap();
        let connect = case.connect(&client, address);
        assert!(!connect.is_completed());
        let closer = client.clone();
        let thread = thread::spawn(move || closer.close());
        assert!(is_aborted(&connect.error()));
        thread.join().unwrap();
    });
}

/// BE-15 as departed from: a connect is canceled, or has a deadline; the socket is at its end.
#[test]
fn a_pending_connect_is_canceled_or_too_late() {
    conforms(|case: &Case| {
        let (_listener, address, _first) = full_listener(&case.runtime).unwrap();
        let client = case.runtime.tcp_v4().unwrap();
        let connect = case.connect(&client, address);
        connect.cancel();
        assert!(is_aborted(&connect.error()));
        assert!(is_aborted(&case.send(&client, [1]).error()));
        let client = case.runtime.tcp_v4().unwrap();
        let error = case.connect(&client.with_timeout(Duration::from_millis(5)), address).error();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

/// CN-1 as departed from: the second of two connects fails, and the first is none the worse.
#[test]
fn a_second_connect_while_one_is_pending_fails() {
    conforms(|case: &Case| {
        let (listener, address, _first) = full_listener(&case.runtime).unwrap();
        let client = case.runtime.tcp_v4().unwrap();
        let connects = [case.connect(&client, address), case.connect(&client, address)];
        assert!(connects.iter().all(|connect| !connect.is_completed()));
        // Makes room: the system asks again, after a second.
        case.accept(&listener).output();
        let [first, second] = connects;
        first.output();
        assert_eq!(second.error().kind(), ErrorKind::InvalidInput);
        assert_eq!(case.send(&client, [1]).output(), 1);
    });
}

/// LS-2, RC-7: a receive does not wait for a connection, and takes nothing from the connect that does:
/// its error least of all, which the system tells once.
#[test]
fn a_receive_leaves_the_pending_connect_alone() {
    conforms(|case: &Case| {
        let (listener, address, _first) = full_listener(&case.runtime).unwrap();
        let client = case.runtime.tcp_v4().unwrap();
        let connect = case.connect(&client, address);
        assert_eq!(case.receive(&client, [0; 1]).error().kind(), ErrorKind::NotConnected);
        assert!(!connect.is_completed());
        // When the system asks again, after a second, it is refused; nobody else has the port by then.
        listener.close();
        let _holder = hold(address).unwrap();
        assert_eq!(connect.error().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(case.receive(&client, [0; 1]).error().kind(), ErrorKind::NotConnected);
    });
}

/// BE-15 as departed from, I2: one deadline for all of it, and a cancel that ends it wherever it is.
#[test]
fn a_pending_connect_to_is_canceled_or_too_late() {
    conforms(|case: &Case| {
        let (_listener, address, _first) = full_listener(&case.runtime).unwrap();
        let connect = case.connect_to(vec![refusing_address(), address]);
        assert!(!connect.wait_timeout(Duration::from_millis(1)));
        connect.cancel();
        assert!(is_aborted(&connect.error()));
        let hasty =
            Destination::from(vec![refusing_address(), address]).timeout(Duration::from_millis(5));
        assert_eq!(case.connect_to(hasty).error().kind(), ErrorKind::TimedOut);
    });
}
