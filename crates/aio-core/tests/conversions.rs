//! Sockets and buffers that come from elsewhere, and go there.

mod support;

use aio_core::{CompletionPort, Runtime, is_aborted};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;
use support::{connected, with_every_runtime};

/// I2: what has not been received goes along.
#[test]
fn a_socket_becomes_one_of_std_and_comes_back() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let other = socket.clone();
        let pending = socket.receive_async([0; 8]);
        let mut stream: TcpStream = socket.into_socket2().unwrap().into();
        assert!(is_aborted(&pending.wait().result.unwrap_err()));
        assert!(is_aborted(&other.send(b"gone").unwrap_err()));
        assert!(is_aborted(&other.clone().into_socket2().unwrap_err().into()));
        // It is connected, and blocks.
        stream.write_all(b"out").unwrap();
        let mut bytes = [0; 3];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"out");
        let late = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            peer.write_all(b"in").unwrap();
            peer
        });
        stream.read_exact(&mut bytes[..2]).unwrap();
        assert_eq!(&bytes[..2], b"in");
        let mut peer = late.join().unwrap();
        drop(other);
        let back = runtime.associate(stream).unwrap();
        peer.write_all(b"again").unwrap();
        assert_eq!(back.receive_async([0; 5]).wait().buffer, *b"again");
        drop(back);
        assert_eq!(peer.read(&mut bytes).unwrap(), 0);
    });
}

/// CL-7, I1: whoever is receiving at that moment gets the bytes, or the next owner does.
#[test]
fn a_socket_leaves_while_others_use_it() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..100 {
            let (socket, mut peer) = connected(runtime);
            let other = socket.clone();
            let receiver = thread::spawn(move || {
                let mut received = Vec::new();
                loop {
                    let completion = other.receive_async([0; 1]).wait();
                    match completion.result {
                        Ok(_) => received.push(completion.buffer[0]),
                        Err(error) => {
                            assert!(is_aborted(&error));
                            return received;
                        }
                    }
                }
            });
            peer.write_all(b"abcdefgh").unwrap();
            let mut stream: TcpStream = socket.into_socket2().unwrap().into();
            drop(peer);
            let mut received = receiver.join().unwrap();
            stream.read_to_end(&mut received).unwrap();
            assert_eq!(received, b"abcdefgh");
        }
    });
}

#[test]
fn of_two_who_take_a_socket_out_at_once_one_has_it() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..300 {
            let (socket, _peer) = connected(runtime);
            let barrier = Barrier::new(2);
            let taken = thread::scope(|scope| {
                let take = [socket.clone(), socket].map(|socket| {
                    scope.spawn(|| {
                        barrier.wait();
                        socket.into_socket2()
                    })
                });
                take.map(|thread| thread.join().unwrap())
            });
            assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1, "{taken:?}");
        }
    });
}

/// I8: what runs where an operation completes, on the thread that begins it or on a worker, runs under no
/// pin of the descriptor.
#[test]
fn a_socket_leaves_where_its_operation_completes() {
    with_every_runtime(|runtime: &Runtime| {
        let port = Arc::new(CompletionPort::new(1));
        let (socket, _peer) = connected(runtime);
        let other = socket.clone();
        socket.send_async(*b"hello").post_to(&port, move |_| other.into_socket2());
        assert!(port.wait().unwrap().is_ok());
        let (socket, mut peer) = connected(runtime);
        let other = socket.clone();
        socket.receive_async([0; 8]).post_to(&port, move |_| other.into_socket2());
        peer.write_all(b"hello").unwrap();
        assert!(port.wait().unwrap().is_ok());
        // One that is aborted.
        let (socket, _peer) = connected(runtime);
        let other = socket.clone();
        let receive = socket.receive_async([0; 8]);
        let cancel = receive.handle();
        receive.post_to(&port, move |_| other.into_socket2());
        cancel.cancel();
        assert!(port.wait().unwrap().is_ok());
    });
}

#[test]
fn a_listener_of_std_accepts_here() {
    with_every_runtime(|runtime: &Runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listener = runtime.associate(listener).unwrap();
        let accept = listener.accept_async();
        let mut peer = TcpStream::connect(address).unwrap();
        let socket = accept.wait().result.unwrap();
        peer.write_all(b"x").unwrap();
        assert_eq!(socket.receive_async([0; 1]).wait().buffer, *b"x");
        let listener: TcpListener = listener.into_socket2().unwrap().into();
        let next = TcpStream::connect(address).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from, next.local_addr().unwrap());
    });
}

#[test]
fn borrowed_lists() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let sent =
            socket.send_list(&[IoSlice::new(b"con"), IoSlice::new(b""), IoSlice::new(b"cat")]);
        assert_eq!(sent.unwrap(), 6);
        let mut bytes = [0; 6];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"concat");
        peer.write_all(&bytes).unwrap();
        let (mut first, mut second) = ([0; 2], [0; 8]);
        let mut buffers = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(socket.receive_list(&mut buffers).unwrap(), 6);
        assert_eq!((&first, &second[..4]), (b"co", &b"ncat"[..]));
        peer.write_all(b"message").unwrap();
        let mut bytes = [0; 16];
        let message = socket.receive_message_from(&mut bytes).unwrap();
        assert_eq!((message.length, message.truncated), (7, false));
        assert_eq!(message.from.as_socket().unwrap(), peer.local_addr().unwrap());
    });
}

#[cfg(feature = "bytes")]
#[test]
fn buffers_of_bytes() {
    use aio_core::IoBuf;
    use bytes::{Bytes, BytesMut};

    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let whole = Bytes::from_static(b"shared");
        let sent = socket.send_async(IoBuf::slice(whole, 2..)).wait();
        assert_eq!(sent.buffer.into_inner(), b"shared"[..]);
        let mut bytes = [0; 4];
        peer.read_exact(&mut bytes).unwrap();
        peer.write_all(&bytes).unwrap();
        let completion = socket.receive_async(BytesMut::zeroed(16).slice(8..)).wait();
        let buffer = completion.buffer.into_inner();
        assert_eq!((completion.result.unwrap(), buffer.len()), (4, 16));
        assert_eq!(buffer[8..12], *b"ared");
    });
}
