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
fn a_connect_that_is_too_late_says_what_came_of_each_address() {
    with_every_runtime(|runtime| {
        let (_full, silent) = silent();
        let [refusing, other] = [refusing_address(), refusing_address()];
        for (timeout, addresses) in
            [(100, [refusing, silent, other]), (400, [silent, other, other])]
        {
            let timeout = Duration::from_millis(timeout);
            let connect = Client::builder().runtime(runtime).timeout(timeout);
            let connect = connect.connect(addresses.to_vec());
            let text = error_of(connect, ErrorKind::TimedOut).to_string();
            let (asked, came) =
                text.split_once(&format!(" timed out after {timeout:?}: ")).unwrap();
            assert_eq!(
                asked,
                format!("connect to {}:", addresses.map(|a| a.to_string()).join(", "))
            );
            // How far it came in that time is not certain.
            assert_eq!(came.split("; ").count(), 3, "{text}");
            for part in came.split("; ") {
                let (address, outcome) = part.split_once(": ").unwrap();
                let address: SocketAddr = address.parse().unwrap();
                match outcome {
                    "no answer" | "not tried" => assert!(addresses.contains(&address), "{text}"),
                    "connection refused" => assert!(address != silent, "{text}"),
                    _ => panic!("{text}"),
                }
            }
            assert!(came.contains(&format!("{silent}: no answer")), "{text}");
        }
    });
}

#[test]
fn a_lookup_that_is_too_late_says_so() {
    with_every_runtime(|runtime| {
        let connect = Client::builder().runtime(runtime).timeout(Duration::ZERO);
        let error = error_of(connect.connect("host.invalid:80"), ErrorKind::TimedOut);
        let expected = "timed out after 0ns: the host was still being looked up";
        assert_eq!(error.to_string(), format!("connect to host.invalid:80: {expected}"));
    });
}

#[test]
fn a_failure_that_comes_before_the_attempt_names_the_address_too() {
    let addresses = vec![refusing_address(), refusing_address()];
    // It counts in whole seconds.
    let connect =
        Client::builder().keepalive(Duration::from_millis(500)).connect(addresses.clone());
    let source = error_of(connect, ErrorKind::Connect).source().unwrap().to_string();
    for address in addresses {
        assert!(source.contains(&format!("connect to {address}: no keepalive")), "{source}");
    }
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
    const NO_HOST: &str = "the host is missing: ";
    const NO_PORT: &str = "the port is missing: ";
    const NO_DIGITS: &str = "the port is not a number from 0 to 65535 in digits alone: ";
    const WHITE_SPACE: &str = "there is white space in it: ";
    const COLONS: &str =
        "there are too many colons, unless an IPv6 address gets brackets around it: ";
    const BRACKET: &str = "a bracket is out of place: ";
    const COLON: &str = "there is a colon in the host, which is no IPv6 address: ";
    const SCOPE: &str = "a % is for the interface of an IPv6 address, by name or number: ";
    let texts = [
        ("", ""),
        ("localhost", NO_PORT),
        ("localhost:", NO_PORT),
        ("[::1]:", NO_PORT),
        ("[::1]", NO_PORT),
        (":80", NO_HOST),
        (":", NO_HOST),
        ("[]:80", NO_HOST),
        ("[]", NO_HOST),
        ("localhost:http", NO_DIGITS),
        ("localhost:65536", NO_DIGITS),
        ("localhost:+80", NO_DIGITS),
        ("localhost:-80", NO_DIGITS),
        ("localhost:8_0", NO_DIGITS),
        ("localhost:0x50", NO_DIGITS),
        ("localhost:\u{664}\u{662}", NO_DIGITS),
        ("127.0.0.1:+80", NO_DIGITS),
        ("[::1]:+80", NO_DIGITS),
        ("[::1]:65536", NO_DIGITS),
        (" localhost:80", WHITE_SPACE),
        ("localhost:80 ", WHITE_SPACE),
        ("localhost :80", WHITE_SPACE),
        ("localhost: 80", WHITE_SPACE),
        ("local host:80", WHITE_SPACE),
        (" 127.0.0.1:80", WHITE_SPACE),
        ("[::1]:80\n", WHITE_SPACE),
        ("[ ::1]:80", WHITE_SPACE),
        (" ", WHITE_SPACE),
        ("localhost\0:80", WHITE_SPACE),
        ("::1:80", COLONS),
        ("::1", COLONS),
        ("fe80::1%eth0:80", COLONS),
        ("localhost:80:80", COLONS),
        ("[::1", BRACKET),
        ("[::1:80", BRACKET),
        ("localhost]:80", BRACKET),
        ("[[::1]:80", BRACKET),
        ("[::1]80", ""),
        ("[::1]]:80", ""),
        ("[localhost:80]:80", COLON),
        ("[::1::1]:80", COLON),
        ("[fe80::1%]:80", SCOPE),
        ("[fe80::1%4294967296]:80", SCOPE),
        ("[127.0.0.1%1]:80", SCOPE),
        ("local%1:80", SCOPE),
        ("http://localhost:80", "it is a URL: "),
        ("http://localhost", "it is a URL: "),
    ];
    let pairs = [
        ("", NO_HOST),
        ("[]", NO_HOST),
        (" localhost", WHITE_SPACE),
        ("localhost ", WHITE_SPACE),
        ("[::1] ", WHITE_SPACE),
        ("localhost:80", COLON),
        ("http://localhost", COLON),
        ("::1::1", COLON),
        ("[::1", BRACKET),
        ("::1]", BRACKET),
        ("[[::1]]", BRACKET),
        ("[::1]:80", BRACKET),
        ("fe80::1%", SCOPE),
        ("[fe80::1%]", SCOPE),
        ("localhost%lo", SCOPE),
    ];
    let texts = texts.map(|(text, flaw)| (EndPoint::from(text), text.to_owned(), flaw));
    let owned = pairs
        .map(|(host, flaw)| (EndPoint::from((host.to_owned(), 80)), format!("{host}:80"), flaw));
    let pairs = pairs.map(|(host, flaw)| (EndPoint::from((host, 80)), format!("{host}:80"), flaw));
    for (end_point, text, flaw) in texts.into_iter().chain(pairs).chain(owned) {
        let error = error_of(Client::connect(end_point), ErrorKind::InvalidInput);
        let rule =
            r#"an end point is a host, a colon and a port, as in "localhost:80" or "[::1]:80""#;
        assert_eq!(error.to_string(), format!("connect to {text:?}: {flaw}{rule}"));
        assert_eq!(error.peer(), format!("{text:?}"));
    }
}

