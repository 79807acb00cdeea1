//! Connect.

use crate::face::{Case, conforms};
use crate::support::{connected, listener, refusing_address, skipped};
use aio_core::socket2::{Domain, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

/// CN-2, CN-3: `Connect_Success`.
#[test]
fn connect_meets_a_listener() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let client = case.runtime.tcp_v4().unwrap();
        let connect = case.connect(&client, address).end();
        connect.result.unwrap();
        assert_eq!(connect.bytes_transferred, 0);
        assert_eq!(client.peer_addr().unwrap(), address);
        let server = case.accept(&listener).output();
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
    });
}

/// CN-10: `Connect_Udp_Success`; the peer may be changed, and others are not heard.
#[test]
fn connect_of_a_datagram_socket_sets_its_peer() {
    conforms(|case: &Case| {
        let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let peers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for (index, peer) in peers.iter().enumerate() {
            case.connect(&socket, peer.local_addr().unwrap()).output();
            let other = &peers[1 - index];
            other.send_to(b"other", socket.local_addr().unwrap()).unwrap();
            peer.send_to(b"peer", socket.local_addr().unwrap()).unwrap();
            let received = case.receive(&socket, [0; 8]).end();
            assert_eq!(&received.buffer[..received.result.unwrap()], b"peer");
            assert_eq!(case.send(&socket, *b"ping").output(), 4);
            assert_eq!(peer.recv_from(&mut [0; 8]).unwrap().0, 4);
        }
    });
}

/// CN-4, CN-7 as departed from, LS-10: the error names the address, and the socket is at its end.
#[test]
fn a_refused_connect_says_where_to_and_is_not_repeated() {
    conforms(|case: &Case| {
        let address = refusing_address();
        let client = case.runtime.tcp_v4().unwrap();
        let error = case.connect(&client, address).error();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("connect to {address}: ")), "{error}");
        let error = case.connect(&client, address).error();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("connect a new one"), "{error}");
        assert_eq!(case.receive(&client, [0; 1]).error().kind(), ErrorKind::NotConnected);
    });
}

/// CN-5: `Connect_OnConnectedSocket_Fails`, and does no harm, whoever connected it.
#[test]
fn connect_of_a_connected_socket_fails_and_does_no_harm() {
    conforms(|case: &Case| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ours = case.runtime.tcp_v4().unwrap();
        case.connect(&ours, address).output();
        let theirs = case.runtime.associate(TcpStream::connect(address).unwrap()).unwrap();
        for socket in [ours, theirs] {
            let (mut peer, _) = listener.accept().unwrap();
            case.connect(&socket, address).error();
            peer.write_all(&[1]).unwrap();
            assert_eq!(case.receive(&socket, [0; 1]).end().buffer, [1]);
            assert_eq!(case.send(&socket, [2]).output(), 1);
        }
    });
}

/// CN-6: `Connect_AfterDisconnect_Fails`.
#[test]
fn connect_after_disconnect_fails() {
    conforms(|case: &Case| {
        let (socket, peer) = connected(&case.runtime);
        case.disconnect(&socket).output();
        let error = case.connect(&socket, peer.local_addr().unwrap()).error();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// The table of CN: a socket that listens does not connect, and goes on listening.
#[test]
fn connect_of_a_listening_socket_fails() {
    conforms(|case: &Case| {
        let (socket, address) = listener(&case.runtime);
        let (_other, elsewhere) = listener(&case.runtime);
        case.connect(&socket, elsewhere).error();
        let accept = case.accept(&socket);
        let _peer = TcpStream::connect(address).unwrap();
        accept.output();
    });
}

/// The table of CN: the address is of another family than the socket.
#[test]
fn connect_to_an_address_of_another_family_fails() {
    conforms(|case: &Case| {
        let client = case.runtime.tcp_v4().unwrap();
        let address: SocketAddr = "[::1]:9".parse().unwrap();
        let error = case.connect(&client, address).error();
        assert!(error.to_string().starts_with("connect to [::1]:9: "), "{error}");
    });
}

/// `Connect_Success` for IPv6, and from a dual-mode socket to an address of IPv4.
#[test]
fn connect_over_ipv6_and_from_a_dual_mode_socket() {
    conforms(|case: &Case| {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            skipped("this system has no IPv6");
            return;
        };
        let client = case.runtime.tcp_v6().unwrap();
        case.connect(&client, listener.local_addr().unwrap()).output();
        assert_eq!(client.peer_addr().unwrap(), listener.local_addr().unwrap());

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = case.runtime.tcp_v6().unwrap();
        client.with_socket(|socket| socket.set_only_v6(false)).unwrap().unwrap();
        let mapped: SocketAddr = format!("[::ffff:127.0.0.1]:{port}").parse().unwrap();
        case.connect(&client, mapped).output();
        let (mut peer, _) = listener.accept().unwrap();
        case.send(&client, [4]).output();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 1);
    });
}

/// UX-2, OR-1: a send that is begun behind a connect follows it.
#[test]
fn a_send_takes_its_turn_behind_the_connect() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let client = case.runtime.tcp_v4().unwrap();
        let connect = case.connect(&client, address);
        let send = case.send(&client, *b"hello");
        let server = case.accept(&listener).output();
        connect.output();
        assert_eq!(send.output(), 5);
        assert_eq!(case.receive(&server, [0; 5]).end().buffer, *b"hello");
    });
}
