//! The workers are rayon's threads: what callbacks give to rayon is done by the workers of their runtime (I4, I7, I10).

mod support;

use aio_core::{CompletionPort, Engine, PanicPolicy, Runtime};
use rayon::prelude::*;
use std::io::{Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use std::{env, panic};
use support::{LIMIT, connected, within};

/// "At once", on a machine that does other things, too.
const SOON: Duration = Duration::from_secs(5);

fn with_every_runtime(test: fn(&Runtime, &str)) {
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [1, 2, 3] {
            let what = format!("{engine}, {workers} workers");
            within(LIMIT, &what.clone(), move || {
                let runtime = support::builder().engine(engine).workers(workers).build().unwrap();
                test(&runtime, &what);
            });
        }
    }
}

/// Runs `callback` as one; what it sends to the other end comes back from here.
fn call<T: Send + 'static>(
    runtime: &Runtime,
    what: &str,
    callback: impl FnOnce(mpsc::Sender<T>) + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    runtime.handle().post(move || callback(sender));
    receiver.recv_timeout(SOON).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// Whoever wants to know may have given up, which has been reported.
fn tell<T>(sender: &mpsc::Sender<T>, value: T) {
    let _ = sender.send(value);
}

fn count_up(count: &AtomicUsize) {
    count.fetch_add(1, Ordering::Relaxed);
}

/// Each thing a callback may ask of rayon, alone and when all workers are at rest.
#[test]
fn what_a_callback_gives_to_rayon_is_done() {
    /// What it is, the callback, and what that reports with so many workers.
    type Case = (&'static str, fn(mpsc::Sender<usize>), fn(usize) -> usize);
    const CASES: [Case; 13] = [
        ("join", |s| tell(&s, rayon::join(|| 1, || 2).1), |_| 2),
        ("par_iter", |s| tell(&s, (0..1000_usize).into_par_iter().sum()), |_| 499_500),
        ("spawn", |s| rayon::spawn(move || tell(&s, 7)), |_| 7),
        ("spawn_fifo", |s| rayon::spawn_fifo(move || tell(&s, 8)), |_| 8),
        (
            "spawn in spawn",
            |s| rayon::spawn(move || rayon::spawn(move || tell(&s, rayon::join(|| 3, || 4).0))),
            |_| 3,
        ),
        (
            "scope",
            |s| {
                let mut x = 0;
                rayon::scope(|scope| scope.spawn(|_| x = 5));
                tell(&s, x);
            },
            |_| 5,
        ),
        (
            "scope_fifo",
            |s| {
                let mut x = 0;
                rayon::scope_fifo(|scope| scope.spawn_fifo(|_| x = 6));
                tell(&s, x);
            },
            |_| 6,
        ),
        ("broadcast", |s| tell(&s, rayon::broadcast(|c| c.index() + 1).iter().sum()), sum),
        (
            "broadcasts in a row",
            |s| tell(&s, (0..20).map(|_| rayon::broadcast(|_| 1).len()).sum()),
            |workers| 20 * workers,
        ),
        (
            "scope and spawn_broadcast",
            |s| {
                let count = AtomicUsize::new(0);
                rayon::scope(|scope| {
                    scope.spawn_broadcast(|_, context| {
                        count.fetch_add(context.index() + 1, Ordering::Relaxed);
                    });
                });
                tell(&s, count.into_inner());
            },
            sum,
        ),
        (
            "spawn_broadcast",
            |s| {
                let count = AtomicUsize::new(0);
                rayon::spawn_broadcast(move |context| {
                    let others = count.fetch_add(1, Ordering::Relaxed);
                    if others + 1 == context.num_threads() {
                        tell(&s, others);
                    }
                });
            },
            |workers| workers - 1,
        ),
        (
            "a pool of one's own",
            |s| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
                let sum = pool.install(|| pool.broadcast(|c| c.index() + 1).iter().sum::<usize>());
                // And back.
                let (back, join) =
                    rayon::join(|| 10, || pool.install(|| rayon::join(|| 20, || 30).1));
                tell(&s, sum + back + join);
            },
            |_| 43,
        ),
        (
            "a scope that another pool spawns into",
            |s| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
                let count = AtomicUsize::new(0);
                rayon::scope(|scope| {
                    pool.install(|| {
                        scope.spawn(|_| count_up(&count));
                        scope.spawn_broadcast(|_, _| count_up(&count));
                    });
                });
                tell(&s, count.into_inner());
            },
            |workers| workers + 1,
        ),
    ];
    fn sum(workers: usize) -> usize {
        (1..=workers).sum()
    }
    with_every_runtime(|runtime: &Runtime, what| {
        for at_rest in [false, true] {
            for (name, case, expected) in CASES {
                if at_rest {
                    thread::sleep(Duration::from_millis(40));
                }
                let got = call(runtime, &format!("{what}, {name}, at rest: {at_rest}"), case);
                assert_eq!(got, expected(runtime.workers()), "{what}, {name}");
            }
        }
    });
}

