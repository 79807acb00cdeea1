//! A client reconnects when it is told to, and resends nothing.

mod support;

use aio_client::{Client, ErrorKind, Framing};
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread;
use support::{accept, error_of, listener, reset, until_somebody_receives, with_every_runtime};

#[test]
fn a_reconnect_makes_a_new_connection_with_the_same_settings_and_sends_nothing() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener();
        let client = Client::builder()
            .runtime(runtime)
            .framing(Framing::delimiter("\n"))
            .nodelay(false)
            .connect(address)
            .unwrap();
        let first = accept(&listener);
        client.send("question").unwrap();
        reset(first);
        let broken = client.receive().unwrap_err();
        assert_eq!(broken.kind(), ErrorKind::Receive, "{broken}");

        let again = client.reconnect().unwrap();
        let mut second = accept(&listener);
        assert!(!again.socket().with_socket(|socket| socket.tcp_nodelay().unwrap()).unwrap());
        again.send("another question").unwrap();
        let mut request = [0; 17];
        second.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"another question\n");
        second.write_all(b"answer\n").unwrap();
        assert_eq!(again.receive().unwrap(), b"answer");
        error_of(client.send("x"), ErrorKind::Closed);
    });
}

#[test]
fn a_reconnect_wakes_who_waits_on_the_old_connection() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener();
        let client = Client::builder().runtime(runtime).connect(address).unwrap();
        let receiver = client.clone();
        let receiver = thread::spawn(move || receiver.receive());
        until_somebody_receives(&client);
        let again = client.reconnect_async();
        error_of(receiver.join().unwrap(), ErrorKind::Closed);
        again.wait().unwrap();
        drop(listener);
    });
}

#[test]
fn a_reconnect_that_is_refused_can_be_tried_again() {
    with_every_runtime(|runtime| {
        let (first, address) = listener();
        let client = Client::builder().runtime(runtime).connect(address).unwrap();
        drop(first);
        let error = error_of(client.reconnect(), ErrorKind::Connect);
        assert_eq!(error.to_string(), format!("connect to {address}: connection refused"));
        let (sender, receiver) = mpsc::channel();
        client.begin_reconnect(move |ar| sender.send(Client::end_connect(ar).result).unwrap(), ());
        error_of(receiver.recv().unwrap(), ErrorKind::Connect);
    });
}
