//! Datagrams, lists of buffers, parts of buffers, Unix sockets, disconnect.

mod support;

use aio_core::socket2::{Domain, SockAddr, Type};
use aio_core::{Completion, IoBuf, OperationHandle, Runtime, Socket, is_aborted};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use support::{connected, with_every_runtime};

fn udp(runtime: &Runtime) -> (Socket, SocketAddr) {
    let socket = runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// ST-4, RF-3, RC-9.
#[test]
fn a_datagram_arrives_whole_with_the_address_of_its_sender() {
    with_every_runtime(|runtime: &Runtime| {
        let ((here, here_address), (there, there_address)) = (udp(runtime), udp(runtime));
        for size in [256, 0, 1] {
            let receive = there.receive_from_async([0; 512]);
            let sent = here.send_to_async(vec![7; size], there_address).wait();
            assert_eq!((sent.result.unwrap(), sent.bytes_transferred), (size, size));
            let received = receive.wait();
            let (length, from) = received.result.unwrap();
            assert_eq!((length, from.as_socket()), (size, Some(here_address)));
            assert!(received.buffer[..size].iter().all(|byte| *byte == 7));
        }
    });
}

/// RC-8, RF-5: what does not fit is never cut silently.
#[test]
fn a_datagram_that_does_not_fit_is_an_error_or_marked_as_truncated() {
    with_every_runtime(|runtime: &Runtime| {
        let ((here, _), (there, there_address)) = (udp(runtime), udp(runtime));
        let send = || here.send_to_async([5; 100], there_address).wait().result.unwrap();
        send();
        let error = there.receive_from_async([0; 10]).wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(error.to_string().contains("10"), "{error}");
        #[cfg(target_os = "linux")]
        assert!(error.to_string().contains("100"), "{error}");
        send();
        let Completion { result, bytes_transferred, buffer, .. } =
            there.receive_async([0; 10]).wait();
        assert!(result.is_err());
        assert_eq!((bytes_transferred, buffer), (10, [5; 10]));
        send();
        let Completion { result, bytes_transferred, buffer, .. } =
            there.receive_list_async(vec![[0; 5]; 2]).wait();
        assert!(result.is_err());
        assert_eq!((bytes_transferred, buffer), (10, vec![[5; 5]; 2]));
        send();
        let Completion { result, buffer, .. } = there.receive_message_from_async([0; 10]).wait();
        let message = result.unwrap();
        assert_eq!((message.length, message.truncated, buffer), (10, true, [5; 10]));
        send();
        let message = there.receive_message_from_async([0; 100]).wait().result.unwrap();
        assert_eq!((message.length, message.truncated), (100, false));
    });
}

/// RF-8, RC-6: a stream's bytes are not lost to the call that asks whom they are from.
#[test]
fn a_stream_has_its_peer_for_a_sender() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let address = peer.local_addr().unwrap();
        for round in 0..3 {
            let receive = socket.receive_from_async([0; 2]);
            peer.write_all(&[round, 7, 8, 9]).unwrap();
            let Completion { result, buffer, .. } = receive.wait();
            let (length, from) = result.unwrap();
            assert_eq!((length, buffer), (2, [round, 7]));
            assert_eq!(from.as_socket(), Some(address));
            assert_eq!(socket.receive_from_async([0; 0]).wait().result.unwrap().0, 0);
            let Completion { result, buffer, .. } =
                socket.receive_message_from_async([0; 2]).wait();
            let message = result.unwrap();
            assert_eq!((message.length, message.truncated, buffer), (2, false, [8, 9]));
            assert_eq!(message.from.as_socket(), Some(address));
        }
        drop(peer);
        assert_eq!(socket.receive_from_async([0; 2]).wait().result.unwrap().0, 0);
    });
}

/// SN-4: Linux lets one send to an address on a stream; it is a send like any other.
#[cfg(target_os = "linux")]
#[test]
fn what_is_sent_to_an_address_on_a_stream_is_sent_whole() {
    with_every_runtime(|runtime: &Runtime| {
        const SIZE: usize = 16 << 20;
        let (socket, mut peer) = connected(runtime);
        let address = socket.peer_addr().unwrap();
        let send = socket.send_to_async(vec![1; SIZE], address);
        let mut bytes = vec![0; SIZE];
        peer.read_exact(&mut bytes).unwrap();
        let sent = send.wait();
        assert_eq!((sent.result.unwrap(), sent.bytes_transferred), (SIZE, SIZE));
        // And one that is canceled halfway breaks the stream for those behind it.
        let send = socket.send_to_async(vec![1; 64 << 20], address);
        let behind = socket.send_async([2]);
        send.cancel();
        assert!(is_aborted(&send.wait().result.unwrap_err()));
        assert!(is_aborted(&behind.wait().result.unwrap_err()));
    });
}

