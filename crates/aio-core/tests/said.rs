//! Errors and reports say what was attempted, on which address, and what came of it.

mod support;

use aio_core::op::Destination;
#[cfg(unix)]
use aio_core::socket2::SockAddr;
use aio_core::socket2::{self, Domain, Type};
use aio_core::{Runtime, is_aborted};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;
use support::with_every_runtime;
#[cfg(target_os = "linux")]
use support::{full_listener, refusing_address};

#[cfg(target_os = "linux")]
#[test]
fn a_connect_to_several_addresses_that_is_too_late_says_what_came_of_each() {
    with_every_runtime(|runtime: &Runtime| {
        let refusing = refusing_address();
        let (_listener, silent, _connections) = full_listener(runtime).unwrap();
        let rest = SocketAddr::from(([127, 0, 0, 1], 1));
        let destination = || Destination::from(vec![refusing, silent, rest]);
        let limited = destination().timeout(Duration::from_millis(100));
        let error = runtime.connect_to(limited).unwrap_err();
        assert_eq!((error.kind(), is_aborted(&error)), (ErrorKind::TimedOut, true));
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(
            error.to_string(),
            format!(
                "connect to one of 3 addresses: {refusing}: {refused}; \
                 {silent}: no answer until the deadline; {rest}: not tried"
            )
        );
        let source = error.get_ref().unwrap().source().unwrap();
        assert_eq!(source.to_string(), "operation aborted: its deadline has passed");

        let mut connect = runtime.connect_to_async(destination());
        assert!(connect.wait_timeout(Duration::from_millis(50)).is_none());
        connect.cancel();
        let error = connect.wait().result.unwrap_err();
        assert!(is_aborted(&error) && error.kind() != ErrorKind::TimedOut);
        let expected = format!("{silent}: no answer until it was canceled; {rest}: not tried");
        assert!(error.to_string().contains(&expected), "{error}");

        // Of one address, that is all there is to say.
        let limited = Destination::from(silent).timeout(Duration::from_millis(20));
        let error = runtime.connect_to(limited).unwrap_err();
        let expected = format!("connect to {silent}: no answer until the deadline");
        assert_eq!(error.to_string(), expected);
        let client = runtime.tcp_v4().unwrap();
        let error = client.with_timeout(Duration::from_millis(20)).connect(silent).unwrap_err();
        assert_eq!((error.kind(), is_aborted(&error)), (ErrorKind::TimedOut, true));
        assert_eq!(error.to_string(), expected);
    });
}

/// What was never begun has no answer to wait for.
#[test]
fn a_connect_that_is_refused_before_it_begins_says_to_whom() {
    with_every_runtime(|runtime: &Runtime| {
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        let closed = runtime.tcp_v4().unwrap();
        closed.close();
        let error = closed.connect(address).unwrap_err();
        assert!(is_aborted(&error));
        let expected = "connect to 192.0.2.1:80: operation aborted: the socket is closed";
        assert_eq!(error.to_string(), expected);
        let other = support::builder().workers(1).build().unwrap();
        let (handle, socket) = (other.handle(), other.tcp_v4().unwrap());
        drop(other);
        let error = socket.connect(address).unwrap_err();
        assert!(is_aborted(&error) && error.to_string().starts_with("connect to 192.0.2.1:80: "));
        assert!(is_aborted(&handle.look_up_async("localhost", 80).wait().result.unwrap_err()));
    });
}

/// Two bind to one address, and the second to listen is refused.
#[cfg(target_os = "linux")]
#[test]
fn an_address_in_use_is_named() {
    with_every_runtime(|runtime: &Runtime| {
        let (first, second) = (runtime.tcp_v4().unwrap(), runtime.tcp_v4().unwrap());
        first.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = first.local_addr().unwrap();
        second.bind(address).unwrap();
        first.listen(1).unwrap();
        let error = second.listen(1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("listen on {address}: ")), "{error}");
        let error = runtime.tcp_v4().unwrap().bind(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("bind to {address}: ")), "{error}");
    });
}

