//! What the system refuses is reported by the operation that needed it; the listener and everybody else go on.

#![cfg(unix)]

mod support;

use aio_core::Engine;
use aio_core::socket2::{self, Domain, Type};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{
    ENGINES, LIMIT, connected, is_alone, listener, skipped, system_error, with_every_runtime,
};

/// Has the system cut what the socket sends into packets of so many bytes.
#[cfg(target_os = "linux")]
fn set_mtu(socket: &socket2::Socket, bytes: libc::c_int) {
    use std::os::fd::AsRawFd;
    let descriptor = socket.as_raw_fd();
    // SAFETY: the option is an integer, which is read during the call.
    let result = unsafe {
        libc::setsockopt(
            descriptor,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
            (&raw const bytes).cast(),
            size_of_val(&bytes) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// As many descriptors as there are left.
fn all_descriptors() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

#[cfg(target_os = "linux")]
fn count(directory: &str) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// AC-13, LS-10: EMFILE.
#[test]
fn without_descriptors_an_accept_fails_and_everybody_goes_on() {
    if !is_alone("-n 100", "without_descriptors_an_accept_fails_and_everybody_goes_on") {
        return;
    }
    let too_many = Some(rustix::io::Errno::MFILE.raw_os_error());
    for engine in ENGINES {
        for workers in [1, 3] {
            let runtime = support::builder().engine(engine).workers(workers).build().unwrap();
            let (listener, address) = listener(&runtime);
            let (socket, mut peer) = connected(&runtime);
            // One that waits, and is reported ready when there are no descriptors left; then one that is
            // tried at once.
            let waiting = listener.accept_async();
            let mut taken = all_descriptors();
            drop(taken.pop());
            let _client = TcpStream::connect(address).unwrap();
            let error = waiting.wait().result.unwrap_err();
            assert_eq!(system_error(&error), too_many, "{error}");
            assert!(error.to_string().starts_with("accept: "), "{error}");
            assert_eq!(system_error(&listener.accept().unwrap_err()), too_many);
            assert_eq!(system_error(&runtime.tcp_v4().unwrap_err()), too_many);
            let error = runtime.connect_to(address).unwrap_err();
            assert!(error.to_string().contains("Too many open files"), "{error}");
            // Who has a descriptor goes on.
            let receive = socket.receive_async([0; 4]);
            peer.write_all(b"ping").unwrap();
            assert_eq!(receive.wait().buffer, *b"ping");
            socket.send(b"pong").unwrap();
            peer.read_exact(&mut [0; 4]).unwrap();
            let hasty = socket.with_timeout(Duration::from_millis(1));
            assert_eq!(hasty.receive(&mut [0; 1]).unwrap_err().kind(), ErrorKind::TimedOut);
            // The connection has waited for better times.
            drop(taken);
            let accepted = listener.accept().unwrap();
            assert_eq!(accepted.local_addr().unwrap(), address);
        }
    }
}

/// EMFILE while the runtime is made.
#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_there_is_no_runtime_and_nothing_is_left_of_it() {
    if !is_alone("-n 100", "without_descriptors_there_is_no_runtime_and_nothing_is_left_of_it") {
        return;
    }
    for engine in ENGINES {
        let mut taken = all_descriptors();
        for left in 1..4 {
            drop(taken.pop());
            let builder = support::builder().engine(engine).workers(5);
            match builder.build() {
                Err(error) => assert_eq!(error.raw_os_error(), Some(24), "{error}"),
                Ok(runtime) => {
                    assert!(left > 1 && engine == Engine::Readiness);
                    drop(runtime);
                }
            }
            let again: Vec<_> = all_descriptors();
            assert_eq!(again.len(), left);
        }
        drop(taken);
        assert_eq!(count("/proc/self/task"), 2, "the test harness has two threads");
    }
}

/// ENOMEM for a thread's stack.
#[cfg(target_os = "linux")]
#[test]
fn without_memory_for_threads_there_is_no_runtime_and_nothing_is_left_of_it() {
    const NAME: &str = "without_memory_for_threads_there_is_no_runtime_and_nothing_is_left_of_it";
    // 4 GiB of addresses: enough for some of the threads.
    if !is_alone("-v 4194304", NAME) {
        return;
    }
    for engine in ENGINES {
        for stack in [512 << 20, 1 << 46] {
            let (threads, descriptors) = (count("/proc/self/task"), count("/proc/self/fd"));
            let builder = support::builder().engine(engine).workers(32).stack_size(stack);
            let error = builder.build().unwrap_err();
            assert!(error.to_string().contains("cannot start the worker threads"), "{error}");
            while count("/proc/self/task") > threads {
                thread::yield_now();
            }
            assert_eq!(count("/proc/self/fd"), descriptors);
            let runtime = support::builder().engine(engine).workers(2).build().unwrap();
            let (socket, mut peer) = connected(&runtime);
            socket.send(b"hello").unwrap();
            peer.read_exact(&mut [0; 5]).unwrap();
        }
    }
}

/// ENOBUFS, in earnest: of a datagram of many fragments, Linux allocates all but the first within twice the
/// socket's send buffer or not at all. (`ip6_append_data`; elsewhere it is injected, as `faults.rs` does.)
#[cfg(target_os = "linux")]
#[test]
fn without_buffers_a_send_fails_and_everybody_goes_on() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skipped("there is no IPv6 here");
    }
    with_every_runtime(|runtime| {
        const MUCH: usize = 60_000;
        let peer = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        peer.set_read_timeout(Some(LIMIT)).unwrap();
        let address = peer.local_addr().unwrap();
        let socket = runtime.socket(Domain::IPV6, Type::DGRAM, None).unwrap();
        socket.with_socket(|socket| socket.set_send_buffer_size(1)).unwrap().unwrap();
        socket.with_socket(|socket| set_mtu(socket, 1280)).unwrap();
        let (report, sent) = mpsc::channel();
        let ender = socket.clone();
        let callback = move |ar| report.send(ender.end_send_to(ar)).unwrap();
        socket.begin_send_to(vec![1; MUCH], address, callback, ());
        // One behind it has room.
        let small = socket.send_to_async([2; 3], address);
        let failed = sent.recv().unwrap();
        let error = failed.result.unwrap_err();
        assert_eq!(system_error(&error), Some(libc::ENOBUFS), "{error}");
        assert!(error.to_string().starts_with("send to "), "{error}");
        assert_eq!((failed.bytes_transferred, failed.buffer), (0, vec![1; MUCH]));
        assert_eq!(small.wait().result.unwrap(), 3);
        assert_eq!(peer.recv(&mut [0; 8]).unwrap(), 3);
        let error = socket.send_to(&vec![1; MUCH], address).unwrap_err();
        assert_eq!(system_error(&error), Some(libc::ENOBUFS), "{error}");
        // With more room it can be sent after all.
        socket.with_socket(|socket| socket.set_send_buffer_size(MUCH)).unwrap().unwrap();
        assert_eq!(socket.send_to(&vec![1; MUCH], address).unwrap(), MUCH);
        assert_eq!(peer.recv(&mut vec![0; MUCH + 1]).unwrap(), MUCH);
    });
}

/// ECONNABORTED, or what the system has for it: a connection that was reset before it was accepted. (Linux
/// accepts it, and its first receive fails; its accept has this error for no TCP connection, so here it
/// comes by injection alone, in `faults.rs` and `conversations.rs`.)
#[test]
fn a_connection_that_was_reset_before_it_was_accepted_harms_nobody() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener(runtime);
        for waits in [false, true] {
            let accept = waits.then(|| listener.accept_async());
            let client = socket2::Socket::from(TcpStream::connect(address).unwrap());
            client.set_linger(Some(Duration::ZERO)).unwrap();
            drop(client);
            let accept = accept.unwrap_or_else(|| listener.accept_async());
            match accept.wait().result {
                Ok(accepted) => {
                    let outcome = accepted.receive(&mut [0; 1]);
                    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted),
            }
            let _client = TcpStream::connect(address).unwrap();
            listener.accept().unwrap();
        }
    });
}
