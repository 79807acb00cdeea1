//! I8, I9: who closes, posts or cancels waits for nobody, and holds up nobody.

mod support;

use aio_core::socket2;
use aio_core::{Runtime, Socket};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, connected, listener, with_every_engine, with_every_runtime};

/// For how long a socket lingers: whoever waits for it is late.
const LINGER: Duration = Duration::from_secs(20);

/// What is at once takes less, on a busy machine too.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Makes `socket` linger, with bytes that its peer has no room for.
fn linger(socket: &Socket) -> usize {
    socket
        .with_socket(|system| {
            system.set_linger(Some(LINGER)).unwrap();
            fill(system)
        })
        .unwrap()
}

/// Sends until there is no room; returns how much that was.
fn fill(system: &socket2::Socket) -> usize {
    std::iter::from_fn(|| system.send(&[7; 65536]).ok()).sum()
}

/// A socket that lingers, and its peer, which does not read.
fn lingering(runtime: &Runtime) -> (Socket, TcpStream, usize) {
    let (socket, peer) = connected(runtime);
    let sent = linger(&socket);
    (socket, peer, sent)
}

fn is_at_once(what: impl FnOnce()) {
    let begun = Instant::now();
    what();
    assert!(begun.elapsed() < AT_ONCE, "it took {:?}", begun.elapsed());
}

/// Reads to the end. What was sent before the close has to come.
fn assert_reads_all(mut peer: TcpStream, sent: usize) {
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), sent);
}

/// B3, and of the same kind: whatever takes the last use of the descriptor away.
#[test]
fn a_socket_that_lingers_is_closed_at_once() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, peer, sent) = lingering(runtime);
        is_at_once(|| socket.close());
        assert_reads_all(peer, sent);

        let (socket, peer, sent) = lingering(runtime);
        is_at_once(|| drop(socket));
        assert_reads_all(peer, sent);

        // The close comes while a call is made; that call's end closes.
        let (socket, peer, sent) = lingering(runtime);
        is_at_once(|| {
            socket.with_socket(|_| socket.close()).unwrap();
        });
        assert_reads_all(peer, sent);

        // A receive is pending, whose worker may be using the descriptor at that moment.
        let (socket, peer, sent) = lingering(runtime);
        let receive = socket.receive_async([0; 1]);
        is_at_once(|| {
            socket.close();
            assert!(receive.wait().result.is_err());
        });
        let other = runtime.handle();
        let (report, ran) = mpsc::channel();
        is_at_once(|| {
            other.post(move || report.send(()).unwrap());
            ran.recv().unwrap();
        });
        assert_reads_all(peer, sent);
    });
}

/// An accepted socket has the option from its listener.
#[test]
fn an_accepted_socket_that_lingers_is_closed_at_once() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        listener.with_socket(|system| system.set_linger(Some(LINGER))).unwrap().unwrap();
        let peer = TcpStream::connect(address).unwrap();
        peer.set_read_timeout(Some(LIMIT)).unwrap();
        let socket = listener.accept().unwrap();
        let sent = socket.with_socket(fill).unwrap();
        is_at_once(|| drop(socket));
        assert_reads_all(peer, sent);
    });
}

/// A callback that drops the last handle holds its worker for no longer than any other.
#[test]
fn a_socket_that_lingers_holds_no_worker() {
    with_every_runtime(|runtime: &Runtime| {
        let (mut peers, mut all) = (Vec::new(), Vec::new());
        for close in [false, true] {
            for _ in 0..4 {
                let (socket, peer, sent) = lingering(runtime);
                peers.push((peer, sent));
                let (inner, (report, ran)) = (socket.clone(), mpsc::channel());
                all.push(ran);
                runtime.handle().post(move || {
                    if close {
                        inner.close();
                    }
                    drop(inner);
                    report.send(()).unwrap();
                });
                drop(socket);
            }
        }
        is_at_once(|| all.iter().for_each(|ran| ran.recv().unwrap()));
        peers.into_iter().for_each(|(peer, sent)| assert_reads_all(peer, sent));
    });
}

/// More of them at once than are closed at once.
#[test]
fn many_sockets_that_linger_hold_up_nothing() {
    with_every_runtime(|runtime: &Runtime| {
        let (sockets, peers): (Vec<_>, Vec<_>) = (0..100)
            .map(|_| lingering(runtime))
            .map(|(socket, peer, sent)| (socket, (peer, sent)))
            .unzip();
        is_at_once(|| sockets.iter().for_each(Socket::close));
        // What else the process's threads do.
        is_at_once(|| {
            runtime.handle().look_up_async("localhost", 80).wait().result.unwrap();
            let ended = support::builder().workers(1).build().unwrap();
            ended.abort();
            let (report, ran) = mpsc::channel();
            ended.handle().post(move || report.send(()).unwrap());
            ran.recv().unwrap();
        });
        peers.into_iter().for_each(|(peer, sent)| assert_reads_all(peer, sent));
    });
}

#[test]
fn a_runtime_ends_at_once_with_sockets_that_linger() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let (socket, peer, sent) = lingering(&runtime);
        // The callback has the last handle.
        let inner = socket.clone();
        socket.begin_receive([0; 1], move |_| drop(inner), ());
        drop(socket);
        is_at_once(|| drop(runtime));
        assert_reads_all(peer, sent);
    });
}

/// A socket that was reset on purpose is closed where it always was, and its peer learns of it.
#[test]
fn a_socket_that_lingers_for_no_time_resets_its_connection() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        socket.with_socket(|system| system.set_linger(Some(Duration::ZERO))).unwrap().unwrap();
        socket.close();
        let error = peer.read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// What goes on in another socket is not closed late: here with the peer's answer to the close.
#[test]
fn a_socket_that_lingers_goes_on_in_std() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        socket.with_socket(|system| system.set_linger(Some(LINGER))).unwrap().unwrap();
        let mut stream = TcpStream::from(socket.into_socket2().unwrap());
        stream.write_all(b"on").unwrap();
        let closer = thread::spawn(move || drop(stream));
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        drop(peer);
        closer.join().unwrap();
        assert_eq!(bytes, b"on");
    });
}

/// How many descriptors the process has.
#[cfg(target_os = "linux")]
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// I6: nothing is lost on the way. Alone, since it counts the process's descriptors.
#[cfg(target_os = "linux")]
#[test]
fn a_socket_that_lingers_is_closed_in_the_end() {
    if !support::is_alone("-n 1024", "a_socket_that_lingers_is_closed_in_the_end") {
        return;
    }
    with_every_runtime(|runtime: &Runtime| {
        // It makes the listener of all tests.
        drop(connected(runtime));
        let before = descriptors();
        let (sockets, peers): (Vec<_>, Vec<_>) = (0..50)
            .map(|_| lingering(runtime))
            .map(|(socket, peer, _)| (Arc::new(socket), peer))
            .unzip();
        drop(sockets);
        // Their peers do not read but go; what lingers then is over.
        drop(peers);
        while descriptors() > before {
            thread::sleep(Duration::from_millis(1));
        }
    });
}
