//! Send: a buffer, a list of buffers.

use crate::face::{Case, UNFINISHED, conforms};
use crate::support::{connected, listener};
use aio_core::socket2::{Domain, Type};
use aio_core::{IoBuf, is_aborted};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

/// Bytes of which no part is like another.
fn bytes(size: usize) -> Vec<u8> {
    (0..size).map(|index| ((index * 31 + index / 251) % 251) as u8).collect()
}

/// SN-4, MO-1, MO-2: the whole buffer, however slow the reader; and the sum, not the last part.
#[test]
fn a_send_is_whole_however_slow_the_reader() {
    conforms(|case: &Case| {
        const SIZE: usize = 6 << 20;
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send(&socket, bytes(SIZE));
        assert!(!send.wait_timeout(Duration::from_millis(1)));
        let mut received = vec![0; SIZE];
        for part in received.chunks_mut(1 << 20) {
            peer.read_exact(part).unwrap();
        }
        let sent = send.end();
        assert_eq!((sent.result.unwrap(), sent.bytes_transferred), (SIZE, SIZE));
        assert!(received == sent.buffer);
    });
}

/// SN-4, RC-2: `SendRecv_Stream_TCP`, and `SendRecv_Stream_TCP_AlternateBufferAndBufferList`.
#[test]
fn buffers_and_lists_of_buffers_carry_the_same_stream() {
    conforms(|case: &Case| {
        const SIZE: usize = 123_456;
        let (listener, address) = listener(&case.runtime);
        let client = case.runtime.tcp_v4().unwrap();
        case.connect(&client, address).output();
        let server = case.accept(&listener).output();
        let all = bytes(SIZE);
        for (send_lists, receive_lists) in [(0, 0), (1, 1), (2, 3)] {
            let mut sent = 0;
            let mut received = Vec::new();
            let mut round = 0;
            while received.len() < SIZE {
                if sent < SIZE {
                    let part = &all[sent..SIZE.min(sent + 4_096)];
                    sent += if send_lists > 0 && round % send_lists == 0 {
                        let (front, back) = part.split_at(part.len() / 3);
                        case.send_list(&client, vec![front.to_vec(), back.to_vec()]).output()
                    } else {
                        case.send(&client, part.to_vec()).output()
                    };
                }
                if receive_lists > 0 && round % receive_lists == 0 {
                    let list =
                        case.receive_list(&server, vec![vec![0; 1_024], vec![0; 4_096]]).end();
                    received.extend_from_slice(&list.buffer.concat()[..list.bytes_transferred]);
                } else {
                    let one = case.receive(&server, vec![0; 5_000]).end();
                    received.extend_from_slice(&one.buffer[..one.bytes_transferred]);
                }
                round += 1;
            }
            assert!(received == all);
        }
    });
}

/// SN-8, SN-9: `SendRecv_Stream_TCP_LargeMultiBufferSends`.
#[test]
fn a_list_of_large_buffers_is_sent_whole() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let buffers = vec![bytes(1_234_567); 5];
        let send = case.send_list(&socket, buffers.clone());
        let mut received = vec![0; 5 * 1_234_567];
        peer.read_exact(&mut received).unwrap();
        assert!(received == buffers.concat());
        let sent = send.end();
        assert_eq!(sent.result.unwrap(), received.len());
        assert!(sent.buffer == buffers);
    });
}

/// SN-8: `SendRecvIovMaxTcp_Success`; more buffers than the system takes in one call, empty ones too.
#[test]
fn a_list_of_more_buffers_than_the_system_takes_is_sent_whole() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let buffers: Vec<Vec<u8>> = (0..3_000).map(|index| bytes(index % 300)).collect();
        let expected = buffers.concat();
        let send = case.send_list(&socket, buffers);
        let mut received = vec![0; expected.len()];
        peer.read_exact(&mut received).unwrap();
        assert!(received == expected);
        assert_eq!(send.output(), expected.len());
    });
}

