//! I6: no event and no call ever meets the wrong socket, however fast descriptors are reused.

mod support;

use aio_core::Runtime;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use support::{Received, connected, receive, send, with_every_runtime};

/// LS-1: close and reopen while events are in flight.
#[test]
fn a_reused_descriptor_gets_nothing_that_was_meant_for_the_one_before() {
    with_every_runtime(|runtime: &Runtime| {
        for round in 0..500_u16 {
            let (old, mut old_peer) = connected(runtime);
            let (report, received_old) = mpsc::channel();
            receive(&old, 2, &report);
            let writer = thread::spawn(move || {
                let _ = old_peer.write_all(&[0xff; 2]);
                old_peer
            });
            old.close();
            let (new, mut new_peer) = connected(runtime);
            let (report, received) = mpsc::channel::<Received>();
            receive(&new, 2, &report);
            new_peer.write_all(&round.to_be_bytes()).unwrap();
            assert_eq!(received.recv().unwrap().buffer, round.to_be_bytes());
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
        for round in 0..5_000_u32 {
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
