//! Datagrams and whom they are from: send to, receive from, receive a message from.

use crate::face::{Case, conforms};
use crate::support::{connected, sends_are_cut_short, skipped};
use aio_core::socket2::{Domain, Type};
use aio_core::{Socket, is_aborted};
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

fn udp(case: &Case) -> (Socket, SocketAddr) {
    let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// ST-4, RF-3, RC-9: `SendToRecvFrom_Datagram_UDP`; each datagram is acknowledged to its sender.
#[test]
fn a_datagram_arrives_whole_with_the_address_of_its_sender() {
    conforms(|case: &Case| {
        let ((here, here_address), (there, there_address)) = (udp(case), udp(case));
        for round in 0..64_u8 {
            let size = if round == 7 { 0 } else { 256 };
            let receive = case.receive_from(&there, vec![0; 512]);
            let sent = case.send_to(&here, vec![round; size], there_address).end();
            assert_eq!((sent.result.unwrap(), sent.bytes_transferred), (size, size));
            let received = receive.end();
            let (length, from) = received.result.unwrap();
            assert_eq!((length, from.as_socket()), (size, Some(here_address)));
            assert!(received.buffer[..size] == vec![round; size]);
            case.send_to(&there, [round], from).output();
            assert_eq!(case.receive(&here, [0; 8]).end().buffer[0], round);
        }
    });
}

/// RF-6 without the packet information: `ReceiveMessageFrom` 16 × 256 bytes, one waiting behind another.
#[test]
fn messages_are_received_from_several_pending_receives() {
    conforms(|case: &Case| {
        let ((here, here_address), (there, there_address)) = (udp(case), udp(case));
        let receives = [(); 16].map(|()| case.receive_message_from(&there, [0; 256]));
        for round in 0..16 {
            case.send_to(&here, [round; 256], there_address).output();
        }
        for (round, receive) in (0..16).zip(receives) {
            let received = receive.end();
            let message = received.result.unwrap();
            assert_eq!((message.length, message.truncated), (256, false));
            assert_eq!(message.from.as_socket(), Some(here_address));
            assert_eq!(received.buffer, [round; 256]);
        }
    });
}

/// RF-5: a message that does not fit is marked; RC-8 as departed from: elsewhere it is an error that says
/// how long it was.
#[test]
fn a_message_that_does_not_fit_is_marked_and_a_datagram_is_an_error() {
    conforms(|case: &Case| {
        let ((here, here_address), (there, there_address)) = (udp(case), udp(case));
        let send = |size| case.send_to(&here, vec![5; size], there_address).output();
        send(100);
        let received = case.receive_message_from(&there, [0; 10]).end();
        let message = received.result.unwrap();
        assert_eq!((message.length, message.truncated), (10, true));
        assert_eq!((received.bytes_transferred, received.buffer), (10, [5; 10]));
        assert_eq!(message.from.as_socket(), Some(here_address));
        send(100);
        let received = case.receive_from(&there, [0; 10]).end();
        let error = received.result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        #[cfg(target_os = "linux")]
        assert!(error.to_string().contains("100"), "{error}");
        assert_eq!((received.bytes_transferred, received.buffer), (10, [5; 10]));
        send(10);
        let message = case.receive_message_from(&there, [0; 10]).output();
        assert_eq!((message.length, message.truncated), (10, false));
    });
}

/// ST-2: `Datagram_UDP_ShouldImplicitlyBindLocalEndpoint`, as soon as it has begun.
#[test]
fn a_send_to_binds_the_socket() {
    if sends_are_cut_short() {
        return skipped("the send may be put off by an injected fault");
    }
    conforms(|case: &Case| {
        let (_there, address) = udp(case);
        let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        let send = case.send_to(&socket, [1], address);
        assert_ne!(socket.local_addr().unwrap().port(), 0);
        assert_eq!(send.output(), 1);
    });
}

/// ST-1: an address of another family.
#[test]
fn a_send_to_an_address_of_another_family_fails() {
    conforms(|case: &Case| {
        let (socket, _) = udp(case);
        let elsewhere: SocketAddr = "[::1]:9".parse().unwrap();
        let sent = case.send_to(&socket, [1], elsewhere).end();
        let error = sent.result.unwrap_err();
        assert!(error.to_string().starts_with("send to [::1]:9: "), "{error}");
        assert_eq!((sent.bytes_transferred, sent.buffer), (0, [1]));
    });
}

/// RF-1: `NotBound`; nothing can arrive at a socket that has no address.
#[test]
fn a_receive_on_a_socket_that_is_not_bound_says_so() {
    conforms(|case: &Case| {
        let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        for error in [
            case.receive_from(&socket, [0; 8]).error(),
            case.receive_message_from(&socket, [0; 8]).error(),
            case.receive(&socket, [0; 8]).error(),
            case.receive(&socket, [0; 0]).error(),
            case.receive_list(&socket, vec![[0; 4]; 2]).error(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("not bound"), "{error}");
        }
        let (there, address) = udp(case);
        case.send_to(&socket, [1], address).output();
        let receive = case.receive_from(&socket, [0; 8]);
        let (_, from) = case.receive_from(&there, [0; 8]).output();
        case.send_to(&there, [2], from).output();
        assert_eq!(receive.output().0, 1);
    });
}

/// RF-8, RC-6: `ReceiveSent_TCP`; a stream's bytes are from its peer, and are not lost to the call that asks.
#[test]
fn a_stream_has_its_peer_for_a_sender() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let address = peer.local_addr().unwrap();
        for round in 0..3 {
            let receive = case.receive_from(&socket, [0; 2]);
            peer.write_all(&[round, 7, 8, 9]).unwrap();
            let received = receive.end();
            let (length, from) = received.result.unwrap();
            assert_eq!((length, received.buffer), (2, [round, 7]));
            assert_eq!(from.as_socket(), Some(address));
            assert_eq!(case.receive_from(&socket, [0; 0]).output().0, 0);
            let received = case.receive_message_from(&socket, [0; 2]).end();
            let message = received.result.unwrap();
            assert_eq!((message.length, message.truncated), (2, false));
            assert_eq!((message.from.as_socket(), received.buffer), (Some(address), [8, 9]));
        }
        peer.write_all(&[7]).unwrap();
        drop(peer);
        socket.shutdown(Shutdown::Write).unwrap();
        // There is no connection any more, but what it has brought.
        while socket.peer_addr().is_ok() {
            thread::yield_now();
        }
        assert_eq!(case.receive_from(&socket, [0; 0]).output().0, 0);
        assert_eq!(case.receive_from(&socket, [0; 2]).output().0, 1);
        assert_eq!(case.receive_from(&socket, [0; 2]).output().0, 0);
        assert_eq!(case.receive_from(&socket, [0; 0]).output().0, 0);
    });
}

