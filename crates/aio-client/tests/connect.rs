//! A client connects to whichever address answers, within one deadline, or says why it cannot.

mod support;

use aio_client::{Client, EndPoint, ErrorKind};
use aio_core::Engine;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{LIMIT, connected, error_of, listener, refusing_address, with_every_runtime, within};

#[test]
fn a_refused_connect_names_the_address_and_the_reason() {
    with_every_runtime(|runtime| {
        let address = refusing_address();
        let result = Client::builder().runtime(runtime).connect(address);
        let error = error_of(result, ErrorKind::Connect);
        assert_eq!(error.peer(), address.to_string());
        assert_eq!(error.to_string(), format!("connect to {address}: connection refused"));
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn an_address_that_refuses_is_followed_by_the_next() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener();
        let addresses = vec![refusing_address(), refusing_address(), address];
        let client = Client::builder().runtime(runtime).connect(addresses).unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(client.peer_addr(), address);
        assert_eq!(client.local_addr().unwrap(), from);
    });
}

#[test]
fn when_all_addresses_refuse_the_source_tells_of_each() {
    with_every_runtime(|runtime| {
        let addresses = vec![refusing_address(), refusing_address()];
        let result = Client::builder().runtime(runtime).connect(addresses.clone());
        let source = error_of(result, ErrorKind::Connect).source().unwrap().to_string();
        for address in addresses {
            assert!(source.contains(&address.to_string()), "{source}");
        }
    });
}

