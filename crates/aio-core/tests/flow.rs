//! The whole path of an operation: begin, wait, complete, callback, end.

mod support;

use aio_core::socket2::{self, Domain, Type};
use aio_core::{AsyncResult, Completion, Runtime, Socket, op};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc;
use support::{Received, accept, connected, listener, receive, send, with_every_runtime};

#[test]
fn connect_accept_send_and_receive_meet() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let (report, accepted) = mpsc::channel();
        accept(&listener, &report);
        let client = runtime.tcp_v4().unwrap();
        let (report, connected) = mpsc::channel();
        client.begin_connect(address, move |ar| report.send(ar.error().is_none()).unwrap(), ());
        assert!(connected.recv().unwrap());
        let server = accepted.recv().unwrap().result.unwrap();
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());

        let (report, sent) = mpsc::channel();
        send(&client, b"hello".to_vec(), &report);
        assert_eq!(sent.recv().unwrap().result.unwrap(), 5);
        let (report, received) = mpsc::channel();
        receive(&server, 16, &report);
        let Completion { result, bytes_transferred, buffer, .. } = received.recv().unwrap();
        assert_eq!((result.unwrap(), bytes_transferred), (5, 5));
        assert_eq!((&buffer[..5], buffer.len()), (&b"hello"[..], 16));
    });
}

/// RC-2, RC-3, RC-4: the document's receive loop.
#[test]
fn a_pending_receive_gets_what_arrives_later_and_then_the_end() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        receive_until_the_end(&socket, vec![0; 4], report);
        for byte in 0..100 {
            peer.write_all(&[byte]).unwrap();
            assert_eq!(received.recv().unwrap(), vec![byte]);
        }
        drop(peer);
        assert_eq!(received.recv().unwrap(), Vec::<u8>::new());
    });
}

type Report = mpsc::Sender<Vec<u8>>;

fn receive_until_the_end(socket: &Socket, buffer: Vec<u8>, report: Report) {
    socket.begin_receive(
        buffer,
        |ar: AsyncResult<op::Receive<Vec<u8>>, (Socket, Report)>| {
            let socket = ar.async_state().0.clone();
            let Completion { result, buffer, state: (_, report), .. } = socket.end_receive(ar);
            let n = result.unwrap();
            report.send(buffer[..n].to_vec()).unwrap();
            if n > 0 {
                receive_until_the_end(&socket, buffer, report);
            }
        },
        (socket.clone(), report),
    );
}

/// SN-4, MO-2.
#[test]
fn a_send_is_whole_however_slow_the_reader() {
    with_every_runtime(|runtime: &Runtime| {
        const SIZE: usize = 8 << 20;
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        send(&socket, vec![7; SIZE], &report);
        let reader = std::thread::spawn(move || {
            let mut bytes = vec![0; SIZE];
            peer.read_exact(&mut bytes).unwrap();
            bytes
        });
        let completion = sent.recv().unwrap();
        assert_eq!(completion.result.unwrap(), SIZE);
        assert_eq!(completion.buffer.len(), SIZE);
        assert!(reader.join().unwrap().iter().all(|byte| *byte == 7));
    });
}

/// SN-6.
#[test]
fn a_send_of_nothing_succeeds_and_the_peer_sees_nothing() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        send(&socket, Vec::new(), &report);
        assert_eq!(sent.recv().unwrap().result.unwrap(), 0);
        send(&socket, vec![1], &report);
        let mut bytes = [0; 1];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [1]);
    });
}

/// RC-6, LS-12.
#[test]
fn a_receive_of_nothing_waits_for_bytes_and_takes_none() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel::<Received>();
        for round in 0..3 {
            let pending = receive(&socket, 0, &report);
            assert!(!pending.is_completed());
            peer.write_all(&[round]).unwrap();
            assert_eq!(received.recv().unwrap().result.unwrap(), 0);
            receive(&socket, 0, &report);
            assert_eq!(received.recv().unwrap().result.unwrap(), 0);
            receive(&socket, 8, &report);
            let completion = received.recv().unwrap();
            assert_eq!(&completion.buffer[..completion.result.unwrap()], &[round]);
        }
    });
}

