//! Connect.

use crate::face::{Case, conforms, skipped};
use crate::support::{connected, listener};
use aio_core::socket2::{Domain, Type};
use aio_core::{Socket, is_aborted};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

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
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
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

/// CN-14: local connects are over at once, and are told like any other.
#[cfg(unix)]
#[test]
fn connect_of_a_local_socket() {
    use aio_core::socket2::SockAddr;
    use std::os::unix::net::UnixListener;

    conforms(|case: &Case| {
        let name = format!("aio-conformance-{}-{:p}.socket", std::process::id(), case);
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let listener = case.runtime.associate(listener).unwrap();
        let client = case.runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
        case.connect(&client, SockAddr::unix(&path).unwrap()).output();
        let server = case.accept(&listener).output();
        case.send(&client, *b"ping").output();
        assert_eq!(case.receive(&server, [0; 4]).end().buffer, *b"ping");
        std::fs::remove_file(path).unwrap();
        let missing = case.runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
        let error = case.connect(&missing, SockAddr::unix("/nowhere/socket").unwrap()).error();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("/nowhere/socket"), "{error}");
    });
}

/// CN-4 for local sockets: a backlog that is full is told at once, and is not the end of the socket.
#[cfg(target_os = "linux")]
#[test]
fn connect_of_a_local_socket_to_a_full_backlog() {
    use aio_core::socket2::SockAddr;

    conforms(|case: &Case| {
        let name = format!("aio-conformance-{}-{:p}.full", std::process::id(), case);
        let path = std::env::temp_dir().join(name);
        let local = || case.runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
        let address = SockAddr::unix(&path).unwrap();
        let listener = local();
        listener.bind(address.clone()).unwrap();
        listener.listen(1).unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            let socket = local();
            match case.connect(&socket, address.clone()).end().result {
                Ok(()) => waiting.push(socket),
                Err(error) => {
                    assert!(error.to_string().contains("backlog is full"), "{error}");
                    break socket;
                }
            }
        };
        case.accept(&listener).output();
        case.connect(&refused, address).output();
        std::fs::remove_file(path).unwrap();
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

/// A listener that answers no further connect, and who holds its one place.
#[cfg(target_os = "linux")]
pub(crate) fn full_listener(case: &Case) -> (Socket, SocketAddr, TcpStream) {
    let listener = case.runtime.tcp_v4().unwrap();
    listener.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let first = TcpStream::connect(address).unwrap();
    (listener, address, first)
}

/// CN-11, CN-12, LS-6: `ConnectGetsCanceledByDispose`, from another thread.
#[cfg(target_os = "linux")]
#[test]
fn close_ends_a_pending_connect() {
    conforms(|case: &Case| {
        let (_listener, address, _first) = full_listener(case);
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
#[cfg(target_os = "linux")]
#[test]
fn a_pending_connect_is_canceled_or_too_late() {
    conforms(|case: &Case| {
        let (_listener, address, _first) = full_listener(case);
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
#[cfg(target_os = "linux")]
#[test]
fn a_second_connect_while_one_is_pending_fails() {
    conforms(|case: &Case| {
        let (listener, address, _first) = full_listener(case);
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
#[cfg(target_os = "linux")]
#[test]
fn a_receive_leaves_the_pending_connect_alone() {
    conforms(|case: &Case| {
        let (listener, address, _first) = full_listener(case);
        let client = case.runtime.tcp_v4().unwrap();
        let connect = case.connect(&client, address);
        assert_eq!(case.receive(&client, [0; 1]).error().kind(), ErrorKind::NotConnected);
        assert!(!connect.is_completed());
        // When the system asks again, after a second, it is refused.
        listener.close();
        assert_eq!(connect.error().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(case.receive(&client, [0; 1]).error().kind(), ErrorKind::NotConnected);
    });
}
