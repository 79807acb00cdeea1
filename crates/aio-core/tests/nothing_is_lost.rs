//! I2: an operation that is dropped loses nothing. What it had taken is what the next operation gets.

mod support;

use aio_core::socket2;
use aio_core::{IntoSocket2Error, Operation, Runtime, Socket, Unread, op};
use std::collections::HashSet;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use support::{connected, listener, rounds, with_every_engine, with_every_runtime};

const CANCEL: usize = 5;

/// How a test waits before it drops an operation, told by a number: not at all, for a moment, or until it has
/// completed without being looked at.
fn wait_a_little<K: op::Kind>(operation: &mut Operation<K>, dice: usize) {
    match dice % 7 {
        0 => {}
        1 => thread::yield_now(),
        2 => (0..dice % 300).for_each(|_| std::hint::spin_loop()),
        3 | 4 => {
            let _ = operation.handle().wait_timeout(Duration::from_micros(dice as u64 % 80));
        }
        CANCEL => operation.cancel(),
        _ => {
            let _ = operation.handle().wait_timeout(Duration::from_millis(2));
        }
    }
}

/// Small, fast, and the same each time.
struct Dice(usize);

impl Dice {
    fn roll(&mut self) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// Drops most receives and takes the bytes of some: every byte arrives once, in its place.
#[test]
fn dropped_receives_lose_no_byte_of_a_stream() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let all = rounds(3_000);
        let writer = thread::spawn(move || {
            for n in 0..all {
                peer.write_all(&[n as u8, (n >> 8) as u8]).unwrap();
                if n % 3 == 0 {
                    thread::yield_now();
                }
            }
        });
        let (mut dice, mut got, mut dropped) = (Dice(all), Vec::<u8>::new(), 0);
        while got.len() < 2 * all {
            let roll = dice.roll();
            let buffer = vec![0; 1 + roll % 5];
            let mut receive = socket.receive_async(buffer);
            if roll % 3 > 0 {
                wait_a_little(&mut receive, dice.roll());
                dropped += 1;
                drop(receive);
            } else {
                let completion = receive.wait();
                got.extend(&completion.buffer[..completion.result.unwrap()]);
            }
        }
        writer.join().unwrap();
        assert!(dropped > 0);
        let sent: Vec<_> = (0..all).flat_map(|n| [n as u8, (n >> 8) as u8]).collect();
        assert!(got == sent, "the bytes are out of place");
    });
}

/// The same with every kind of receive, and with a callback's in between.
#[test]
fn every_kind_of_receive_gives_back_what_it_has_taken_and_gets_it() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let all = rounds(2_000);
        let writer = thread::spawn(move || {
            (0..all).for_each(|n| peer.write_all(&[n as u8]).unwrap());
            peer
        });
        let (mut dice, mut got) = (Dice(1), Vec::new());
        while got.len() < all {
            let kind = dice.roll();
            let is_dropped = dice.roll() % 2 == 0;
            let how = dice.roll();
            let mut take = |bytes: &[u8]| got.extend_from_slice(bytes);
            match kind % 4 {
                0 => {
                    let mut receive = socket.receive_list_async(vec![vec![0; 1], vec![0; 2]]);
                    if is_dropped {
                        wait_a_little(&mut receive, how);
                    } else {
                        let done = receive.wait();
                        take(&done.buffer.concat()[..done.result.unwrap()]);
                    }
                }
                1 => {
                    let mut receive = socket.receive_from_async([0; 3]);
                    if is_dropped {
                        wait_a_little(&mut receive, how);
                    } else {
                        let done = receive.wait();
                        take(&done.buffer[..done.result.unwrap().0]);
                    }
                }
                2 => {
                    let mut receive = socket.receive_async([0; 4]);
                    if is_dropped {
                        wait_a_little(&mut receive, how);
                    } else {
                        let done = receive.wait();
                        take(&done.buffer[..done.result.unwrap()]);
                    }
                }
                _ => {
                    let (report, received) = std::sync::mpsc::channel();
                    support::receive(&socket, 2, &report);
                    let done = received.recv().unwrap();
                    take(&done.buffer[..done.result.unwrap()]);
                }
            }
        }
        drop(writer.join().unwrap());
        assert_eq!(got, (0..all).map(|n| n as u8).collect::<Vec<_>>());
    });
}