/// SN-8: `SendIovMaxUdp_SuccessOrMessageSize`; a datagram leaves whole, or not at all.
#[test]
fn a_datagram_of_more_buffers_than_the_system_takes_is_whole_or_an_error() {
    conforms(|case: &Case| {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        case.connect(&socket, peer.local_addr().unwrap()).output();
        for count in [1_000, 1_500] {
            match case.send_list(&socket, vec![[7_u8]; count]).end().result {
                Ok(sent) => {
                    assert_eq!(sent, count);
                    assert_eq!(peer.recv(&mut [0; 2_000]).unwrap(), count);
                }
                Err(_) => assert_eq!(count, 1_500),
            }
        }
        case.send(&socket, [1]).output();
        assert_eq!(peer.recv(&mut [0; 2_000]).unwrap(), 1);
    });
}

/// SN-6, SN-2 as departed from: nothing to send, in whatever form, succeeds and puts nothing on the wire.
#[test]
fn a_send_of_nothing_succeeds_and_the_peer_sees_nothing() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        assert_eq!(case.send(&socket, Vec::new()).output(), 0);
        assert_eq!(case.send_list(&socket, Vec::<Vec<u8>>::new()).output(), 0);
        assert_eq!(case.send_list(&socket, vec![[0_u8; 0]; 3]).output(), 0);
        case.send(&socket, [1]).output();
        let mut received = [0; 2];
        assert_eq!(peer.read(&mut received).unwrap(), 1);
        assert_eq!(received, [1, 0]);
    });
}

/// SN-1: offset and size, up to and including the empty part at the end.
#[test]
fn a_part_of_a_buffer_is_sent_and_the_whole_comes_back() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        for range in [3..6, 0..10, 10..10, 9..10] {
            let sent = case.send(&socket, bytes(10).slice(range.clone())).end();
            assert_eq!(sent.result.unwrap(), range.len());
            assert_eq!(sent.buffer.into_inner(), bytes(10));
            let mut received = vec![0; range.len()];
            peer.read_exact(&mut received).unwrap();
            assert_eq!(received, bytes(10)[range]);
        }
    });
}

/// SN-3, BE-3 as departed from: told at end.
#[test]
fn a_send_on_a_socket_without_a_connection_fails() {
    conforms(|case: &Case| {
        let socket = case.runtime.tcp_v4().unwrap();
        for error in
            [case.send(&socket, [1]).error(), case.send_list(&socket, vec![[1]; 2]).error()]
        {
            // Linux says that the pipe is broken.
            assert!(matches!(error.kind(), ErrorKind::NotConnected | ErrorKind::BrokenPipe));
        }
    });
}

/// SN-11, LS-11: a send to a peer that has reset the connection fails, and no signal ends the process.
#[test]
fn a_send_to_a_peer_that_has_gone_fails() {
    conforms(|case: &Case| {
        let (socket, peer) = connected(&case.runtime);
        drop(peer);
        // The first one, which the peer answers by a reset, is likely to succeed.
        let error = loop {
            match case.send(&socket, [1]).end().result {
                Ok(_) => thread::yield_now(),
                Err(error) => break error,
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset));
    });
}

/// SN-10: never a part of a datagram.
#[test]
fn a_datagram_that_is_too_long_is_an_error() {
    conforms(|case: &Case| {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        case.connect(&socket, peer.local_addr().unwrap()).output();
        let sent = case.send(&socket, vec![1; 70_000]).end();
        assert!(sent.result.is_err());
        assert_eq!((sent.bytes_transferred, sent.buffer.len()), (0, 70_000));
        case.send(&socket, [2]).output();
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 1);
    });
}

