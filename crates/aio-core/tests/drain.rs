//! I7: drain finishes what is pending, up to its deadline; abort ends it; both report, and are bounded.

mod support;

use aio_core::{AsyncResult, Completion, Runtime, ShutdownReport, Socket, is_aborted, op};
use aio_sync::ManualResetEvent;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{
    LIMIT, accept, connected, listener, receive, send, with_every_engine, with_every_owned_runtime,
};

const SOON: Duration = Duration::from_millis(20);

/// A moment that no test sees.
fn never() -> Instant {
    Instant::now() + 10 * LIMIT
}

fn soon() -> Instant {
    Instant::now() + SOON
}

/// Has a worker run `callback` as one of a send.
fn call(socket: &Socket, callback: impl FnOnce() + Send + 'static) {
    socket.begin_send([1], |_| callback(), ());
}

/// Receives and sends back, until the peer has closed.
fn echo(socket: &Socket) {
    let callback = |ar: AsyncResult<op::Receive<Vec<u8>>, Socket>| {
        let socket = ar.async_state().clone();
        let Completion { result, mut buffer, .. } = socket.end_receive(ar);
        let Ok(n @ 1..) = result else { return };
        buffer.truncate(n);
        socket.clone().begin_send(
            buffer,
            move |ar| {
                if socket.end_send(ar).result.is_ok() {
                    echo(&socket);
                }
            },
            (),
        );
    };
    socket.begin_receive(vec![0; 256], callback, socket.clone());
}

#[test]
fn a_drain_of_an_idle_runtime_is_over_at_once() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let (report, sent) = mpsc::channel();
        send(&socket, vec![1; 3], &report);
        sent.recv().unwrap().result.unwrap();
        let report = runtime.drain(never());
        assert!(report.is_complete() && report.interrupted.is_empty(), "{report:?}");
    });
}

/// Conversations go on until their peers end them, whatever they have to begin for that.
#[test]
fn a_drain_lets_callbacks_finish_their_conversations() {
    with_every_owned_runtime(|runtime| {
        let mut pairs: Vec<_> = (0..5).map(|_| connected(&runtime)).collect();
        pairs.iter().for_each(|(socket, _)| echo(socket));
        let (report_begun, begun) = mpsc::channel();
        let peers = thread::spawn(move || {
            begun.recv().unwrap();
            // Slow enough that the drain is under way.
            for round in 0..10 {
                thread::sleep(Duration::from_millis(2));
                for (_, peer) in &mut pairs {
                    peer.write_all(&[round; 8]).unwrap();
                    let mut answer = [0; 8];
                    peer.read_exact(&mut answer).unwrap();
                    assert_eq!(answer, [round; 8]);
                }
            }
        });
        report_begun.send(()).unwrap();
        let report = runtime.drain(never());
        peers.join().unwrap();
        assert!(report.is_complete() && report.interrupted.is_empty(), "{report:?}");
        assert_eq!(report.aborted, 0);
        // Each of 50 messages has been received and sent back, and each end received.
        assert!(report.completed >= 5 * (10 * 2 + 1) - 5, "{report:?}");
    });
}