#[test]
fn end_points_print_as_they_are_written() {
    let texts = ["localhost:80", "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "[fe80::1%3]:80"];
    for text in texts {
        assert_eq!(EndPoint::from(text).to_string(), text);
    }
}

#[test]
fn the_same_end_point_may_be_written_in_several_ways() {
    let address = |text: &str| EndPoint::from(text.parse::<SocketAddr>().unwrap());
    for (one, other) in [
        (EndPoint::from(("[::1]", 80)), address("[::1]:80")),
        (EndPoint::from(("::1", 80)), address("[::1]:80")),
        (EndPoint::from("[::1]:80"), address("[::1]:80")),
        (EndPoint::from("[127.0.0.1]:00080"), address("127.0.0.1:80")),
        (EndPoint::from("[fe80::1%3]:80"), address("[fe80::1%3]:80")),
        (EndPoint::from(("[fe80::1%3]", 80)), address("[fe80::1%3]:80")),
        (EndPoint::from(("fe80::1%eth0", 80)), EndPoint::from("[fe80::1%eth0]:80")),
        (EndPoint::from(("localhost", 65535)), EndPoint::from("localhost:65535")),
    ] {
        assert_eq!(one, other);
    }
}

/// Where there is IPv6.
#[test]
fn an_address_in_brackets_is_connected_to() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
    let address = listener.local_addr().unwrap();
    with_every_runtime_at(address, |runtime, address| {
        let port = address.port();
        for end_point in [
            EndPoint::from(("[::1]", port)),
            EndPoint::from(("::1", port)),
            EndPoint::from(format!("[::1]:{port}")),
            EndPoint::from(format!("[::1%0]:{port}")),
        ] {
            let client = Client::builder().runtime(runtime).connect(end_point).unwrap();
            assert_eq!(client.peer_addr().ip(), address.ip());
        }
    });
}

fn with_every_runtime_at(address: SocketAddr, test: fn(&aio_core::Runtime, SocketAddr)) {
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            test(&support::builder().engine(engine).workers(1).build().unwrap(), address);
        });
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
