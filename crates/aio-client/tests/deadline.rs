//! Every call ends with its deadline, and loses nothing.

mod support;

use aio_client::{ErrorKind, Framing};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::{SHORT, connected, error_of, until_somebody_receives, with_every_runtime};

#[test]
fn a_receive_from_a_silent_peer_ends_with_its_deadline() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let start = Instant::now();
        let error = error_of(client.with_timeout(SHORT).receive(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        assert_eq!(
            error.to_string(),
            format!(
                "receive from {}: timed out after 50ms: 0 bytes of the message received",
                client.peer_addr()
            )
        );
    });
}

#[test]
fn a_receive_that_was_out_of_time_has_taken_nothing() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let hasty = client.with_framing(Framing::delimiter("\n")).with_timeout(Duration::ZERO);
        for round in 0..200 {
            let message = format!("message {round}");
            for byte in message.bytes() {
                peer.write_all(&[byte]).unwrap();
                error_of(hasty.receive(), ErrorKind::TimedOut);
            }
            peer.write_all(b"\n").unwrap();
            let received = client.with_framing(Framing::delimiter("\n")).receive_text();
            assert_eq!(received.unwrap(), message);
        }
    });
}

#[test]
fn a_receive_without_any_time_takes_what_is_there_in_the_end() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"abc").unwrap();
        let hasty = client.with_framing(Framing::Fixed(3)).with_timeout(Duration::ZERO);
        let message = loop {
            match hasty.receive() {
                Ok(message) => break message,
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut),
            }
            thread::yield_now();
        };
        assert_eq!(message, b"abc");
    });
}

#[test]
fn an_idle_peer_is_given_up_before_the_deadline() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"half").unwrap();
        let error = error_of(client.with_idle_timeout(SHORT).receive(), ErrorKind::TimedOut);
        assert!(error.to_string().ends_with("timed out after 50ms: nothing was received"));
        peer.write_all(b" and half").unwrap();
        drop(peer);
        assert_eq!(client.receive().unwrap(), b"half and half");
    });
}

#[test]
fn a_send_to_a_peer_that_does_not_read_ends_with_its_deadline_and_says_how_far_it_came() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let message = vec![7; 32 << 20];
        let error = error_of(client.with_timeout(SHORT).send(message.clone()), ErrorKind::TimedOut);
        let text = error.to_string();
        let sent = text.split("50ms: ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let sent: u64 = sent.parse().unwrap();
        assert!(0 < sent && sent < message.len() as u64, "{text}");

        // The stream is broken there: what followed would be misread.
        error_of(client.send("next"), ErrorKind::Send);
        let mut received = vec![0; usize::try_from(sent).unwrap()];
        peer.read_exact(&mut received).unwrap();

        // The other direction goes on.
        peer.write_all(b"still here").unwrap();
        drop(peer);
        let rest = client.receive();
        assert!(rest.is_ok_and(|rest| rest == b"still here"));
    });
}

#[test]
fn waiting_for_another_receive_ends_with_the_deadline() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let first = client.with_framing(Framing::delimiter("\n"));
        let first = thread::spawn(move || first.receive());
        until_somebody_receives(&client);
        error_of(client.with_timeout(SHORT).receive(), ErrorKind::TimedOut);
        peer.write_all(b"for the first\n").unwrap();
        assert_eq!(first.join().unwrap().unwrap(), b"for the first");
    });
}

#[test]
fn calls_in_a_callback_get_on_even_if_it_holds_the_only_worker() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let (results, outcome) = mpsc::channel();
        let on_worker = client.with_framing(Framing::delimiter("\n"));
        client.socket().begin_send(
            *b"x",
            move |_| {
                on_worker.send("question").unwrap();
                let answer = on_worker.receive();
                let silence = on_worker.with_timeout(SHORT).receive();
                results.send((answer, silence)).unwrap();
            },
            (),
        );
        let mut question = [0; 10];
        peer.read_exact(&mut question).unwrap();
        assert_eq!(&question, b"xquestion\n");
        peer.write_all(b"answer\n").unwrap();
        let (answer, silence) = outcome.recv().unwrap();
        assert_eq!(answer.unwrap(), b"answer");
        error_of(silence, ErrorKind::TimedOut);
    });
}