#[test]
fn a_drain_waits_for_callbacks_that_run_and_for_what_was_posted() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..4 {
            let called = done.clone();
            call(&socket, move || {
                thread::sleep(Duration::from_millis(5));
                called.fetch_add(1, Ordering::Relaxed);
            });
            let (handle, done) = (runtime.handle(), done.clone());
            runtime.handle().post(move || {
                handle.post(move || {
                    done.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
        assert!(runtime.drain(never()).is_complete());
        assert_eq!(done.load(Ordering::Relaxed), 8);
    });
}

#[test]
fn operations_without_callbacks_are_waited_for_too() {
    with_every_owned_runtime(|runtime| {
        let (socket, mut peer) = connected(&runtime);
        let receive = socket.receive_async([0; 1]);
        let peer = thread::spawn(move || {
            thread::sleep(SOON);
            peer.write_all(&[7]).unwrap();
            peer
        });
        let report = runtime.drain(never());
        assert_eq!((report.completed, report.aborted), (1, 0));
        assert_eq!(receive.wait().buffer, [7]);
        drop(peer.join().unwrap());
    });
}

#[test]
fn a_drain_ends_accepts_at_once_and_refuses_new_ones() {
    with_every_owned_runtime(|runtime| {
        let (listener, address) = listener(&runtime);
        let (report, accepted) = mpsc::channel();
        accept(&listener, &report);
        let with_data = listener.accept_receive_async([0; 1]);
        let (socket, mut peer) = connected(&runtime);
        let receive = socket.receive_async([0; 1]);
        thread::scope(|scope| {
            let drain = scope.spawn(|| runtime.drain(never()));
            assert!(is_aborted(&accepted.recv().unwrap().result.unwrap_err()));
            assert!(is_aborted(&with_data.wait().result.unwrap_err()));
            // A peer that knocks meanwhile changes nothing.
            let _knock = TcpStream::connect(address).unwrap();
            let error = listener.accept().unwrap_err();
            assert!(is_aborted(&error) && error.to_string().contains("shut down"), "{error}");
            // Everything else goes on.
            let std_listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = runtime.tcp_v4().unwrap();
            client.connect(std_listener.local_addr().unwrap()).unwrap();
            client.send(b"hello").unwrap();
            peer.write_all(&[3]).unwrap();
            assert_eq!(receive.wait().buffer, [3]);
            let report = drain.join().unwrap();
            assert!(report.is_complete() && report.interrupted.is_empty(), "{report:?}");
            assert_eq!(report.aborted, 3);
        });
    });
}

/// An accept that is begun at the moment when the drain begins is not left waiting.
#[test]
fn no_accept_slips_past_a_drain() {
    with_every_engine(&[2], |builder| {
        for _ in 0..support::rounds(200) {
            let runtime = builder.clone().build().unwrap();
            let (listener, _) = listener(&runtime);
            thread::scope(|scope| {
                let accept = scope.spawn(|| listener.accept().unwrap_err());
                let report = runtime.drain(never());
                assert!(report.is_complete(), "{report:?}");
                assert!(is_aborted(&accept.join().unwrap()));
            });
        }
    });
}

#[test]
fn what_is_pending_at_the_deadline_is_aborted_and_named() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let (report_received, received) = mpsc::channel();
        receive(&socket, 1, &report_received);
        let waited = socket.receive_async([0; 1]);
        let local = socket.local_addr().unwrap();
        let peer = socket.peer_addr().unwrap();
        thread::sleep(SOON);
        let report = runtime.drain(soon());
        assert!(report.is_complete(), "{report:?}");
        assert_eq!((report.completed, report.aborted, report.interrupted.len()), (0, 2, 2));
        for operation in &report.interrupted {
            assert_eq!(operation.operation, "receive");
            assert_eq!(operation.local_addr.as_ref().unwrap().as_socket(), Some(local));
            assert_eq!(operation.peer_addr.as_ref().unwrap().as_socket(), Some(peer));
            assert!(operation.age >= SOON);
        }
        let text = report.to_string();
        assert!(text.contains(&format!("was pending: receive on {local} with {peer}, for ")));
        assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
        assert!(is_aborted(&waited.wait().result.unwrap_err()));
    });
}

