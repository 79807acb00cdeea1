//! I5: per socket and direction, operations take effect in the order of their begin calls.

mod support;

use aio_core::Runtime;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::mpsc;
use support::{accept, connected, listener, receive, send, with_every_runtime};

/// OR-2.
#[test]
fn receives_take_bytes_in_the_order_of_begin() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        for _ in 0..100 {
            let mut reports = Vec::new();
            for _ in 0..3 {
                let (report, received) = mpsc::channel();
                receive(&socket, 1, &report);
                reports.push(received);
            }
            peer.write_all(&[1, 2, 3]).unwrap();
            for (received, byte) in reports.iter().zip(1..) {
                assert_eq!(received.recv().unwrap().buffer, [byte]);
            }
        }
    });
}

/// OR-1: 2 + 2 + 1 MB begun at once arrive in order.
#[test]
fn sends_leave_in_the_order_of_begin_and_whole() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        let bytes = |seed: usize, size: usize| -> Vec<u8> {
            (0..size).map(|index| ((index * 31 + seed * 7) % 251) as u8).collect()
        };
        let buffers = [bytes(1, 2_000_000), bytes(2, 2_000_000), bytes(3, 1_000_000)];
        for buffer in &buffers {
            send(&socket, buffer.clone(), &report);
        }
        let mut received = vec![0; 5_000_000];
        peer.read_exact(&mut received).unwrap();
        assert!(received == buffers.concat());
        let total: usize = (0..3).map(|_| sent.recv().unwrap().result.unwrap()).sum();
        assert_eq!(total, 5_000_000);
    });
}

/// OR-5: a send that waits does not delay a receive.
#[test]
fn the_two_directions_are_independent() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        send(&socket, vec![1; 64 << 20], &report);
        let (report, received) = mpsc::channel();
        for round in 0..10 {
            receive(&socket, 1, &report);
            peer.write_all(&[round]).unwrap();
            assert_eq!(received.recv().unwrap().buffer, [round]);
        }
        assert!(sent.try_recv().is_err());
    });
}

/// AC-7: before and after the connects.
#[test]
fn every_accept_gets_a_connection_of_its_own() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        for connect_first in [false, true] {
            let (report, accepted) = mpsc::channel();
            let mut connections = HashMap::new();
            let mut connect = || {
                for _ in 0..5 {
                    let stream = std::net::TcpStream::connect(address).unwrap();
                    connections.insert(stream.local_addr().unwrap(), stream);
                }
            };
            if connect_first {
                connect();
            }
            for _ in 0..5 {
                accept(&listener, &report);
            }
            if !connect_first {
                connect();
            }
            for _ in 0..5 {
                let socket = accepted.recv().unwrap().result.unwrap();
                assert!(connections.remove(&socket.peer_addr().unwrap()).is_some());
            }
        }
    });
}