/// Others are needed late, when the callback has been running for long.
#[test]
fn a_broadcast_late_in_a_long_callback_is_done() {
    with_every_runtime(|runtime: &Runtime, what| {
        let count = call(runtime, what, |sender| {
            for _ in 0..3 {
                thread::sleep(Duration::from_millis(120));
                tell(&sender, rayon::broadcast(|_| ()).len());
            }
        });
        assert_eq!(count, runtime.workers());
    });
}

/// All workers ask for all workers.
#[test]
fn broadcasts_from_all_workers_at_once_are_done() {
    with_every_runtime(|runtime: &Runtime, what| {
        let barrier = Arc::new(Barrier::new(runtime.workers()));
        let (report, counts) = mpsc::channel();
        for _ in 0..runtime.workers() {
            let (barrier, report) = (barrier.clone(), report.clone());
            runtime.handle().post(move || {
                barrier.wait();
                let sum =
                    rayon::broadcast(|_| rayon::join(|| 1, || 1)).iter().map(|(a, b)| a + b).sum();
                tell(&report, sum);
            });
        }
        for _ in 0..runtime.workers() {
            let sum: usize = counts.recv_timeout(SOON).expect(what);
            assert_eq!(sum, 2 * runtime.workers());
        }
    });
}

/// The idle workers come to help, for jobs that are done when two meet.
#[test]
fn jobs_run_on_several_workers() {
    with_every_runtime(|runtime: &Runtime, what| {
        if runtime.workers() == 1 {
            return;
        }
        call(runtime, what, |sender| {
            let barrier = Barrier::new(2);
            rayon::scope(|scope| {
                for _ in 0..2 {
                    scope.spawn(|_| {
                        barrier.wait();
                    });
                }
            });
            tell(&sender, ());
        });
        // The callback has returned by the time that they meet.
        call(runtime, what, |sender| {
            let barrier = Arc::new(Barrier::new(2));
            for _ in 0..2 {
                let (barrier, sender) = (barrier.clone(), sender.clone());
                rayon::spawn(move || {
                    barrier.wait();
                    tell(&sender, ());
                });
            }
        });
        // One blocks for a job of its own.
        call(runtime, what, |sender| {
            let (report, done) = mpsc::channel();
            rayon::spawn(move || report.send(()).unwrap());
            done.recv().unwrap();
            tell(&sender, ());
        });
    });
}

/// A job is on a worker: what it begins and posts goes on, and it can wait for that.
#[test]
fn a_job_can_do_what_a_callback_can() {
    with_every_runtime(|runtime: &Runtime, what| {
        let (socket, mut peer) = connected(runtime);
        let handle = runtime.handle();
        let (sender, receiver) = mpsc::channel();
        handle.clone().post(move || {
            rayon::spawn(move || {
                assert_eq!(socket.send(b"job").unwrap(), 3);
                let received = socket.receive_async([0; 5]).wait();
                handle.post(move || sender.send(received.buffer).unwrap());
            });
        });
        let mut bytes = [0; 3];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"job");
        peer.write_all(b"reply").unwrap();
        assert_eq!(&receiver.recv_timeout(SOON).expect(what), b"reply");
    });
}

