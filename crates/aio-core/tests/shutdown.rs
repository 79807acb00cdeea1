//! I7: a runtime ends, and what it had to do ends with it.

mod support;

use aio_core::{AsyncResult, Socket, is_aborted, op};
use std::fs;
use std::hint;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use support::{
    LIMIT, accept, connected, listener, receive, rounds, send, with_every_engine,
    with_every_owned_runtime,
};

#[test]
fn drop_completes_what_is_pending_as_aborted() {
    with_every_owned_runtime(|runtime| {
        let (report, received) = mpsc::channel();
        let pairs: Vec<_> = (0..20).map(|_| connected(&runtime)).collect();
        for (socket, _) in &pairs {
            receive(socket, 1, &report);
        }
        let (listener, _) = listener(&runtime);
        let (report_accepted, accepted) = mpsc::channel();
        accept(&listener, &report_accepted);
        let (report_sent, sent) = mpsc::channel();
        send(&pairs[0].0, vec![1; 64 << 20], &report_sent);
        drop(runtime);
        drop(report);
        let errors: Vec<_> =
            received.iter().map(|completion| completion.result.unwrap_err()).collect();
        assert!(errors.len() == 20 && errors.iter().all(is_aborted), "{errors:?}");
        assert!(is_aborted(&accepted.recv().unwrap().result.unwrap_err()));
        let sent = sent.recv().unwrap();
        assert!(is_aborted(&sent.result.unwrap_err()) && sent.buffer.len() == 64 << 20);
    });
}

/// CL-8: a socket that outlives its runtime is closed with its last handle, whatever was pending.
#[test]
fn drop_lets_go_of_every_socket() {
    with_every_owned_runtime(|runtime| {
        let pairs: Vec<_> = (0..20).map(|_| connected(&runtime)).collect();
        let (report, received) = mpsc::channel();
        for (socket, _) in &pairs {
            receive(socket, 1, &report);
        }
        drop(runtime);
        for _ in &pairs {
            assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
        }
        for (socket, mut peer) in pairs {
            drop(socket);
            assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
        }
    });
}

/// More of this is in `after_the_end.rs`.
#[test]
fn an_operation_begun_afterwards_completes_as_aborted() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        drop(runtime);
        let here = thread::current().id();
        let (report, calls) = mpsc::channel();
        type State = (Socket, mpsc::Sender<&'static str>);
        socket.begin_send(
            [1],
            move |ar: AsyncResult<op::Send<[u8; 1]>, State>| {
                assert!(is_aborted(ar.error().unwrap()));
                assert_ne!(thread::current().id(), here);
                let (socket, report) = ar.async_state().clone();
                report.send("first begins").unwrap();
                let inner = report.clone();
                socket.begin_send([2], move |_| inner.send("second").unwrap(), ());
                report.send("first ends").unwrap();
            },
            (socket.clone(), report),
        );
        let mut calls: Vec<_> = calls.iter().collect();
        calls.sort_unstable();
        assert_eq!(calls, ["first begins", "first ends", "second"]);
    });
}

/// I3: it does not nest in a callback of another runtime, either; and a panic is counted where it belongs.
#[test]
fn what_is_begun_afterwards_in_a_callback_of_another_runtime_does_not_nest() {
    with_every_owned_runtime(|ended| {
        let alive = support::builder().engine(ended.engine()).workers(1).build().unwrap();
        let (socket, _peer) = connected(&ended);
        drop(ended);
        let (other, _other_peer) = connected(&alive);
        let (report, calls) = mpsc::channel();
        let callback = move |_| {
            report.send("first begins").unwrap();
            let (inner, worker) = (report.clone(), thread::current().id());
            let callback = move |_| {
                assert_ne!(thread::current().id(), worker);
                inner.send("second").unwrap();
                panic!("on purpose: in a callback of a runtime that has ended");
            };
            socket.begin_send([2], callback, ());
            report.send("first ends").unwrap();
        };
        other.begin_send([1], callback, ());
        let mut calls: Vec<_> = calls.iter().collect();
        calls.sort_unstable();
        assert_eq!(calls, ["first begins", "first ends", "second"]);
        assert_eq!(alive.metrics().callback_panics, 0);
    });
}

/// I4, I7: what a running callback waits for is done as long as it runs.
#[test]
fn drop_leaves_nobody_waiting_for_a_callback() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let (socket, _peer) = connected(&runtime);
        let (report_running, running) = mpsc::channel();
        let (report, outcome) = mpsc::channel();
        let same = socket.clone();
        let callback = move |_: AsyncResult<_, ()>| {
            report_running.send(()).unwrap();
            // The other worker has had time to end.
            thread::sleep(Duration::from_millis(50));
            let (report_sent, sent) = mpsc::channel();
            send(&same, vec![2], &report_sent);
            report.send(sent.recv_timeout(LIMIT / 4).is_ok()).unwrap();
        };
        socket.begin_send([1], callback, ());
        running.recv().unwrap();
        drop(runtime);
        assert!(outcome.recv().unwrap());
    });
}

