//! A hostile server can neither fill memory nor hold the caller.

mod support;

use aio_client::{Client, ErrorKind, Framing, LengthPrefix};
use aio_core::Engine;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, SHORT, builder, connected, error_of, reset, serve};
use support::{with_every_runtime, within};

const MAX: usize = 100_000;

/// Sends without end, for as long as anybody lets it, and returns how much that was.
fn endless(bytes: &'static [u8]) -> (SocketAddr, thread::JoinHandle<()>) {
    serve(move |mut peer| {
        let chunk = bytes.repeat(4096 / bytes.len());
        while peer.write_all(&chunk).is_ok() {}
    })
}

#[test]
fn endless_data_ends_at_the_limit() {
    with_every_runtime(|runtime| {
        for framing in [Framing::UntilClose, Framing::delimiter("<EOF>")] {
            let (address, server) = endless(b"<EOX");
            let client = Client::builder()
                .runtime(runtime)
                .timeout(LIMIT)
                .framing(framing)
                .max_response(MAX)
                .connect(address)
                .unwrap();
            for _ in 0..3 {
                let error = error_of(client.receive(), ErrorKind::TooLong);
                assert_eq!(
                    error.to_string(),
                    format!("receive from {address}: the message is longer than {MAX} bytes")
                );
            }
            drop(client);
            server.join().unwrap();
        }
    });
}

#[test]
fn a_length_of_two_to_the_63_ends_at_once() {
    with_every_runtime(|runtime| {
        for prefix in [LengthPrefix::U64Be, LengthPrefix::U32Le] {
            let (client, mut peer) = connected(runtime);
            peer.write_all(&[0x80, 0, 0, 0x80, 0, 0, 0, 0]).unwrap();
            let client = client.with_framing(Framing::LengthPrefix(prefix));
            error_of(client.receive(), ErrorKind::TooLong);
        }
    });
}

#[test]
fn a_byte_now_and_then_ends_with_the_deadline() {
    with_every_runtime(|runtime| {
        let (address, server) = serve(|mut peer| {
            // Often enough for the idle timeout, and never done.
            while peer.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(5));
            }
        });
        let timeout = Duration::from_millis(200);
        let client = Client::builder()
            .runtime(runtime)
            .framing(Framing::delimiter("\n"))
            .connect(address)
            .unwrap()
            .with_timeout(timeout);
        let start = Instant::now();
        error_of(client.receive(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= timeout);
        drop(client);
        server.join().unwrap();
    });
}

/// Until the client goes.
fn a_byte_each_second(mut peer: TcpStream) {
    peer.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    while peer.write_all(b"x").is_ok() {
        if peer.read(&mut [0]).is_ok() {
            return;
        }
    }
}

/// Returns the error that ends a receive from [`a_byte_each_second`], and after how long.
fn drip_fed(engine: Engine, timeout: Duration, idle: Duration) -> (String, Duration) {
    within(LIMIT, &format!("{engine}, {timeout:?}, {idle:?}"), move || {
        let runtime = builder().engine(engine).workers(1).build().unwrap();
        let (address, server) = serve(a_byte_each_second);
        let client = Client::builder()
            .runtime(&runtime)
            .timeout(LIMIT)
            .idle_timeout(idle)
            .framing(Framing::delimiter("\n"))
            .connect(address)
            .unwrap()
            .with_timeout(timeout);
        let start = Instant::now();
        let error = error_of(client.receive(), ErrorKind::TimedOut);
        let elapsed = start.elapsed();
        drop(client);
        server.join().unwrap();
        (error.to_string(), elapsed)
    })
}

#[test]
fn a_byte_each_second_ends_with_the_idle_timeout_or_with_the_deadline() {
    thread::scope(|scope| {
        for engine in [Engine::Blocking, Engine::Readiness] {
            scope.spawn(move || {
                let idle = Duration::from_millis(400);
                let (error, elapsed) = drip_fed(engine, LIMIT, idle);
                assert!(error.ends_with("timed out after 400ms: nothing was received"), "{error}");
                assert!(elapsed >= idle, "{elapsed:?}");
            });
            scope.spawn(move || {
                let timeout = Duration::from_millis(2500);
                // Every byte comes well before it is over, and none makes the whole last longer.
                let (error, elapsed) = drip_fed(engine, timeout, Duration::from_millis(2200));
                let received = error
                    .split_once("timed out after 2.5s: ")
                    .and_then(|(_, rest)| rest.strip_suffix(" bytes of the message received"))
                    .unwrap_or_else(|| panic!("{error}"));
                assert!(received.parse::<u32>().unwrap() >= 2, "{error}");
                assert!(elapsed >= timeout, "{elapsed:?}");
            });
        }
    });
}

#[test]
fn small_messages_without_end_do_not_pile_up() {
    with_every_runtime(|runtime| {
        let (address, server) = endless(b"line\n");
        let client = Client::builder()
            .runtime(runtime)
            .framing(Framing::delimiter("\n"))
            .max_response(8)
            .connect(address)
            .unwrap();
        for line in 0..10_000 {
            assert_eq!(client.receive().unwrap(), b"line", "line {line}");
        }
        drop(client);
        server.join().unwrap();
    });
}

#[test]
fn half_a_character_at_the_end_is_an_error_and_not_lost() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        peer.write_all(b"5 \xE2\x82").unwrap();
        drop(peer);
        for _ in 0..2 {
            let error = error_of(client.receive_text(), ErrorKind::Encoding);
            let reason = "the text ends inside the character at byte 2";
            assert!(error.to_string().ends_with(reason), "{error}");
        }
        assert_eq!(client.receive().unwrap(), b"5 \xE2\x82");
    });
}

#[test]
fn a_reset_after_any_number_of_bytes_is_an_error() {
    with_every_runtime(|runtime| {
        let bytes = b"\x00\x00\x00\x05hello";
        for arrived in 0..bytes.len() {
            let (client, mut peer) = connected(runtime);
            peer.write_all(&bytes[..arrived]).unwrap();
            reset(peer);
            let client = client.with_framing(Framing::LengthPrefix(LengthPrefix::U32Be));
            error_of(client.receive(), ErrorKind::Receive);
        }
    });
}

#[test]
fn a_server_that_says_nothing_ends_with_the_idle_timeout() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        error_of(client.with_idle_timeout(SHORT).receive(), ErrorKind::TimedOut);
    });
}
