//! What holds when the system has little left to give. Alone in its process, whose limits it changes.

#![cfg(unix)]

mod support;

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use support::{LIMIT, listener, receive, send, with_every_engine};

/// One at a time: all tests have the same limits.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn limit_descriptors(soft: libc::rlim_t) -> libc::rlim_t {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live `rlimit`.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let before = std::mem::replace(&mut limit.rlim_cur, soft);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    before
}

/// I4: both directions of a socket may wait, so there can be more waits than descriptors, and the
/// system's `poll` takes no more entries than a process may have descriptors.
#[test]
fn more_waits_than_descriptors_are_waited_for() {
    let _alone = alone();
    with_every_engine(&[1], |builder| {
        let runtime = builder.build().unwrap();
        let (sockets, _peers): (Vec<_>, Vec<_>) = (0..40)
            .map(|_| UnixStream::pair().unwrap())
            .map(|(end, peer)| (runtime.associate(end).unwrap(), peer))
            .unzip();
        let (mut peer, socket) = UnixStream::pair().unwrap();
        let socket = runtime.associate(socket).unwrap();
        // Enough for an entry for each socket, not for one for each wait. What is open stays so.
        let before = limit_descriptors(70);
        let (report, _received) = mpsc::channel();
        let (report_sent, _sent) = mpsc::channel();
        for socket in &sockets {
            receive(socket, 1, &report);
            send(socket, vec![0; 4 << 20], &report_sent);
        }
        let (report, received) = mpsc::channel();
        for byte in 0..10 {
            receive(&socket, 1, &report);
            peer.write_all(&[byte]).unwrap();
            let received = received.recv_timeout(LIMIT / 4);
            assert_eq!(received.map(|received| received.buffer), Ok(vec![byte]));
        }
        limit_descriptors(before);
    });
}

/// AC-13: a process without a descriptor to give fails an accept, and does not lose its listener.
#[test]
fn an_accept_without_a_descriptor_fails_and_the_next_one_does_not() {
    let _alone = alone();
    with_every_engine(&[1], |builder| {
        let runtime = builder.build().unwrap();
        let (listener, address) = listener(&runtime);
        let accept = listener.accept_async();
        let behind = listener.accept_async();
        let client = runtime.tcp_v4().unwrap();
        let before = limit_descriptors(256);
        let mut files = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            files.push(file);
        }
        client.connect(address).unwrap();
        let error = accept.wait().result.unwrap_err();
        assert!(error.to_string().starts_with("accept: "), "{error}");
        assert!(behind.wait().result.is_err());
        drop(files);
        let socket = listener.accept().unwrap();
        assert_eq!(socket.peer_addr().unwrap(), client.local_addr().unwrap());
        let _next = TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
        limit_descriptors(before);
    });
}