/// CN-4: the error says what was attempted, on which address.
#[test]
fn a_refused_connect_names_the_address() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        listener.close();
        let client = runtime.tcp_v4().unwrap();
        let (report, outcome) = mpsc::channel();
        let end = client.clone();
        client.begin_connect(address, move |ar| report.send(end.end_connect(ar)).unwrap(), ());
        let error = outcome.recv().unwrap().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(error.to_string().starts_with(&format!("connect to {address}: ")), "{error}");

        let (report, outcome) = mpsc::channel();
        client.begin_connect(
            address,
            move |ar| report.send(ar.error().unwrap().kind()).unwrap(),
            (),
        );
        assert_eq!(outcome.recv().unwrap(), ErrorKind::InvalidInput);
    });
}

/// BE-2 as departed from: what is wrong with begin is told at end.
#[test]
fn operations_that_cannot_be_say_why_at_end() {
    with_every_runtime(|runtime: &Runtime| {
        let socket = runtime.tcp_v4().unwrap();
        let (report, accepted) = mpsc::channel();
        accept(&socket, &report);
        let error = accepted.recv().unwrap().result.unwrap_err();
        assert!(error.to_string().contains("not listening"), "{error}");
        let (report, received) = mpsc::channel();
        receive(&socket, 8, &report);
        let error = received.recv().unwrap().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

/// RC-9, SN-6: an empty datagram is a datagram.
#[test]
fn datagrams_keep_their_boundaries() {
    with_every_runtime(|runtime: &Runtime| {
        let [here, there] = [(); 2].map(|()| {
            let socket = runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            socket
        });
        for (socket, peer) in [(&here, &there), (&there, &here)] {
            let handle = socket.begin_connect(peer.local_addr().unwrap(), |_| {}, ());
            handle.wait_one();
        }
        let (report, received) = mpsc::channel();
        let (report_sent, _sent) = mpsc::channel();
        for size in [3, 0, 1] {
            receive(&there, 8, &report);
            send(&here, vec![9; size], &report_sent);
            assert_eq!(received.recv().unwrap().result.unwrap(), size);
        }
    });
}

/// RC-6, I2: of a datagram a receive of nothing takes nothing either.
#[test]
fn a_receive_of_nothing_leaves_a_datagram() {
    with_every_runtime(|runtime: &Runtime| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.connect(socket.local_addr().unwrap()).unwrap();
        let socket = runtime.associate(socket).unwrap();
        let (report, received) = mpsc::channel();
        receive(&socket, 0, &report);
        peer.send(b"hello").unwrap();
        assert_eq!(received.recv().unwrap().result.unwrap(), 0);
        receive(&socket, 8, &report);
        let Completion { bytes_transferred, buffer, .. } = received.recv().unwrap();
        assert_eq!(&buffer[..bytes_transferred], b"hello");
    });
}

/// CN-4: a receive does not wait for a connection, and takes nothing from the connect that does: its
/// error least of all, which the system tells once.
#[cfg(target_os = "linux")]
#[test]
fn a_receive_begun_before_the_connect_is_over_fails_and_leaves_the_connect_alone() {
    with_every_runtime(|runtime: &Runtime| {
        let full = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap();
        // The system answers no further connect while the one place is taken.
        let _first = runtime.associate(TcpStream::connect(address.as_socket().unwrap()).unwrap());
        let client = runtime.tcp_v4().unwrap();
        let (report, connected) = mpsc::channel();
        let outcome = move |ar: AsyncResult<op::Connect>| {
            report.send(ar.error().map(|error| error.kind())).unwrap();
        };
        let connect = client.begin_connect(address.as_socket().unwrap(), outcome, ());
        assert!(!connect.is_completed());
        let (report, received) = mpsc::channel();
        receive(&client, 1, &report);
        let error = received.recv().unwrap().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        // And when it asks again, after a second, it is refused.
        drop(full);
        assert_eq!(connected.recv().unwrap(), Some(ErrorKind::ConnectionRefused));
        receive(&client, 1, &report);
        assert_eq!(received.recv().unwrap().result.unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

/// A socket that was connected when it came to us is none the worse for a pointless connect.
#[test]
fn a_connect_that_is_too_late_does_no_harm() {
    with_every_runtime(|runtime: &Runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = runtime.associate(TcpStream::connect(address).unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let (report, connected) = mpsc::channel();
        client.begin_connect(address, move |ar| report.send(ar.error().is_none()).unwrap(), ());
        assert!(!connected.recv().unwrap());
        let (report, received) = mpsc::channel();
        receive(&client, 1, &report);
        peer.write_all(&[1]).unwrap();
        assert_eq!(received.recv().unwrap().result.unwrap(), 1);
    });
}
