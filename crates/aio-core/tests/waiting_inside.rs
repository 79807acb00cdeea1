//! A callback that waits for an operation holds a worker, and nothing else (I1, I4, I7).

mod support;

use aio_core::{
    AsyncResult, CompletionPort, Engine, OperationHandle, Runtime, Socket, is_aborted, op,
};
use aio_sync::{AutoResetEvent, ManualResetEvent, WaitHandle, wait_all, wait_any};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{
    LIMIT, connected, receive, with_every_engine, with_every_owned_runtime, with_every_runtime,
    within,
};

/// Runs `callback` as one.
fn call(socket: &Socket, callback: impl FnOnce() + Send + 'static) {
    socket.begin_send([1], |_| callback(), ());
}

/// What it waits for may need a turn that another thread has left to the workers.
#[test]
fn a_turn_that_is_left_to_the_workers_is_taken() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let (report_handle, handles) = mpsc::channel::<OperationHandle>();
        let (report, done) = mpsc::channel();
        let callers: Vec<_> = (0..runtime.workers()).map(|_| connected(runtime)).collect();
        // All workers but one are held for good.
        let (release, held) = mpsc::channel::<()>();
        let held = Arc::new(Mutex::new(held));
        for (caller, _) in &callers[1..] {
            let held = held.clone();
            call(caller, move || {
                let _ = held.lock().unwrap().recv();
            });
        }
        thread::sleep(Duration::from_millis(5));
        call(&callers[0].0, move || {
            handles.recv().unwrap().wait_one();
            report.send(()).unwrap();
        });
        thread::sleep(Duration::from_millis(5));
        // More buffers than go into one turn.
        let handle = socket.begin_send_list(vec![[7]; 3_000], |_| {}, ());
        report_handle.send(handle).unwrap();
        done.recv_timeout(LIMIT / 4).unwrap();
        drop(release);
        peer.read_exact(&mut [0; 3_000]).unwrap();
    });
}

/// While it waited it may have been the one who watched over everybody's I/O and time; others do that now.
#[test]
fn what_it_attended_while_it_waited_is_attended_afterwards() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        for _ in 0..5 {
            let (socket, mut peer) = connected(&runtime);
            let (other, mut other_peer) = connected(&runtime);
            let (hasty, _hasty_peer) = connected(&runtime);
            let (caller, _caller_peer) = connected(&runtime);
            let (report, received) = mpsc::channel();
            receive(&other, 1, &report);
            let (report, over) = mpsc::channel();
            let (release, held) = mpsc::channel::<()>();
            call(&caller, move || {
                socket.receive_async([0; 1]).wait().result.unwrap();
                report.send(()).unwrap();
                let _ = held.recv();
            });
            // Long enough for the other worker to come to rest.
            thread::sleep(Duration::from_millis(40));
            peer.write_all(&[1]).unwrap();
            over.recv().unwrap();
            thread::sleep(Duration::from_millis(5));
            other_peer.write_all(&[2]).unwrap();
            received.recv_timeout(LIMIT / 4).unwrap().result.unwrap();
            let timed_out = hasty.with_timeout(Duration::from_millis(5)).receive_async([0; 1]);
            assert!(timed_out.handle().wait_timeout(LIMIT / 4));
            drop(release);
        }
    });
}

/// Nobody is idle: who waits inside sees to what the others, who block, have left lying.
#[test]
fn what_a_blocked_worker_holds_is_taken_from_it() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        for _ in 0..5 {
            let (socket, mut peer) = connected(&runtime);
            let (waiter, _waiter_peer) = connected(&runtime);
            let (blocker, mut blocker_peer) = connected(&runtime);
            let (report, over) = mpsc::channel();
            let (release, held) = mpsc::channel::<()>();
            let (report_handle, handles) = mpsc::channel::<OperationHandle>();
            call(&waiter, move || {
                let handle = handles.recv().unwrap();
                handle.wait_one();
                report.send(()).unwrap();
            });
            thread::sleep(Duration::from_millis(5));
            // The other worker waits for both; one of them blocks it.
            let handle = socket.begin_receive([0; 1], |_| {}, ());
            let end = blocker.clone();
            blocker.begin_receive(
                [0; 1],
                move |ar| {
                    drop(end.end_receive(ar));
                    let _ = held.recv();
                },
                (),
            );
            thread::sleep(Duration::from_millis(5));
            blocker_peer.write_all(&[1]).unwrap();
            peer.write_all(&[1]).unwrap();
            thread::sleep(Duration::from_millis(5));
            report_handle.send(handle).unwrap();
            over.recv_timeout(LIMIT / 4).unwrap();
            drop(release);
        }
    });
}

