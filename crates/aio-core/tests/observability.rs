//! What a runtime tells of itself: counters, latencies, and which callbacks hold its workers.

mod support;

use aio_core::{Engine, Latency, Runtime};
use aio_sync::ManualResetEvent;
use std::io::{Read, Write};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use support::{
    LIMIT, accept, connected, listener, receive, send, sends_are_cut_short, with_every_runtime,
    within,
};

#[test]
fn operations_are_counted_by_kind_and_outcome() {
    with_every_runtime(|runtime| {
        let (socket, mut peer) = connected(runtime);
        let (listener, _) = listener(runtime);
        let (report_accepted, accepted) = mpsc::channel();
        accept(&listener, &report_accepted);
        let (report_received, received) = mpsc::channel();
        let first = receive(&socket, 1, &report_received);
        receive(&socket, 1, &report_received);
        let waited = socket.receive_async([0; 1]);
        let metrics = runtime.metrics();
        let count = |name: &str| {
            let operation = runtime.metrics().operation(name).unwrap().clone();
            (operation.pending, operation.completed, operation.aborted)
        };
        assert_eq!(metrics.pending(), 4);
        assert_eq!((count("receive"), count("accept")), ((3, 0, 0), (1, 0, 0)));
        assert_eq!(count("connect"), (0, 1, 0));
        first.cancel();
        peer.write_all(&[1, 2]).unwrap();
        received.recv().unwrap();
        received.recv().unwrap();
        assert_eq!(waited.wait().buffer, [2]);
        assert_eq!(count("receive"), (0, 2, 1));
        listener.close();
        accepted.recv().unwrap();
        assert_eq!(count("accept"), (0, 0, 1));
        // An error is a result of its own.
        assert!(listener.local_addr().is_err() && runtime.tcp_v4().unwrap().send(&[1]).is_err());
        assert_eq!(count("send"), (0, 1, 0));
        while runtime.metrics().undelivered() > 0 {
            thread::yield_now();
        }
        let metrics = runtime.metrics();
        assert_eq!((metrics.pending(), metrics.completed(), metrics.aborted()), (0, 4, 2));
        assert!(metrics.operation("no such thing").is_none());
        assert!(metrics.operations.iter().all(|operation| operation.latency.is_none()));
    });
}

#[test]
fn workers_and_what_waits_for_them_are_counted() {
    if sends_are_cut_short() {
        return;
    }
    with_every_runtime(|runtime| {
        let (socket, _peer) = connected(runtime);
        let workers = runtime.workers();
        while runtime.metrics().workers_idle < workers {
            thread::yield_now();
        }
        assert_eq!((runtime.metrics().workers_busy, runtime.metrics().queue_depth), (0, 0));
        let release = Arc::new(ManualResetEvent::new(false));
        let (report, running) = mpsc::channel();
        for _ in 0..workers {
            let (release, report) = (release.clone(), report.clone());
            let callback = move |_| {
                report.send(()).unwrap();
                release.wait_one();
            };
            socket.begin_send([1], callback, ());
        }
        (0..workers).for_each(|_| running.recv().unwrap());
        (0..7).for_each(|_| drop(socket.begin_send([1], |_| {}, ())));
        let metrics = runtime.metrics();
        assert_eq!((metrics.workers_busy, metrics.workers_idle), (workers, 0));
        assert_eq!(metrics.queue_depth, 7);
        assert_eq!(metrics.undelivered(), 7 + workers as u64);
        release.set();
    });
}

#[test]
fn a_starvation_report_names_the_callbacks_that_hold_workers() {
    with_every_runtime(|runtime| {
        const LONG: Duration = Duration::from_millis(20);
        let (socket, mut peer) = connected(runtime);
        assert!(runtime.starvation_report(Duration::ZERO).is_empty());
        let release = Arc::new(ManualResetEvent::new(false));
        let (report, running) = mpsc::channel();
        let held = release.clone();
        let reported = report.clone();
        let callback = move |_| {
            reported.send(()).unwrap();
            held.wait_one();
        };
        socket.begin_receive([0; 1], callback, ());
        peer.write_all(&[1]).unwrap();
        running.recv().unwrap();
        assert!(runtime.starvation_report(LIMIT).is_empty());
        let held = loop {
            match &runtime.starvation_report(LONG)[..] {
                [] => thread::yield_now(),
                [held] => break held.clone(),
                more => panic!("{more:?}"),
            }
        };
        assert_eq!(held.operation, "receive");
        assert!(held.age >= LONG);
        let (local, remote) = (socket.local_addr().unwrap(), socket.peer_addr().unwrap());
        let text = held.to_string();
        assert!(text.starts_with(&format!("receive on {local} with {remote}, for ")), "{text}");
        // A callback that waits for an operation holds its worker, too, and so does what was posted.
        if runtime.workers() > 1 {
            let (same, waiting) = (socket.clone(), report.clone());
            let waits = move || {
                waiting.send(()).unwrap();
                same.receive(&mut [0; 1]).unwrap();
            };
            runtime.handle().post(waits);
            running.recv().unwrap();
            while runtime.starvation_report(LONG).len() < 2 {
                thread::yield_now();
            }
            let report = runtime.starvation_report(LONG);
            assert_eq!([report[0].operation, report[1].operation], ["receive", "post"]);
            assert!(report[0].age >= report[1].age && report[1].local_addr.is_none());
            peer.write_all(&[1]).unwrap();
        }
        release.set();
        while !runtime.starvation_report(Duration::ZERO).is_empty() {
            thread::yield_now();
        }
    });
}

#[test]
fn latencies_are_measured_by_kind_for_who_asks() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            let builder = Runtime::builder().engine(engine).workers(2).latency_histograms(true);
            let runtime = builder.build().unwrap();
            let (socket, mut peer) = connected(&runtime);
            let (report_received, received) = mpsc::channel();
            let (report_sent, sent) = mpsc::channel();
            for _ in 0..10 {
                receive(&socket, 1, &report_received);
                thread::sleep(Duration::from_millis(2));
                peer.write_all(&[1]).unwrap();
                received.recv().unwrap().result.unwrap();
                send(&socket, vec![1], &report_sent);
                sent.recv().unwrap().result.unwrap();
            }
            socket.send(&[1]).unwrap();
            peer.read_exact(&mut [0; 11]).unwrap();
            let latency = |name: &str| -> Latency {
                runtime.metrics().operation(name).unwrap().latency.clone().unwrap()
            };
            let receive = latency("receive");
            assert_eq!((receive.until_completed.count(), receive.until_callback.count()), (10, 10));
            assert!(receive.until_completed.quantile(0.5) >= Duration::from_millis(2));
            assert!(receive.until_callback.max() > Duration::ZERO);
            // One of the sends has no callback.
            let send = latency("send");
            assert_eq!((send.until_completed.count(), send.until_callback.count()), (11, 10));
            assert_eq!(latency("accept").until_completed.count(), 0);
        });
    }
}
