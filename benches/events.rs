//! What the events of aio-sync cost beside others: rows E1 to E7 of the benchmarks.
//!
//! ```sh
//! cargo bench -p benches --bench events              # everything
//! cargo bench -p benches --bench events -- E1 E6     # some rows
//! ```
//!
//! Contenders of a row run in turn, round after round, in one process. A line shows the median of the
//! rounds in nanoseconds per operation, and ours divided by theirs, round by round: median (min to max).
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use aio_sync::{
    AutoResetEvent, ManualResetEvent, WaitHandle, WaitOptions, wait_all, wait_all_timeout,
    wait_any, wait_any_with,
};
use rsevents::Awaitable;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

const ROUNDS: usize = 11;
const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

type Contender = (&'static str, Box<dyn FnMut() -> Duration>);

/// A contender that runs `operation` so many times per round.
fn repeated(name: &'static str, count: u32, mut operation: impl FnMut() + 'static) -> Contender {
    let run = move || {
        let start = Instant::now();
        for _ in 0..count {
            operation();
        }
        start.elapsed() / count.max(1)
    };
    // Durations are whole nanoseconds; measure a thousand operations as one.
    (name, Box::new(run))
}

/// Prints a row; the first contender is ours.
fn row(title: &str, mut contenders: Vec<Contender>) {
    let only: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if !only.is_empty() && !only.iter().any(|only| title.starts_with(only.as_str())) {
        return;
    }
    println!("\n{title}");
    let mut rounds: Vec<Vec<f64>> = vec![vec![]; contenders.len()];
    for round in 0..=ROUNDS {
        for (times, (_, run)) in rounds.iter_mut().zip(&mut contenders) {
            let time = run().as_nanos() as f64;
            // The first round warms up.
            if round > 0 {
                times.push(time);
            }
        }
    }
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    for (times, (name, _)) in rounds.iter().zip(&contenders) {
        let ratios = rounds[0].iter().zip(times).map(|(ours, theirs)| ours / theirs).collect();
        let ((time, ..), (ratio, least, most)) = (median(times.clone()), median(ratios));
        println!("  {name:<34} {time:>10.0}   ours/theirs {ratio:.2} ({least:.2} to {most:.2})");
    }
}

/// An event as people write it: a mutex, a flag and a condition variable.
#[derive(Default)]
struct Plain {
    signaled: Mutex<bool>,
    condvar: Condvar,
}

impl Plain {
    fn set(&self) {
        *self.signaled.lock().unwrap() = true;
        self.condvar.notify_one();
    }

    fn set_all(&self) {
        *self.signaled.lock().unwrap() = true;
        self.condvar.notify_all();
    }

    fn reset(&self) {
        *self.signaled.lock().unwrap() = false;
    }

    fn wait(&self, take: bool) {
        let guard = self.signaled.lock().unwrap();
        let mut guard = self.condvar.wait_while(guard, |signaled| !*signaled).unwrap();
        *guard = !take;
    }
}

struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn new_eventfd() -> OwnedFd {
    eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd")
}

fn signal(fd: &OwnedFd) {
    rustix::io::write(fd, &1_u64.to_ne_bytes()).expect("a write to an eventfd");
}

fn clear(fd: &OwnedFd) {
    rustix::io::read(fd, &mut [0; 8]).expect("a read from an eventfd");
}

/// Times are per thousand, so that whole nanoseconds are fine enough.
const THOUSAND: u32 = 1_000;

fn thousand(mut operation: impl FnMut()) -> impl FnMut() {
    move || (0..THOUSAND).for_each(|_| operation())
}

fn set_and_reset() {
    let ours = ManualResetEvent::new(false);
    let (flag, plain, fd) = (AtomicBool::new(false), Plain::default(), new_eventfd());
    let rsevents = rsevents::ManualResetEvent::new(rsevents::EventState::Unset);
    row(
        "E1 manual-reset: 1000 × (set, reset)",
        vec![
            repeated(
                "aio-sync",
                300,
                thousand(move || {
                    black_box(&ours).set();
                    black_box(&ours).reset();
                }),
            ),
            repeated(
                "rsevents",
                300,
                thousand(move || {
                    black_box(&rsevents).set();
                    black_box(&rsevents).reset();
                }),
            ),
            repeated(
                "Mutex + Condvar",
                300,
                thousand(move || {
                    black_box(&plain).set_all();
                    black_box(&plain).reset();
                }),
            ),
            repeated(
                "eventfd write + read",
                5,
                thousand(move || {
                    signal(&fd);
                    clear(&fd);
                }),
            ),
            repeated(
                "two swaps (floor)",
                300,
                thousand(move || {
                    black_box(&flag).swap(true, SeqCst);
                    black_box(&flag).swap(false, SeqCst);
                }),
            ),
        ],
    );
}

fn set_and_take() {
    let ours = AutoResetEvent::new(false);
    let rsevents = rsevents::AutoResetEvent::new(rsevents::EventState::Unset);
    let (notify, listener) = (tokio::sync::Notify::new(), event_listener::Event::new());
    row(
        "E2 auto-reset: 1000 × (set, try_wait)",
        vec![
            repeated(
                "aio-sync",
                300,
                thousand(move || {
                    black_box(&ours).set();
                    assert!(black_box(&ours).try_wait());
                }),
            ),
            repeated(
                "rsevents",
                300,
                thousand(move || {
                    black_box(&rsevents).set();
                    assert!(black_box(&rsevents).wait0());
                }),
            ),
            repeated(
                "tokio Notify",
                300,
                thousand(move || {
                    black_box(&notify).notify_one();
                    let mut context = Context::from_waker(Waker::noop());
                    assert!(pin!(notify.notified()).poll(&mut context).is_ready());
                }),
            ),
            repeated(
                "event-listener",
                100,
                thousand(move || {
                    let listen = listener.listen();
                    listener.notify(1);
                    event_listener::Listener::wait(listen);
                }),
            ),
        ],
    );
}

fn pin_to(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).expect("a processor to run on");
}