/// SN-7, BE-15 as departed from, I2: a send that is canceled says how much of it was sent, and nothing
/// follows the gap.
#[test]
fn a_canceled_send_says_how_much_was_sent() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let first = case.send(&socket, vec![0; UNFINISHED]);
        let second = case.send(&socket, vec![2; 3]);
        // One that has sent nothing yet leaves no gap.
        peer.peek(&mut [0; 1]).unwrap();
        first.cancel();
        let first = first.end();
        let error = first.result.unwrap_err();
        assert!(is_aborted(&error) && error.to_string().contains("canceled"), "{error}");
        for second in [second, case.send(&socket, vec![2; 3])] {
            let second = second.end();
            let error = second.result.unwrap_err();
            assert!(is_aborted(&error) && error.to_string().contains("ended halfway"), "{error}");
            assert_eq!((second.bytes_transferred, second.buffer), (0, vec![2; 3]));
        }
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert!(received == vec![0; first.bytes_transferred]);
    });
}

/// `SendRecv_NoBuffering_Success`: a socket with as little to buffer in as the system allows.
#[test]
fn a_send_without_buffers_is_whole() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        socket.with_socket(|socket| socket.set_send_buffer_size(0)).unwrap().unwrap();
        let send = case.send(&socket, bytes(200_000));
        let mut received = vec![0; 200_000];
        peer.read_exact(&mut received).unwrap();
        let sent = send.end();
        assert_eq!(sent.result.unwrap(), 200_000);
        assert!(received == sent.buffer);
    });
}

/// `SendRecv_BlockingNonBlocking_LingerTimeout_Success`: what was sent arrives after the close.
#[test]
fn a_socket_that_lingers_delivers_what_was_sent() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let linger = Some(Duration::from_secs(1));
        socket.with_socket(|socket| socket.set_linger(linger)).unwrap().unwrap();
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).map(|_| received)
        });
        case.send(&socket, bytes(300_000)).output();
        socket.close();
        assert!(reader.join().unwrap().unwrap() == bytes(300_000));
    });
}

/// `SocketSendWouldBlock_ReturnsBytesSent`: a call that is not ours may be partial, and ours follows it.
#[test]
fn a_partial_send_of_the_system_and_a_whole_one() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let all = bytes(32 << 20);
        let partial = socket.with_socket(|socket| socket.send(&all)).unwrap().unwrap();
        assert!(partial < all.len());
        let send = case.send(&socket, b"end".to_vec());
        let mut received = vec![0; partial + 3];
        peer.read_exact(&mut received).unwrap();
        assert!(received[..partial] == all[..partial] && received[partial..] == *b"end");
        assert_eq!(send.output(), 3);
    });
}

/// ST-3: a broadcast that was not asked for is not permitted.
#[test]
fn a_broadcast_without_the_option_is_denied() {
    conforms(|case: &Case| {
        let socket = case.runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
        let broadcast: SocketAddr = "127.255.255.255:9".parse().unwrap();
        let error = case.send_to(&socket, [1], broadcast).error();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        socket.with_socket(|socket| socket.set_broadcast(true)).unwrap().unwrap();
        assert_eq!(case.send_to(&socket, [1], broadcast).output(), 1);
    });
}

/// SN-4: Linux lets one send to an address on a stream; it is a send like any other.
#[cfg(target_os = "linux")]
#[test]
fn what_is_sent_to_an_address_on_a_stream_is_sent_whole() {
    conforms(|case: &Case| {
        const SIZE: usize = 6 << 20;
        let (socket, mut peer) = connected(&case.runtime);
        let address = peer.local_addr().unwrap();
        let send = case.send_to(&socket, vec![1; SIZE], address);
        let mut bytes = vec![0; SIZE];
        peer.read_exact(&mut bytes).unwrap();
        let sent = send.end();
        assert_eq!((sent.result.unwrap(), sent.bytes_transferred), (SIZE, SIZE));
        // And one that is canceled halfway breaks the stream for those behind it.
        let send = case.send_to(&socket, vec![0; UNFINISHED], address);
        let behind = case.send(&socket, [2]);
        peer.read_exact(&mut [0]).unwrap();
        assert!(!send.wait_timeout(Duration::from_millis(1)));
        send.cancel();
        assert!(is_aborted(&send.error()));
        assert!(is_aborted(&behind.error()));
    });
}
