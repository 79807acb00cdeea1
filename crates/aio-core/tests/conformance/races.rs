//! Races, in every order that chance makes of them.

use crate::face::{Case, conforms};
use crate::support::{connected, rounds};
use aio_core::socket2::SockRef;
use aio_core::{Socket, is_aborted};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// In each of the combinations, which makes enough of them.
const ROUNDS: usize = 25;

/// A connection that leaves nothing behind when its peer is dropped: ports that linger would run out.
fn connected_in_passing(case: &Case) -> (Socket, TcpStream) {
    let (socket, peer) = connected(&case.runtime);
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
    (socket, peer)
}

/// CB-1, CL-3, CL-7, I1: begins and closes in random order; each operation is over once, and its buffer
/// comes back.
#[test]
fn everything_that_is_begun_is_over_once_whenever_it_is_closed() {
    conforms(|case: &Case| {
        for round in 0..rounds(ROUNDS) {
            let (socket, mut peer) = connected_in_passing(case);
            let barrier = Arc::new(Barrier::new(2));
            let (closer, ready) = (socket.clone(), barrier.clone());
            let thread = thread::spawn(move || {
                ready.wait();
                for _ in 0..round % 8 {
                    thread::yield_now();
                }
                closer.close();
            });
            let early = case.receive(&socket, vec![7; 2]);
            barrier.wait();
            let _ = peer.write(&[1, 2, 3]);
            let mut receives = vec![early];
            let mut sends = Vec::new();
            for _ in 0..5 {
                receives.push(case.receive(&socket, vec![7; 2]));
                sends.push(case.send(&socket, vec![8; 2]));
            }
            receives[3].cancel();
            for receive in receives {
                let received = receive.end();
                assert_eq!(received.buffer.len(), 2);
                match received.result {
                    Ok(length) => assert_eq!(length, received.bytes_transferred),
                    Err(error) => assert!(is_aborted(&error), "{error}"),
                }
            }
            for send in sends {
                let sent = send.end();
                assert_eq!(sent.buffer, [8; 2]);
                match sent.result {
                    Ok(length) => assert_eq!(length, 2),
                    Err(error) => assert!(is_aborted(&error), "{error}"),
                }
            }
            thread.join().unwrap();
        }
    });
}

/// IO-13, I2: a cancel may lose against the bytes, and then they are delivered; if it wins they stay.
#[test]
fn a_cancel_racing_with_data_loses_no_byte() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        for round in 0..rounds(ROUNDS) {
            let byte = round as u8;
            let receive = case.receive(&socket, [0; 4]);
            let barrier = Arc::new(Barrier::new(2));
            let (handle, ready) = (receive.handle(), barrier.clone());
            let thread = thread::spawn(move || {
                ready.wait();
                handle.cancel();
            });
            barrier.wait();
            peer.write_all(&[byte]).unwrap();
            thread.join().unwrap();
            let mut received = receive.end();
            if let Err(error) = &received.result {
                assert!(is_aborted(error));
                received = case.receive(&socket, [0; 4]).end();
            }
            assert_eq!((received.result.unwrap(), received.buffer), (1, [byte, 0, 0, 0]));
        }
    });
}

/// UX-3: one byte at a time, and a receiver that begins again sooner or later.
#[test]
fn no_edge_is_lost() {
    conforms(|case: &Case| {
        let count = 20 * rounds(ROUNDS);
        let (socket, mut peer) = connected(&case.runtime);
        let writer = thread::spawn(move || {
            for index in 0..count {
                peer.write_all(&[index as u8]).unwrap();
                for _ in 0..index * 7 % 5 {
                    thread::yield_now();
                }
            }
            peer
        });
        let mut received = 0;
        while received < count {
            let completion = case.receive(&socket, [0; 2]).end();
            for byte in &completion.buffer[..completion.result.unwrap()] {
                assert_eq!(*byte, received as u8);
                received += 1;
            }
            for _ in 0..received * 13 % 7 {
                thread::yield_now();
            }
        }
        drop(writer.join().unwrap());
        assert_eq!(case.receive(&socket, [0; 2]).output(), 0);
    });
}

/// LS-1, CL-8, I6: sockets come and go under the same numbers, and nobody gets another's bytes.
#[test]
fn a_reused_descriptor_gets_nothing_that_was_meant_for_another() {
    conforms(|case: &Case| {
        for round in 0..rounds(ROUNDS) {
            let byte = round as u8;
            let (old, mut old_peer) = connected_in_passing(case);
            let stale = case.receive(&old, [0; 1]);
            old_peer.write_all(&[!byte]).unwrap();
            old.close();
            let (new, mut new_peer) = connected_in_passing(case);
            let fresh = case.receive(&new, [0; 1]);
            new_peer.write_all(&[byte]).unwrap();
            assert_eq!(fresh.end().buffer, [byte]);
            let stale = stale.end();
            match stale.result {
                Ok(_) => assert_eq!(stale.buffer, [!byte]),
                Err(error) => assert!(is_aborted(&error)),
            }
            drop(new);
            assert_eq!(new_peer.read(&mut [0; 1]).unwrap(), 0);
        }
    });
}