/// I4: jobs without end leave callbacks and I/O their turns, and the other way round.
#[test]
fn jobs_and_other_work_leave_each_other_turns() {
    with_every_runtime(|runtime: &Runtime, what| {
        fn again(stop: Arc<AtomicUsize>) {
            if stop.load(Ordering::Relaxed) == 0 {
                rayon::spawn(move || again(stop));
            }
        }
        let stop = Arc::new(AtomicUsize::new(0));
        for _ in 0..runtime.workers() {
            let stop = stop.clone();
            runtime.handle().post(move || again(stop));
        }
        for _ in 0..20 {
            let (socket, mut peer) = connected(runtime);
            let mut receive = socket.receive_async([0; 1]);
            peer.write_all(&[1]).unwrap();
            assert!(receive.wait_timeout(SOON).is_some(), "{what}: a receive");
            call(runtime, what, |sender| tell(&sender, ()));
        }
        stop.store(1, Ordering::Relaxed);
        // And a job has its turn beside callbacks without end.
        let stop = Arc::new(AtomicUsize::new(0));
        fn post_again(handle: aio_core::RuntimeHandle, stop: Arc<AtomicUsize>) {
            if stop.load(Ordering::Relaxed) == 0 {
                let next = handle.clone();
                handle.post(move || post_again(next, stop));
            }
        }
        for _ in 0..runtime.workers() {
            post_again(runtime.handle(), stop.clone());
        }
        for _ in 0..20 {
            call(runtime, what, |sender| rayon::spawn(move || tell(&sender, ())));
            let count = call(runtime, what, |sender| tell(&sender, rayon::broadcast(|_| 1).len()));
            assert_eq!(count, runtime.workers());
        }
        stop.store(1, Ordering::Relaxed);
    });
}

/// I4: a job that takes long delays nobody while a worker is free, and is reported.
#[test]
fn a_job_that_blocks_delays_nobody_while_a_worker_is_free() {
    with_every_runtime(|runtime: &Runtime, what| {
        if runtime.workers() == 1 {
            return;
        }
        let (release, held) = mpsc::channel::<()>();
        call(runtime, what, move |sender| {
            rayon::spawn(move || {
                sender.send(()).unwrap();
                let _ = held.recv();
            });
        });
        for _ in 0..10 {
            call(runtime, what, |sender| tell(&sender, ()));
            let (socket, mut peer) = connected(runtime);
            let mut receive = socket.receive_async([0; 1]);
            peer.write_all(&[1]).unwrap();
            assert!(receive.wait_timeout(SOON).is_some(), "{what}: a receive");
        }
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            if runtime.starvation_report(Duration::ZERO).iter().any(|r| r.operation == "rayon_job")
            {
                drop(release);
                return;
            }
            thread::yield_now();
        }
        panic!("{what}: {:?}", runtime.starvation_report(Duration::ZERO));
    });
}

/// Other code of a user's may spawn, too.
#[test]
fn a_job_of_what_makes_a_packet_is_run() {
    with_every_runtime(|runtime: &Runtime, what| {
        let (socket, mut peer) = connected(runtime);
        let port = Arc::new(CompletionPort::new(1));
        let (sender, receiver) = mpsc::channel();
        socket.receive_async([0; 1]).post_to(&port, move |_| {
            rayon::spawn(move || sender.send(()).unwrap());
        });
        peer.write_all(&[1]).unwrap();
        receiver.recv_timeout(SOON).expect(what);
    });
}

/// I7: what has been spawned is run before the pool ends, and what it posts, too.
#[test]
fn jobs_are_run_before_a_runtime_ends() {
    type End = fn(Runtime);
    const ENDS: [(&str, End); 3] = [
        ("drop", drop),
        ("abort", |runtime| assert!(runtime.abort().is_complete())),
        ("drain", |runtime| {
            assert!(runtime.drain(Instant::now() + SOON).is_complete());
        }),
    ];
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [1, 2, 3] {
            for (name, end) in ENDS {
                within(LIMIT, &format!("{engine}, {workers} workers, {name}"), move || {
                    for _ in 0..20 {
                        let builder = support::builder().engine(engine).workers(workers);
                        let runtime = builder.build().unwrap();
                        let count = Arc::new(AtomicUsize::new(0));
                        let (inner, handle) = (count.clone(), runtime.handle());
                        runtime.handle().post(move || {
                            for _ in 0..100 {
                                let (inner, handle) = (inner.clone(), handle.clone());
                                rayon::spawn(move || {
                                    handle.post(move || count_up(&inner));
                                });
                            }
                            let broadcast = inner.clone();
                            rayon::spawn_broadcast(move |_| count_up(&broadcast));
                        });
                        end(runtime);
                        assert_eq!(count.load(Ordering::Relaxed), 100 + workers);
                    }
                });
            }
        }
    }
}

