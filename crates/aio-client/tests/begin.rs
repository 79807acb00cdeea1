//! I3: begin runs nothing of the user's, so that a lock may be held across it which the callback takes, too.

mod support;

use aio_client::{AsyncResult, Client, EndPoint, Framing, OperationHandle, op};
use aio_core::{Engine, Runtime};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use support::{LIMIT, builder, connected, listener, refusing_address, with_every_runtime, within};

/// Begins something with this callback, which is to be told of the outcome's being an error.
type Begin<'a> = &'a dyn Fn(Box<dyn FnOnce(bool) + Send>) -> OperationHandle;

/// Begins it with a lock held that the callback takes. Returns when the callback has run, and whether it was
/// told of an error.
fn begin_under_a_lock(what: &str, begin: Begin<'_>) -> bool {
    let lock = Arc::new(Mutex::new(()));
    let (told, outcome) = mpsc::channel();
    let held = lock.lock().unwrap();
    let here = thread::current().id();
    let handle = begin(Box::new({
        let lock = lock.clone();
        move |is_error| {
            // On this thread it would be inside begin, and wait for itself.
            let is_elsewhere = thread::current().id() != here;
            if is_elsewhere {
                drop(lock.lock().unwrap());
            }
            told.send((is_elsewhere, is_error)).unwrap();
        }
    }));
    drop(held);
    let (is_elsewhere, is_error) =
        outcome.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what}: no callback"));
    assert!(is_elsewhere, "{what}: the callback ran inside begin");
    assert!(handle.is_completed(), "{what}");
    is_error
}

fn is_error<K: op::Kind, S>(ar: &AsyncResult<K, S>) -> bool {
    ar.error().is_some()
}

/// All of the client's begins, and whether each is to fail.
fn begin_all(client: &Client, reconnects: bool, fails: bool, what: &str) {
    let all: [(&str, Begin<'_>); 5] = [
        ("send", &|told| client.begin_send("x", |ar| told(is_error(&ar)), ())),
        ("send_text", &|told| client.begin_send_text("x", |ar| told(is_error(&ar)), ())),
        ("receive", &|told| client.begin_receive(|ar| told(is_error(&ar)), ())),
        ("receive_text", &|told| client.begin_receive_text(|ar| told(is_error(&ar)), ())),
        ("reconnect", &|told| client.begin_reconnect(|ar| told(is_error(&ar)), ())),
    ];
    for (name, begin) in &all[..all.len() - usize::from(!reconnects)] {
        let what = format!("{name}, {what}");
        assert_eq!(begin_under_a_lock(&what, begin), fails, "{what}");
    }
}

fn begin_connect(runtime: &Runtime, end_point: impl Into<EndPoint> + Clone, what: &str) -> bool {
    begin_under_a_lock(&format!("connect, {what}"), &|told| {
        let builder = Client::builder().runtime(runtime);
        builder.begin_connect(end_point.clone(), |ar| told(is_error(&ar)), ())
    })
}

/// A client that has received two messages already, and one that has more than one waiting for it.
fn with_messages(runtime: &Runtime) -> (Client, TcpStream, std::net::TcpListener) {
    let (listener, address) = listener();
    let client = Client::builder()
        .runtime(runtime)
        .framing(Framing::delimiter("\n"))
        .timeout(LIMIT)
        .connect(address)
        .unwrap();
    let mut peer = support::accept(&listener);
    peer.write_all(b"1\n2\n3\n").unwrap();
    // The others have arrived with it.
    assert_eq!(client.receive().unwrap(), b"1");
    (client, peer, listener)
}

#[test]
fn a_callback_does_not_run_inside_begin_when_the_call_succeeds_at_once() {
    with_every_runtime(|runtime| {
        for _ in 0..20 {
            let (client, _peer, _listener) = with_messages(runtime);
            begin_all(&client, true, false, "at once");
        }
        let (_listener, address) = listener();
        assert!(!begin_connect(runtime, address, "at once"));
        assert!(!begin_connect(runtime, vec![refusing_address(), address], "at once"));
    });
}

#[test]
fn a_callback_does_not_run_inside_begin_when_the_call_fails_at_once() {
    with_every_runtime(|runtime| {
        let (client, peer) = connected(runtime);
        begin_all(&client.with_framing(Framing::delimiter("")), false, true, "misused");
        drop(peer);
        client.close();
        begin_all(&client, true, true, "closed");
        for end_point in ["", "localhost:http"] {
            assert!(begin_connect(runtime, end_point, "malformed"));
        }
        assert!(begin_connect(runtime, Vec::new(), "no address"));
        assert!(begin_connect(runtime, refusing_address(), "refused"));
        let keepalive = begin_under_a_lock("connect, no socket", &|told| {
            let builder = Client::builder().runtime(runtime).keepalive(std::time::Duration::ZERO);
            builder.begin_connect(refusing_address(), |ar| told(is_error(&ar)), ())
        });
        assert!(keepalive);
    });
}

#[test]
fn a_callback_does_not_run_inside_begin_when_the_runtime_takes_no_more() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            let runtime = builder().engine(engine).workers(1).max_pending(1).build().unwrap();
            let (client, _peer) = connected(&runtime);
            let (other, _its_peer) = connected(&runtime);
            let pending = other.receive_async();
            begin_all(&client, true, true, "refused");
            assert!(begin_connect(&runtime, "localhost:80", "refused"));
            pending.cancel();
        });
    }
}

