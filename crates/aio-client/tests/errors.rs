//! An error says what was attempted on whom, and converts to the nearest one of std.

mod support;

use aio_client::{Client, Error, ErrorKind, Framing};
use aio_core::Engine;
use std::error::Error as _;
use std::io::{self, Read, Write};
use support::{SHORT, connected, error_of, refusing_address, with_every_runtime};

#[test]
fn an_error_becomes_an_io_error_of_the_nearest_kind_with_the_same_words() {
    with_every_runtime(|runtime| {
        let becomes = |result: Result<Vec<u8>, Error>, kind: io::ErrorKind| {
            let error = result.unwrap_err();
            let words = error.to_string();
            let converted = io::Error::from(error);
            assert_eq!((converted.kind(), converted.to_string()), (kind, words));
            let inner = converted.into_inner().unwrap();
            assert!(inner.downcast_ref::<Error>().is_some(), "the error itself is inside");
        };
        let refused = Client::builder().runtime(runtime).connect(refusing_address());
        becomes(refused.map(|_| Vec::new()), io::ErrorKind::ConnectionRefused);

        let (client, mut peer) = connected(runtime);
        becomes(client.with_timeout(SHORT).receive(), io::ErrorKind::TimedOut);
        becomes(client.with_framing(Framing::delimiter("")).receive(), io::ErrorKind::InvalidInput);
        peer.write_all(b"abc").unwrap();
        becomes(client.with_max_response(2).receive(), io::ErrorKind::InvalidData);
        drop(peer);
        becomes(client.with_framing(Framing::Fixed(4)).receive(), io::ErrorKind::UnexpectedEof);
        client.receive().unwrap();
        becomes(client.receive(), io::ErrorKind::NotConnected);
    });
}

#[test]
fn only_what_the_system_said_has_a_source() {
    with_every_runtime(|runtime| {
        let (client, peer) = connected(runtime);
        assert!(client.with_timeout(SHORT).receive().unwrap_err().source().is_none());
        support::reset(peer);
        let error = client.receive().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Receive);
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.unwrap().kind(), io::ErrorKind::ConnectionReset);
    });
}

#[test]
fn an_error_names_the_peer_once() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        let runtime = support::builder().engine(engine).workers(1).build().unwrap();
        let (client, _peer) = connected(&runtime);
        let (other, _its_peer) = connected(&runtime);
        let mut errors = Vec::new();
        let mut keep = |result: Result<(), Error>| errors.push(result.unwrap_err());
        let send = other.send_async(vec![0; 64 << 20]);
        send.cancel();
        keep(send.wait());
        keep(other.send("behind it"));
        keep(client.with_timeout(SHORT).receive().map(drop));
        let receive = client.receive_async();
        drop(runtime);
        keep(receive.wait().map(drop));
        keep(client.send("x"));
        keep(client.reconnect().map(drop));
        keep(other.receive().map(drop));
        other.close();
        keep(other.receive().map(drop));
        for error in errors {
            let text = error.to_string();
            assert_eq!(text.matches(error.peer()).count(), 1, "{text}");
        }
    }
}

#[test]
fn errors_travel_between_threads_and_are_cloned() {
    fn is_at_home_everywhere<T: Clone + Send + Sync + std::error::Error + 'static>() {}
    is_at_home_everywhere::<Error>();
    fn is_shared<T: Clone + Send + Sync>() {}
    is_shared::<Client>();
}

#[test]
fn a_call_that_the_runtime_does_not_take_can_be_tried_again() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        let runtime = support::builder().engine(engine).max_pending(1).build().unwrap();
        let (client, mut peer) = connected(&runtime);
        let (other, _its_peer) = connected(&runtime);
        let client = client.with_framing(Framing::delimiter("\n"));
        peer.write_all(b"a line").unwrap();
        error_of(client.with_timeout(SHORT).receive(), ErrorKind::TimedOut);

        let pending = other.receive_async();
        for error in [
            error_of(client.receive(), ErrorKind::Receive),
            error_of(client.send("refused"), ErrorKind::Send),
        ] {
            let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.kind(), io::ErrorKind::ResourceBusy, "{error}");
        }
        pending.cancel();
        error_of(pending.wait(), ErrorKind::Canceled);

        peer.write_all(b"\n").unwrap();
        assert_eq!(client.receive().unwrap(), b"a line");
        client.send("sent").unwrap();
        let mut sent = [0; 5];
        peer.read_exact(&mut sent).unwrap();
        assert_eq!(&sent, b"sent\n");
    }
}