#[test]
fn drop_races_with_begin_and_everything_completes() {
    with_every_owned_runtime(|first| {
        let (engine, workers) = (first.engine(), first.workers());
        drop(first);
        for _ in 0..50 {
            let runtime = support::builder().engine(engine).workers(workers).build().unwrap();
            let (socket, _peer) = connected(&runtime);
            let (report, received) = mpsc::channel();
            let thread = thread::spawn(move || {
                for _ in 0..20 {
                    receive(&socket, 1, &report);
                }
            });
            drop(runtime);
            thread.join().unwrap();
            assert_eq!(received.iter().filter(|received| received.result.is_err()).count(), 20);
        }
    });
}

#[test]
fn a_runtime_can_be_dropped_by_its_own_callback() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let (report, received) = mpsc::channel();
        receive(&socket, 1, &report);
        socket.begin_send([1], drop, runtime);
        assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
    });
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_and_no_descriptor_is_left() {
    fn threads() -> usize {
        let named = |name: String| name.starts_with("leak-test");
        let names = fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| named(name.clone())).count()
    }
    with_every_engine(&[4], |builder| {
        for _ in 0..20 {
            let builder = builder.clone().thread_name("leak-test");
            let runtime = builder.build().unwrap();
            let (socket, _peer) = connected(&runtime);
            let (report, _received) = mpsc::channel();
            receive(&socket, 1, &report);
            drop(runtime);
            // The system takes a joined thread off the list a moment later.
            while threads() > 0 {
                thread::yield_now();
            }
        }
    });
}

#[test]
fn wrong_settings_are_refused_with_a_reason() {
    let error = support::builder().workers(0).build().unwrap_err();
    assert!(error.to_string().contains("at least one worker"), "{error}");
    let error = support::builder().workers(usize::MAX).build().unwrap_err();
    assert!(error.to_string().contains("are the most"), "{error}");
    let error = support::builder().thread_name("a\0b").build().unwrap_err();
    assert!(error.to_string().contains("NUL"), "{error}");
}

/// I3, I7: even if its name has been found at that very moment, on a thread that is no worker.
#[test]
fn drop_ends_a_connect_to_a_host() {
    with_every_engine(&[1], |builder| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = ("localhost", listener.local_addr().unwrap().port());
        for round in 0..rounds(600) {
            let runtime = builder.clone().build().unwrap();
            let (report, completed) = mpsc::channel();
            runtime.begin_connect_to(
                host,
                move |ar| {
                    drop(Socket::end_connect_to(ar));
                    report.send(thread::current().name().map(str::to_owned)).unwrap();
                },
                (),
            );
            let (begun, patience) = (Instant::now(), Duration::from_micros(round as u64 % 300));
            while begun.elapsed() < patience {
                hint::spin_loop();
            }
            drop(runtime);
            let thread = completed.try_recv().expect("its callback has run");
            assert!(thread.is_some_and(|name| name.starts_with("aio-worker")));
        }
    });
}

/// The end of a runtime that finds a send being attempted is no reason to reset what that send gets done.
#[test]
fn a_send_that_gets_done_while_its_runtime_ends_arrives_whole() {
    with_every_engine(&[1], |builder| {
        for _ in 0..rounds(200) {
            let runtime = builder.clone().build().unwrap();
            let pairs: Vec<_> = (0..8).map(|_| connected(&runtime)).collect();
            let (report_first, first) = mpsc::channel();
            let sent = thread::scope(|scope| {
                let sender = scope.spawn(|| {
                    let send = |(index, (socket, _)): (usize, &(Socket, TcpStream))| {
                        let sent = socket.send_async(vec![1; 1000]);
                        if index == 0 {
                            report_first.send(()).unwrap();
                        }
                        sent.wait().result
                    };
                    pairs.iter().enumerate().map(send).collect::<Vec<_>>()
                });
                first.recv().unwrap();
                drop(runtime);
                sender.join().unwrap()
            });
            for ((socket, mut peer), sent) in pairs.into_iter().zip(sent) {
                drop(socket);
                if sent.is_ok() {
                    let mut all = Vec::new();
                    assert_eq!(peer.read_to_end(&mut all).expect("the end, in order"), 1000);
                }
            }
        }
    });
}