/// A listener whose queue is full, so that a connect to it gets no answer.
#[cfg(target_os = "linux")]
fn silent() -> (Vec<aio_core::socket2::Socket>, SocketAddr) {
    use aio_core::socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    loop {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        match filler.connect_timeout(&address, Duration::from_millis(200)) {
            Ok(()) => sockets.push(filler),
            Err(_) => return (sockets, address.as_socket().unwrap()),
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_that_stays_silent_does_not_cost_the_deadline() {
    with_every_runtime(|runtime| {
        let (_full, silent) = silent();
        let (_listener, address) = listener();
        let client = Client::builder().runtime(runtime).connect(vec![silent, address]).unwrap();
        assert_eq!(client.peer_addr(), address);
    });
}

/// Also where the only worker is held by who waits for it.
#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_a_callback_waits_for_goes_on_to_the_next_address() {
    with_every_runtime(|runtime| {
        let (_full, silent) = silent();
        let (_listener, address) = listener();
        let (results, outcome) = mpsc::channel();
        let connect = Client::builder().runtime(runtime).connect_async(vec![silent, address]);
        runtime.handle().post(move || {
            results.send(connect.wait().map(|client| client.peer_addr())).unwrap();
        });
        assert_eq!(outcome.recv().unwrap().unwrap(), address);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_that_gets_no_answer_ends_with_its_deadline() {
    with_every_runtime(|runtime| {
        let (_full, silent) = silent();
        let timeout = Duration::from_millis(300);
        let start = Instant::now();
        let result = Client::builder().runtime(runtime).timeout(timeout).connect(silent);
        let error = error_of(result, ErrorKind::TimedOut);
        assert!(start.elapsed() >= timeout);
        assert_eq!(error.to_string(), format!("connect to {silent}: timed out after 300ms"));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_connect_is_canceled_or_ends_with_its_deadline_though_nobody_waits_for_it() {
    with_every_runtime(|runtime| {
        let (_full, silent) = silent();
        let connect = Client::builder().runtime(runtime).connect_async(silent);
        connect.cancel();
        let error = error_of(connect.wait(), ErrorKind::Canceled);
        assert_eq!(error.to_string(), format!("connect to {silent}: canceled"));

        let (outcomes, outcome) = mpsc::channel();
        let timeout = Duration::from_millis(50);
        Client::builder().runtime(runtime).timeout(timeout).begin_connect(
            vec![silent, silent],
            move |ar| outcomes.send(Client::end_connect(ar).result).unwrap(),
            (),
        );
        error_of(outcome.recv().unwrap(), ErrorKind::TimedOut);
    });
}

#[test]
fn a_callback_may_connect_even_if_it_holds_the_only_worker() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            let runtime = Arc::new(support::builder().engine(engine).workers(1).build().unwrap());
            let (client, _peer) = connected(&runtime);
            let (_listener, address) = listener();
            let addresses = vec![refusing_address(), address];
            let (results, outcome) = mpsc::channel();
            client.socket().begin_send(
                *b"x",
                {
                    let runtime = runtime.clone();
                    move |_| {
                        let connected = Client::builder().runtime(&runtime).connect(addresses);
                        results.send(connected).unwrap();
                    }
                },
                (),
            );
            assert_eq!(outcome.recv().unwrap().unwrap().peer_addr(), address);
        });
    }
}

#[test]
fn a_name_without_an_address_does_not_resolve() {
    let error = error_of(Client::connect("host.invalid:80"), ErrorKind::Resolve);
    assert_eq!(error.peer(), "host.invalid:80");
    assert!(error.source().is_some());
    error_of(Client::connect(Vec::<SocketAddr>::new()), ErrorKind::Resolve);
}

#[test]
fn what_is_no_end_point_is_said_at_connect() {
    for (end_point, text, flaw) in [
        (EndPoint::from(""), "", ""),
        (EndPoint::from("localhost"), "localhost", "the port is missing: "),
        (EndPoint::from("localhost:"), "localhost:", "the port is missing: "),
        (EndPoint::from("[::1]:"), "[::1]:", "the port is missing: "),
        (EndPoint::from(":80"), ":80", "the host is missing: "),
        (EndPoint::from("[]:80"), "[]:80", "the host is missing: "),
        (EndPoint::from(("", 80)), ":80", "the host is missing: "),
        (EndPoint::from((String::new(), 80)), ":80", "the host is missing: "),
        (EndPoint::from("localhost:http"), "localhost:http", ""),
        (EndPoint::from("::1:80"), "::1:80", ""),
        (EndPoint::from("[::1"), "[::1", ""),
        (EndPoint::from("a:65536"), "a:65536", ""),
    ] {
        let error = error_of(Client::connect(end_point), ErrorKind::InvalidInput);
        let rule = r#"an end point is a host, a colon and a port, as in "localhost:80""#;
        let expected = format!("{text:?}: {flaw}{rule}");
        assert!(error.to_string().contains(&expected), "{error}");
    }
}

#[test]
fn end_points_print_as_they_are_written() {
    for text in ["localhost:80", "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80"] {
        assert_eq!(EndPoint::from(text).to_string(), text);
    }
}

#[test]
fn options_reach_the_socket() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener();
        let client = Client::builder()
            .runtime(runtime)
            .nodelay(false)
            .keepalive(Duration::from_secs(60))
            .connect(address)
            .unwrap();
        drop(listener);
        let options = |socket: &aio_core::socket2::Socket| {
            (socket.tcp_nodelay().unwrap(), socket.keepalive().unwrap())
        };
        assert_eq!(client.socket().with_socket(options).unwrap(), (false, true));
        let (client, _peer) = connected(runtime);
        assert_eq!(client.socket().with_socket(options).unwrap(), (true, false));
    });
}

#[test]
fn a_keepalive_that_cannot_be_is_named() {
    with_every_runtime(|runtime| {
        let (_listener, address) = listener();
        // It counts in whole seconds.
        let idle = Duration::from_millis(500);
        let connect = Client::builder().runtime(runtime).keepalive(idle).connect(address);
        let error = error_of(connect, ErrorKind::Connect);
        let expected = format!("connect to {address}: no keepalive is possible after 500ms: ");
        assert!(error.to_string().starts_with(&expected), "{error}");
    });
}