/// I1: what a callback begins on a runtime that has ended, before and after it waits, is not lost.
#[test]
fn what_is_begun_on_a_runtime_that_has_ended_is_delivered() {
    with_every_runtime(|runtime: &Runtime| {
        let ended = support::builder().workers(1).build().unwrap();
        let (late, _late_peer) = connected(&ended);
        drop(ended);
        let (socket, mut peer) = connected(runtime);
        let (caller, _caller_peer) = connected(runtime);
        let (report, calls) = mpsc::channel();
        call(&caller, move || {
            let inner = report.clone();
            late.begin_send([1], move |_| inner.send("first").unwrap(), ());
            socket.receive_async([0; 1]).wait().result.unwrap();
            let inner = report.clone();
            late.begin_send([1], move |_| inner.send("second").unwrap(), ());
            report.send("callback ends").unwrap();
        });
        thread::sleep(Duration::from_millis(2));
        peer.write_all(&[1]).unwrap();
        let mut calls: Vec<_> = calls.iter().collect();
        calls.sort_unstable();
        assert_eq!(calls, ["callback ends", "first", "second"]);
    });
}

/// I7: the drop of a runtime ends what a callback waits for.
#[test]
fn a_runtime_that_ends_aborts_what_is_waited_for() {
    with_every_owned_runtime(|runtime| {
        let workers = runtime.workers();
        let pairs: Vec<_> = (0..workers).map(|_| connected(&runtime)).collect();
        let (report, outcomes) = mpsc::channel();
        for (socket, _) in &pairs {
            let report = report.clone();
            socket.begin_send(
                [1],
                move |ar: AsyncResult<op::Send<[u8; 1]>, Socket>| {
                    let received = ar.async_state().receive_async([0; 1]).wait();
                    report.send(is_aborted(&received.result.unwrap_err())).unwrap();
                },
                socket.clone(),
            );
        }
        thread::sleep(Duration::from_millis(10));
        let begun = Instant::now();
        drop(runtime);
        assert!(begun.elapsed() < Duration::from_secs(4));
        drop(report);
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), vec![true; workers]);
    });
}

/// Each of two runtimes waits, on its only worker, for what only the other can do.
#[test]
fn callbacks_of_two_runtimes_wait_for_operations_of_each_other() {
    for engines in [[Engine::Readiness, Engine::Readiness], [Engine::Blocking, Engine::Readiness]] {
        within(LIMIT, &format!("{engines:?}"), move || {
            let runtimes =
                engines.map(|engine| support::builder().engine(engine).workers(1).build().unwrap());
            let pairs = [0, 1].map(|i| connected(&runtimes[i]));
            let (sender, receiver) = mpsc::channel();
            let barrier = Arc::new(Barrier::new(2));
            for i in [0, 1] {
                let (other, sender, barrier) =
                    (pairs[1 - i].0.clone(), sender.clone(), barrier.clone());
                call(&pairs[i].0, move || {
                    barrier.wait();
                    let completion = other.receive_async([0; 1]).wait();
                    let hasty = other.with_timeout(Duration::from_millis(1));
                    let late = hasty.receive_async([0; 1]).wait().result.unwrap_err();
                    sender.send((i, completion.buffer[0], late.kind())).unwrap();
                });
            }
            // Both are waiting by now, or will be.
            thread::sleep(Duration::from_millis(5));
            for (i, (_, peer)) in pairs.iter().enumerate() {
                (&mut &*peer).write_all(&[i as u8]).unwrap();
            }
            for _ in 0..2 {
                let (i, byte, late) = receiver.recv_timeout(LIMIT).unwrap();
                assert_eq!((byte as usize, late), (1 - i, ErrorKind::TimedOut));
            }
        });
    }
}

/// A thread that waits for an operation with a deadline does not need a worker to be told that it has passed.
#[test]
fn a_synchronous_call_ends_in_time_though_all_workers_are_held() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        let callers: Vec<_> = (0..runtime.workers()).map(|_| connected(runtime)).collect();
        let mut releases = Vec::new();
        for (caller, _) in &callers {
            let (release, held) = mpsc::channel::<()>();
            releases.push(release);
            call(caller, move || {
                let _ = held.recv();
            });
        }
        thread::sleep(Duration::from_millis(10));
        let (over, told) = mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            let _ = told.recv_timeout(Duration::from_secs(5));
            drop(releases);
        });
        let begun = Instant::now();
        let hasty = socket.with_timeout(Duration::from_millis(5));
        let error = hasty.receive(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        drop(over);
        guard.join().unwrap();
    });
}

