//! A thread that waits for an operation, and is no worker, needs none: its call is over when the socket allows it,
//! whatever holds the workers.

mod support;

use aio_core::socket2::{Domain, Type};
use aio_core::{Engine, Runtime, Socket, is_aborted};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;
use support::{LIMIT, connected, listener, receive, with_every_engine, with_every_runtime};

/// Holds every worker until it is dropped, in code that the runtime knows nothing of.
struct Held(#[expect(dead_code, reason = "it is dropped")] Vec<mpsc::Sender<()>>);

fn hold(runtime: &Runtime) -> Held {
    let all = Arc::new(Barrier::new(runtime.workers() + 1));
    let holders = (0..runtime.workers()).map(|_| {
        let (sender, receiver) = mpsc::channel();
        let all = all.clone();
        runtime.handle().post(move || {
            all.wait();
            // It ends with the sender.
            let _ = receiver.recv();
        });
        sender
    });
    let held = Held(holders.collect());
    all.wait();
    held
}

/// Waits until `count` operations of that name are pending.
fn until_pending(runtime: &Runtime, operation: &str, count: u64) {
    while runtime.metrics().operation(operation).unwrap().pending != count {
        thread::yield_now();
    }
}

fn udp(runtime: &Runtime) -> (Socket, SocketAddr) {
    let socket = runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// UX-12.
#[test]
fn a_synchronous_conversation_needs_no_worker() {
    with_every_runtime(|runtime: &Runtime| {
        const SIZE: usize = 6 << 20;
        let (listener, address) = listener(runtime);
        let _held = hold(runtime);
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let socket = listener.accept().unwrap();
                let mut bytes = vec![0; SIZE];
                let mut all = 0;
                while all < SIZE {
                    all += socket.receive(&mut bytes[all..]).unwrap();
                }
                assert!(bytes.iter().all(|byte| *byte == 7));
                socket.send_list(&[IoSlice::new(b"thank"), IoSlice::new(b" you")]).unwrap();
                socket.receive(&mut bytes).unwrap()
            });
            let client = runtime.tcp_v4().unwrap();
            client.connect(address).unwrap();
            assert_eq!(client.send(&vec![7; SIZE]).unwrap(), SIZE);
            let mut answer = [0; 9];
            let (front, back) = answer.split_at_mut(4);
            let mut lists = [IoSliceMut::new(front), IoSliceMut::new(back)];
            let mut count = client.receive_list(&mut lists).unwrap();
            while count < 9 {
                count += client.receive(&mut answer[count..]).unwrap();
            }
            assert_eq!(&answer, b"thank you");
            client.disconnect().unwrap();
            assert_eq!(server.join().unwrap(), 0);
        });
    });
}

#[test]
fn a_synchronous_accept_that_receives_needs_no_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let _held = hold(runtime);
        thread::scope(|scope| {
            let accept = scope.spawn(|| {
                let mut bytes = [0; 8];
                let (_socket, count) = listener.accept_receive(&mut bytes).unwrap();
                bytes[..count].to_vec()
            });
            until_pending(runtime, "accept_receive", 1);
            let mut peer = TcpStream::connect(address).unwrap();
            peer.write_all(b"hello").unwrap();
            assert_eq!(accept.join().unwrap(), b"hello");
        });
    });
}

/// The turn that was left to a worker, before the thread took it itself, does not keep the socket open.
#[test]
fn a_socket_that_is_dropped_is_closed_without_a_worker() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener(runtime);
        let _held = hold(runtime);
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(&[1]).unwrap();
        let (socket, received) = listener.accept_receive(&mut [0; 1]).unwrap();
        assert_eq!(received, 1);
        drop(socket);
        peer.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    });
}

#[test]
fn synchronous_calls_for_datagrams_need_no_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let ((socket, address), (asking, own)) = (udp(runtime), udp(runtime));
        let _held = hold(runtime);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut bytes = [0; 8];
                let (count, from) = socket.receive_from(&mut bytes).unwrap();
                socket.send_to(&bytes[..count], from).unwrap();
                let message = socket.receive_message_from(&mut bytes).unwrap();
                socket.send_to(&bytes[..message.length], message.from).unwrap();
            });
            let mut bytes = [0; 8];
            for question in [b"one", b"two"] {
                asking.send_to(question, address).unwrap();
                let (count, from) = asking.receive_from(&mut bytes).unwrap();
                assert_eq!((&bytes[..count], from.as_socket()), (&question[..], Some(address)));
            }
            assert_ne!(own, address);
        });
    });
}

