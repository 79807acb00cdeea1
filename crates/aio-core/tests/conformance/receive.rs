//! Receive: into a buffer, into a list of buffers.

use crate::face::{Case, UNFINISHED, conforms};
use crate::support::connected;
use aio_core::socket2::SockRef;
use aio_core::{IoBuf, is_aborted};
use std::io::{self, ErrorKind, Write};
use std::mem::MaybeUninit;
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// RC-2: what there is, up to the buffer's length, which never changes.
#[test]
fn a_receive_takes_what_there_is() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, vec![9; 8]);
        assert!(!receive.is_completed());
        peer.write_all(b"hello").unwrap();
        let received = receive.end();
        assert_eq!((received.result.unwrap(), received.bytes_transferred), (5, 5));
        assert_eq!(received.buffer, *b"hello\x09\x09\x09");
        peer.write_all(b"again").unwrap();
        assert_eq!(case.receive(&socket, [0; 2]).end().buffer, *b"ag");
        assert_eq!(case.receive(&socket, [0; 3]).end().buffer, *b"ain");
    });
}

/// RC-3, RC-4, CB-11: the bytes before the end, then the end, and the end again.
#[test]
fn the_end_comes_after_the_bytes_and_stays() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        peer.write_all(&[1; 100]).unwrap();
        drop(peer);
        let mut received = 0;
        while received < 100 {
            received += case.receive(&socket, [0; 60]).output();
        }
        for _ in 0..3 {
            assert_eq!(case.receive(&socket, [0; 60]).output(), 0);
        }
    });
}

/// LS-3: the end that is there already when a receive gets less than it has room for.
#[test]
fn the_end_behind_a_short_receive_is_not_missed() {
    conforms(|case: &Case| {
        for pending in [false, true] {
            let (socket, mut peer) = connected(&case.runtime);
            let early = pending.then(|| case.receive(&socket, [0; 8]));
            peer.write_all(&[1, 2, 3]).unwrap();
            drop(peer);
            let receive = early.unwrap_or_else(|| case.receive(&socket, [0; 8]));
            assert_eq!(receive.output(), 3);
            assert_eq!(case.receive(&socket, [0; 8]).output(), 0);
        }
    });
}

/// RC-5: a reset is an error, not the end.
#[test]
fn a_reset_is_an_error() {
    conforms(|case: &Case| {
        for pending in [false, true] {
            let (socket, peer) = connected(&case.runtime);
            let early = pending.then(|| case.receive(&socket, [0; 8]));
            SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
            drop(peer);
            let receive = early.unwrap_or_else(|| case.receive(&socket, [0; 8]));
            assert_eq!(receive.error().kind(), ErrorKind::ConnectionReset);
            assert!(socket.peer_addr().is_err());
        }
    });
}

/// RC-5: the system tells of a reset once, whoever asks first, and reports the end of the stream from then on.
#[test]
fn a_reset_that_another_operation_was_told_of_is_an_error_too() {
    conforms(|case: &Case| {
        let reset = |peer: TcpStream| {
            SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
        };
        let is_reset = |error: io::Error| assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let (socket, peer) = connected(&case.runtime);
        reset(peer);
        is_reset(case.send(&socket, *b"x").error());
        is_reset(case.receive(&socket, [0; 8]).error());
        is_reset(case.receive_list(&socket, vec![[0; 8]]).error());
        is_reset(case.receive_from(&socket, [0; 8]).error());
        is_reset(case.receive_message_from(&socket, [0; 8]).error());
        // Both wait when it comes, and one is told.
        for _ in 0..5 {
            let (socket, peer) = connected(&case.runtime);
            let send = case.send(&socket, vec![0; UNFINISHED]);
            let receive = case.receive(&socket, [0; 8]);
            reset(peer);
            is_reset(receive.error());
            send.error();
            is_reset(case.receive(&socket, [0; 8]).error());
        }
    });
}

/// RC-4: what the peer has ended is whole, whatever becomes of the connection afterwards.
#[test]
fn an_end_before_a_reset_is_the_end() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        peer.write_all(b"whole").unwrap();
        drop(peer);
        // Nobody is there to read this, and the peer's system says so.
        while case.send(&socket, *b"x").end().result.is_ok() {
            thread::yield_now();
        }
        assert_eq!(case.receive(&socket, [0; 8]).output(), 5);
        assert_eq!(case.receive(&socket, [0; 8]).output(), 0);
    });
}

/// RC-6, LS-12: `SendRecv_0ByteReceive_Success`, three rounds.
#[test]
fn a_receive_of_nothing_waits_for_bytes_and_takes_none() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        for round in 0..3 {
            let pending = case.receive(&socket, Vec::new());
            assert!(!pending.is_completed());
            peer.write_all(&[round]).unwrap();
            assert_eq!(pending.output(), 0);
            // With bytes there, it is over at once; and so is one into a list.
            assert_eq!(case.receive(&socket, [0; 0]).output(), 0);
            assert_eq!(case.receive_list(&socket, vec![[0; 0]; 2]).output(), 0);
            assert_eq!(case.receive_list(&socket, Vec::<Vec<u8>>::new()).output(), 0);
            let received = case.receive(&socket, [0; 8]).end();
            assert_eq!((received.result.unwrap(), received.buffer[0]), (1, round));
        }
    });
}

/// RC-6: `Receive0ByteReturns_WhenPeerDisconnects`.
#[test]
fn a_receive_of_nothing_is_over_at_the_end() {
    conforms(|case: &Case| {
        let (socket, peer) = connected(&case.runtime);
        let pending = case.receive(&socket, [0; 0]);
        drop(peer);
        assert_eq!(pending.output(), 0);
        assert_eq!(case.receive(&socket, [0; 0]).output(), 0);
    });
}

