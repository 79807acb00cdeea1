//! What can be asked of a runtime through a handle to it.

mod support;

use aio_core::{Runtime, is_aborted};
use aio_sync::{AutoResetEvent, ManualResetEvent};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use support::{LIMIT, with_every_engine};

fn with_both_engines(test: fn(&Runtime)) {
    with_every_engine(&[1], move |builder| test(&builder.build().unwrap()));
}

/// I3: on a worker, and not nested in the callback that posts it.
#[test]
fn what_is_posted_runs_once_on_a_worker_after_the_callback_that_posts_it() {
    with_both_engines(|runtime| {
        let (sender, receiver) = mpsc::channel();
        let handle = runtime.handle();
        runtime.handle().post(move || {
            let me = thread::current().id();
            let inner = sender.clone();
            handle.post(move || inner.send(("inner", thread::current().id() == me)).unwrap());
            sender.send(("outer", true)).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), ("outer", true));
        assert_eq!(receiver.recv().unwrap(), ("inner", true));
        assert!(receiver.recv().is_err(), "both are gone");
    });
}

/// I1, I3.
#[test]
fn what_is_posted_to_a_runtime_that_has_ended_runs_on_another_thread() {
    let runtime = support::builder().workers(1).build().unwrap();
    let handle = runtime.handle();
    drop(runtime);
    let (sender, receiver) = mpsc::channel();
    handle.post(move || sender.send(thread::current().id()).unwrap());
    assert_ne!(receiver.recv().unwrap(), thread::current().id());
}

/// I10.
#[test]
fn a_panic_in_what_is_posted_is_counted() {
    with_both_engines(|runtime| {
        runtime.handle().post(|| panic!("this is meant to be printed"));
        let done = Arc::new(ManualResetEvent::new(false));
        let set = done.clone();
        runtime.handle().post(move || {
            set.set();
        });
        done.wait_one();
        assert_eq!(runtime.metrics().callback_panics, 1);
    });
}

#[test]
fn a_host_has_its_addresses_and_one_that_is_none_an_error() {
    with_both_engines(|runtime| {
        let look_up = |host| runtime.handle().look_up_async(host, 80).wait().result;
        let address = "[::1]:80".parse().unwrap();
        assert_eq!(look_up("::1").unwrap(), [address]);
        let addresses = look_up("localhost").unwrap();
        assert!(addresses.iter().all(|found| found.ip().is_loopback() && found.port() == 80));
        assert!(look_up("host.invalid").is_err());
    });
}

#[test]
fn a_lookup_in_a_runtime_that_has_ended_is_aborted() {
    let runtime = support::builder().workers(1).build().unwrap();
    let handle = runtime.handle();
    drop(runtime);
    for host in ["localhost", "127.0.0.1", "::1"].iter().cycle().take(900) {
        let error = handle.look_up_async(host, 80).wait().result.unwrap_err();
        assert!(is_aborted(&error), "{host}: {error}");
    }
}

/// I4: the only worker waits for an event, and I/O goes on all the same.
#[test]
fn a_callback_that_waits_for_an_event_keeps_io_going() {
    with_both_engines(|runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = runtime.tcp_v4().unwrap();
        client.connect(listener.local_addr().unwrap()).unwrap();
        let peer = listener.accept().unwrap().0;
        let mut receive = client.receive_async(vec![0; 1]);
        let (sender, receiver) = mpsc::channel();
        let handle = runtime.handle();
        let inside = Arc::new(AutoResetEvent::new(false));
        let is_inside = inside.clone();
        runtime.handle().post(move || {
            is_inside.set();
            let is_over = handle.wait_for(&receive, LIMIT);
            let completion = receive.wait_timeout(Duration::ZERO).unwrap();
            sender.send((is_over, completion.buffer)).unwrap();
        });
        inside.wait_one();
        std::io::Write::write_all(&mut &peer, b"x").unwrap();
        assert_eq!(receiver.recv().unwrap(), (true, b"x".to_vec()));
    });
}

/// A callback holds the only worker, and waits for what steps do.
#[test]
fn steps_run_inside_a_callback_that_waits_and_callbacks_do_not() {
    with_both_engines(|runtime| {
        let handle = runtime.handle();
        let (sender, receiver) = mpsc::channel();
        let posted = Arc::new(ManualResetEvent::new(false));
        let (outside, inside) = (posted.clone(), posted.clone());
        let outer = sender.clone();
        handle.clone().post(move || {
            let of_callback = sender.clone();
            handle.post(move || of_callback.send("callback").unwrap());
            let last = inside.clone();
            let again = handle.clone();
            let waited = handle.register_wait_step(
                ManualResetEvent::new(false),
                Some(Duration::from_millis(1)),
                true,
                move |timed_out| {
                    assert!(timed_out);
                    sender.send("time").unwrap();
                    let (sender, last) = (sender.clone(), last.clone());
                    again.post_step(move || {
                        sender.send("step").unwrap();
                        last.set();
                    });
                },
            );
            assert!(handle.wait_for(&*inside, LIMIT));
            assert!(waited.has_ended());
            outer.send("waited").unwrap();
        });
        let order: Vec<_> = receiver.iter().take(4).collect();
        assert_eq!(order, ["time", "step", "waited", "callback"]);
        assert!(outside.is_set());
    });
}

/// I10: as that of any other.
#[test]
fn a_panic_in_a_step_ends_nothing_else() {
    with_both_engines(|runtime| {
        let handle = runtime.handle();
        let (sender, receiver) = mpsc::channel();
        handle.clone().post(move || {
            let done = Arc::new(ManualResetEvent::new(false));
            let set = done.clone();
            handle.post_step(|| panic!("this is meant to be printed"));
            handle.post_step(move || {
                set.set();
            });
            sender.send(handle.wait_for(&*done, LIMIT)).unwrap();
        });
        assert!(receiver.recv().unwrap());
        assert_eq!(runtime.metrics().callback_panics, 1);
    });
}

#[test]
fn a_callback_takes_the_signal_it_waits_for_and_none_that_comes_too_late() {
    with_both_engines(|runtime| {
        let event = Arc::new(AutoResetEvent::new(true));
        let (sender, receiver) = mpsc::channel();
        let (handle, waited_for) = (runtime.handle(), event.clone());
        runtime.handle().post(move || {
            let first = handle.wait_for(&waited_for, LIMIT);
            let second = handle.wait_for(&waited_for, Duration::from_millis(1));
            sender.send((first, second)).unwrap();
        });
        assert_eq!(receiver.recv().unwrap(), (true, false));
        event.set();
        assert!(event.wait_timeout(Duration::ZERO), "nobody waits for it any more");
    });
}