/// What it waits for may be a step that itself waits for another one, behind it.
#[test]
fn a_step_inside_it_may_wait_for_the_next_one() {
    with_every_runtime(|runtime: &Runtime| {
        let (report, over) = mpsc::channel();
        for _ in 0..runtime.workers() {
            let (handle, report) = (runtime.handle(), report.clone());
            runtime.handle().post(move || {
                let events = [(); 2].map(|()| Arc::new(ManualResetEvent::new(false)));
                let ([first, second], inner) = (events.clone(), handle.clone());
                handle.post_step(move || {
                    assert!(inner.wait_for(&*second, LIMIT / 4));
                    first.set();
                });
                let [first, second] = events;
                handle.post(|| {});
                handle.post_step(move || {
                    second.set();
                });
                report.send(handle.wait_for(&*first, LIMIT / 4)).unwrap();
            });
        }
        for _ in 0..runtime.workers() {
            assert!(over.recv().unwrap());
        }
    });
}

/// I4: a step that takes long, inside a callback that waits, holds up nothing that lies with the same worker.
#[test]
fn what_lies_behind_a_slow_step_is_run_by_another_worker() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let (release_other, other) = mpsc::channel::<()>();
        let (report, other_is_held) = mpsc::channel();
        runtime.handle().post(move || {
            report.send(()).unwrap();
            let _ = other.recv();
        });
        other_is_held.recv().unwrap();
        let (release_step, step) = mpsc::channel::<()>();
        let (report, steps) = mpsc::channel();
        let (report_callback, callbacks) = mpsc::channel();
        let handle = runtime.handle();
        runtime.handle().post(move || {
            let over = Arc::new(ManualResetEvent::new(false));
            let set = over.clone();
            handle.post_step(move || {
                report.send(()).unwrap();
                let _ = step.recv();
                set.set();
            });
            for _ in 0..10 {
                let report = report_callback.clone();
                handle.post(move || report.send(()).unwrap());
            }
            assert!(handle.wait_for(&*over, LIMIT));
        });
        steps.recv().unwrap();
        drop(release_other);
        for _ in 0..10 {
            callbacks.recv_timeout(Duration::from_secs(5)).expect("a callback");
        }
        drop(release_step);
    });
}

/// Callbacks that it must not run cost it nothing while it waits.
#[cfg(target_os = "linux")]
#[test]
fn callbacks_that_are_queued_meanwhile_cost_it_nothing() {
    /// The processor's time that the thread of this name has used.
    fn used(name: &str) -> Duration {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
        let is_it = |task: &std::path::PathBuf| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let task = tasks.into_iter().find(is_it).unwrap();
        // The first number of schedstat, in nanoseconds.
        let stat = std::fs::read_to_string(task.join("schedstat")).unwrap();
        Duration::from_nanos(stat.split_whitespace().next().unwrap().parse().unwrap())
    }
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            const CALLBACKS: usize = 100_000;
            let name = format!("queued-{engine}");
            let builder = support::builder().engine(engine).workers(1).thread_name(&name);
            let runtime = builder.build().unwrap();
            let (socket, mut peer) = connected(&runtime);
            let (report, waiting) = mpsc::channel();
            runtime.handle().post(move || {
                report.send(()).unwrap();
                socket.receive_async([0; 1]).wait().result.unwrap();
            });
            waiting.recv().unwrap();
            let (report, run) = mpsc::channel();
            for index in 0..CALLBACKS {
                let report = report.clone();
                runtime.handle().post(move || report.send(index).unwrap());
            }
            // Not what it takes to see them once.
            thread::sleep(Duration::from_millis(100));
            let thread = &format!("{name}-0")[..15.min(name.len() + 2)];
            let before = used(thread);
            thread::sleep(Duration::from_millis(600));
            let used = used(thread) - before;
            assert!(used < Duration::from_millis(200), "{used:?}");
            assert!(run.try_recv().is_err(), "a callback ran inside another one");
            peer.write_all(&[1]).unwrap();
            let order: Vec<_> = run.iter().take(CALLBACKS).collect();
            assert!(order.is_sorted());
        });
    }
}

