//! I6: no event and no call ever meets the wrong socket, however fast descriptors are reused.

mod support;

use aio_core::{Completion, Runtime, Socket};
use socket2::SockRef;
use std::io::{Read, Write};
#[cfg(unix)]
use std::os::{fd::AsRawFd, unix::net::UnixStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{Received, connected, receive, rounds, send, with_every_runtime};

/// Two ends of a connection that leaves nothing behind; TCP would leave ports that cannot be used for a
/// while.
#[cfg(unix)]
fn pair(runtime: &Runtime) -> (Socket, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    (runtime.associate(here).unwrap(), there)
}

#[cfg(not(unix))]
use support::connected as pair;

/// LS-1: close and reopen while events are in flight.
#[test]
fn a_reused_descriptor_gets_nothing_that_was_meant_for_the_one_before() {
    with_every_runtime(|runtime: &Runtime| {
        for round in 0..rounds(500) {
            let bytes = (round as u16).to_be_bytes();
            let (old, mut old_peer) = pair(runtime);
            let (report, received_old) = mpsc::channel();
            receive(&old, 2, &report);
            let writer = thread::spawn(move || {
                let _ = old_peer.write_all(&[0xff; 2]);
                old_peer
            });
            old.close();
            let (new, mut new_peer) = pair(runtime);
            let (report, received) = mpsc::channel::<Received>();
            receive(&new, 2, &report);
            new_peer.write_all(&bytes).unwrap();
            assert_eq!(received.recv().unwrap().buffer, bytes);
            let (report, _sent) = mpsc::channel();
            send(&new, vec![1], &report);
            new_peer.read_exact(&mut [0; 1]).unwrap();
            let old = received_old.recv().unwrap();
            assert!(old.result.is_err() || old.buffer == [0xff; 2]);
            drop(writer.join().unwrap());
        }
    });
}

/// UX-3: one byte at a time, the receiver sometimes early and sometimes late.
#[test]
fn no_edge_is_lost() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let mut seed = 1_u32;
        for round in 0..rounds(5_000) {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let size = if seed & 0x100 == 0 { 1 } else { 64 };
            if seed & 0x200 == 0 {
                receive(&socket, size, &report);
                peer.write_all(&[round as u8]).unwrap();
            } else {
                peer.write_all(&[round as u8]).unwrap();
                receive(&socket, size, &report);
            }
            let completion = received.recv().unwrap();
            assert_eq!((completion.result.unwrap(), completion.buffer[0]), (1, round as u8));
        }
    });
}

/// The last handle is dropped, and so is the descriptor; but not before the last operation is over.
#[test]
fn a_pending_operation_keeps_its_socket_open_and_nothing_else_does() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let handle = receive(&socket, 1, &report);
        drop(socket);
        peer.write_all(&[1]).unwrap();
        assert_eq!(received.recv().unwrap().buffer, [1]);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        assert!(handle.is_completed());
    });
}

/// LS-3: the end of the stream may be reported together with the bytes before it.
#[test]
fn the_end_that_came_with_the_last_bytes_is_received() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..5 {
            let (socket, mut peer) = connected(runtime);
            let (report, received) = mpsc::channel();
            let canceled = receive(&socket, 16, &report);
            canceled.cancel();
            received.recv().unwrap();
            peer.write_all(b"last").unwrap();
            drop(peer);
            thread::sleep(Duration::from_millis(10));
            for size in [4, 0] {
                receive(&socket, 16, &report);
                assert_eq!(received.recv().unwrap().result.unwrap(), size);
            }
        }
    });
}

/// CL-8: whoever waits for a closed socket lets go of it at once.
#[test]
fn the_peer_of_a_closed_socket_reads_the_end_at_once() {
    with_every_runtime(|runtime: &Runtime| {
        let pairs: Vec<_> = (0..6).map(|_| connected(runtime)).collect();
        let (report, _received) = mpsc::channel();
        for (socket, _) in &pairs {
            receive(socket, 1, &report);
        }
        // Until nobody wakes up for any other reason.
        thread::sleep(Duration::from_millis(50));
        for (socket, mut peer) in pairs {
            socket.close();
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
            thread::sleep(Duration::from_millis(30));
        }
    });
}

