//! Closing wakes whoever waits, and the last handle closes.

mod support;

use aio_client::{ErrorKind, Framing};
use std::io::{self, Read, Write};
use std::thread;
use support::{SHORT, connected, error_of, until_somebody_receives, with_every_runtime};

#[test]
fn close_wakes_a_receive() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let receiver = client.clone();
        let receiver = thread::spawn(move || receiver.receive());
        until_somebody_receives(&client);
        client.close();
        let error = error_of(receiver.join().unwrap(), ErrorKind::Closed);
        assert!(error.to_string().ends_with("the client is closed"), "{error}");
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn close_wakes_a_send() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let sender = client.clone();
        let sender = thread::spawn(move || sender.send(vec![0; 64 << 20]));
        // The peer reads the beginning, so the send has begun.
        peer.read_exact(&mut [0]).unwrap();
        client.close();
        error_of(sender.join().unwrap(), ErrorKind::Closed);
    });
}

#[test]
fn every_call_on_a_closed_client_says_so() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        client.close();
        client.close();
        error_of(client.send("x"), ErrorKind::Closed);
        error_of(client.receive(), ErrorKind::Closed);
        error_of(client.shutdown_send(), ErrorKind::Closed);
        let peer = client.peer_addr();
        for (error, attempt) in [
            (client.send("x").unwrap_err().into(), "send to"),
            (client.receive().unwrap_err().into(), "receive from"),
            (client.shutdown_send().unwrap_err().into(), "shut down sending to"),
            (client.local_addr().unwrap_err(), "local address of the connection to"),
        ] {
            assert_eq!(error.kind(), io::ErrorKind::NotConnected);
            assert_eq!(error.to_string(), format!("{attempt} {peer}: the client is closed"));
        }
    });
}

#[test]
fn the_last_handle_closes_even_if_a_receive_is_pending() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        error_of(lines.with_timeout(SHORT).receive(), ErrorKind::TimedOut);
        drop(client);
        peer.write_all(b"x\n").unwrap();
        assert_eq!(lines.receive().unwrap(), b"x");
        error_of(lines.with_timeout(SHORT).receive(), ErrorKind::TimedOut);
        drop(lines);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn the_end_of_the_runtime_wakes_a_receive() {
    with_every_runtime(|runtime| {
        let other = support::builder().workers(1).build().unwrap();
        let (client, _peer) = connected(&other);
        let receiver = client.clone();
        let receiver = thread::spawn(move || receiver.receive());
        until_somebody_receives(&client);
        drop(other);
        error_of(receiver.join().unwrap(), ErrorKind::Receive);
        error_of(client.send("x"), ErrorKind::Send);
        assert!(runtime.workers() > 0);
    });
}
