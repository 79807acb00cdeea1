//! Sockets of the local domain.

use crate::face::{Case, conforms};
use aio_core::socket2::{self, Domain, SockAddr, Type};
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};

/// CN-14: local connects are over at once, and are told like any other.
#[test]
fn connect_of_a_local_socket() {
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

/// `SendRecv_Stream_TCP` for local sockets.
#[test]
fn a_local_socket_receives_bytes_and_then_the_end() {
    conforms(|case: &Case| {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let socket = case.runtime.associate(socket).unwrap();
        let receive = case.receive(&socket, [0; 8]);
        peer.write_all(b"hello").unwrap();
        assert_eq!(receive.output(), 5);
        drop(peer);
        assert_eq!(case.receive(&socket, [0; 8]).output(), 0);
    });
}

/// RC-9 for local datagrams: boundaries are kept, and the empty one is one.
#[test]
fn local_datagrams_keep_their_boundaries() {
    conforms(|case: &Case| {
        let (socket, peer) = socket2::Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
        let [socket, peer] = [socket, peer].map(|end| case.runtime.associate(end).unwrap());
        for size in [3, 0, 1] {
            let receive = case.receive(&socket, [0; 8]);
            assert_eq!(case.send(&peer, vec![9; size]).output(), size);
            assert_eq!(receive.output(), size);
        }
    });
}

/// RF-1 for local datagrams. The two of a pair have no addresses either, and need none.
#[test]
fn a_receive_on_a_local_socket_that_is_not_bound_says_so() {
    conforms(|case: &Case| {
        let socket = case.runtime.socket(Domain::UNIX, Type::DGRAM, None).unwrap();
        for error in
            [case.receive(&socket, [0; 8]).error(), case.receive_from(&socket, [0; 8]).error()]
        {
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("not bound"), "{error}");
        }
        let name = format!("aio-conformance-{}-{:p}.datagrams", std::process::id(), case);
        let path = std::env::temp_dir().join(name);
        socket.bind(SockAddr::unix(&path).unwrap()).unwrap();
        let receive = case.receive(&socket, [0; 8]);
        std::os::unix::net::UnixDatagram::unbound().unwrap().send_to(b"now", &path).unwrap();
        assert_eq!(receive.output(), 3);
        std::fs::remove_file(path).unwrap();
    });
}