/// An operation that was started before is waited for in the same way.
#[test]
fn the_wait_for_an_operation_needs_no_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let _held = hold(runtime);
        let mut first = socket.receive_async([0; 8]);
        assert!(first.wait_timeout(Duration::from_millis(20)).is_none());
        thread::scope(|scope| {
            let first = scope.spawn(|| first.wait());
            peer.write_all(b"hello").unwrap();
            assert_eq!(first.join().unwrap().result.unwrap(), 5);
        });
        let limited = socket.with_timeout(Duration::from_millis(20));
        let error = limited.receive_async([0; 8]).wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

#[test]
fn close_ends_a_synchronous_call_without_a_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (listener, _) = listener(runtime);
        let _held = hold(runtime);
        thread::scope(|scope| {
            let receive = scope.spawn(|| socket.receive(&mut [0; 1]));
            let accept = scope.spawn(|| listener.accept());
            until_pending(runtime, "receive", 1);
            until_pending(runtime, "accept", 1);
            // It may be in `poll` by now.
            thread::sleep(Duration::from_millis(5));
            socket.close();
            listener.close();
            // The descriptor is closed, too: the peer reads the end.
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            assert!(is_aborted(&receive.join().unwrap().unwrap_err()));
            assert!(is_aborted(&accept.join().unwrap().unwrap_err()));
        });
    });
}

#[test]
fn a_deadline_ends_a_synchronous_call_without_a_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (listener, _) = listener(runtime);
        let (datagrams, _) = udp(runtime);
        let _held = hold(runtime);
        let soon = Duration::from_millis(10);
        let kinds = [
            socket.with_timeout(soon).receive(&mut [0; 1]).unwrap_err().kind(),
            listener.with_timeout(soon).accept().unwrap_err().kind(),
            datagrams.with_timeout(soon).receive_from(&mut [0; 1]).unwrap_err().kind(),
        ];
        assert_eq!(kinds, [ErrorKind::TimedOut; 3]);
        // Nothing was taken, and nothing is left behind.
        peer.write_all(b"hello").unwrap();
        assert_eq!(socket.receive(&mut [0; 8]).unwrap(), 5);
    });
}

/// I5: what was begun before is served first, by the thread that waits for what is behind it; its callback
/// is a worker's to run.
#[test]
fn a_synchronous_call_without_a_worker_waits_for_its_turn() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let held = hold(runtime);
        let (report, received) = mpsc::channel();
        let first = receive(&socket, 1, &report);
        thread::scope(|scope| {
            let second = scope.spawn(|| {
                let mut byte = [0];
                socket.receive(&mut byte).map(|_| byte)
            });
            until_pending(runtime, "receive", 2);
            peer.write_all(&[1, 2]).unwrap();
            assert_eq!(second.join().unwrap().unwrap(), [2]);
        });
        assert!(first.is_completed() && received.try_recv().is_err());
        drop(held);
        assert_eq!(received.recv().unwrap().buffer, [1]);
    });
}

/// The engine does not wait for a synchronous call; it does for what is behind it, once that call is over.
#[test]
fn the_engine_takes_over_when_the_synchronous_call_in_front_is_over() {
    with_every_runtime(|runtime: &Runtime| {
        for closes in [false, true] {
            let (socket, mut peer) = connected(runtime);
            let hasty = socket.with_timeout(Duration::from_millis(30));
            let (report, received) = mpsc::channel();
            thread::scope(|scope| {
                let first = scope.spawn(|| hasty.receive(&mut [0; 1]));
                until_pending(runtime, "receive", 1);
                receive(&socket, 1, &report);
                assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
            });
            if closes {
                socket.close();
                assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
            } else {
                peer.write_all(&[9]).unwrap();
                assert_eq!(received.recv().unwrap().buffer, [9]);
            }
        }
    });
}