/// Time per round trip between two threads: `here` and `there` each wait, then wake the other.
fn ping_pong<S: Send + Sync + 'static>(
    name: &'static str,
    cpus: [usize; 2],
    new: fn() -> S,
    wait: fn(&S),
    wake: fn(&S),
) -> Contender {
    const TRIPS: u32 = 2_000;
    let run = move || {
        let sides = Arc::new((new(), new()));
        let other = sides.clone();
        let partner = thread::spawn(move || {
            pin_to(cpus[1]);
            for _ in 0..TRIPS {
                wait(&other.1);
                wake(&other.0);
            }
        });
        let runner = thread::spawn(move || {
            pin_to(cpus[0]);
            let start = Instant::now();
            for _ in 0..TRIPS {
                wake(&sides.1);
                wait(&sides.0);
            }
            start.elapsed() / TRIPS
        });
        partner.join().unwrap();
        runner.join().unwrap()
    };
    (name, Box::new(run))
}

/// A thread to unpark: std's parker with the thread handle known to both.
#[derive(Default)]
struct StdPark {
    thread: std::sync::OnceLock<thread::Thread>,
    token: AtomicBool,
}

fn std_park(name: &'static str, cpus: [usize; 2]) -> Contender {
    ping_pong(
        name,
        cpus,
        StdPark::default,
        |side| {
            side.thread.get_or_init(thread::current);
            while !side.token.swap(false, SeqCst) {
                thread::park();
            }
        },
        |side| {
            side.token.store(true, SeqCst);
            if let Some(thread) = side.thread.get() {
                thread.unpark();
            }
        },
    )
}

fn ping_pongs() {
    for (title, cpus) in [
        ("E3 ping-pong, parked, one core: round trip", [0, 0]),
        ("E3 ping-pong, parked, two cores: round trip", [0, 1]),
    ] {
        row(
            title,
            vec![
                ping_pong(
                    "aio-sync",
                    cpus,
                    || AutoResetEvent::new(false),
                    |event| {
                        assert!(event.wait_with(&WaitOptions::new().spins(0)));
                    },
                    |event| {
                        event.set();
                    },
                ),
                std_park("std park", cpus),
                ping_pong(
                    "rsevents",
                    cpus,
                    || rsevents::AutoResetEvent::new(rsevents::EventState::Unset),
                    |event| {
                        event.wait();
                    },
                    |event| event.set(),
                ),
                ping_pong(
                    "Mutex + Condvar",
                    cpus,
                    Plain::default,
                    |plain| plain.wait(true),
                    Plain::set,
                ),
                ping_pong(
                    "crossbeam Parker",
                    cpus,
                    || {
                        let parker = crossbeam::sync::Parker::new();
                        let unparker = parker.unparker().clone();
                        (Mutex::new(parker), unparker)
                    },
                    |(parker, _)| parker.lock().unwrap().park(),
                    |(_, unparker)| unparker.unpark(),
                ),
                ping_pong(
                    "parking",
                    cpus,
                    || {
                        let (parker, unparker) = parking::pair();
                        (Mutex::new(parker), unparker)
                    },
                    |(parker, _)| parker.lock().unwrap().park(),
                    |(_, unparker)| {
                        unparker.unpark();
                    },
                ),
                ping_pong(
                    "eventfd + poll",
                    cpus,
                    new_eventfd,
                    |fd| {
                        poll(&mut [PollFd::new(fd, PollFlags::IN)], None).expect("poll");
                        clear(fd);
                    },
                    signal,
                ),
            ],
        );
    }
    let cpus = [0, 1];
    row(
        "E4 ping-pong, spinning as by default, two cores: round trip",
        vec![
            ping_pong(
                "aio-sync",
                cpus,
                || AutoResetEvent::new(false),
                |event| event.wait_one(),
                |event| {
                    event.set();
                },
            ),
            std_park("std park", cpus),
            ping_pong(
                "rsevents",
                cpus,
                || rsevents::AutoResetEvent::new(rsevents::EventState::Unset),
                |event| {
                    event.wait();
                },
                |event| event.set(),
            ),
            ping_pong(
                "Mutex + Condvar",
                cpus,
                Plain::default,
                |plain| plain.wait(true),
                Plain::set,
            ),
        ],
    );
}

