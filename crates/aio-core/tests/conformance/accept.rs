//! Accept.

use crate::face::{Begun, Case, conforms};
use crate::support::{LIMIT, connected, hold, listener, skipped};
use aio_core::socket2::{Domain, Type};
use aio_core::{is_aborted, op};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// AC-8: `Accept_Success`; the socket is connected and of the listener's kind.
#[test]
fn an_accepted_socket_is_connected() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let accept = case.accept(&listener);
        let mut peer = TcpStream::connect(address).unwrap();
        let socket = accept.output();
        assert_eq!(socket.local_addr().unwrap(), address);
        assert_eq!(socket.peer_addr().unwrap(), peer.local_addr().unwrap());
        let r#type = socket.with_socket(|socket| socket.r#type().unwrap()).unwrap();
        assert_eq!(r#type, Type::STREAM);
        peer.write_all(b"hello").unwrap();
        assert_eq!(case.receive(&socket, [0; 5]).end().buffer, *b"hello");
    });
}

/// Accepts `count` connections, each begun before or after its connect, and each served by the connect
/// that has its place.
fn accept_in_order(case: &Case, count: usize, connect_first: bool) {
    let (listener, address) = listener(&case.runtime);
    let connect =
        || -> Vec<TcpStream> { (0..count).map(|_| TcpStream::connect(address).unwrap()).collect() };
    let accept =
        || -> Vec<Begun<op::Accept>> { (0..count).map(|_| case.accept(&listener)).collect() };
    let (peers, accepts) = if connect_first {
        let peers = connect();
        (peers, accept())
    } else {
        let accepts = accept();
        assert!(accepts.iter().all(|accept| !accept.is_completed()));
        (connect(), accepts)
    };
    for (accept, peer) in accepts.into_iter().zip(peers) {
        assert_eq!(accept.output().peer_addr().unwrap(), peer.local_addr().unwrap());
    }
}

/// AC-7: `Accept_ConcurrentAcceptsBeforeConnects_Success`.
#[test]
fn accepts_before_the_connects_are_served_in_their_order() {
    conforms(|case: &Case| [2, 5].into_iter().for_each(|n| accept_in_order(case, n, false)));
}

/// AC-7: `Accept_ConcurrentAcceptsAfterConnects_Success`.
#[test]
fn accepts_after_the_connects_are_served_in_their_order() {
    conforms(|case: &Case| [2, 5].into_iter().for_each(|n| accept_in_order(case, n, true)));
}

/// AC-1: `BeginAccept_NotBound`, `BeginAccept_NotListening`.
#[test]
fn an_accept_on_a_socket_that_does_not_listen_says_so() {
    conforms(|case: &Case| {
        let socket = case.runtime.tcp_v4().unwrap();
        for bound in [false, true] {
            if bound {
                socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            }
            let error = case.accept(&socket).error();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("not listening"), "{error}");
        }
        // BE-14: and leaves the socket as it was.
        socket.listen(1).unwrap();
        let _peer = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        case.accept(&socket).output();
    });
}

/// AC-1, for those that never listen.
#[test]
fn an_accept_on_a_connected_or_a_datagram_socket_fails() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        case.accept(&socket).error();
        peer.write_all(&[1]).unwrap();
        assert_eq!(case.receive(&socket, [0; 1]).end().buffer, [1]);
        let datagrams = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        case.accept(&datagrams).error();
    });
}

/// AC-9, CL-3: `AcceptAsync_MultipleAcceptsThenDispose_AcceptsThrowAfterDispose`.
#[test]
fn close_ends_every_pending_accept() {
    conforms(|case: &Case| {
        for _ in 0..20 {
            let (listener, _) = listener(&case.runtime);
            let accepts = [case.accept(&listener), case.accept(&listener)];
            let thread = thread::spawn(move || listener.close());
            for accept in accepts {
                assert!(is_aborted(&accept.error()));
            }
            thread.join().unwrap();
        }
    });
}

/// AC-9, CL-7: `AcceptGetsCanceledByDispose`; whoever wins, it ends.
#[test]
fn close_racing_with_a_connection_ends_the_accept() {
    conforms(|case: &Case| {
        for _ in 0..20 {
            let (listener, address) = listener(&case.runtime);
            let accept = case.accept(&listener);
            let thread = thread::spawn(move || drop(TcpStream::connect(address)));
            listener.close();
            let _holder = hold(address);
            if let Err(error) = accept.end().result {
                assert!(is_aborted(&error));
            }
            thread.join().unwrap();
        }
    });
}

/// OR-7, BE-15 as departed from: one of several accepts is canceled, or too late.
#[test]
fn a_canceled_accept_leaves_the_others_in_their_order() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let hasty = listener.with_timeout(Duration::from_millis(1));
        let (first, second) = (case.accept(&listener), case.accept(&listener));
        let (late, last) = (case.accept(&hasty), case.accept(&listener));
        second.cancel();
        assert!(is_aborted(&second.error()));
        assert_eq!(late.error().kind(), ErrorKind::TimedOut);
        for accept in [first, last] {
            let peer = TcpStream::connect(address).unwrap();
            assert_eq!(accept.output().peer_addr().unwrap(), peer.local_addr().unwrap());
        }
    });
}