/// A drain lets jobs, and what they begin, come to an end.
#[test]
fn a_drain_waits_for_what_jobs_begin() {
    with_every_runtime(|runtime: &Runtime, what| {
        let (socket, peer) = connected(runtime);
        let (report, results) = mpsc::channel();
        runtime.handle().post(move || {
            rayon::spawn(move || {
                rayon::spawn(move || {
                    thread::sleep(Duration::from_millis(20));
                    socket.begin_send(
                        vec![1; 3],
                        move |ar| report.send(ar.error().is_none()).unwrap(),
                        (),
                    );
                });
            });
        });
        let begun = Instant::now();
        let report = runtime.drain(begun + LIMIT / 2);
        assert!(report.is_complete() && begun.elapsed() < SOON, "{what}: {report}");
        assert!(results.recv_timeout(SOON).expect(what), "{what}: the send was aborted");
        drop(peer);
    });
}

/// I7: a job that does not return is in the report, and the threads end when it does.
#[test]
fn a_job_that_does_not_return_is_reported() {
    with_every_runtime(|runtime: &Runtime, what| {
        let (release, held) = mpsc::channel::<()>();
        call(runtime, what, move |sender| {
            rayon::spawn(move || {
                sender.send(()).unwrap();
                let _ = held.recv();
            });
        });
        let report = runtime.drain(Instant::now() + Duration::from_millis(20));
        assert!(!report.is_complete(), "{what}: {report}");
        assert_eq!(report.running[0].operation, "rayon_job", "{what}: {report}");
        drop(release);
        assert!(runtime.abort().is_complete());
    });
}

/// A job may itself end its runtime.
#[test]
fn a_job_can_drain() {
    for workers in [1, 2, 3] {
        within(LIMIT, &format!("{workers} workers"), move || {
            let runtime = support::builder().workers(workers).build().unwrap();
            let handle = runtime.handle();
            let (report, reports) = mpsc::channel();
            let runtime = Arc::new(Mutex::new(Some(runtime)));
            let inner = runtime.clone();
            handle.post(move || {
                rayon::spawn(move || {
                    let runtime = inner.lock().unwrap();
                    let drained = runtime.as_ref().unwrap().drain(Instant::now() + LIMIT);
                    report.send(drained.is_complete()).unwrap();
                });
            });
            assert!(reports.recv_timeout(SOON).expect("a drain"));
        });
    }
}

/// I10: a panic ends a job and nothing else, and is counted; one that rayon hands to the callback is the callback's.
#[test]
fn a_panic_in_a_job_is_counted() {
    with_every_runtime(|runtime: &Runtime, what| {
        call(runtime, what, |sender| {
            rayon::spawn(move || {
                rayon::spawn(move || tell(&sender, ()));
                panic!("on purpose: in a job");
            });
        });
        call(runtime, what, |sender| {
            let joined =
                panic::catch_unwind(|| rayon::join(|| (), || panic!("on purpose: joined")));
            assert!(joined.is_err());
            tell(&sender, ());
        });
        call(runtime, what, |sender| {
            rayon::spawn_broadcast(move |_| {
                let _ = sender.send(());
                panic!("on purpose: in each part of a broadcast");
            });
        });
        let (sender, receiver) = mpsc::channel::<()>();
        runtime.handle().post(move || {
            let _sender = sender;
            rayon::join(|| (), || panic!("on purpose: the callback's"));
        });
        assert!(receiver.recv_timeout(SOON).is_err());
        let expected = 2 + runtime.workers() as u64;
        let begun = Instant::now();
        while runtime.metrics().callback_panics < expected && begun.elapsed() < SOON {
            thread::yield_now();
        }
        assert_eq!(runtime.metrics().callback_panics, expected, "{what}");
        call(runtime, what, |sender| tell(&sender, ()));
    });
}

#[test]
fn a_panic_in_a_job_ends_the_process_if_that_is_the_policy() {
    const ABORTS: &str = "AIO_CORE_TEST_JOB_ABORTS";
    if env::var_os(ABORTS).is_some() {
        let runtime = Runtime::builder().workers(1).on_panic(PanicPolicy::Abort).build().unwrap();
        runtime.handle().post(|| rayon::spawn(|| panic!("on purpose: the policy is to abort")));
        thread::sleep(LIMIT);
        return;
    }
    let mut command = Command::new(env::current_exe().unwrap());
    let name = "a_panic_in_a_job_ends_the_process_if_that_is_the_policy";
    command.args(["--exact", name]).env(ABORTS, "1");
    let output = within(LIMIT, "the other process", move || command.output().unwrap());
    assert!(!output.status.success());
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        assert!(output.status.signal().is_some(), "{output:?}");
    }
}
