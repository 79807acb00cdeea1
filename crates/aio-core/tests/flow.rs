//! The whole path of an operation: begin, wait, complete, callback, end (I1, I2).

mod support;

use aio_core::{AsyncResult, Completion, Runtime, Socket, op};
use std::io::{Read, Write};
use std::sync::mpsc;
use support::{connected, listener, with_every_runtime};

#[test]
fn connect_accept_send_and_receive_meet() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let (sender, accepted) = mpsc::channel();
        listener.begin_accept(
            |ar: AsyncResult<op::Accept, (Socket, mpsc::Sender<Socket>)>| {
                let listener = ar.async_state().0.clone();
                let Completion { result, state, .. } = listener.end_accept(ar);
                state.1.send(result.unwrap()).unwrap();
            },
            (listener.clone(), sender),
        );
        let client = runtime.tcp_v4().unwrap();
        let (sender, outcome) = mpsc::channel();
        let report = sender.clone();
        client.begin_connect(address, move |ar| report.send(ar.error().is_none()).unwrap(), ());
        assert!(outcome.recv().unwrap());
        let server = accepted.recv().unwrap();
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());

        let report = sender.clone();
        client.begin_send(
            "hello",
            move |ar| {
                assert_eq!(ar.error().map(ToString::to_string), None);
                report.send(true).unwrap();
            },
            (),
        );
        assert!(outcome.recv().unwrap());
        let (sender, received) = mpsc::channel();
        server.begin_receive(
            vec![0; 16],
            |ar: AsyncResult<op::Receive<Vec<u8>>, (Socket, mpsc::Sender<_>)>| {
                let server = ar.async_state().0.clone();
                let Completion { result, bytes_transferred, buffer, state, .. } =
                    server.end_receive(ar);
                state.1.send((result.unwrap(), bytes_transferred, buffer)).unwrap();
            },
            (server.clone(), sender),
        );
        let (n, transferred, buffer) = received.recv().unwrap();
        assert_eq!((n, transferred, buffer.len(), &buffer[..5]), (5, 5, 16, &b"hello"[..]));
    });
}

#[test]
fn a_pending_receive_gets_what_arrives_later_and_then_the_end() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (sender, received) = mpsc::channel();
        receive(&socket, vec![0; 4], sender);
        for byte in 0..100 {
            peer.write_all(&[byte]).unwrap();
            assert_eq!(received.recv().unwrap(), vec![byte]);
        }
        drop(peer);
        assert_eq!(received.recv().unwrap(), Vec::<u8>::new());
    });
}

fn receive(socket: &Socket, buffer: Vec<u8>, report: mpsc::Sender<Vec<u8>>) {
    socket.begin_receive(
        buffer,
        |ar: AsyncResult<op::Receive<Vec<u8>>, (Socket, mpsc::Sender<Vec<u8>>)>| {
            let socket = ar.async_state().0.clone();
            let Completion { result, buffer, state: (_, report), .. } = socket.end_receive(ar);
            let n = result.unwrap();
            report.send(buffer[..n].to_vec()).unwrap();
            if n > 0 {
                receive(&socket, buffer, report);
            }
        },
        (socket.clone(), report),
    );
}

/// SN-4, MO-2.
#[test]
fn a_send_is_whole_however_slow_the_reader() {
    with_every_runtime(|runtime: &Runtime| {
        const SIZE: usize = 8 << 20;
        let (socket, mut peer) = connected(runtime);
        let (sender, sent) = mpsc::channel();
        socket.begin_send(
            vec![7; SIZE],
            move |ar: AsyncResult<op::Send<Vec<u8>>, Socket>| {
                let socket = ar.async_state().clone();
                let completion = socket.end_send(ar);
                sender.send((completion.result.unwrap(), completion.buffer.len())).unwrap();
                socket.close();
            },
            socket.clone(),
        );
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), SIZE);
        assert!(bytes.iter().all(|byte| *byte == 7));
        assert_eq!(sent.recv().unwrap(), (SIZE, SIZE));
    });
}