#[test]
fn dropped_receives_lose_no_datagram() {
    with_every_runtime(|runtime: &Runtime| {
        let socket = runtime.associate(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let to = socket.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let from = sender.local_addr().unwrap();
        let all = rounds(2_000) as u32;
        let received = Arc::new(AtomicUsize::new(0));
        let seen = received.clone();
        let sending = thread::spawn(move || {
            for n in 0..all {
                // The system drops what its buffer has no room for.
                while n as usize > seen.load(Ordering::Relaxed) + 50 {
                    thread::yield_now();
                }
                sender.send_to(&n.to_le_bytes(), to).unwrap();
            }
        });
        let mut dice = Dice(2);
        let mut got = Vec::new();
        while got.len() < all as usize {
            let (kind, how) = (dice.roll(), dice.roll());
            let is_dropped = dice.roll() % 3 > 0;
            let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
            let is_from = |address: &socket2::SockAddr| {
                assert_eq!(address.as_socket(), Some(from));
            };
            match kind % 3 {
                0 => {
                    let mut receive = socket.receive_from_async([0; 4]);
                    if is_dropped {
                        wait_a_little(&mut receive, how);
                        continue;
                    }
                    let done = receive.wait();
                    is_from(&done.result.unwrap().1);
                    got.push(number(&done.buffer));
                }
                1 => {
                    let mut receive = socket.receive_message_from_async([0; 4]);
                    if is_dropped {
                        wait_a_little(&mut receive, how);
                        continue;
                    }
                    let done = receive.wait();
                    is_from(&done.result.unwrap().from);
                    got.push(number(&done.buffer));
                }
                _ => {
                    let mut receive = socket.receive_async([0; 4]);
                    if is_dropped {
                        wait_a_little(&mut receive, how);
                        continue;
                    }
                    let done = receive.wait();
                    assert_eq!(done.result.unwrap(), 4);
                    got.push(number(&done.buffer));
                }
            }
            received.store(got.len(), Ordering::Relaxed);
        }
        sending.join().unwrap();
        assert_eq!(got, (0..all).collect::<Vec<_>>());
    });
}

#[test]
fn dropped_accepts_lose_no_connection() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let all = rounds(200).min(2_000);
        let connecting = thread::spawn(move || {
            let connect = |n: usize| {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.write_all(&(n as u32).to_le_bytes()).unwrap();
                stream
            };
            (0..all).map(connect).collect::<Vec<_>>()
        });
        let (mut dice, mut got) = (Dice(3), HashSet::new());
        while got.len() < all {
            let (kind, how) = (dice.roll(), dice.roll());
            let is_dropped = dice.roll() % 2 == 0;
            let mut bytes = [0; 4];
            let mut length = 0;
            let connection = if kind % 2 == 0 {
                let mut accept = listener.accept_async();
                if is_dropped {
                    wait_a_little(&mut accept, how);
                    continue;
                }
                accept.wait().result.unwrap()
            } else {
                let mut accept = listener.accept_receive_async([0; 4]);
                if is_dropped {
                    // One that is canceled while it waits for the first bytes closes its connection.
                    wait_a_little(&mut accept, if how % 7 == CANCEL { 0 } else { how });
                    continue;
                }
                let done = accept.wait();
                let (connection, received) = done.result.unwrap();
                bytes = done.buffer;
                length = received;
                connection
            };
            while length < 4 {
                length += connection.receive(&mut bytes[length..]).unwrap();
            }
            assert!(got.insert(u32::from_le_bytes(bytes)), "a connection was accepted twice");
        }
        drop(connecting.join().unwrap());
    });
}

