//! Composite operations (accepts that receive, connects to a host, lookups) are one operation to their users: their
//! parts show nowhere.

mod support;

use aio_core::{Metrics, Socket, is_aborted};
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, full_listener, listener, refusing_address, with_every_engine};

/// The kinds of which an operation was begun, with how many.
fn begun(metrics: &Metrics) -> Vec<(&'static str, u64)> {
    let operations = metrics.operations.iter();
    let counted = operations.map(|of| (of.operation, of.pending + of.completed + of.aborted));
    counted.filter(|(_, count)| *count > 0).collect()
}

/// Has the accept that is first at `listener` get a connection, of a peer that is silent.
fn accepted(listener: &Socket, address: SocketAddr) -> TcpStream {
    let behind = listener.accept_async();
    let peers = [(); 2].map(|()| TcpStream::connect(address).unwrap());
    // The one behind it has had its turn.
    behind.wait().result.unwrap();
    let [peer, _] = peers;
    peer
}

#[test]
fn parts_are_not_counted() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.latency_histograms(true).build().unwrap();
        let (listener, address) = listener(&runtime);
        let accept = listener.accept_receive_async([0; 4]);
        let connected = runtime.connect_to(("localhost", address.port())).unwrap();
        assert_eq!(runtime.metrics().operation("accept_receive").unwrap().pending, 1);
        drop(connected);
        assert_eq!(accept.wait().result.unwrap().1, 0);
        runtime.handle().look_up_async("localhost", 80).wait().result.unwrap();
        let metrics = runtime.metrics();
        let expected = [("accept_receive", 1), ("connect_to", 1), ("look_up", 1)];
        assert_eq!(begun(&metrics), expected);
        for (operation, _) in expected {
            let latency = metrics.operation(operation).unwrap().latency.as_ref().unwrap();
            assert_eq!(latency.until_completed.count(), 1, "{operation}");
        }
        for part in ["accept", "receive", "connect"] {
            let latency = metrics.operation(part).unwrap().latency.as_ref().unwrap();
            assert_eq!(latency.until_completed.count(), 0, "{part}");
        }
    });
}

#[test]
fn a_composite_takes_one_place_of_a_limited_runtime() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.max_pending(2).build().unwrap();
        let (listener, address) = listener(&runtime);
        let accept = listener.accept_receive_async([0; 4]);
        let mut peer = accepted(&listener, address);
        let second = listener.accept_receive_async([0; 4]);
        let refused = listener.accept_receive_async([0; 4]).wait().result.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        peer.write_all(b"data").unwrap();
        assert_eq!(accept.wait().buffer, *b"data");
        second.cancel();
        assert!(is_aborted(&second.wait().result.unwrap_err()));
        // Both places have come back, each once.
        let accepts = [(); 3].map(|()| listener.accept_receive_async([0; 4]));
        assert_eq!(accepts.iter().filter(|accept| !accept.is_completed()).count(), 2);
    });
}

/// I7: under the name by which it was begun, at the socket where it waits.
#[test]
fn a_shutdown_reports_a_composite_once_where_it_waits() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let (listener, address) = listener(&runtime);
        let receiving = listener.accept_receive_async([0; 4]);
        let peer = accepted(&listener, address);
        let accepting = listener.accept_receive_async([0; 4]);
        let (report, _over) = mpsc::channel();
        listener.begin_accept_receive([0; 4], move |_| report.send(()).unwrap(), ());
        let report = runtime.abort();
        let mut told: Vec<_> = report
            .interrupted
            .iter()
            .map(|of| {
                let peer = of.peer_addr.as_ref().and_then(|peer| peer.as_socket());
                let local = of.local_addr.as_ref().and_then(|local| local.as_socket());
                (of.operation, local, peer)
            })
            .collect();
        told.sort_by_key(|(.., peer)| peer.is_some());
        let (at_listener, at_connection) = (
            ("accept_receive", Some(address), None),
            ("accept_receive", Some(address), Some(peer.local_addr().unwrap())),
        );
        assert_eq!(told, [at_listener, at_listener, at_connection]);
        assert!(report.interrupted.iter().all(|of| of.age < LIMIT), "{report}");
        assert_eq!((report.completed, report.aborted), (0, 3));
        for accept in [receiving, accepting] {
            assert!(is_aborted(&accept.wait().result.unwrap_err()));
        }
    });
}

/// One that has come to a second address, too.
#[test]
fn a_shutdown_reports_a_connect_to_once() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let Some((_listener, address, _connections)) = full_listener(&runtime) else { return };
        let refusing = refusing_address();
        let connect = runtime.connect_to_async(vec![refusing, address]);
        thread::sleep(Duration::from_millis(10));
        assert!(!connect.is_completed());
        let report = runtime.drain(Instant::now());
        let told = report.interrupted.iter().filter(|of| of.operation == "connect_to");
        assert_eq!(told.count(), 1, "{report}");
        let error = connect.wait().result.unwrap_err();
        assert!(is_aborted(&error));
        let message = error.to_string();
        assert!(message.contains(&format!("{refusing}: Connection refused")), "{message}");
        assert!(message.contains(&format!("{address}: no answer until")), "{message}");
    });
}

/// I1, I7: a close of the listener ends its accepts, whether they have a connection or are about to have one.
#[test]
fn no_accept_that_receives_outlives_its_listener() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        for _ in 0..support::rounds(200) {
            let (listener, address) = listener(&runtime);
            let accepts = [(); 2].map(|()| listener.accept_receive_async([7; 4]));
            thread::scope(|scope| {
                // Silent for as long as the listener is there.
                let peers = scope.spawn(|| [(); 2].map(|()| TcpStream::connect(address)));
                listener.close();
                for accept in accepts {
                    let completion = accept.wait();
                    assert!(is_aborted(&completion.result.unwrap_err()));
                    assert_eq!(completion.buffer, [7; 4]);
                }
                drop(peers.join().unwrap());
            });
        }
    });
}