#[cfg(target_os = "linux")]
#[test]
fn addresses_of_every_family_are_named() {
    with_every_runtime(|runtime: &Runtime| {
        let connect = |address: SockAddr| {
            let socket = runtime.socket(Domain::UNIX, Type::STREAM, None).unwrap();
            let error = socket.connect(address).unwrap_err().to_string();
            error.rsplit_once(": ").unwrap().0.to_owned()
        };
        let named = |bytes: &[u8]| {
            let name: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
            SockAddr::unix(name).unwrap()
        };
        assert_eq!(connect(named(b"/nowhere/socket")), "connect to /nowhere/socket");
        assert_eq!(connect(named(b"\0aio-nobody")), "connect to @aio-nobody");
        assert_eq!(connect(named(b"\0aio\0\xff")), r"connect to @aio\x00\xff");
        assert_eq!(connect(SockAddr::vsock(2, 1024)), "connect to vsock 2:1024");
        assert_eq!(connect(SockAddr::vsock(u32::MAX, 1)), "connect to vsock any:1");
        let set_family = |storage: *mut socket2::SockAddrStorage, length: *mut _| {
            // SAFETY: this is memory for an address, which begins with its family.
            unsafe { storage.cast::<libc::sa_family_t>().write(16) };
            // SAFETY: and this for its length.
            unsafe { *length = 12 };
            Ok(())
        };
        // SAFETY: the rest of the address is zero, which is an address of that family.
        let ((), netlink) = unsafe { SockAddr::try_init(set_family) }.unwrap();
        assert_eq!(connect(netlink), "connect to an address of family 16");

        let datagrams = runtime.socket(Domain::UNIX, Type::DGRAM, None).unwrap();
        let error = datagrams.send_to(b"hello", named(b"\0aio-nobody")).unwrap_err();
        assert!(error.to_string().starts_with("send to @aio-nobody: "), "{error}");
        let error = datagrams.bind(named(b"/nowhere/socket")).unwrap_err();
        assert!(error.to_string().starts_with("bind to /nowhere/socket: "), "{error}");
        datagrams.bind(named(format!("\0aio-{}", std::process::id()).as_bytes())).unwrap_or(());
        let error = datagrams.listen(1).unwrap_err();
        assert!(error.to_string().starts_with("listen on @aio-"), "{error}");
        let error = datagrams.local_addr().unwrap_err();
        assert!(error.to_string().contains(": @aio-"), "{error}");
    });
}

/// So does what a runtime reports.
#[cfg(unix)]
#[test]
fn reports_name_sockets_without_a_name() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = runtime.associate(socket).unwrap();
        let (report, seen) = std::sync::mpsc::channel();
        let (release, held) = std::sync::mpsc::channel::<()>();
        let send = move |_| {
            report.send(()).unwrap();
            let _ = held.recv();
        };
        socket.begin_send(*b"hello", send, ());
        seen.recv().unwrap();
        let held = runtime.starvation_report(Duration::ZERO);
        let expected = "send on an unnamed Unix socket with an unnamed Unix socket, for ";
        assert!(held[0].to_string().starts_with(expected), "{}", held[0]);
        let debug = format!("{:?}", held[0]);
        assert!(debug.contains(r#"peer_addr: Some("an unnamed Unix socket")"#), "{debug}");
        drop(release);
    });
}

/// CN-9: brackets are those of a URL, and a zone is what the system's resolver takes.
#[test]
fn a_host_may_be_an_address_in_brackets() {
    with_every_runtime(|runtime: &Runtime| {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return support::skipped("this system has no IPv6");
        };
        let address = listener.local_addr().unwrap();
        let look_up =
            |host: &str| runtime.handle().look_up_async(host, address.port()).wait().result;
        for host in ["[::1]", "::1", "[::1%0]"] {
            let socket = runtime.connect_to((host, address.port())).unwrap();
            assert_eq!(socket.peer_addr().unwrap(), address);
            listener.accept().unwrap();
            assert_eq!(look_up(host).unwrap(), [address]);
        }
        for host in
            ["[127.0.0.1]", "[localhost]", "[]", "[::1", "::1]", "[::1]x", "[[::1]]", "[::1%"]
        {
            let error = runtime.connect_to((host, 80)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{host}");
            let expected =
                format!("connect to {host}:80: what stands in brackets is an address of IPv6");
            assert!(error.to_string().starts_with(&expected), "{error}");
            let error = look_up(host).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{host}");
            assert!(error.to_string().contains("IPv6"), "{error}");
        }
    });
}

#[cfg(target_os = "linux")]
#[test]
fn an_address_may_have_a_zone() {
    with_every_runtime(|runtime: &Runtime| {
        use std::net::ToSocketAddrs;
        let expected: Vec<_> = match ("fe80::1%lo", 80).to_socket_addrs() {
            Ok(addresses) => addresses.collect(),
            Err(_) => return support::skipped("this system has no zones"),
        };
        for host in ["fe80::1%lo", "[fe80::1%lo]", "fe80::1%1", "[fe80::1%1]"] {
            let found = runtime.handle().look_up_async(host, 80).wait().result.unwrap();
            assert_eq!(found, expected, "{host}");
        }
        let none = runtime.connect_to(("fe80::1%nowhere", 80)).unwrap_err();
        assert!(none.to_string().starts_with("connect to [fe80::1%nowhere]:80: "), "{none}");
    });
}

/// What the docs of `Socket::close` say of Unix streams.
#[cfg(target_os = "linux")]
#[test]
fn a_unix_stream_with_an_unfinished_send_ends_without_a_reset() {
    with_every_runtime(|runtime: &Runtime| {
        use std::io::Read;
        let (socket, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let socket = runtime.associate(socket).unwrap();
        let mut send = socket.send_async(vec![7; 64 << 20]);
        assert!(send.wait_timeout(Duration::from_millis(10)).is_none());
        socket.close();
        let sent = send.wait();
        assert!(is_aborted(sent.result.as_ref().unwrap_err()) && sent.bytes_transferred > 0);
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), sent.bytes_transferred);
    });
}