/// So it does when the call has got what it waited for, and the socket is empty again. (The call is nearly always
/// the first in line. Nothing tells when it has got there.)
#[test]
fn the_engine_takes_over_when_the_synchronous_call_in_front_has_its_bytes() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        for round in 0..50 {
            thread::scope(|scope| {
                let called = report.clone();
                scope.spawn(|| {
                    let (called, mut byte) = (called, [0]);
                    let count = socket.receive(&mut byte).unwrap();
                    called.send(byte[..count].to_vec()).unwrap();
                });
                until_pending(runtime, "receive", 1);
                let (ender, begun) = (socket.clone(), report.clone());
                let callback = move |ar| begun.send(ender.end_receive(ar).buffer).unwrap();
                socket.begin_receive(vec![0], callback, ());
                for byte in [round, 100 + round] {
                    peer.write_all(&[byte]).unwrap();
                    assert_eq!(received.recv().unwrap(), [byte]);
                }
            });
        }
    });
}

/// One thread polls for a socket and direction; when it leaves, another does.
#[test]
fn several_threads_wait_at_one_socket_without_a_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let (socket, datagrams) = udp(runtime);
        let _held = hold(runtime);
        for _ in 0..10 {
            thread::scope(|scope| {
                let hasty = listener.with_timeout(Duration::from_millis(5));
                let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| listener.accept())).collect();
                let late = scope.spawn(move || hasty.accept());
                let receivers: Vec<_> =
                    (0..6).map(|_| scope.spawn(|| socket.receive_from(&mut [0; 8]))).collect();
                assert!(late.join().unwrap().is_err());
                let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
                for _ in 0..6 {
                    TcpStream::connect(address).unwrap();
                    sender.send_to(b"hello", datagrams).unwrap();
                }
                threads.into_iter().for_each(|thread| drop(thread.join().unwrap().unwrap()));
                for receiver in receivers {
                    assert_eq!(receiver.join().unwrap().unwrap().0, 5);
                }
            });
        }
    });
}

/// The same, with threads whose calls end early at random, and workers that are free at times.
#[test]
fn threads_come_and_go_at_one_socket() {
    with_every_runtime(|runtime: &Runtime| {
        const DATAGRAMS: usize = 2_000;
        let (socket, address) = udp(runtime);
        let (report, received) = mpsc::channel();
        thread::scope(|scope| {
            for thread in 0..5_u64 {
                let (socket, report) = (socket.clone(), report.clone());
                scope.spawn(move || {
                    let hasty = socket.with_timeout(Duration::from_micros(100 + 300 * thread));
                    for round in 0_u64.. {
                        let mut bytes = [0; 8];
                        let limited = (round + thread) % 3 == 0;
                        let called = if limited { &hasty } else { &socket };
                        match called.receive_from(&mut bytes) {
                            Ok(_) => report.send(u64::from_ne_bytes(bytes)).unwrap(),
                            Err(error) if error.kind() == ErrorKind::TimedOut => {}
                            Err(error) => return assert!(is_aborted(&error), "{error}"),
                        }
                    }
                });
            }
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            for number in 0..DATAGRAMS as u64 {
                if number % 100 == 0 {
                    runtime.handle().post(|| thread::sleep(Duration::from_millis(1)));
                }
                sender.send_to(&number.to_ne_bytes(), address).unwrap();
                if number % 8 == 7 {
                    // Not to overrun the socket's buffer.
                    let mut some: Vec<_> = (0..8).map(|_| received.recv().unwrap()).collect();
                    some.sort_unstable();
                    assert_eq!(some, (number - 7..=number).collect::<Vec<_>>());
                }
            }
            socket.close();
        });
    });
}

#[test]
fn eight_threads_echo_without_a_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let _held = hold(runtime);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let socket = listener.accept().unwrap();
                    let mut bytes = [0; 64];
                    loop {
                        match socket.receive(&mut bytes).unwrap() {
                            0 => break,
                            count => assert_eq!(socket.send(&bytes[..count]).unwrap(), count),
                        }
                    }
                });
                scope.spawn(|| {
                    let socket = runtime.tcp_v4().unwrap();
                    socket.connect(address).unwrap();
                    for round in 0..200 {
                        socket.send(&[round; 64]).unwrap();
                        let (mut bytes, mut count) = ([0; 64], 0);
                        while count < 64 {
                            count += socket.receive(&mut bytes[count..]).unwrap();
                        }
                        assert_eq!(bytes, [round; 64]);
                    }
                    socket.disconnect().unwrap();
                });
            }
        });
    });
}