/// What was won and never looked at comes back in the order in which it was taken, in whatever order the operations
/// are dropped.
#[test]
fn what_comes_back_is_in_its_old_order() {
    with_every_runtime(|runtime: &Runtime| {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [1, 0, 2]] {
            let (socket, mut peer) = connected(runtime);
            let mut receives: Vec<_> = (0..3).map(|_| Some(socket.receive_async([0; 2]))).collect();
            peer.write_all(b"123456789").unwrap();
            for receive in receives.iter().flatten() {
                receive.handle().wait_one();
            }
            for index in order {
                drop(receives[index].take());
            }
            // One that takes a part and is dropped, too.
            let part = socket.receive_async([0; 1]);
            part.handle().wait_one();
            drop(part);
            let mut got = Vec::<u8>::new();
            while got.len() < 9 {
                let mut bytes = [0; 4];
                let n = socket.receive(&mut bytes).unwrap();
                got.extend(&bytes[..n]);
            }
            assert_eq!(got, b"123456789");
        }
    });
}

/// A receive that waits gets what another one gives back, though the system has nothing to report.
#[test]
fn what_comes_back_ends_the_wait_of_the_next() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let won = socket.receive_async([0; 8]);
        peer.write_all(b"hello").unwrap();
        won.handle().wait_one();
        let next = socket.receive_async([0; 8]);
        assert!(!next.is_completed());
        drop(won);
        let next = next.wait();
        assert_eq!(&next.buffer[..next.result.unwrap()], b"hello");
        // A receive of nothing learns that there is something, and leaves it.
        let won = socket.receive_async([0; 8]);
        peer.write_all(b"again").unwrap();
        won.handle().wait_one();
        drop(won);
        assert_eq!(socket.receive_async([0; 0]).wait().result.unwrap(), 0);
        let mut bytes = [0; 8];
        assert_eq!(socket.receive(&mut bytes).unwrap(), 5);
    });
}

#[test]
fn a_datagram_that_was_truncated_comes_back_as_such() {
    with_every_runtime(|runtime: &Runtime| {
        let socket = runtime.associate(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let send = |bytes: &[u8]| sender.send_to(bytes, socket.local_addr().unwrap()).unwrap();
        send(b"longer");
        let won = socket.receive_from_async([0; 3]);
        won.handle().wait_one();
        drop(won);
        let done = socket.receive_message_from_async([0; 8]).wait();
        let message = done.result.unwrap();
        assert_eq!((message.length, message.truncated), (3, true));
        assert_eq!(&done.buffer[..3], b"lon");
        // An empty datagram is one.
        send(b"");
        let won = socket.receive_async([0; 3]);
        won.handle().wait_one();
        drop(won);
        assert_eq!(socket.receive_from_async([0; 3]).wait().result.unwrap().0, 0);
    });
}

/// A socket does not leave the runtime without what has come back.
#[test]
fn a_conversion_refuses_to_drop_what_has_come_back() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let won = socket.receive_async([0; 8]);
        peer.write_all(b"hello").unwrap();
        won.handle().wait_one();
        drop(won);
        let error: IntoSocket2Error = socket.into_socket2().unwrap_err();
        assert_eq!(error.error().kind(), std::io::ErrorKind::ResourceBusy);
        let socket = error.into_socket();
        let unread = socket.take_unread();
        assert!(matches!(&unread[..], [Unread::Bytes(bytes)] if bytes == b"hello"), "{unread:?}");
        let mut stream: TcpStream = socket.into_socket2().unwrap().into();
        peer.write_all(b"world").unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"world");
    });
}

/// A receive is dropped while a thread makes its call, and the socket leaves: the bytes are in the stream or with the
/// socket.
#[test]
fn a_conversion_beside_a_drop_loses_nothing() {
    with_every_runtime(|runtime: &Runtime| {
        for round in 0..rounds(200) {
            let (socket, mut peer) = connected(runtime);
            let receive = socket.receive_async([0; 8]);
            let writer = thread::spawn(move || {
                peer.write_all(b"hello").unwrap();
                peer
            });
            (0..round % 400).for_each(|_| std::hint::spin_loop());
            drop(receive);
            let mut got = Vec::new();
            let mut socket = socket;
            let stream = loop {
                match socket.into_socket2() {
                    Ok(stream) => break stream,
                    Err(error) => {
                        socket = error.into_socket();
                        for unread in socket.take_unread() {
                            let Unread::Bytes(bytes) = unread else { panic!("{unread:?}") };
                            got.extend(bytes);
                        }
                    }
                }
            };
            drop(writer.join().unwrap());
            TcpStream::from(stream).read_to_end(&mut got).unwrap();
            assert_eq!(got, b"hello");
        }
    });
}

