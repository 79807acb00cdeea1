//! What holds when the system has little left to give. Alone in its process, whose limits it changes.

#![cfg(unix)]

mod support;

use aio_core::{Engine, Runtime};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use support::{LIMIT, receive, send, within};

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
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            let runtime = Runtime::builder().engine(engine).workers(1).build().unwrap();
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
}