/// AC-13: a connection that is reset before it is accepted does not hurt the listener.
#[test]
fn a_connection_that_has_gone_does_not_end_the_listener() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let gone = case.runtime.tcp_v4().unwrap();
        gone.with_socket(|socket| socket.set_linger(Some(Duration::ZERO))).unwrap().unwrap();
        case.connect(&gone, address).output();
        gone.close();
        let mut peer = TcpStream::connect(address).unwrap();
        // Linux and the BSDs differ in whether an accept sees the one that has gone.
        let from = peer.local_addr().unwrap();
        let socket = loop {
            match case.accept(&listener).end().result {
                Ok(socket) if socket.peer_addr().is_ok_and(|peer| peer == from) => break socket,
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted),
            }
        };
        case.send(&socket, [5]).output();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 1);
    });
}

/// DualModeSocketTest: a listener of both families accepts from both.
#[test]
fn a_dual_mode_listener_accepts_from_both_families() {
    conforms(|case: &Case| {
        if TcpListener::bind("[::1]:0").is_err() {
            skipped("this system has no IPv6");
            return;
        }
        let listener = case.runtime.tcp_v6().unwrap();
        listener.with_socket(|socket| socket.set_only_v6(false)).unwrap().unwrap();
        listener.bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).unwrap();
        listener.listen(2).unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "::1"] {
            let peer = TcpStream::connect((host, port)).unwrap();
            let from = case.accept(&listener).output().peer_addr().unwrap();
            assert_eq!(from.ip().to_canonical(), peer.local_addr().unwrap().ip());
        }
    });
}

/// AC-4, AC-5: `AcceptReceive_Success`; with a connection and a byte, in a buffer that says how many.
#[test]
fn an_accept_receives_the_first_bytes() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let accept = case.accept_receive(&listener, vec![9; 8]);
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(b"hello").unwrap();
        let accepted = accept.end();
        let (socket, received) = accepted.result.unwrap();
        assert_eq!((received, accepted.bytes_transferred), (5, 5));
        assert_eq!(accepted.buffer, *b"hello\x09\x09\x09");
        assert_eq!(socket.peer_addr().unwrap(), peer.local_addr().unwrap());
        case.send(&socket, *b"back").output();
        let mut back = [0; 4];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(back, *b"back");
    });
}

/// AC-4, AC-7: a peer that is silent keeps its own accept pending, and no other.
#[test]
fn a_silent_peer_keeps_its_own_accept_pending_alone() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let accepts = [(); 2].map(|()| case.accept_receive(&listener, [0; 1]));
        let mut peers = [(); 2].map(|()| TcpStream::connect(address).unwrap());
        let [first, second] = accepts;
        peers[1].write_all(&[2]).unwrap();
        assert_eq!(second.end().buffer, [2]);
        assert!(!first.is_completed());
        peers[0].write_all(&[1]).unwrap();
        assert_eq!(first.end().buffer, [1]);
    });
}

/// AC-4, RC-3: no room for a byte is done with the connection; a peer that ends without one is, too.
#[test]
fn an_accept_without_a_byte() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let accept = case.accept_receive(&listener, [0; 0]);
        let _silent = TcpStream::connect(address).unwrap();
        assert_eq!(accept.output().1, 0);
        let accept = case.accept_receive(&listener, [0; 8]);
        drop(TcpStream::connect(address).unwrap());
        assert_eq!(accept.output().1, 0);
    });
}

/// AC-12, BE-15 as departed from: an accept that ends after it has accepted closes the connection.
#[test]
fn an_accept_that_is_canceled_or_too_late_closes_what_it_has_accepted() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let hasty = listener.with_timeout(Duration::from_millis(5));
        for (listener, is_canceled) in [(&listener, true), (&hasty, false)] {
            let accept = case.accept_receive(listener, vec![7; 4]);
            let mut silent = TcpStream::connect(address).unwrap();
            // Who is behind it has a connection, so it has one too.
            let behind = case.accept(&listener.with_timeout(LIMIT));
            let _peer = TcpStream::connect(address).unwrap();
            behind.output();
            if is_canceled {
                accept.cancel();
            }
            let accepted = accept.end();
            assert!(is_aborted(&accepted.result.unwrap_err()));
            assert_eq!(accepted.buffer, [7; 4]);
            assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
        }
    });
}

/// AC-9, CL-3: so does closing the listener, whether it has a connection or not.
#[test]
fn close_ends_every_accept_that_receives() {
    conforms(|case: &Case| {
        let (listener, address) = listener(&case.runtime);
        let accepted = case.accept_receive(&listener, vec![7; 4]);
        let mut silent = TcpStream::connect(address).unwrap();
        let behind = case.accept(&listener);
        let _peer = TcpStream::connect(address).unwrap();
        behind.output();
        let pending = case.accept_receive(&listener, vec![7; 4]);
        listener.close();
        assert!(is_aborted(&pending.error()));
        assert!(is_aborted(&accepted.error()));
        assert_eq!(silent.read(&mut [0; 1]).unwrap(), 0);
    });
}

/// AC-9, CL-7: and a close that meets it on its way to what it has accepted.
#[test]
fn close_racing_with_a_silent_connection_ends_the_accept() {
    conforms(|case: &Case| {
        for _ in 0..20 {
            let (listener, address) = listener(&case.runtime);
            let accept = case.accept_receive(&listener, [0; 4]);
            let thread = thread::spawn(move || TcpStream::connect(address));
            thread::yield_now();
            listener.close();
            let _holder = hold(address);
            let accepted = accept.end().result;
            let client = thread.join().unwrap();
            match accepted {
                Err(error) => assert!(is_aborted(&error), "{error}"),
                // By a client whose own listener had this port, and which has closed since.
                Ok((stray, length)) => {
                    let client = client.map(|client| client.local_addr().unwrap());
                    assert_eq!(length, 0);
                    assert_ne!(stray.peer_addr().unwrap(), client.unwrap_or(address));
                }
            }
        }
    });
}