/// LS-3: a receive that stopped short has not always taken all there is. TCP stops at urgent data.
#[test]
fn what_comes_after_urgent_data_is_received() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let canceled = receive(&socket, 16, &report);
        canceled.cancel();
        received.recv().unwrap();
        for round in 0..3 {
            peer.write_all(b"before").unwrap();
            SockRef::from(&peer).send_out_of_band(b"!").unwrap();
            peer.write_all(b"after").unwrap();
            if round > 0 {
                // Otherwise all of it may, or may not, be there at the first attempt.
                thread::sleep(Duration::from_millis(20));
            }
            let mut bytes = Vec::new();
            while bytes.len() < b"beforeafter".len() {
                receive(&socket, 16, &report);
                let Completion { buffer, bytes_transferred, .. } = received.recv().unwrap();
                bytes.extend_from_slice(&buffer[..bytes_transferred]);
            }
            assert_eq!(bytes, b"beforeafter");
        }
    });
}

/// A Unix socket stops where a descriptor was passed.
#[cfg(target_os = "linux")]
#[test]
fn what_comes_after_a_passed_descriptor_is_received() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let socket = runtime.associate(socket).unwrap();
        let (report, received) = mpsc::channel();
        let canceled = receive(&socket, 16, &report);
        canceled.cancel();
        received.recv().unwrap();
        for _ in 0..3 {
            pass_descriptor(&peer, b"before");
            peer.write_all(b"after").unwrap();
            thread::sleep(Duration::from_millis(20));
            for bytes in [&b"before"[..], b"after"] {
                receive(&socket, 16, &report);
                let Completion { buffer, bytes_transferred, .. } = received.recv().unwrap();
                assert_eq!(&buffer[..bytes_transferred], bytes);
            }
        }
    });
}

/// Sends `bytes` and the descriptor of `socket` itself with them.
#[cfg(target_os = "linux")]
fn pass_descriptor(socket: &UnixStream, bytes: &[u8]) {
    let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0_usize; 8];
    // SAFETY: all zeros is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut data;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: it is arithmetic.
    message.msg_controllen = unsafe { libc::CMSG_SPACE(4) } as _;
    // SAFETY: the message has a control buffer with room for one header.
    let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    // SAFETY: as above, and nobody else refers to it.
    let header = unsafe { &mut *header };
    header.cmsg_level = libc::SOL_SOCKET;
    header.cmsg_type = libc::SCM_RIGHTS;
    // SAFETY: it is arithmetic.
    header.cmsg_len = unsafe { libc::CMSG_LEN(4) } as _;
    // SAFETY: it is arithmetic, within the control buffer.
    let place = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the control buffer has room for a descriptor there.
    unsafe { place.cast::<i32>().write_unaligned(socket.as_raw_fd()) };
    // SAFETY: everything that the message points to is alive.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &message, 0) };
    assert_eq!(sent, bytes.len() as isize);
}

/// A duplicate keeps the socket that was closed in the system's queue, under its old number.
#[cfg(unix)]
#[test]
fn a_duplicate_of_a_closed_socket_can_be_associated_under_the_same_number() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        let mut socket = Some(socket);
        for _ in 0..50 {
            let old = socket.take().unwrap();
            receive(&old, 1, &report);
            peer.write_all(&[1]).unwrap();
            assert_eq!(received.recv().unwrap().result.unwrap(), 1);
            let duplicate = old.with_socket(|socket| socket.try_clone()).unwrap().unwrap();
            old.close();
            socket = Some(runtime.associate(duplicate.try_clone().unwrap()).unwrap());
        }
    });
}
