//! A message arrives as it was sent, whatever the framing, and however the bytes are cut.

mod support;

use aio_client::{Client, ErrorKind, Framing, LengthPrefix};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex};
use std::thread;
use support::{connected, error_of, with_every_runtime};

const MESSAGE: &[u8] = b"a message of 23 bytes, ";

fn framings() -> Vec<Framing> {
    let prefixes = [
        LengthPrefix::U8,
        LengthPrefix::U16Be,
        LengthPrefix::U16Le,
        LengthPrefix::U32Be,
        LengthPrefix::U32Le,
        LengthPrefix::U64Be,
        LengthPrefix::U64Le,
    ];
    let mut framings = vec![Framing::delimiter("\n"), Framing::delimiter("<EOF>")];
    framings.extend(prefixes.map(Framing::LengthPrefix));
    framings.push(Framing::Fixed(MESSAGE.len()));
    framings
}

#[test]
fn messages_that_are_echoed_come_back_one_by_one() {
    with_every_runtime(|runtime| {
        for framing in framings() {
            let (client, mut peer) = connected(runtime);
            let echo = thread::spawn(move || {
                // Odd pieces, so that messages and frames are cut everywhere.
                let mut piece = [0; 7];
                while let Ok(n @ 1..) = peer.read(&mut piece) {
                    peer.write_all(&piece[..n]).unwrap();
                }
            });
            let client = client.with_framing(framing.clone());
            // Many at once, so that several arrive together.
            for _ in 0..50 {
                client.send(MESSAGE).unwrap();
            }
            for _ in 0..50 {
                assert_eq!(client.receive().unwrap(), MESSAGE, "{framing:?}");
            }
            client.shutdown_send().unwrap();
            error_of(client.receive(), ErrorKind::Closed);
            echo.join().unwrap();
        }
    });
}

#[test]
fn the_end_inside_a_message_is_not_the_end_of_the_message() {
    with_every_runtime(|runtime| {
        for framing in framings() {
            let (client, mut peer) = connected(runtime);
            // No prefix, delimiter or message of the framings is whole after this byte, or it is the
            // prefix of a message that is missing.
            peer.write_all(&[1]).unwrap();
            drop(peer);
            let framed = client.with_framing(framing.clone());
            let error = error_of(framed.receive(), ErrorKind::Incomplete);
            assert!(
                error.to_string().contains("of a message, with 1 byte received"),
                "{framing:?}: {error}"
            );
            // It can be had as what it is.
            assert_eq!(client.receive().unwrap(), [1]);
        }
    });
}

#[test]
fn empty_messages_are_messages() {
    with_every_runtime(|runtime| {
        for framing in [Framing::delimiter("\n"), Framing::LengthPrefix(LengthPrefix::U16Be)] {
            let (client, mut peer) = connected(runtime);
            let client = client.with_framing(framing);
            client.send("").unwrap();
            client.send("").unwrap();
            client.shutdown_send().unwrap();
            let mut bytes = Vec::new();
            peer.read_to_end(&mut bytes).unwrap();
            peer.write_all(&bytes).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.receive().unwrap(), b"");
            assert_eq!(client.receive().unwrap(), b"");
            error_of(client.receive(), ErrorKind::Closed);
        }
    });
}

#[test]
fn a_message_that_the_framing_cannot_carry_is_not_sent() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let refuses = |framing: Framing, message: &str| {
            error_of(client.with_framing(framing).send(message), ErrorKind::InvalidInput);
        };
        refuses(Framing::delimiter("\n"), "two\nlines");
        refuses(Framing::delimiter(""), "x");
        refuses(Framing::Fixed(2), "x");
        refuses(Framing::LengthPrefix(LengthPrefix::U8), &"x".repeat(256));
        let nothing = client.with_framing(Framing::delimiter(""));
        error_of(nothing.receive(), ErrorKind::InvalidInput);
        drop(nothing);
        drop(client);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn progress_grows_to_the_length_that_the_frame_tells() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let client = client.with_framing(Framing::LengthPrefix(LengthPrefix::U32Be));
        let client = client.with_progress({
            let seen = seen.clone();
            move |received, expected| seen.lock().unwrap().push((received, expected))
        });
        let sender = thread::spawn(move || {
            peer.write_all(&1_000_000_u32.to_be_bytes()).unwrap();
            peer.write_all(&[0; 1_000_000]).unwrap();
            peer
        });
        assert_eq!(client.receive().unwrap().len(), 1_000_000);
        let seen = seen.lock().unwrap();
        assert_eq!(seen[0], (0, None));
        assert!(seen.iter().is_sorted() && seen.len() > 2, "{seen:?}");
        assert!(seen[1..].iter().all(|(_, expected)| matches!(expected, None | Some(1_000_000))));
        drop(sender.join().unwrap());
    });
}

#[test]
fn the_framing_may_change_between_messages() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhelloand the rest").unwrap();
        drop(peer);
        let head = client.with_framing(Framing::delimiter("\r\n\r\n"));
        let body = client.with_framing(Framing::Fixed(5));
        let text = |client: &Client| client.receive_text().unwrap();
        assert_eq!(text(&head), "HTTP/1.1 200 OK\r\ncontent-length: 5");
        assert_eq!(text(&body), "hello");
        assert_eq!(text(&client), "and the rest");
    });
}