/// Time from a broadcast until the last of 64 parked threads has been released.
fn broadcast<S: Send + Sync + 'static>(
    name: &'static str,
    new: fn() -> S,
    wait: fn(&S),
    set: fn(&S),
) -> Contender {
    const THREADS: usize = 64;
    let run = move || {
        let shared = Arc::new((new(), AtomicUsize::new(0)));
        let (report, last) = mpsc::channel();
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (shared, report) = (shared.clone(), report.clone());
                thread::spawn(move || {
                    shared.1.fetch_add(1, SeqCst);
                    wait(&shared.0);
                    if shared.1.fetch_sub(1, SeqCst) == 1 {
                        report.send(Instant::now()).unwrap();
                    }
                })
            })
            .collect();
        while shared.1.load(SeqCst) < THREADS {
            thread::yield_now();
        }
        // Enough for the last to park.
        thread::sleep(Duration::from_millis(3));
        let start = Instant::now();
        set(&shared.0);
        let time = last.recv().unwrap() - start;
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        time
    };
    (name, Box::new(run))
}

fn broadcasts() {
    row(
        "E5 broadcast to 64 parked threads: set until the last is released",
        vec![
            broadcast(
                "aio-sync",
                || ManualResetEvent::new(false),
                |event| event.wait_one(),
                |event| {
                    event.set();
                },
            ),
            broadcast("Mutex + Condvar", Plain::default, |plain| plain.wait(false), Plain::set_all),
            broadcast(
                "rsevents",
                || rsevents::ManualResetEvent::new(rsevents::EventState::Unset),
                |event| {
                    event.wait();
                },
                |event| event.set(),
            ),
        ],
    );

    const FUTURES: usize = 1024;
    let waker = || Waker::from(Arc::new(CountingWaker(AtomicUsize::new(0))));
    let ours = move || {
        let (event, waker) = (ManualResetEvent::new(false), waker());
        let mut context = Context::from_waker(&waker);
        let mut waits: Vec<_> = (0..FUTURES).map(|_| Box::pin(event.wait())).collect();
        waits.iter_mut().for_each(|wait| assert!(wait.as_mut().poll(&mut context).is_pending()));
        let start = Instant::now();
        event.set();
        start.elapsed()
    };
    let tokios = move || {
        let (notify, waker) = (tokio::sync::Notify::new(), waker());
        let mut context = Context::from_waker(&waker);
        let mut waits: Vec<_> = (0..FUTURES).map(|_| Box::pin(notify.notified())).collect();
        waits.iter_mut().for_each(|wait| assert!(wait.as_mut().poll(&mut context).is_pending()));
        let start = Instant::now();
        notify.notify_waiters();
        start.elapsed()
    };
    let listeners = move || {
        let (event, waker) = (event_listener::Event::new(), waker());
        let mut context = Context::from_waker(&waker);
        let mut waits: Vec<_> = (0..FUTURES).map(|_| event.listen()).collect();
        waits.iter_mut().for_each(|wait| assert!(pin!(wait).poll(&mut context).is_pending()));
        let start = Instant::now();
        event.notify(usize::MAX);
        start.elapsed()
    };
    let several = |mut run: Box<dyn FnMut() -> Duration>| -> Box<dyn FnMut() -> Duration> {
        Box::new(move || (0..20).map(|_| run()).sum::<Duration>() / 20)
    };
    row(
        "E5 broadcast to 1024 futures: the call of the setter",
        vec![
            ("aio-sync", several(Box::new(ours))),
            ("tokio notify_waiters", several(Box::new(tokios))),
            ("event-listener notify(MAX)", several(Box::new(listeners))),
        ],
    );
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn wait_for_any() {
    for count in [8, 64] {
        let events: &'static Vec<_> =
            leak((0..count).map(|index| ManualResetEvent::new(index == count - 1)).collect());
        let handles: Vec<&dyn WaitHandle> = events.iter().map(|event| event as _).collect();
        let fds: &'static Vec<_> = leak((0..count).map(|_| new_eventfd()).collect());
        signal(&fds[count - 1]);
        row(
            &format!("E6 wait_any of {count}, the last is signaled: 1000 ×"),
            vec![
                repeated(
                    "aio-sync",
                    20,
                    thousand(move || {
                        assert_eq!(wait_any(&handles), count - 1);
                    }),
                ),
                repeated(
                    "eventfd + poll",
                    5,
                    thousand(move || {
                        let mut set: Vec<_> =
                            fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
                        assert_eq!(poll(&mut set, Some(&NO_TIME)), Ok(1));
                    }),
                ),
            ],
        );
        let events: &'static Vec<_> =
            leak((0..count).map(|_| ManualResetEvent::new(false)).collect());
        let handles: Vec<&dyn WaitHandle> = events.iter().map(|event| event as _).collect();
        let fds: &'static Vec<_> = leak((0..count).map(|_| new_eventfd()).collect());
        let past = WaitOptions::new().spins(0).deadline(Instant::now());
        row(
            &format!("E6 wait_any of {count}, register and take back: 1000 ×"),
            vec![
                repeated(
                    "aio-sync",
                    20,
                    thousand(move || {
                        assert_eq!(wait_any_with(&handles, &past), None);
                    }),
                ),
                repeated(
                    "eventfd + poll",
                    5,
                    thousand(move || {
                        let mut set: Vec<_> =
                            fds.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
                        assert_eq!(poll(&mut set, Some(&NO_TIME)), Ok(0));
                    }),
                ),
            ],
        );
    }
}

fn wait_for_all() {
    let events: &'static [_; 8] = leak(std::array::from_fn(|_| AutoResetEvent::new(false)));
    let handles: Vec<&dyn WaitHandle> = events.iter().map(|event| event as _).collect();
    let each: &'static [_; 8] = leak(std::array::from_fn(|_| Plain::default()));
    let together: &'static (Mutex<[bool; 8]>, Condvar) = leak(Default::default());
    row(
        "E7 wait_all of 8: 1000 × (set each, take all)",
        vec![
            repeated(
                "aio-sync",
                20,
                thousand(move || {
                    events.iter().for_each(|event| {
                        event.set();
                    });
                    wait_all(&handles);
                }),
            ),
            repeated(
                "a Mutex + Condvar each",
                20,
                thousand(move || {
                    each.iter().for_each(Plain::set);
                    // The addresses of an array ascend, so this is in order.
                    let mut guards = each.each_ref().map(|plain| plain.signaled.lock().unwrap());
                    assert!(guards.iter().all(|signaled| **signaled));
                    guards.iter_mut().for_each(|signaled| **signaled = false);
                }),
            ),
            repeated(
                "one Mutex + Condvar for all",
                20,
                thousand(move || {
                    (0..8).for_each(|index| {
                        together.0.lock().unwrap()[index] = true;
                        together.1.notify_all();
                    });
                    let mut signaled = together.0.lock().unwrap();
                    assert!(signaled.iter().all(|signaled| *signaled));
                    *signaled = [false; 8];
                }),
            ),
        ],
    );

    let manual: &'static [_; 8] = leak(std::array::from_fn(|_| ManualResetEvent::new(true)));
    let handles: Vec<&dyn WaitHandle> = manual.iter().map(|event| event as _).collect();
    each.iter().for_each(Plain::set);
    row(
        "E7 wait_all of 8 manual-reset events, all signaled: 1000 ×",
        vec![
            repeated(
                "aio-sync",
                20,
                thousand(move || {
                    assert!(wait_all_timeout(&handles, Duration::ZERO));
                }),
            ),
            repeated(
                "a Mutex + Condvar each",
                20,
                thousand(move || {
                    let guards = each.each_ref().map(|plain| plain.signaled.lock().unwrap());
                    assert!(black_box(&guards).iter().all(|signaled| **signaled));
                }),
            ),
        ],
    );

    let (member, alone) = (leak(AutoResetEvent::new(false)), leak(AutoResetEvent::new(false)));
    // `alone` has the higher address of the two or not; the watch goes where nothing is signaled.
    let never = leak(ManualResetEvent::new(false));
    thread::spawn(move || wait_all(&[member, never]));
    while !format!("{member:?}{never:?}").contains("has_waiters: true") {
        thread::yield_now();
    }
    // Whichever was chosen: set `member` once, and the watch is on the other.
    member.set();
    member.reset();
    row(
        "E7 set of a member that no wait_all watches: 1000 × (set, reset)",
        vec![
            repeated(
                "aio-sync, member of a wait_all",
                300,
                thousand(move || {
                    black_box(member).set();
                    black_box(member).reset();
                }),
            ),
            repeated(
                "aio-sync, alone",
                300,
                thousand(move || {
                    black_box(alone).set();
                    black_box(alone).reset();
                }),
            ),
        ],
    );
}

fn main() {
    set_and_reset();
    set_and_take();
    ping_pongs();
    broadcasts();
    wait_for_any();
    wait_for_all();
}
