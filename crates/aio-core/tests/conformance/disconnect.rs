//! Disconnect and shutdown.

use crate::face::{Case, conforms};
use crate::support::connected;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

/// DC-1: `BeginDisconnect_Success` without reuse; both directions are at their end.
#[test]
fn disconnect_ends_both_directions() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        case.disconnect(&socket).output();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        assert_eq!(case.send(&socket, [1]).error().kind(), ErrorKind::BrokenPipe);
        assert_eq!(case.receive(&socket, [0; 1]).output(), 0);
    });
}

/// DC-1: not connected.
#[test]
fn disconnect_without_a_connection_fails() {
    conforms(|case: &Case| {
        let socket = case.runtime.tcp_v4().unwrap();
        assert_eq!(case.disconnect(&socket).error().kind(), ErrorKind::NotConnected);
    });
}

/// DC-3: after what was sent.
#[test]
fn disconnect_comes_after_the_sends_before_it() {
    conforms(|case: &Case| {
        const SIZE: usize = 6 << 20;
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send(&socket, vec![1; SIZE]);
        let disconnect = case.disconnect(&socket);
        assert!(!disconnect.is_completed());
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert_eq!(send.output(), SIZE);
        disconnect.output();
    });
}

/// SH-2 for disconnect: a receive that is pending reads the end.
#[test]
fn disconnect_ends_a_pending_receive() {
    conforms(|case: &Case| {
        let (socket, _peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        case.disconnect(&socket).output();
        assert_eq!(receive.output(), 0);
    });
}

/// SH-1, LS-11: what was sent, then the end; a later send fails, and no signal ends the process.
#[test]
fn shutdown_sends_what_was_sent_and_then_the_end() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        case.send(&socket, vec![1; 100_000]).output();
        socket.shutdown(Shutdown::Write).unwrap();
        for error in
            [case.send(&socket, [1]).error(), case.send_list(&socket, vec![[1]; 2]).error()]
        {
            assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        }
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 100_000);
    });
}

/// SH-3: a receive, pending or later, is not disturbed.
#[test]
fn shutdown_of_sending_does_not_disturb_receives() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let pending = case.receive(&socket, [0; 1]);
        socket.shutdown(Shutdown::Write).unwrap();
        for byte in [1, 2] {
            peer.write_all(&[byte]).unwrap();
        }
        assert_eq!(pending.end().buffer, [1]);
        assert_eq!(case.receive(&socket, [0; 1]).end().buffer, [2]);
    });
}

/// SH-4, SH-5: but there must have been one, and the socket must not be closed.
#[test]
fn shutdown_without_a_connection_or_after_close_fails() {
    conforms(|case: &Case| {
        let socket = case.runtime.tcp_v4().unwrap();
        let error = socket.shutdown(Shutdown::Both).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        socket.close();
        assert!(aio_core::is_aborted(&socket.shutdown(Shutdown::Both).unwrap_err()));
        assert!(aio_core::is_aborted(&case.disconnect(&socket).error()));
    });
}