/// A send that the shutdown interrupts resets the connection: the peer does not take a part for the whole.
#[test]
fn an_interrupted_send_is_named_and_its_peer_learns_of_it() {
    with_every_owned_runtime(|runtime| {
        let (socket, mut peer) = connected(&runtime);
        let (report, sent) = mpsc::channel();
        send(&socket, vec![1; 64 << 20], &report);
        let report = runtime.drain(soon());
        assert_eq!(report.interrupted[0].operation, "send");
        let sent = sent.recv().unwrap();
        assert!(is_aborted(&sent.result.unwrap_err()) && sent.buffer.len() == 64 << 20);
        drop(socket);
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

/// The caller is told of a callback that does not return, and does not wait for it.
#[test]
fn a_callback_that_never_returns_is_reported_and_what_is_behind_it() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let (local, workers) = (socket.local_addr().unwrap(), runtime.workers());
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let (report_running, running) = mpsc::channel();
        for _ in 0..workers {
            let (held, report_running) = (held.clone(), report_running.clone());
            call(&socket, move || {
                report_running.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
            });
        }
        (0..workers).for_each(|_| running.recv().unwrap());
        let (report_received, received) = mpsc::channel();
        (0..5).for_each(|_| drop(receive(&socket, 1, &report_received)));
        let report = runtime.drain(soon());
        assert!(!report.is_complete());
        assert_eq!((report.running.len(), report.not_run), (workers, 5), "{report:?}");
        for callback in &report.running {
            assert_eq!(callback.operation, "send");
            assert_eq!(callback.local_addr.as_ref().unwrap().as_socket(), Some(local));
            assert!(callback.age >= SOON / 2);
        }
        assert_eq!(report.interrupted.len(), 5);
        assert!(report.to_string().contains("5 callbacks could not run"));
        // Who has been told is not kept by the drop either, which would be for five seconds. What was held up
        // comes to its end later.
        let before = Instant::now();
        drop(runtime);
        assert!(before.elapsed() < Duration::from_secs(5));
        assert!(received.try_recv().is_err());
        drop(release);
        for _ in 0..5 {
            assert!(is_aborted(&received.recv().unwrap().result.unwrap_err()));
        }
    });
}

/// One worker is held; the others end everything else.
#[test]
fn a_held_worker_does_not_hold_up_what_others_can_end() {
    with_every_engine(&[3], |builder| {
        let runtime = builder.build().unwrap();
        let (socket, _peer) = connected(&runtime);
        let (release, held) = mpsc::channel::<()>();
        let (report_running, running) = mpsc::channel();
        call(&socket, move || {
            report_running.send(()).unwrap();
            let _ = held.recv();
        });
        running.recv().unwrap();
        let (report_received, received) = mpsc::channel();
        (0..100).for_each(|_| drop(receive(&socket, 1, &report_received)));
        let report = runtime.drain(Instant::now());
        assert_eq!((report.running.len(), report.not_run), (1, 0), "{report:?}");
        assert_eq!(received.try_iter().count(), 100);
        drop(release);
        // The worker ends when its callback returns; so now does the shutdown.
        assert!(runtime.abort().is_complete());
    });
}

#[test]
fn an_abort_ends_a_drain_of_another_thread() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let receive = socket.receive_async([0; 1]);
        thread::scope(|scope| {
            let drain = scope.spawn(|| runtime.drain(never()));
            thread::sleep(Duration::from_millis(2));
            let report = runtime.abort();
            assert!(report.is_complete() && report.interrupted.len() == 1, "{report:?}");
            let report = drain.join().unwrap();
            assert!(report.is_complete() && report.interrupted.len() == 1, "{report:?}");
        });
        assert!(is_aborted(&receive.wait().result.unwrap_err()));
    });
}

#[test]
fn a_second_shutdown_reports_the_same() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let receive = socket.receive_async([0; 1]);
        let first = runtime.abort();
        assert!(is_aborted(&receive.wait().result.unwrap_err()));
        let ways: [fn(&Runtime) -> ShutdownReport; 2] =
            [Runtime::abort, |runtime| runtime.drain(never())];
        for again in ways {
            let second = again(&runtime);
            assert!(second.is_complete());
            assert_eq!((second.completed, second.aborted), (first.completed, first.aborted));
            assert_eq!(second.interrupted.len(), 1);
        }
    });
}

/// A callback shuts down its own runtime: it is not waited for, by itself or by others that do the same.
#[test]
fn callbacks_can_drain_and_abort_their_own_runtime() {
    fn shut_down(runtime: &Runtime, aborts: bool) -> ShutdownReport {
        if aborts { runtime.abort() } else { runtime.drain(never()) }
    }
    with_every_owned_runtime(|first| {
        let (engine, workers) = (first.engine(), first.workers());
        drop(first);
        for (callers, aborts) in [(1, true), (1, false), (workers, true), (workers, false)] {
            let builder = support::builder().engine(engine).workers(workers);
            let runtime = Arc::new(builder.build().unwrap());
            let (socket, _peer) = connected(&runtime);
            let (report, reports) = mpsc::channel();
            for _ in 0..callers {
                let (runtime, report) = (runtime.clone(), report.clone());
                call(&socket, move || {
                    let shut_down = shut_down(&runtime, aborts);
                    // Before the report: then whoever has all reports has the last handle.
                    drop(runtime);
                    report.send(shut_down).unwrap();
                });
            }
            for _ in 0..callers {
                let report = reports.recv().unwrap();
                // Another may have made its call, and not returned.
                assert!(report.running.len() < callers, "{callers} {aborts} {report:?}");
            }
            let report = runtime.abort();
            assert!(report.is_complete(), "{report:?}");
        }
    });
}