/// A thread of the process does it then.
#[test]
fn a_callback_does_not_run_inside_begin_when_the_runtime_has_ended() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            let runtime = builder().engine(engine).workers(1).build().unwrap();
            let (client, _peer, _listener) = with_messages(&runtime);
            let (fresh, _its_peer) = connected(&runtime);
            let (named, _its_peer) = {
                let (listener, address) = listener();
                let name = format!("localhost:{}", address.port());
                let client = Client::builder().runtime(&runtime).connect(name).unwrap();
                (client, support::accept(&listener))
            };
            drop(runtime);
            // What has arrived is there.
            let receive = |told: Box<dyn FnOnce(bool) + Send>| {
                client.begin_receive(move |ar| told(is_error(&ar)), ())
            };
            assert!(!begin_under_a_lock("receive, what has arrived", &receive));
            let _ = begin_under_a_lock("receive, what has arrived", &receive);
            for client in [client, fresh, named] {
                begin_all(&client, true, true, "after the end");
            }
        });
    }
}

/// What is told the progress is a callback, too.
#[test]
fn progress_is_not_told_inside_begin() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lock = Arc::new(Mutex::new(()));
        let told = Arc::new(AtomicUsize::new(0));
        let client = client.with_framing(Framing::Fixed(2)).with_progress({
            let (lock, told) = (lock.clone(), told.clone());
            let here = thread::current().id();
            move |_, _| {
                assert!(thread::current().id() != here, "told inside begin");
                drop(lock.lock().unwrap());
                told.fetch_add(1, Ordering::SeqCst);
            }
        });
        let (results, result) = mpsc::channel();
        for is_there in [false, true] {
            if is_there {
                peer.write_all(b"c").unwrap();
            }
            let held = lock.lock().unwrap();
            let (ender, results) = (client.clone(), results.clone());
            client.begin_receive(move |ar| results.send(ender.end_receive(ar).result).unwrap(), ());
            // Behind it, and canceled when it is dropped.
            let _other = client.receive_async();
            drop(held);
            peer.write_all(b"ab").unwrap();
            result.recv_timeout(LIMIT).unwrap().unwrap();
        }
        assert!(told.load(Ordering::SeqCst) > 0);
        client.send("so").unwrap();
        peer.read_exact(&mut [0; 2]).unwrap();
    });
}
