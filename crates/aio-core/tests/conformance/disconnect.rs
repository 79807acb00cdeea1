//! Disconnect and shutdown.

use crate::face::{Case, UNFINISHED, conforms};
use crate::support::{connected, listener};
use aio_core::Socket;
use aio_core::socket2::SockRef;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

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

/// SH-1, SN-7 as departed from: a send that is pending fails, and says how much was sent: what the peer reads.
#[test]
fn shutdown_ends_a_pending_send() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send(&socket, vec![0; UNFINISHED]);
        assert!(!send.wait_timeout(Duration::from_millis(1)));
        socket.shutdown(Shutdown::Write).unwrap();
        let sent = send.end();
        assert_eq!(sent.result.unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop(socket);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), sent.bytes_transferred);
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

/// SH-2: on Unix, a receive after the receiving direction was shut down gets what is there, then the end.
#[cfg(unix)]
#[test]
fn a_receive_after_shutdown_gets_what_is_there_and_then_the_end() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let pending = case.receive(&socket, [0; 0]);
        peer.write_all(&[1, 2]).unwrap();
        pending.output();
        socket.shutdown(Shutdown::Read).unwrap();
        assert_eq!(case.receive(&socket, [0; 8]).output(), 2);
        assert_eq!(case.receive(&socket, [0; 8]).output(), 0);
        // The other direction goes on.
        case.send(&socket, [3]).output();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 1);
    });
}

/// SH-2: and one that is pending then ends.
#[cfg(unix)]
#[test]
fn shutdown_ends_a_pending_receive() {
    conforms(|case: &Case| {
        let (socket, _peer) = connected(&case.runtime);
        let pending = case.receive(&socket, [0; 8]);
        socket.shutdown(Shutdown::Read).unwrap();
        assert_eq!(pending.output(), 0);
    });
}

/// Sockets that have connected, were accepted, and came from elsewhere, with their peers.
fn connected_each_way(case: &Case) -> [(Socket, TcpStream); 3] {
    let (listener, address) = listener(&case.runtime);
    let peer = TcpStream::connect(address).unwrap();
    let accepted = (case.accept(&listener).output(), peer);
    let theirs = TcpStream::connect(address).unwrap();
    let peer = case.accept(&listener).output().into_socket2().unwrap().into();
    [connected(&case.runtime), accepted, (case.runtime.associate(theirs).unwrap(), peer)]
}

/// SH-4: `Shutdown_TCP_CLOSED_Success`; the connection is over already, and that is what was wanted.
#[test]
fn shutdown_of_a_connection_that_is_over_succeeds() {
    conforms(|case: &Case| {
        for (socket, peer) in connected_each_way(case) {
            socket.shutdown(Shutdown::Write).unwrap();
            drop(peer);
            assert_eq!(case.receive(&socket, [0; 1]).output(), 0);
            socket.shutdown(Shutdown::Both).unwrap();
            socket.shutdown(Shutdown::Both).unwrap();
            case.disconnect(&socket).output();
        }
    });
}

/// SH-4: so it is when the peer has reset it.
#[test]
fn shutdown_after_a_reset_succeeds() {
    conforms(|case: &Case| {
        for (socket, peer) in connected_each_way(case) {
            SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            let error = case.receive(&socket, [0; 1]).error();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            socket.shutdown(Shutdown::Both).unwrap();
            case.disconnect(&socket).output();
        }
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