/// After the deadline, too: what one callback does not hold up is run.
#[test]
fn a_callback_that_never_returns_does_not_keep_others_from_running() {
    const QUEUED: usize = 20_000;
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let (socket, _peer) = connected(&runtime);
        let releases = [(); 2].map(|()| Arc::new(ManualResetEvent::new(false)));
        let (report_running, running) = mpsc::channel();
        for release in &releases {
            let (release, report_running) = (release.clone(), report_running.clone());
            call(&socket, move || {
                report_running.send(()).unwrap();
                release.wait_one();
            });
            running.recv().unwrap();
        }
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..QUEUED {
            let ran = ran.clone();
            let callback = move |_| {
                ran.fetch_add(1, Ordering::Relaxed);
            };
            // Of nothing, for which there is always room.
            socket.begin_send([], callback, ());
        }
        // Old enough to be given up.
        thread::sleep(Duration::from_millis(100));
        releases[1].set();
        while ran.load(Ordering::Relaxed) == 0 {
            thread::yield_now();
        }
        let report = runtime.drain(Instant::now());
        // A busy machine may keep the other from running for so long that it is given up as well.
        if report.running.len() == 1 {
            assert_eq!(report.not_run, 0, "{report}");
            assert_eq!(ran.load(Ordering::Relaxed), QUEUED);
        }
        releases[0].set();
    });
}

/// With a single worker, too, what a draining callback waits for goes on; callbacks wait for its return.
#[test]
fn a_drain_in_a_callback_keeps_io_moving() {
    with_every_engine(&[1], |builder| {
        let runtime = builder.build().unwrap();
        let runtime = Arc::new(runtime);
        let (socket, mut peer) = connected(&runtime);
        let (report_received, received) = mpsc::channel();
        receive(&socket, 1, &report_received);
        let waited = socket.receive_async([0; 1]);
        let (report, reports) = mpsc::channel();
        let drainer = runtime.clone();
        call(&socket, move || report.send(drainer.drain(never())).unwrap());
        thread::sleep(SOON);
        peer.write_all(&[1, 2]).unwrap();
        assert_eq!(waited.wait().buffer, [2]);
        let report = reports.recv().unwrap();
        assert_eq!((report.not_run, report.interrupted.len()), (1, 0), "{report:?}");
        assert_eq!(received.recv().unwrap().buffer, [1]);
    });
}

/// While a callback is in `operation.wait()`.
#[test]
fn an_abort_ends_what_a_callback_waits_for() {
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        let (report, outcome) = mpsc::channel();
        let (report_running, running) = mpsc::channel();
        let same = socket.clone();
        call(&socket, move || {
            report_running.send(()).unwrap();
            report.send(same.receive(&mut [0; 1])).unwrap();
        });
        running.recv().unwrap();
        let report = runtime.abort();
        assert!(report.is_complete(), "{report:?}");
        assert!(is_aborted(&outcome.recv().unwrap().unwrap_err()));
    });
}

/// A worker of one runtime shuts down another.
#[test]
fn a_callback_of_another_runtime_can_drain_this_one() {
    with_every_owned_runtime(|runtime| {
        let builder = support::builder().engine(runtime.engine()).workers(1);
        let other = builder.build().unwrap();
        let (socket, mut peer) = connected(&runtime);
        let (caller, _caller_peer) = connected(&other);
        let receive = socket.receive_async([0; 1]);
        let (report, reports) = mpsc::channel();
        let begun = Arc::new(ManualResetEvent::new(false));
        let set = begun.clone();
        call(&caller, move || {
            set.set();
            report.send(runtime.drain(never())).unwrap();
        });
        begun.wait_one();
        peer.write_all(&[9]).unwrap();
        assert!(reports.recv().unwrap().is_complete());
        assert_eq!(receive.wait().buffer, [9]);
    });
}

