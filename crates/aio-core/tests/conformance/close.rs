//! Close, and what is begun on a closed socket.

use crate::face::{Case, UNFINISHED, conforms};
use crate::support::{connected, listener};
use aio_core::is_aborted;
use aio_core::socket2::{Domain, Type};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::thread;
use std::time::Duration;

/// BE-1, CL-5, UX-15, BE-2 as departed from: `DisposedSocketTests`, `ClosedBeforeOperation`.
#[test]
fn every_operation_on_a_closed_socket_is_aborted() {
    conforms(|case: &Case| {
        let address = SocketAddr::from(([127, 0, 0, 1], 9));
        let fresh = case.runtime.tcp_v4().unwrap();
        let (connected, _peer) = connected(&case.runtime);
        let (listener, _) = listener(&case.runtime);
        let datagrams = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        for socket in [fresh, connected, listener, datagrams] {
            // CL-1: twice is once.
            socket.close();
            socket.close();
            for error in [
                case.connect(&socket, address).error(),
                case.accept(&socket).error(),
                case.accept_receive(&socket, [0]).error(),
                case.disconnect(&socket).error(),
                case.send(&socket, [1]).error(),
                case.send_list(&socket, vec![[1]]).error(),
                case.send_to(&socket, [1], address).error(),
                case.send_file(&socket, File::open("/dev/null").unwrap(), ..).error(),
                case.receive(&socket, [0]).error(),
                case.receive_list(&socket, vec![[0]]).error(),
                case.receive_from(&socket, [0]).error(),
                case.receive_message_from(&socket, [0]).error(),
            ] {
                assert!(is_aborted(&error), "{error}");
                assert!(error.to_string().contains("closed"), "{error}");
            }
            for error in [
                socket.bind(address).unwrap_err(),
                socket.listen(1).unwrap_err(),
                socket.local_addr().unwrap_err(),
                socket.peer_addr().unwrap_err(),
                socket.shutdown(Shutdown::Both).unwrap_err(),
                socket.with_socket(|_| ()).unwrap_err(),
            ] {
                assert!(is_aborted(&error), "{error}");
            }
        }
    });
}

/// CL-3: everything pending, in both directions, once.
#[test]
fn close_ends_everything_that_is_pending() {
    conforms(|case: &Case| {
        let (socket, _peer) = connected(&case.runtime);
        let receives = [(); 5].map(|()| case.receive(&socket, [7; 7]));
        let sends = [UNFINISHED, 1, 2].map(|size| case.send(&socket, vec![1; size]));
        let disconnect = case.disconnect(&socket);
        assert!(sends.iter().all(|send| !send.wait_timeout(Duration::from_millis(1))));
        socket.close();
        for receive in receives {
            let received = receive.end();
            assert!(is_aborted(&received.result.unwrap_err()));
            assert_eq!(received.buffer, [7; 7]);
        }
        for (send, size) in sends.into_iter().zip([UNFINISHED, 1, 2]) {
            let sent = send.end();
            assert!(is_aborted(&sent.result.unwrap_err()));
            assert!(sent.bytes_transferred < size && sent.buffer.len() == size);
        }
        assert!(is_aborted(&disconnect.error()));
    });
}

/// AR-13, BE-10 as departed from: close does not change what an operation came to.
#[test]
fn close_leaves_the_result_of_what_is_over() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send(&socket, [1]);
        peer.write_all(&[2]).unwrap();
        let receive = case.receive(&socket, [0]);
        send.wait_one();
        receive.wait_one();
        socket.close();
        assert_eq!(send.output(), 1);
        assert_eq!(receive.end().buffer, [2]);
    });
}

/// CL-6 as departed from: with receives pending it is an ordinary close.
#[test]
fn close_with_a_receive_pending_is_an_ordinary_close() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 7]);
        socket.close();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        assert!(is_aborted(&receive.error()));
    });
}

/// CL-6, LS-8: `TcpReceiveSendGetsCanceledByDispose`; the peer must not take half a message for a whole
/// one, whether the socket is closed or the last handle is dropped after a cancel.
#[test]
fn close_with_an_unfinished_send_is_a_reset() {
    conforms(|case: &Case| {
        for closes in [true, false] {
            let (socket, mut peer) = connected(&case.runtime);
            let send = case.send(&socket, vec![0; UNFINISHED]);
            // One that has sent nothing yet leaves no half of a message.
            peer.peek(&mut [0; 1]).unwrap();
            if closes {
                socket.close();
            } else {
                send.cancel();
            }
            assert!(is_aborted(&send.error()));
            drop(socket);
            let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

/// CL-6: `TcpPeerReceivesFinOnShutdownWithPendingData`; shutdown is the last word on what was sent.
#[test]
fn close_after_shutdown_lets_the_peer_read_everything_and_the_end() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send(&socket, vec![0; UNFINISHED]);
        assert!(!send.wait_timeout(Duration::from_millis(1)));
        socket.shutdown(Shutdown::Both).unwrap();
        socket.close();
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        let sent = send.end();
        assert!(sent.result.is_err());
        assert_eq!(bytes.len(), sent.bytes_transferred);
    });
}

/// CL-2 with 0: the options say that closing resets.
#[test]
fn close_that_does_not_linger_is_a_reset() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        case.send(&socket, [1]).output();
        socket.with_socket(|socket| socket.set_linger(Some(Duration::ZERO))).unwrap().unwrap();
        socket.close();
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// CL-8, I6: a pending operation keeps its socket open; nothing does when it is over.
#[test]
fn a_socket_is_open_while_an_operation_is_pending() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        drop(socket);
        peer.write_all(&[1]).unwrap();
        let handle = receive.handle();
        assert_eq!(receive.end().buffer, [1]);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        // AR-12: a handle is good for ever, and keeps nothing open.
        assert!(handle.is_completed());
    });
}

/// CL-7: `SendAsync_ConcurrentDispose`, `ReceiveAsync_ConcurrentDispose`; success or aborted, once.
#[test]
fn close_racing_with_begin_completes_once() {
    conforms(|case: &Case| {
        for _ in 0..20 {
            let (socket, mut peer) = connected(&case.runtime);
            peer.write_all(&[1; 3]).unwrap();
            let closer = socket.clone();
            let thread = thread::spawn(move || closer.close());
            let receives = [(); 3].map(|()| case.receive(&socket, [0; 1]));
            let sends = [(); 3].map(|()| case.send(&socket, [2; 1]));
            thread.join().unwrap();
            for receive in receives {
                let received = receive.end();
                match received.result {
                    Ok(length) => assert_eq!((length, received.buffer), (1, [1])),
                    Err(error) => assert!(is_aborted(&error) && received.buffer == [0]),
                }
            }
            for send in sends {
                let sent = send.end();
                match sent.result {
                    Ok(length) => assert_eq!((length, sent.bytes_transferred), (1, 1)),
                    Err(error) => assert!(is_aborted(&error) && sent.bytes_transferred == 0),
                }
            }
        }
    });
}
