//! I1, I2: what a cancel or a deadline leaves behind: the table in the crate's documentation, cell by cell,
//! each by a cancel and by a deadline, under every engine.

mod support;

use aio_core::op::Kind;
use aio_core::socket2;
use aio_core::{Completion, Operation, Runtime, Socket, is_aborted};
use std::io::{ErrorKind, Read, Write};
use std::iter;
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;
use support::{connected, full_listener, listener, rounds, with_every_runtime};

const SOON: Duration = Duration::from_millis(5);
const MUCH: usize = 32 << 20;

#[derive(Clone, Copy, Debug)]
enum End {
    Cancel,
    Deadline,
}

const ENDS: [End; 2] = [End::Cancel, End::Deadline];

impl End {
    /// Starts an operation that has to wait, and ends it.
    fn of<K: Kind>(
        self,
        socket: &Socket,
        start: impl FnOnce(&Socket) -> Operation<K>,
    ) -> Completion<K> {
        self.after(SOON, socket, start)
    }

    fn after<K: Kind>(
        self,
        time: Duration,
        socket: &Socket,
        start: impl FnOnce(&Socket) -> Operation<K>,
    ) -> Completion<K> {
        let completion = match self {
            Self::Cancel => {
                let operation = start(socket);
                thread::sleep(time);
                operation.cancel();
                operation.wait()
            }
            Self::Deadline => start(&socket.with_timeout(time)).wait(),
        };
        let Err(error) = &completion.result else { panic!("{self:?}: it had to wait") };
        assert!(is_aborted(error), "{self:?}: {error}");
        assert_eq!(error.kind() == ErrorKind::TimedOut, matches!(self, Self::Deadline));
        completion
    }
}

#[test]
fn a_receive_leaves_every_byte() {
    with_every_runtime(|runtime: &Runtime| {
        for end in ENDS {
            let (socket, mut peer) = connected(runtime);
            let ended = end.of(&socket, |socket| socket.receive_async([7; 4]));
            assert_eq!((ended.bytes_transferred, ended.buffer), (0, [7; 4]));
            let ended = end.of(&socket, |socket| socket.receive_list_async(vec![[7; 2], [7; 2]]));
            assert_eq!((ended.bytes_transferred, ended.buffer), (0, vec![[7; 2], [7; 2]]));
            peer.write_all(b"data").unwrap();
            let mut bytes = [0; 4];
            assert_eq!(socket.receive(&mut bytes).unwrap(), 4);
            assert_eq!(&bytes, b"data");
        }
    });
}

#[test]
fn a_receive_of_a_datagram_leaves_it() {
    with_every_runtime(|runtime: &Runtime| {
        for end in ENDS {
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let system = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let address = system.local_addr().unwrap();
            let socket = runtime.associate(system).unwrap();
            let ended = end.of(&socket, |socket| socket.receive_from_async([7; 4]));
            assert_eq!((ended.bytes_transferred, ended.buffer), (0, [7; 4]));
            end.of(&socket, |socket| socket.receive_message_from_async([7; 4]));
            end.of(&socket, |socket| socket.receive_async([7; 4]));
            peer.send_to(b"data", address).unwrap();
            let mut bytes = [0; 4];
            assert_eq!(socket.receive_from(&mut bytes).unwrap().0, 4);
            assert_eq!(&bytes, b"data");
        }
    });
}

#[test]
fn an_accept_leaves_the_connection_to_the_next() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        for end in ENDS {
            end.of(&listener, Socket::accept_async);
            let ended = end.of(&listener, |listener| listener.accept_receive_async([7; 4]));
            assert_eq!(ended.buffer, [7; 4]);
            let peer = TcpStream::connect(address).unwrap();
            let accepted = listener.accept().unwrap();
            assert_eq!(accepted.peer_addr().unwrap(), peer.local_addr().unwrap());
        }
    });
}

