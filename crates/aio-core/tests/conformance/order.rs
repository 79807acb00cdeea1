//! I5: per socket and direction, operations take effect in the order of their begin calls.

use crate::face::{Begun, Case, UNFINISHED, conforms};
use crate::support::connected;
use aio_core::{is_aborted, op};
use std::io::{Read, Write};
use std::thread;

/// OR-2, OR-6: `SendRecv_Stream_TCP_MultipleConcurrentReceives`; however the bytes are cut.
#[test]
fn receives_take_bytes_in_the_order_of_begin() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let segments: [&[&[u8]]; 4] =
            [&[b"123"], &[b"1", b"23"], &[b"12", b"3"], &[b"1", b"2", b"3"]];
        for segments in segments.repeat(5) {
            let receives = [(); 3].map(|()| case.receive(&socket, [0; 1]));
            for segment in segments {
                peer.write_all(segment).unwrap();
            }
            assert_eq!(receives.map(|receive| receive.end().buffer[0]), *b"123");
        }
    });
}

/// OR-1, OR-6: `SendRecv_Stream_TCP_MultipleConcurrentSends`; 2 + 2 + 1 MB arrive in order and whole.
#[test]
fn sends_leave_in_the_order_of_begin_and_whole() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let buffers =
            [(1, 2_000_000), (2, 2_000_000), (3, 1_000_000)].map(|(byte, size)| vec![byte; size]);
        let sends = buffers.clone().map(|buffer| case.send(&socket, buffer));
        let mut received = vec![0; 5_000_000];
        peer.read_exact(&mut received).unwrap();
        assert!(received == buffers.concat());
        assert_eq!(sends.map(Begun::output), [2_000_000, 2_000_000, 1_000_000]);
    });
}

/// OR-3: data has an order, ends have none: completions are collected in any.
#[test]
fn completions_are_collected_in_any_order() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let mut receives: Vec<_> =
            (0..6).map(|index| (index, case.receive(&socket, [0; 1]))).collect();
        peer.write_all(&[0, 1, 2, 3, 4, 5]).unwrap();
        receives.reverse();
        receives.swap(1, 4);
        for (index, receive) in receives {
            assert_eq!(receive.end().buffer, [index]);
        }
    });
}

/// OR-5: a send that waits does not delay a receive.
#[test]
fn the_two_directions_are_independent() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let send = case.send(&socket, vec![0; UNFINISHED]);
        for byte in 0..10 {
            let receive = case.receive(&socket, [0; 1]);
            peer.write_all(&[byte]).unwrap();
            assert_eq!(receive.end().buffer, [byte]);
        }
        assert!(!send.is_completed());
        socket.close();
        send.error();
    });
}

/// OR-7: an operation that is canceled in the middle does not disturb the rest.
#[test]
fn a_canceled_receive_leaves_the_others_in_their_order() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let [first, second, third] = [(); 3].map(|()| case.receive(&socket, [0; 1]));
        second.cancel();
        assert!(second.is_completed() && !first.is_completed() && !third.is_completed());
        assert!(is_aborted(&second.error()));
        first.cancel();
        assert!(is_aborted(&first.error()));
        peer.write_all(&[42]).unwrap();
        assert_eq!(third.end().buffer, [42]);
        let next = case.receive(&socket, [0; 1]);
        peer.write_all(&[43]).unwrap();
        assert_eq!(next.end().buffer, [43]);
    });
}

/// OR-1, OR-7: so it is with sends of which nothing has been sent.
#[test]
fn a_canceled_send_leaves_the_others_in_their_order() {
    conforms(|case: &Case| {
        const SIZE: usize = 6 << 20;
        let (socket, mut peer) = connected(&case.runtime);
        let first = case.send(&socket, vec![1; SIZE]);
        let [second, third] = [2, 3].map(|byte| case.send(&socket, vec![byte; 5]));
        second.cancel();
        assert!(is_aborted(&second.error()));
        let mut received = vec![0; SIZE + 5];
        peer.read_exact(&mut received).unwrap();
        assert!(received == [vec![1; SIZE], vec![3; 5]].concat());
        assert_eq!((first.output(), third.output()), (SIZE, 5));
    });
}

/// BE-17, OR-4: operations of one direction from several threads have no order, and lose nothing.
#[test]
fn operations_are_begun_by_several_threads() {
    conforms(|case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        thread::scope(|scope| {
            for byte in 0..4 {
                let socket = &socket;
                scope.spawn(move || {
                    let sends = [(); 10].map(|()| case.send(socket, [byte; 3]));
                    assert_eq!(sends.map(Begun::output), [3; 10]);
                });
            }
        });
        let mut received = [0; 120];
        peer.read_exact(&mut received).unwrap();
        let mut counts = [0; 4];
        for message in received.chunks(3) {
            assert!(message.iter().all(|byte| *byte == message[0]), "two sends have interleaved");
            counts[usize::from(message[0])] += 1;
        }
        assert_eq!(counts, [10; 4]);
        let receives: Vec<Begun<op::Receive<[u8; 1]>>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let socket = &socket;
                    scope.spawn(move || [(); 5].map(|()| case.receive(socket, [0; 1])))
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let bytes: Vec<u8> = (0..20).collect();
        peer.write_all(&bytes).unwrap();
        let mut received: Vec<u8> =
            receives.into_iter().map(|receive| receive.end().buffer[0]).collect();
        received.sort_unstable();
        assert_eq!(received, bytes);
    });
}