/// SN-8, SN-9: more buffers than the system takes in one call, and a slow reader.
#[test]
fn a_list_of_buffers_is_sent_whole_and_in_order() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let buffers: Vec<Vec<u8>> =
            (0..3_000).map(|index| vec![(index % 251) as u8; index % 2_000]).collect();
        let expected = buffers.concat();
        let send = socket.send_list_async(buffers.clone());
        let mut received = vec![0; expected.len()];
        peer.read_exact(&mut received).unwrap();
        assert!(received == expected);
        let Completion { result, buffer, .. } = send.wait();
        assert_eq!(result.unwrap(), expected.len());
        assert!(buffer == buffers);
        assert_eq!(socket.send_list_async(Vec::<Vec<u8>>::new()).wait().result.unwrap(), 0);
        assert_eq!(socket.send_list_async(vec![[0_u8; 0]; 3]).wait().result.unwrap(), 0);
    });
}

/// I8: a buffer is its owner's code, and may do what it likes.
#[test]
fn no_buffer_is_asked_for_its_bytes_under_a_lock() {
    struct Cancels {
        bytes: Vec<u8>,
        next: Arc<OnceLock<OperationHandle>>,
    }
    // SAFETY: its heap block moves only through a mutable reference.
    unsafe impl IoBuf for Cancels {
        fn as_slice(&self) -> &[u8] {
            if let Some(next) = self.next.get() {
                next.cancel();
            }
            &self.bytes
        }
    }
    with_every_runtime(|runtime: &Runtime| {
        for list in [false, true] {
            let (socket, _peer) = connected(runtime);
            let next = Arc::new(OnceLock::new());
            let buffer = Cancels { bytes: vec![1; 64 << 20], next: next.clone() };
            let first = if list {
                socket.begin_send_list(vec![buffer], |_| {}, ())
            } else {
                socket.begin_send(buffer, |_| {}, ())
            };
            assert!(!first.wait_timeout(Duration::from_millis(5)));
            next.set(socket.begin_send([2], |_| {}, ())).unwrap();
            first.cancel();
            first.wait_one();
            next.get().unwrap().wait_one();
        }
    });
}

/// RC-10.
#[test]
fn a_list_of_buffers_is_filled_in_order() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        peer.write_all(&[1, 2, 3, 4, 5]).unwrap();
        let mut buffers = vec![vec![0; 2], vec![], vec![0; 2], vec![0; 2]];
        let mut got = 0;
        while got < 5 {
            let Completion { result, buffer, .. } = socket.receive_list_async(buffers).wait();
            got += result.unwrap();
            buffers = buffer;
        }
        assert_eq!(buffers, [vec![1, 2], vec![], vec![3, 4], vec![5, 0]]);
    });
}

#[test]
fn a_part_of_a_buffer_is_sent_and_filled_and_the_whole_comes_back() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let sent = socket.send_async((0..10).collect::<Vec<u8>>().slice(3..=5)).wait();
        assert_eq!(sent.buffer.into_inner().len(), 10);
        let mut bytes = [0; 3];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(bytes, [3, 4, 5]);
        peer.write_all(&[9; 4]).unwrap();
        let received = socket.receive_async([1; 6].slice(2..5)).wait();
        assert_eq!(received.result.unwrap(), 3);
        assert_eq!(received.buffer.into_inner(), [1, 1, 9, 9, 9, 1]);
    });
}

#[test]
#[should_panic(expected = "the range 3..11 does not lie within a buffer of 10 bytes")]
fn a_part_outside_the_buffer_is_refused() {
    let _ = [0_u8; 10].slice(3..11);
}

/// DC-1, DC-3: after what was sent.
#[test]
fn disconnect_comes_after_the_sends_before_it() {
    with_every_runtime(|runtime: &Runtime| {
        const SIZE: usize = 4 << 20;
        let (socket, mut peer) = connected(runtime);
        let _send = socket.send_async(vec![1; SIZE]);
        let disconnect = socket.disconnect_async();
        assert!(!disconnect.is_completed());
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), SIZE);
        disconnect.wait().result.unwrap();
        assert!(socket.send_async([1]).wait().result.is_err());
        let fresh = runtime.tcp_v4().unwrap();
        let error = fresh.disconnect_async().wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    });
}

#[cfg(unix)]
#[test]
fn unix_sockets_connect_accept_send_and_receive() {
    with_every_runtime(|runtime: &Runtime| {
        let folder = std::env::temp_dir();
        let name = format!("aio-{}-{:p}.socket", std::process::id(), runtime);
        let path = folder.join(name);
        let address = SockAddr::unix(&path).unwrap();
        let listener = runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
        listener.bind(address.clone()).unwrap();
        listener.listen(1).unwrap();
        let client = runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
        client.connect_async(address.clone()).wait().result.unwrap();
        let server = listener.accept_async().wait().result.unwrap();
        let receive = server.receive_async([0; 4]);
        client.send_async(*b"ping").wait().result.unwrap();
        assert_eq!(receive.wait().buffer, *b"ping");

        // Until the backlog is full: told at once, and not the end of the socket.
        let mut waiting = Vec::new();
        let refused = loop {
            let socket = runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
            match socket.connect_async(address.clone()).wait().result {
                Ok(()) => waiting.push(socket),
                Err(error) => {
                    assert!(error.to_string().contains("backlog is full"), "{error}");
                    break socket;
                }
            }
        };
        listener.accept_async().wait().result.unwrap();
        refused.connect_async(address).wait().result.unwrap();
        std::fs::remove_file(path).unwrap();
    });
}