/// Has the system queue errors of what the socket has sent (`IP_RECVERR`).
#[cfg(target_os = "linux")]
fn queue_errors(socket: &socket2::Socket) {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the value is an integer of that length.
    let set = unsafe {
        let on = (&raw const on).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, on, length)
    };
    assert_eq!(set, 0);
}

/// How long the calling thread has had a processor.
#[cfg(target_os = "linux")]
fn processor_time() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(times.split(' ').next().unwrap().parse().unwrap())
}

/// `poll` reports an error for as long as it is queued, and a receive does not take it.
#[cfg(target_os = "linux")]
#[test]
fn a_wait_beside_a_queued_error_costs_nothing() {
    with_every_engine(&[1], |builder| {
        let runtime = builder.build().unwrap();
        let (socket, address) = udp(&runtime);
        socket.with_socket(queue_errors).unwrap();
        // Nobody is there, so the system answers with an error.
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        socket.send_to(b"hello", nobody).unwrap();
        let _ = socket.with_timeout(Duration::from_millis(50)).receive_from(&mut [0; 8]);
        let held = hold(&runtime);
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let before = processor_time();
                let received = socket.receive_from(&mut [0; 8]);
                (received.map(|(count, _)| count), processor_time() - before)
            });
            until_pending(&runtime, "receive_from", 1);
            thread::sleep(Duration::from_millis(300));
            UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello", address).unwrap();
            let (received, took) = waits.join().unwrap();
            assert_eq!(received.unwrap(), 5);
            assert!(took < Duration::from_millis(100), "{took:?} of the processor");
        });
        drop(held);
    });
}

/// A thread that finds no descriptor for itself, or that the system does not let poll, has a worker see to its call.
#[cfg(target_os = "linux")]
#[test]
fn a_synchronous_call_without_a_descriptor_is_left_to_a_worker() {
    if !support::is_alone("-n 64", "a_synchronous_call_without_a_descriptor_is_left_to_a_worker") {
        return;
    }
    fn receives(socket: &Socket, peer: &mut TcpStream) {
        thread::scope(|scope| {
            let receive = scope.spawn(|| socket.receive(&mut [0; 8]));
            let late = socket.with_timeout(Duration::from_millis(50));
            let late = scope.spawn(move || late.receive(&mut [0; 8]).unwrap_err().kind());
            assert_eq!(late.join().unwrap(), ErrorKind::TimedOut);
            peer.write_all(b"hello").unwrap();
            assert_eq!(receive.join().unwrap().unwrap(), 5);
        });
    }
    let runtime = support::builder().engine(Engine::Readiness).workers(1).build().unwrap();
    let (socket, mut peer) = connected(&runtime);
    let (other, mut its_peer) = connected(&runtime);
    let files: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(files.len() > 8);
    receives(&socket, &mut peer);
    drop(files);
    // Its own and the socket are two.
    let one = libc::rlimit { rlim_cur: 1, rlim_max: 64 };
    // SAFETY: the pointer is one to a limit.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const one) }, 0);
    receives(&other, &mut its_peer);
}

/// A thread that polls takes a turn that runs a map. The map waits for the operation of a thread that follows: a worker
/// that has become free meanwhile attempts that one.
#[test]
fn a_map_on_a_thread_that_polls_may_wait_for_a_thread_that_follows() {
    with_every_engine(&[1], |builder| {
        let runtime = builder.build().unwrap();
        let (socket, mut peer) = connected(&runtime);
        let held = hold(&runtime);
        let port = Arc::new(aio_core::CompletionPort::new(1));
        let (in_map, map_runs) = mpsc::channel();
        let (report, done) = mpsc::channel();
        socket.receive_async([0; 1]).post_to(&port, move |_| {
            in_map.send(()).unwrap();
            done.recv_timeout(Duration::from_secs(20)).is_ok()
        });
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (socket, report) = (socket.clone(), report.clone());
                let thread = thread::spawn(move || {
                    socket.receive(&mut [0; 1]).unwrap();
                    let _ = report.send(());
                });
                // The first polls, the second follows.
                thread::sleep(Duration::from_millis(50));
                thread
            })
            .collect();
        peer.write_all(&[0]).unwrap();
        map_runs.recv().unwrap();
        drop(held);
        thread::sleep(Duration::from_millis(50));
        peer.write_all(&[1, 2]).unwrap();
        assert_eq!(port.wait(), Some(true));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