/// `UdpReceiveGetsCanceledByDispose`, `ClosedDuringOperation`; CN-12, LS-6.
#[test]
fn close_ends_every_pending_receive_of_datagrams() {
    conforms(|case: &Case| {
        let (socket, _) = udp(case);
        let (one, from) = (case.receive(&socket, [0; 8]), case.receive_from(&socket, [0; 8]));
        let message = case.receive_message_from(&socket, [0; 8]);
        let thread = thread::spawn(move || socket.close());
        for error in [one.error(), from.error(), message.error()] {
            assert!(is_aborted(&error));
        }
        thread.join().unwrap();
    });
}

/// OR-7: `CanceledOneOfMultipleReceives_Udp_Throws`; the others get the datagrams, in their order.
#[test]
fn a_canceled_receive_from_leaves_the_others_in_their_order() {
    conforms(|case: &Case| {
        let ((here, _), (there, address)) = (udp(case), udp(case));
        let hasty = there.with_timeout(Duration::from_millis(1));
        let first = case.receive_from(&there, [0; 1]);
        let (second, late) = (case.receive_from(&there, [0; 1]), case.receive_from(&hasty, [0; 1]));
        let last = case.receive_from(&there, [0; 1]);
        second.cancel();
        assert!(is_aborted(&second.error()));
        assert_eq!(late.error().kind(), ErrorKind::TimedOut);
        for (byte, receive) in [(1, first), (2, last)] {
            case.send_to(&here, [byte], address).output();
            assert_eq!(receive.end().buffer, [byte]);
        }
    });
}

/// SH-3: `ShutdownSend_ReceiveFromShouldSucceed`.
#[test]
fn a_receive_from_goes_on_after_the_sending_direction_is_shut_down() {
    conforms(|case: &Case| {
        let (socket, address) = udp(case);
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        case.connect(&socket, peer.local_addr().unwrap()).output();
        let receive = case.receive_from(&socket, [0; 8]);
        socket.shutdown(Shutdown::Write).unwrap();
        peer.send_to(&[1, 2], address).unwrap();
        assert_eq!(receive.output().0, 2);
        peer.send_to(&[3], address).unwrap();
        assert_eq!(case.receive_from(&socket, [0; 8]).output().0, 1);
    });
}

/// `Success_IPv6`: the sender's address is of the socket's family.
#[test]
fn datagrams_over_ipv6() {
    conforms(|case: &Case| {
        let Ok(here) = UdpSocket::bind("[::1]:0") else {
            skipped("this system has no IPv6");
            return;
        };
        let there = UdpSocket::bind("[::1]:0").unwrap();
        let (from, to) = (here.local_addr().unwrap(), there.local_addr().unwrap());
        let [here, there] = [here, there].map(|socket| case.runtime.associate(socket).unwrap());
        case.send_to(&here, *b"six", to).output();
        let received = case.receive_message_from(&there, [0; 8]).output();
        assert_eq!((received.length, received.from.as_socket()), (3, Some(from)));
    });
}
