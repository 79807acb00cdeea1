//! The documented flow: connect, send, receive until the peer closes, close.

mod support;

use aio_client::{Client, Encoding, ErrorKind, Framing};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::thread;
use support::{LIMIT, connected, error_of, reset, serve, with_every_runtime};

#[test]
fn what_is_sent_arrives_and_the_response_ends_with_the_connection() {
    with_every_runtime(|runtime| {
        let (address, server) = serve(|mut peer| {
            let mut request = [0; 19];
            peer.read_exact(&mut request).unwrap();
            peer.write_all(&request).unwrap();
        });
        let client = Client::builder().runtime(runtime).timeout(LIMIT).connect(address).unwrap();
        client.send("This is a test<EOF>").unwrap();
        assert_eq!(client.receive_text().unwrap(), "This is a test<EOF>");
        error_of(client.receive(), ErrorKind::Closed);
        client.close();
        server.join().unwrap();
    });
}

/// DX-4: the document's sample drops it.
#[test]
fn a_response_of_one_byte_is_a_response() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"x").unwrap();
        drop(peer);
        assert_eq!(client.receive().unwrap(), b"x");
    });
}

#[test]
fn a_peer_that_closes_without_a_byte_has_sent_an_empty_message() {
    with_every_runtime(|runtime| {
        let (client, peer) = connected(runtime);
        drop(peer);
        assert_eq!(client.receive().unwrap(), b"");
        error_of(client.receive(), ErrorKind::Closed);
    });
}

#[test]
fn a_response_of_many_megabytes_arrives_whole() {
    with_every_runtime(|runtime| {
        let response: Vec<u8> = (0..10_u32 << 18).flat_map(u32::to_le_bytes).collect();
        let expected = response.clone();
        let (address, server) = serve(move |mut peer| peer.write_all(&response).unwrap());
        let client = Client::builder().runtime(runtime).timeout(LIMIT).connect(address).unwrap();
        assert!(client.receive().unwrap() == expected);
        server.join().unwrap();
    });
}

#[test]
fn an_empty_message_is_sent_and_changes_nothing() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        client.send("").unwrap();
        client.send("a").unwrap();
        client.shutdown_send().unwrap();
        let mut received = String::new();
        peer.read_to_string(&mut received).unwrap();
        assert_eq!(received, "a");
    });
}

/// DX-12, as checked against CoreCLR.
#[test]
fn ascii_replaces_what_it_does_not_have() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let client = client.with_encoding(Encoding::Ascii);
        client.send_text("é 😀").unwrap();
        client.shutdown_send().unwrap();
        let mut received = String::new();
        peer.read_to_string(&mut received).unwrap();
        assert_eq!(received, "? ??");
        peer.write_all("é".as_bytes()).unwrap();
        drop(peer);
        assert_eq!(client.receive_text().unwrap(), "??");
    });
}

#[test]
fn messages_of_many_threads_are_sent_whole() {
    with_every_runtime(|runtime| {
        const LENGTH: usize = 100_000;
        let (client, mut peer) = connected(runtime);
        let senders: Vec<_> = (0..8_u8)
            .map(|number| {
                let client = client.clone();
                thread::spawn(move || client.send(vec![number; LENGTH]).unwrap())
            })
            .collect();
        let mut received = vec![0; 8 * LENGTH];
        peer.read_exact(&mut received).unwrap();
        for message in received.chunks(LENGTH) {
            assert!(message.iter().all(|byte| *byte == message[0]));
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn a_reset_is_reported_while_receiving_and_again_afterwards() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"half an answ").unwrap();
        reset(peer);
        for _ in 0..2 {
            let error = error_of(client.receive(), ErrorKind::Receive);
            let expected = format!("receive from {}: connection reset", client.peer_addr());
            assert_eq!(error.to_string(), expected);
        }
    });
}

#[test]
fn a_send_after_a_reset_fails() {
    with_every_runtime(|runtime| {
        let (client, peer) = connected(runtime);
        reset(peer);
        error_of(client.receive(), ErrorKind::Receive);
        let error = error_of(client.send("x"), ErrorKind::Send);
        assert_eq!(error.peer(), client.peer_addr().to_string());
    });
}

#[test]
fn the_other_direction_goes_on_when_one_has_ended() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"answer").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.receive().unwrap(), b"answer");
        client.send("late question").unwrap();
        client.shutdown_send().unwrap();
        let mut received = String::new();
        peer.read_to_string(&mut received).unwrap();
        assert_eq!(received, "late question");
    });
}

#[test]
fn a_client_that_is_printed_does_not_show_what_it_received() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"secret\nand more").unwrap();
        assert_eq!(client.with_framing(Framing::delimiter("\n")).receive().unwrap(), b"secret");
        let printed = format!("{client:?}");
        assert!(printed.len() < 1000, "{printed}");
        let bytes = format!("{:?}", b"secret");
        assert!(!printed.contains(bytes.trim_matches(['[', ']'])), "{printed}");
    });
}