/// RC-6, RC-9, I2: of datagrams, a receive of nothing takes none, and an empty one is one.
#[test]
fn a_receive_of_nothing_leaves_a_datagram_and_an_empty_one_is_received() {
    conforms(|case: &Case| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(socket.local_addr().unwrap()).unwrap();
        let socket = case.runtime.associate(socket).unwrap();
        let nothing = case.receive(&socket, [0; 0]);
        peer.send(b"hello").unwrap();
        assert_eq!(nothing.output(), 0);
        assert_eq!(case.receive(&socket, [0; 5]).end().buffer, *b"hello");
        for size in [3, 0, 1] {
            let receive = case.receive(&socket, [0; 8]);
            peer.send(&vec![9; size]).unwrap();
            assert_eq!(receive.output(), size);
        }
    });
}

/// RC-7.
#[test]
fn a_receive_on_a_socket_without_a_connection_fails() {
    conforms(|case: &Case| {
        let socket = case.runtime.tcp_v4().unwrap();
        for error in [
            case.receive(&socket, [0; 8]).error(),
            case.receive_list(&socket, vec![[0; 8]; 2]).error(),
            case.receive_from(&socket, [0; 8]).error(),
            case.receive_message_from(&socket, [0; 8]).error(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }
    });
}

/// RC-10: a buffer of a list is not touched before the one in front of it is full.
#[test]
fn a_list_of_buffers_is_filled_in_order() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive_list(&socket, vec![vec![9; 2], vec![], vec![9; 2], vec![9; 2]]);
        peer.write_all(&[1, 2, 3]).unwrap();
        let received = receive.end();
        assert_eq!(received.result.unwrap(), 3);
        assert_eq!(received.buffer, [vec![1, 2], vec![], vec![3, 9], vec![9, 9]]);
        // RC-2: and it is over before the last one is full.
        peer.write_all(&[4; 6]).unwrap();
        assert!(case.receive_list(&socket, vec![[0; 4]; 500]).output() <= 6);
    });
}

/// RC-1: offset and size.
#[test]
fn a_part_of_a_buffer_is_filled_and_the_whole_comes_back() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        peer.write_all(&[9; 4]).unwrap();
        let received = case.receive(&socket, [1; 6].slice(2..5)).end();
        assert_eq!(received.result.unwrap(), 3);
        assert_eq!(received.buffer.into_inner(), [1, 1, 9, 9, 9, 1]);
        assert_eq!(case.receive(&socket, [1; 6].slice(6..)).output(), 0);
    });
}

/// RC-8 as departed from: a datagram is never cut silently.
#[test]
fn a_datagram_that_does_not_fit_is_an_error() {
    conforms(|case: &Case| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(socket.local_addr().unwrap()).unwrap();
        let socket = case.runtime.associate(socket).unwrap();
        peer.send(&[5; 100]).unwrap();
        let one = case.receive(&socket, [0; 10]).end();
        assert_eq!(one.result.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!((one.bytes_transferred, one.buffer), (10, [5; 10]));
        peer.send(&[5; 100]).unwrap();
        let list = case.receive_list(&socket, vec![[0; 5]; 2]).end();
        assert_eq!(list.result.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!((list.bytes_transferred, list.buffer), (10, vec![[5; 5]; 2]));
        // It is gone, and what follows is not.
        peer.send(b"next").unwrap();
        assert_eq!(case.receive(&socket, [0; 4]).end().buffer, *b"next");
    });
}

/// `SendRecv_DisposeDuringPendingReceive_ThrowsSocketException`; RC-12, CL-3, LS-6: from another thread.
#[test]
fn close_ends_a_pending_receive() {
    conforms(|case: &Case| {
        let (socket, _peer) = connected(&case.runtime);
        let receives = [0, 1, 2].map(|size| case.receive(&socket, vec![7; size]));
        let list = case.receive_list(&socket, vec![[0; 1]; 2]);
        let closer = socket.clone();
        let thread = thread::spawn(move || closer.close());
        for (size, receive) in receives.into_iter().enumerate() {
            let received = receive.end();
            assert!(is_aborted(&received.result.unwrap_err()));
            assert_eq!(received.buffer, vec![7; size]);
        }
        assert!(is_aborted(&list.error()));
        thread.join().unwrap();
    });
}

/// `Socket_ReceiveFlags_Success`: what another call has peeked at is still to be received.
#[test]
fn what_was_peeked_at_is_received() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let readable = case.receive(&socket, [0; 0]);
        peer.write_all(&[123]).unwrap();
        readable.output();
        let mut peeked = [MaybeUninit::uninit(); 4];
        let length = socket.with_socket(|socket| socket.peek(&mut peeked)).unwrap().unwrap();
        assert_eq!(length, 1);
        assert_eq!(case.receive(&socket, [0; 1]).end().buffer, [123]);
    });
}

/// BE-15 as departed from, IO-13, I2: a receive that is canceled or too late has taken nothing.
#[test]
fn a_canceled_receive_takes_nothing() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 4]);
        assert!(!receive.wait_timeout(Duration::from_millis(1)));
        receive.cancel();
        assert!(is_aborted(&receive.error()));
        let hasty = socket.with_timeout(Duration::from_millis(1));
        let late = case.receive(&hasty, vec![3; 4]).end();
        assert_eq!(late.result.unwrap_err().kind(), ErrorKind::TimedOut);
        assert_eq!((late.bytes_transferred, late.buffer), (0, vec![3; 4]));
        peer.write_all(&[7]).unwrap();
        assert_eq!(case.receive(&socket, [0; 4]).end().buffer, [7, 0, 0, 0]);
    });
}