/// F26: what a plain wait for events in a callback needs may be I/O of the same runtime, whose workers all wait so.
#[test]
fn a_plain_wait_for_an_event_keeps_io_moving() {
    type Wait = fn(&Arc<AutoResetEvent>, &ManualResetEvent);
    const WAITS: [(&str, Wait); 8] = [
        ("wait_one", |event, _| event.wait_one()),
        ("wait_timeout", |event, _| assert!(event.wait_timeout(LIMIT))),
        ("wait_any", |event, other| assert_eq!(wait_any(&[other, event]), 1)),
        ("wait_all", |event, _| wait_all(&[event])),
        ("signal_and_wait", |event, other| other.signal_and_wait(event)),
        ("of a boxed handle", |event, _| {
            let handle: Box<dyn WaitHandle> = Box::new(event.clone());
            handle.event().wait_one();
        }),
        ("nested", |event, _| {
            rayon::join(|| event.wait_one(), || ());
        }),
        ("wait for a port", |event, _| {
            let port = Arc::new(CompletionPort::new(1));
            let inner = port.clone();
            let event = event.clone();
            thread::spawn(move || {
                event.wait_one();
                inner.post(()).unwrap();
            });
            port.wait().unwrap();
        }),
    ];
    with_every_runtime(|runtime: &Runtime| {
        for (name, wait) in WAITS {
            let (report, over) = mpsc::channel();
            let callers = runtime.workers();
            for _ in 0..callers {
                let (socket, mut peer) = connected(runtime);
                let event = Arc::new(AutoResetEvent::new(false));
                let (set, report) = (event.clone(), report.clone());
                let (waiting, told) = mpsc::channel();
                thread::spawn(move || {
                    told.recv().unwrap();
                    let late = socket.with_timeout(Duration::from_millis(5)).receive(&mut [0; 1]);
                    assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
                    let receive = socket.receive_async([0; 1]);
                    peer.write_all(&[1]).unwrap();
                    receive.wait().result.unwrap();
                    set.set();
                });
                runtime.handle().post(move || {
                    waiting.send(()).unwrap();
                    wait(&event, &ManualResetEvent::new(false));
                    report.send(()).unwrap();
                });
            }
            for _ in 0..callers {
                over.recv_timeout(LIMIT / 4).expect(name);
            }
        }
    });
}

/// The same for what is a callback's: another worker runs it at once.
#[test]
fn a_plain_wait_for_an_event_leaves_callbacks_to_other_workers() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let mut others = 0;
        for _ in 0..50 {
            while runtime.metrics().workers_idle < 2 {
                thread::yield_now();
            }
            let (report, over) = mpsc::channel();
            let handle = runtime.handle();
            runtime.handle().post(move || {
                let me = thread::current().id();
                let event = Arc::new(ManualResetEvent::new(false));
                let set = event.clone();
                // Not nested while somebody else is free, since it may need what this callback holds.
                handle.post_step(move || {
                    report.send(thread::current().id() == me).unwrap();
                    set.set();
                });
                event.wait_one();
            });
            others += usize::from(!over.recv_timeout(LIMIT / 4).unwrap());
        }
        // The other one may happen to look after something at that moment.
        assert!(others > 25, "{others}");
    });
}

/// B9: a registered wait is over when its callback has returned, which may be waiting for I/O.
#[test]
fn a_wait_for_the_end_of_a_registered_wait_keeps_io_moving() {
    with_every_runtime(|runtime: &Runtime| {
        let (report, over) = mpsc::channel();
        for _ in 0..runtime.workers() {
            let (socket, mut peer) = connected(runtime);
            let (handle, report) = (runtime.handle(), report.clone());
            let event = Arc::new(ManualResetEvent::new(false));
            let (set, (waiting, told)) = (event.clone(), mpsc::channel());
            thread::spawn(move || {
                told.recv().unwrap();
                let receive = socket.receive_async([0; 1]);
                peer.write_all(&[1]).unwrap();
                receive.wait().result.unwrap();
                set.set();
            });
            runtime.handle().post(move || {
                let wait = handle.register_wait_step(event, None, true, |_| {});
                waiting.send(()).unwrap();
                wait.wait_one();
                report.send(()).unwrap();
            });
        }
        for _ in 0..runtime.workers() {
            over.recv_timeout(LIMIT / 4).unwrap();
        }
    });
}