#[test]
fn an_accept_that_waits_for_the_first_bytes_closes_its_connection() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        for end in ENDS {
            loop {
                let mut peer = TcpStream::connect(address).unwrap();
                let ended = end.of(&listener, |listener| listener.accept_receive_async([7; 4]));
                assert_eq!((ended.bytes_transferred, ended.buffer), (0, [7; 4]));
                // The listener goes on.
                let next = TcpStream::connect(address).unwrap();
                let accepted = listener.accept().unwrap().peer_addr().unwrap();
                if accepted == next.local_addr().unwrap() {
                    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
                    break;
                }
                // It ended before it had accepted, and has left the connection.
                assert_eq!(accepted, peer.local_addr().unwrap());
                listener.accept().unwrap();
            }
        }
    });
}

/// A temporary file of so many bytes, which has no name any more.
#[cfg(unix)]
fn file(bytes: usize) -> std::fs::File {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static FILES: AtomicUsize = AtomicUsize::new(0);
    let name =
        format!("left-behind-{}-{}", std::process::id(), FILES.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).write(true).create_new(true).open(&path).unwrap();
    file.write_all(&vec![1; bytes]).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}

/// All of the kinds, behind a send that has to wait.
#[cfg(unix)]
#[test]
fn a_send_that_has_sent_nothing_leaves_the_stream_as_it_was() {
    with_every_runtime(|runtime: &Runtime| {
        for end in ENDS {
            let (socket, mut peer) = connected(runtime);
            let before = socket.send_async(vec![1; MUCH]);
            let ended = end.of(&socket, |socket| socket.send_async([2; 4]));
            assert_eq!((ended.bytes_transferred, ended.buffer), (0, [2; 4]));
            let ended = end.of(&socket, |socket| socket.send_list_async(vec![[2; 2], [2; 2]]));
            assert_eq!((ended.bytes_transferred, ended.buffer.len()), (0, 2));
            let ended = end.of(&socket, |socket| socket.send_file_async(file(4), ..));
            assert_eq!(ended.bytes_transferred, 0);
            end.of(&socket, Socket::disconnect_async);
            let after = socket.send_async([3; 4]);
            let mut bytes = vec![0; MUCH + 4];
            peer.read_exact(&mut bytes).unwrap();
            assert!(bytes[..MUCH].iter().all(|byte| *byte == 1) && bytes[MUCH..] == [3; 4]);
            assert_eq!((before.wait().result.unwrap(), after.wait().result.unwrap()), (MUCH, 4));
        }
    });
}

/// A local datagram has to wait when the peer's queue is full.
#[cfg(unix)]
#[test]
fn a_datagram_that_could_not_be_sent_is_not_sent() {
    use std::os::unix::net::UnixDatagram;
    with_every_runtime(|runtime: &Runtime| {
        for end in ENDS {
            let (system, peer) = UnixDatagram::pair().unwrap();
            let socket = runtime.associate(system).unwrap();
            // As many as there is room for.
            let send = |system: &socket2::Socket| system.send(&[1; 64]);
            let sent = iter::from_fn(|| socket.with_socket(send).unwrap().ok()).count();
            let canceled = socket.send_async([1; 64]);
            end.of(&socket, |socket| socket.send_async([2; 64]));
            canceled.cancel();
            let completion = canceled.wait();
            assert!(is_aborted(&completion.result.unwrap_err()));
            assert_eq!(completion.bytes_transferred, 0);
            let ended = end.of(&socket, |socket| socket.send_async([2; 64]));
            assert_eq!((ended.bytes_transferred, ended.buffer), (0, [2; 64]));
            let mut datagram = [0; 64];
            for _ in 0..sent {
                assert_eq!((peer.recv(&mut datagram).unwrap(), datagram), (64, [1; 64]));
            }
            assert_eq!(socket.send(&[3; 3]).unwrap(), 3);
            assert_eq!((peer.recv(&mut datagram).unwrap(), datagram[0]), (3, 3));
        }
    });
}