/// A registered wait that is over is pending until its callback has returned; one that is not is no reason
/// to wait.
#[test]
fn registered_waits_end_with_the_runtime() {
    with_every_owned_runtime(|runtime| {
        let never_set = Arc::new(ManualResetEvent::new(false));
        let waits = runtime.register_wait(never_set, None, true, |_| unreachable!());
        let event = Arc::new(ManualResetEvent::new(false));
        let (report, fired) = mpsc::channel();
        let _once = runtime.register_wait(event.clone(), None, true, move |_| {
            thread::sleep(SOON);
            report.send(()).unwrap();
        });
        event.set();
        assert!(runtime.drain(never()).is_complete());
        fired.try_recv().unwrap();
        assert!(waits.has_ended());
    });
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left_after_a_drain_or_an_abort() {
    fn threads() -> usize {
        let names = std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.starts_with("drain-leak")).count()
    }
    with_every_engine(&[4], |builder| {
        for round in 0..20 {
            let builder = builder.clone().thread_name("drain-leak");
            let runtime = builder.build().unwrap();
            // A thread gives itself its name.
            while threads() < 4 {
                thread::yield_now();
            }
            let (socket, _peer) = connected(&runtime);
            let (report, _received) = mpsc::channel();
            receive(&socket, 1, &report);
            let report =
                if round % 2 == 0 { runtime.drain(Instant::now()) } else { runtime.abort() };
            assert!(report.is_complete());
            // The runtime is not dropped. The system takes a joined thread off the list a moment
            // later.
            while threads() > 0 {
                thread::yield_now();
            }
            drop(runtime);
        }
    });
}

/// I10: what panics while a runtime ends is counted, and the runtime ends.
#[test]
fn panics_do_not_keep_a_runtime_from_ending() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("on purpose: in the drop of a state");
        }
    }
    with_every_owned_runtime(|runtime| {
        let (socket, _peer) = connected(&runtime);
        for _ in 0..5 {
            socket.begin_receive([0; 1], |_| panic!("on purpose: in a callback"), ());
            socket.begin_receive([0; 1], drop, PanicsWhenDropped);
            let (report, handle) = (runtime.handle(), runtime.handle());
            report.post(move || {
                handle.post(|| panic!("on purpose: in what was posted"));
            });
        }
        // A panic that prints where it came from takes its time.
        let report = runtime.abort();
        assert!(report.is_complete(), "{report:?}");
        assert_eq!((report.aborted, runtime.metrics().callback_panics), (10, 15));
    });
}

/// I4: a callback that is still running may wait for those of what is aborted, whichever worker aborts it.
#[test]
fn a_running_callback_can_wait_for_the_callbacks_of_what_is_aborted() {
    with_every_engine(&[3], |builder| {
        for _ in 0..5 {
            let runtime = builder.clone().build().unwrap();
            let pairs: Vec<_> = (0..4).map(|_| connected(&runtime)).collect();
            let (count, all) = (Arc::new(AtomicUsize::new(0)), ManualResetEvent::new(false));
            let all = Arc::new(all);
            for (socket, _) in &pairs {
                let (count, all) = (count.clone(), all.clone());
                let callback = move |_| {
                    if count.fetch_add(1, Ordering::Relaxed) == 3 {
                        all.set();
                    }
                };
                socket.begin_receive([0; 1], callback, ());
            }
            let (report, outcome) = mpsc::channel();
            let handle = runtime.handle();
            call(&pairs[0].0, move || {
                report.send(handle.wait_for(&*all, LIMIT / 30)).unwrap();
            });
            // The other workers have come to rest, each with a part of what is pending.
            thread::sleep(SOON);
            assert!(runtime.abort().is_complete());
            assert!(outcome.recv().unwrap());
        }
    });
}