/// A connection that has come back is closed with its listener.
#[test]
fn a_closed_listener_closes_what_has_come_back() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let won = listener.accept_async();
        let mut peer = TcpStream::connect(address).unwrap();
        won.handle().wait_one();
        drop(won);
        listener.close();
        assert_eq!(peer.read(&mut [0; 1]).unwrap_or(0), 0);
        // And one that comes back afterwards.
        let (listener, address) = support::listener(runtime);
        let won = listener.accept_async();
        let mut peer = TcpStream::connect(address).unwrap();
        won.handle().wait_one();
        listener.close();
        drop(won);
        assert_eq!(peer.read(&mut [0; 1]).unwrap_or(0), 0);
    });
}

/// `select!` over `&mut operation`, and over a new one each time.
#[test]
fn an_operation_is_unpin_and_may_be_polled_and_dropped() {
    fn is_unpin<T: Unpin>() {}
    is_unpin::<Operation<op::Receive<Vec<u8>>>>();
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    /// Polls a future so often at the most, as `select!` does until another branch is ready.
    fn poll_some<F: Future>(mut future: Pin<&mut F>, times: usize) -> Option<F::Output> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        for _ in 0..times {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return Some(output);
            }
            thread::park_timeout(Duration::from_micros(30));
        }
        None
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let all = rounds(2_000);
        let writer = thread::spawn(move || {
            (0..all).for_each(|n| peer.write_all(&[n as u8]).unwrap());
        });
        let (mut dice, mut got) = (Dice(4), Vec::<u8>::new());
        while got.len() < all {
            let polls = dice.roll() % 3;
            if polls == 0 {
                let mut receive = socket.receive_async([0; 3]);
                let done = loop {
                    if let Some(done) = poll_some(Pin::new(&mut receive), 1) {
                        break done;
                    }
                };
                got.extend(&done.buffer[..done.result.unwrap()]);
            } else {
                let receive = pin!(socket.receive_async([0; 2]));
                if let Some(done) = poll_some(receive, polls) {
                    got.extend(&done.buffer[..done.result.unwrap()]);
                }
            }
        }
        writer.join().unwrap();
        assert_eq!(got, (0..all).map(|n| n as u8).collect::<Vec<_>>());
    });
}

/// What a send has reported as sent arrives, whatever a disconnect and a close do at the same instant.
#[test]
fn what_is_reported_as_sent_arrives_beside_a_disconnect_and_a_close() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        for round in 0..rounds(1_000) {
            let (socket, mut peer) = connected(&runtime);
            let data = vec![7; 20_000];
            let closer = socket.clone();
            let spins = (round % 40, round / 40 % 40);
            let sent = thread::scope(|scope| {
                let send = socket.send_async(data);
                let other = scope.spawn(move || {
                    (0..spins.0).for_each(|_| std::hint::spin_loop());
                    closer.close();
                });
                (0..spins.1).for_each(|_| std::hint::spin_loop());
                if round % 2 == 0 {
                    socket.begin_disconnect(|_| {}, ());
                }
                let sent = send.wait();
                other.join().unwrap();
                sent
            });
            let mut got = Vec::new();
            let end = peer.read_to_end(&mut got);
            if sent.result.is_ok() {
                assert_eq!((end.unwrap(), got.len()), (20_000, 20_000));
            }
        }
    });
}

/// A deadline that has passed at begin leaves an operation its one attempt.
#[test]
fn an_operation_without_time_is_attempted_first() {
    if support::sends_are_cut_short() {
        support::skipped("the first attempt may be put off");
        return;
    }
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..rounds(100) {
            let (socket, mut peer) = connected(runtime);
            // The direction is known to be empty.
            let _ = socket.with_timeout(Duration::from_millis(1)).receive(&mut [0; 1]);
            peer.write_all(b"12").unwrap();
            // It is there when a receive without a deadline says so.
            assert_eq!(socket.receive(&mut [0; 0]).unwrap(), 0);
            let at_once = socket.with_timeout(Duration::ZERO);
            assert_eq!(at_once.receive(&mut [0; 1]).unwrap(), 1);
            let past = socket.with_deadline(std::time::Instant::now());
            assert_eq!(past.receive_async([0; 1]).wait().result.unwrap(), 1);
            let error = at_once.receive(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
            assert_eq!(at_once.send(b"ok").unwrap(), 2);
        }
    });
}