#[cfg(unix)]
#[test]
fn a_send_that_has_sent_a_part_says_how_much() {
    fn check<K: Kind>(runtime: &Runtime, end: End, start: fn(&Socket) -> Operation<K>) {
        let (socket, mut peer) = connected(runtime);
        let mut time = SOON;
        let ended = loop {
            let ended = end.after(time, &socket, start);
            if ended.bytes_transferred > 0 {
                break ended;
            }
            // A busy machine has not come to it.
            time *= 2;
        };
        assert!(ended.bytes_transferred < MUCH);
        let error = socket.send(&[2]).unwrap_err();
        assert!(is_aborted(&error) && error.to_string().contains("ended halfway"), "{error}");
        // The other direction goes on.
        peer.write_all(&[3]).unwrap();
        assert_eq!(socket.receive(&mut [0; 1]).unwrap(), 1);
        socket.shutdown(Shutdown::Write).unwrap();
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() == ended.bytes_transferred && bytes.iter().all(|byte| *byte == 1));
    }
    with_every_runtime(|runtime: &Runtime| {
        for end in ENDS {
            check(runtime, end, |socket| socket.send_async(vec![1; MUCH]));
            check(runtime, end, |socket| {
                socket.send_list_async(vec![vec![1; MUCH / 2], vec![1; MUCH / 2]])
            });
            check(runtime, end, |socket| socket.send_file_async(file(MUCH), ..));
        }
    });
}

/// Whoever comes first, the one who closes or the one who cancels, the peer learns that it has half.
#[cfg(unix)]
#[test]
fn a_send_that_is_canceled_while_its_socket_is_closed_resets_the_connection() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..rounds(100) {
            let (socket, mut peer) = connected(runtime);
            socket.with_socket(|socket| socket.set_send_buffer_size(4096)).unwrap().unwrap();
            let send = socket.send_async(vec![1; 1 << 20]);
            peer.read_exact(&mut [0; 1]).unwrap();
            let barrier = Barrier::new(2);
            thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    send.cancel();
                });
                barrier.wait();
                socket.close();
            });
            let sent = send.wait().bytes_transferred;
            assert!(sent > 0 && sent < 1 << 20);
            let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

/// The close comes while a worker goes on with the send, since the peer reads.
#[cfg(unix)]
#[test]
fn a_send_that_goes_on_while_its_socket_is_closed_resets_the_connection() {
    const LENGTH: usize = 1 << 20;
    with_every_runtime(|runtime: &Runtime| {
        for round in 0..rounds(300) {
            let (socket, mut peer) = connected(runtime);
            socket.with_socket(|socket| socket.set_send_buffer_size(4096)).unwrap().unwrap();
            let send = socket.send_async(vec![1; LENGTH]);
            let mut read = 0;
            let mut buffer = [0; 1 << 14];
            thread::scope(|scope| {
                scope.spawn(|| {
                    thread::sleep(Duration::from_micros(round as u64 % 50 * 4));
                    socket.close();
                });
                loop {
                    match peer.read(&mut buffer) {
                        Ok(0) => {
                            assert_eq!(read, LENGTH, "the end of the stream after a part of it");
                            break;
                        }
                        Ok(n) => read += n,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                            break;
                        }
                    }
                }
            });
            assert!(send.wait().bytes_transferred >= read);
        }
    });
}

#[test]
fn a_connect_leaves_a_socket_that_can_only_be_closed() {
    with_every_runtime(|runtime: &Runtime| {
        let Some((_listener, address, _connections)) = full_listener(runtime) else { return };
        for end in ENDS {
            let socket = runtime.tcp_v4().unwrap();
            end.of(&socket, |socket| socket.connect_async(address));
            for error in [socket.connect(address).unwrap_err(), socket.send(&[1]).unwrap_err()] {
                assert!(error.to_string().contains("ended halfway"), "{error}");
            }
            socket.receive(&mut [0; 1]).unwrap_err();
            socket.close();
        }
    });
}

#[test]
fn a_connect_to_leaves_nothing() {
    use aio_core::op::Destination;
    with_every_runtime(|runtime: &Runtime| {
        let Some((listener, address, connections)) = full_listener(runtime) else { return };
        let canceled = runtime.connect_to_async(address);
        thread::sleep(SOON);
        canceled.cancel();
        assert!(is_aborted(&canceled.wait().result.unwrap_err()));
        let hasty = runtime.connect_to(Destination::from(address).timeout(SOON));
        assert_eq!(hasty.unwrap_err().kind(), ErrorKind::TimedOut);
        drop((listener, connections));
        // Canceled or found, never both.
        let lookup = runtime.handle().look_up_async("localhost", 80);
        lookup.cancel();
        assert!(
            lookup.wait().result.map_or_else(|error| is_aborted(&error), |found| !found.is_empty())
        );
    });
}
