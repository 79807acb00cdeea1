//! What callbacks alone have.

use crate::face::{Case, Face, conforms_with};
use crate::support::{LIMIT, connected};
use aio_core::{AsyncResult, Completion, Socket, op};
use std::io::{Read, Write};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

type Received<S> = AsyncResult<op::Receive<[u8; 1]>, S>;

/// AR-9: the very state that was given to begin, before and after the end.
#[test]
fn the_state_is_the_one_that_was_given() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let (report, states) = mpsc::channel();
        let state = Arc::new("state");
        let same = state.clone();
        let ender = socket.clone();
        let callback = move |ar: Received<Arc<&str>>| {
            let before = Arc::ptr_eq(ar.async_state(), &same);
            let Completion { state, .. } = ender.end_receive(ar);
            report.send(before && Arc::ptr_eq(&state, &same)).unwrap();
        };
        socket.begin_receive([0; 1], callback, state);
        peer.write_all(&[1]).unwrap();
        assert!(states.recv().unwrap());
    });
}

/// AR-11, CB-4 as departed from: begin returns while its callback runs, which is in another thread.
#[test]
fn begin_does_not_wait_for_the_callback() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, _peer) = connected(&case.runtime);
        let both = Arc::new(Barrier::new(2));
        let inside = both.clone();
        let callback = move |_: AsyncResult<op::Send<[u8; 1]>>| {
            inside.wait();
        };
        let begun = socket.begin_send([1], callback, ());
        assert!(begun.wait_timeout(LIMIT));
        both.wait();
    });
}

/// AR-10: what the callback gets and what begin returned are the same operation.
#[test]
fn the_callback_and_begin_tell_of_the_same_operation() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let (report, handles) = mpsc::channel();
        let callback = move |ar: Received<()>| report.send(ar.operation().clone()).unwrap();
        let begun = socket.begin_receive([0; 1], callback, ());
        assert!(!begun.is_completed());
        peer.write_all(&[1]).unwrap();
        let told = handles.recv().unwrap();
        assert!(begun.is_completed() && told.is_completed());
    });
}

/// BE-5, BE-9 as departed from: a result that is ended through another socket simply ends.
#[test]
fn a_result_ends_through_any_socket() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let other = case.runtime.tcp_v4().unwrap();
        let (report, received) = mpsc::channel();
        let callback = move |ar: Received<()>| report.send(other.end_receive(ar).buffer).unwrap();
        socket.begin_receive([0; 1], callback, ());
        peer.write_all(&[7]).unwrap();
        assert_eq!(received.recv().unwrap(), [7]);
    });
}

/// CB-3 as it is here: a callback that does not care, and a result that is dropped unended.
#[test]
fn a_result_that_is_not_ended_is_dropped_and_nobody_minds() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let kept = Arc::new(());
        let begun = socket.begin_receive([0; 1], |_| {}, kept.clone());
        peer.write_all(&[1]).unwrap();
        begun.wait_one();
        while Arc::strong_count(&kept) > 1 {
            thread::yield_now();
        }
    });
}

/// RC-2, RC-3, RC-4, CB-10: the document's receive loop, which begins again in its callback.
#[test]
fn a_callback_receives_again_until_the_end() {
    type State = (Socket, mpsc::Sender<Vec<u8>>);

    fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, State>) {
        let socket = ar.async_state().0.clone();
        let Completion { result, buffer, state, .. } = socket.end_receive(ar);
        let n = result.unwrap();
        state.1.send(buffer[..n].to_vec()).unwrap();
        if n > 0 {
            socket.begin_receive(buffer, receive_callback, state);
        }
    }

    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let (report, received) = mpsc::channel();
        socket.begin_receive(vec![0; 4], receive_callback, (socket.clone(), report));
        for byte in 0..100 {
            peer.write_all(&[byte]).unwrap();
            assert_eq!(received.recv().unwrap(), [byte]);
        }
        drop(peer);
        assert_eq!(received.recv().unwrap(), []);
        assert!(received.recv().is_err());
    });
}

/// OR-3, UX-7, UX-8: a callback that blocks does not hold up the next operation of its socket, nor its
/// callback while a worker is free.
#[test]
fn a_blocked_callback_does_not_hold_up_its_socket() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let (release, blocked) = mpsc::channel::<()>();
        let (running, runs) = mpsc::channel();
        let callback = move |_: Received<()>| {
            running.send(()).unwrap();
            let _ = blocked.recv();
        };
        socket.begin_receive([0; 1], callback, ());
        let next = case.receive(&socket, [0; 1]);
        peer.write_all(&[1, 2]).unwrap();
        runs.recv().unwrap();
        if case.runtime.workers() > 1 {
            assert_eq!(next.end().buffer, [2]);
            drop(release);
        } else {
            drop(release);
            assert_eq!(next.end().buffer, [2]);
        }
    });
}

/// CL-9: a socket is closed in a callback of its own.
#[test]
fn close_in_a_callback_of_the_same_socket() {
    conforms_with(Face::Callback, |case: &Case| {
        let (socket, mut peer) = connected(&case.runtime);
        let receive = case.receive(&socket, [0; 1]);
        let callback = |ar: AsyncResult<_, Socket>| ar.async_state().close();
        socket.begin_send([1], callback, socket.clone());
        assert!(aio_core::is_aborted(&receive.error()));
        assert_eq!(peer.read(&mut [0; 2]).unwrap(), 1);
        assert_eq!(peer.read(&mut [0; 2]).unwrap(), 0);
    });
}