/// A reset is no end, for whatever is connected to one peer.
#[cfg(unix)]
#[test]
fn a_reset_is_no_end_of_packets_in_sequence() {
    use aio_core::socket2::{Domain, Type};
    with_every_runtime(|runtime: &Runtime| {
        let Ok((ours, theirs)) = socket2::Socket::pair(Domain::UNIX, Type::SEQPACKET, None) else {
            support::skipped("the system has no packets in sequence");
            return;
        };
        let ours: Socket = runtime.associate(ours).unwrap();
        ours.send(b"never read").unwrap();
        // Its end is a reset, since there was something to read.
        drop(theirs);
        let kinds: Vec<_> =
            (0..3).map(|_| ours.receive(&mut [0; 8]).map_err(|e| e.kind())).collect();
        assert_eq!(kinds, [Err(std::io::ErrorKind::ConnectionReset); 3]);
    });
}

/// A user's own SO_LINGER comes back when the user ends what a broken send would have reset.
#[test]
fn a_shutdown_after_a_broken_send_restores_the_users_linger() {
    if support::sends_are_cut_short() {
        support::skipped("the send may not have begun when it is canceled");
        return;
    }
    with_every_runtime(|runtime: &Runtime| {
        for before in [None, Some(Duration::from_secs(7))] {
            let (socket, _peer) = connected(runtime);
            socket.with_socket(|system| system.set_linger(before)).unwrap().unwrap();
            let send = socket.send_async(vec![0; 64 << 20]);
            send.cancel();
            let sent = send.wait();
            assert!(sent.bytes_transferred > 0 && sent.result.is_err());
            let linger = || socket.with_socket(|system| system.linger()).unwrap().unwrap();
            assert_eq!(linger(), Some(Duration::ZERO));
            socket.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(linger(), before);
            socket.with_socket(|system| system.set_linger(None)).unwrap().unwrap();
        }
    });
}

/// A map of `post_to` may wait for the next operation of its own direction (I4, I8).
#[test]
fn a_map_may_wait_for_the_next_operation_of_its_direction() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let port = Arc::new(aio_core::CompletionPort::new(1));
        let inner = socket.clone();
        socket.receive_async([0; 1]).post_to(&port, move |first| {
            let mut third = [0; 1];
            inner.receive(&mut third).unwrap();
            (first.buffer[0], third[0])
        });
        let second = socket.receive_async([0; 1]);
        peer.write_all(b"123").unwrap();
        assert_eq!(second.wait().buffer, *b"2");
        assert_eq!(port.wait(), Some((b'1', b'3')));
        // And for one that is aborted with it.
        let (socket, _peer) = connected(runtime);
        let first = socket.receive_async([0; 1]);
        let second = socket.receive_async([0; 1]);
        first.post_to(&port, move |_| (u8::from(second.wait().result.is_err()), 0));
        socket.close();
        assert_eq!(port.wait(), Some((1, 0)));
    });
}

/// An operation with a callback takes what has come back, too, and leaves the order of the others as it was.
#[test]
fn what_comes_back_is_in_its_old_order_after_a_callback_has_taken_some() {
    fn done(socket: &Socket, peer: &mut TcpStream, byte: u8) -> Operation<op::Receive<Vec<u8>>> {
        let receive = socket.receive_async(vec![0; 1]);
        peer.write_all(&[byte]).unwrap();
        receive.handle().wait_one();
        receive
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let first = done(&socket, &mut peer, 0);
        let second = done(&socket, &mut peer, 1);
        drop(first);
        let (report, received) = std::sync::mpsc::channel();
        support::receive(&socket, 1, &report);
        assert_eq!(received.recv().unwrap().buffer, [0]);
        let third = socket.receive_from_async(vec![0; 1]);
        peer.write_all(&[2]).unwrap();
        third.handle().wait_one();
        drop(second);
        drop(third);
        let mut got = [0; 2];
        socket.receive(&mut got[..1]).unwrap();
        socket.receive(&mut got[1..]).unwrap();
        assert_eq!(got, [1, 2]);
    });
}
