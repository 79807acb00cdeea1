//! What a completion port promises: order of packets and of threads, concurrency, outcomes, close,
//! and that no packet is lost whatever races. IO-numbers are those of the contract.
//!
//! `AIO_PORT_ROUNDS` sets how many packets each thread of a soak posts, `AIO_PORT_PROGRAMS` how many
//! random programs are run.
#![cfg(not(loom))]

mod support;

use aio_core::{CompletionPort, PostError, WaitError};
use std::collections::{BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::panic;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use support::{LIMIT, within};

/// Long enough for a thread that is wrongly released to show itself; a right one never does.
const A_WHILE: Duration = Duration::from_millis(20);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |number| number.parse().expect("a number"))
}

/// Yields until `condition` holds; the watchdog bounds it.
fn until(condition: impl Fn() -> bool) {
    while !condition() {
        thread::yield_now();
    }
}

/// A thread that takes packets when it is told to, and reports what it got.
struct Consumer {
    go: mpsc::Sender<()>,
    got: mpsc::Receiver<Option<u32>>,
}

impl Consumer {
    fn start(port: &Arc<CompletionPort<u32>>) -> Self {
        let (go, told) = mpsc::channel();
        let (report, got) = mpsc::channel();
        let port = port.clone();
        thread::spawn(move || {
            for () in told {
                if report.send(port.wait()).is_err() {
                    break;
                }
            }
        });
        Self { go, got }
    }

    /// Makes it wait, and returns when it does.
    fn wait_at(port: &Arc<CompletionPort<u32>>) -> Self {
        let consumer = Self::start(port);
        let before = port.waiting();
        consumer.go.send(()).unwrap();
        until(|| port.waiting() > before);
        consumer
    }

    fn packet(&self) -> Option<u32> {
        self.got.recv_timeout(LIMIT).expect("the consumer is released")
    }

    fn has_nothing(&self) -> bool {
        self.got.recv_timeout(A_WHILE).is_err()
    }
}

/// IO-4.
#[test]
fn packets_are_taken_first_in_first_out() {
    let port = CompletionPort::new(1);
    // Several of the blocks that packets lie in.
    for n in 0..1_000 {
        port.post(n).unwrap();
    }
    assert_eq!(port.len(), 1_000);
    assert!((0..1_000).all(|n| port.wait() == Some(n)));
    assert!(port.is_empty());
}

/// IO-4.
#[test]
fn the_thread_that_waited_least_is_released_first() {
    within(LIMIT, "released last in, first out", || {
        let port = Arc::new(CompletionPort::unlimited());
        let consumers = [(); 4].map(|()| Consumer::wait_at(&port));
        for (n, consumer) in consumers.iter().rev().enumerate() {
            port.post(n as u32).unwrap();
            assert_eq!(consumer.packet(), Some(n as u32));
        }
    });
}

/// IO-4: what counts is when the wait began, not when the thread first came.
#[test]
fn a_thread_that_waits_again_is_the_one_that_waited_least() {
    within(LIMIT, "the same thread again", || {
        let port = Arc::new(CompletionPort::unlimited());
        let idle = Consumer::wait_at(&port);
        let busy = Consumer::wait_at(&port);
        for n in 0..100 {
            port.post(n).unwrap();
            assert_eq!(busy.packet(), Some(n));
            busy.go.send(()).unwrap();
            until(|| port.waiting() == 2);
        }
        assert!(idle.has_nothing());
    });
}

/// IO-5.
#[test]
fn a_packet_a_timeout_and_a_close_are_told_apart() {
    let port = CompletionPort::new(1);
    assert_eq!(port.wait_timeout(A_WHILE), Err(WaitError::TimedOut));
    port.post(()).unwrap();
    assert_eq!(port.wait_timeout(A_WHILE), Ok(()));
    port.close();
    assert_eq!(port.wait_timeout(LIMIT), Err(WaitError::Closed));
    assert_eq!(port.try_wait(), Err(WaitError::Closed));
    assert_eq!(port.wait(), None);
}

/// IO-6.
#[test]
fn a_timeout_of_zero_polls_and_one_without_end_waits() {
    within(LIMIT, "zero and for ever", || {
        let port = Arc::new(CompletionPort::new(1));
        assert_eq!(port.wait_timeout(Duration::ZERO), Err(WaitError::TimedOut));
        port.post(1).unwrap();
        assert_eq!(port.wait_timeout(Duration::ZERO), Ok(1));
        port.leave();
        let waiter = thread::spawn({
            let port = port.clone();
            move || port.wait_timeout(Duration::MAX)
        });
        until(|| port.waiting() == 1);
        port.post(2).unwrap();
        assert_eq!(waiter.join().unwrap(), Ok(2));
    });
}

/// IO-7.
#[test]
fn wait_many_waits_for_one_and_takes_what_is_there_up_to_the_maximum() {
    within(LIMIT, "wait_many", || {
        let port = Arc::new(CompletionPort::new(1));
        let mut packets = vec![0];
        (1..=5).for_each(|n| port.post(n).unwrap());
        assert_eq!(port.wait_many(&mut packets, 0), 0);
        assert_eq!(port.wait_many(&mut packets, 2), 2);
        assert_eq!(port.running(), 1);
        assert_eq!(port.wait_many(&mut packets, usize::MAX), 3);
        assert_eq!(packets, [0, 1, 2, 3, 4, 5]);
        port.leave();

        let waiter = thread::spawn({
            let port = port.clone();
            move || {
                let mut packets = Vec::new();
                (port.wait_many(&mut packets, 8), packets, port.wait_many(&mut Vec::new(), 8))
            }
        });
        until(|| port.waiting() == 1);
        port.post(6).unwrap();
        until(|| port.waiting() == 1 && port.is_empty());
        port.close();
        assert_eq!(waiter.join().unwrap(), (1, vec![6], 0));
    });
}

/// P5: it looks for a packet for some microseconds and then sleeps.
#[test]
fn a_thread_that_waits_for_long_uses_no_processor_time() {
    within(LIMIT, "asleep", || {
        let port = Arc::new(CompletionPort::<()>::new(0));
        // The system tells it of a thread in nanoseconds, if it does.
        let used = || -> Option<u64> {
            let line = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
            line.split(' ').next()?.parse().ok()
        };
        let waiters = [(); 4].map(|()| {
            let port = port.clone();
            thread::spawn(move || {
                let before = used();
                assert_eq!(port.wait(), None);
                (before, used())
            })
        });
        until(|| port.waiting() == 4);
        let long = 10 * A_WHILE;
        thread::sleep(long);
        port.close();
        for waiter in waiters {
            if let (Some(before), Some(after)) = waiter.join().unwrap() {
                assert!(u128::from(after - before) < long.as_nanos() / 10);
            }
        }
    });
}

/// IO-8.
#[test]
fn no_more_threads_run_than_the_concurrency_value() {
    within(LIMIT, "concurrency 2", || {
        let port = Arc::new(CompletionPort::new(2));
        let [first, second, third] = [(); 3].map(|()| Consumer::wait_at(&port));
        (1..=3).for_each(|n| port.post(n).unwrap());
        let mut taken = [third.packet(), second.packet()];
        taken.sort_unstable();
        assert_eq!(taken, [Some(1), Some(2)]);
        // A packet is queued and a thread waits, but two run.
        assert!(first.has_nothing());
        assert_eq!((port.len(), port.waiting(), port.running()), (1, 1, 2));
        // A thread that is not counted yet does not get the packet either.
        assert_eq!(port.try_wait(), Err(WaitError::TimedOut));
        assert_eq!(port.wait_timeout(A_WHILE), Err(WaitError::TimedOut));
        // One comes back, and takes it.
        second.go.send(()).unwrap();
        assert_eq!(second.packet(), Some(3));
        assert!(first.has_nothing());
    });
}

/// IO-8: and nobody is woken for it.
#[test]
fn a_thread_that_comes_back_takes_the_next_packet_itself() {
    within(LIMIT, "no other thread is released", || {
        let port = Arc::new(CompletionPort::new(1));
        port.post(0).unwrap();
        assert_eq!(port.wait(), Some(0));
        let other = Consumer::wait_at(&port);
        for n in 1..1_000 {
            port.post(n).unwrap();
            assert_eq!(port.waiting(), 1);
            assert_eq!(port.wait(), Some(n));
        }
        assert!(other.has_nothing());
    });
}

/// IO-1.
#[test]
fn a_concurrency_of_zero_is_the_number_of_processors() {
    within(LIMIT, "concurrency 0", || {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let port = Arc::new(CompletionPort::new(0));
        let consumers: Vec<_> = (0..=processors).map(|_| Consumer::wait_at(&port)).collect();
        (0..=processors).for_each(|n| port.post(n as u32).unwrap());
        until(|| port.running() == processors);
        assert!(consumers[0].has_nothing());
        assert_eq!((port.len(), port.waiting()), (1, 1));
    });
}

/// IO-8.
#[test]
fn any_number_of_threads_run_at_a_port_without_limit() {
    within(LIMIT, "no limit", || {
        let port = Arc::new(CompletionPort::unlimited());
        let all = Arc::new(Barrier::new(17));
        for n in 0..16 {
            let (consumer, all) = (port.clone(), all.clone());
            thread::spawn(move || {
                assert!(consumer.wait().is_some());
                all.wait();
            });
            port.post(n).unwrap();
        }
        all.wait();
    });
}

/// IO-8.
#[test]
fn while_a_thread_is_blocked_another_runs_and_then_the_number_is_exceeded_until_one_comes_back() {
    within(LIMIT, "while_blocked", || {
        let port = Arc::new(CompletionPort::new(1));
        port.post(1).unwrap();
        assert_eq!(port.wait(), Some(1));
        let other = Consumer::wait_at(&port);
        port.post(2).unwrap();
        assert_eq!(port.while_blocked(|| other.packet()), Some(2));
        assert_eq!(port.running(), 2);
        // One of the two has to wait now, and is not released by a post as long as the other runs.
        port.post(3).unwrap();
        assert_eq!(port.try_wait(), Err(WaitError::TimedOut));
        assert_eq!(port.running(), 1);
        other.go.send(()).unwrap();
        assert_eq!(other.packet(), Some(3));
    });
}

/// IO-8.
#[test]
fn a_thread_that_does_not_run_may_say_that_it_is_blocked() {
    let port = CompletionPort::new(1);
    assert_eq!(port.while_blocked(|| port.running()), 0);
    assert_eq!(port.running(), 0);
    port.post(1).unwrap();
    // Taken inside: it runs from then on, and is counted once.
    assert_eq!(port.while_blocked(|| port.wait()), Some(1));
    assert_eq!(port.running(), 1);
    // Blocked twice over is blocked.
    port.while_blocked(|| {
        port.while_blocked(|| assert_eq!(port.running(), 0));
        assert_eq!(port.running(), 0);
    });
    assert_eq!(port.running(), 1);
}

/// IO-8.
#[test]
fn a_panic_while_blocked_leaves_the_count_right() {
    let port = CompletionPort::new(1);
    port.post(1).unwrap();
    assert_eq!(port.wait(), Some(1));
    let blocked = panic::AssertUnwindSafe(|| {
        port.while_blocked(|| panic::resume_unwind(Box::new("in a callback")));
    });
    assert!(panic::catch_unwind(blocked).is_err());
    assert_eq!(port.running(), 1);
}

/// IO-9.
#[test]
fn a_thread_that_ends_or_panics_while_it_runs_makes_room_for_the_next() {
    within(LIMIT, "ends and panics", || {
        let port = Arc::new(CompletionPort::new(1));
        let last = Consumer::wait_at(&port);
        for n in 0..50 {
            let runner = thread::spawn({
                let port = port.clone();
                // It waits after `last` began to, so it is released first.
                move || {
                    let taken = port.wait();
                    if n % 2 == 0 {
                        panic::resume_unwind(Box::new("in a callback"));
                    }
                    taken
                }
            });
            until(|| port.waiting() == 2);
            port.post(n).unwrap();
            assert_eq!(runner.join().ok(), (n % 2 == 1).then_some(Some(n)));
            assert_eq!(port.running(), 0);
        }

        // It ends with a packet in the queue: that one goes to the thread that waits.
        let (taken, end) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let runner = thread::spawn({
            let (port, taken, end) = (port.clone(), taken.clone(), end.clone());
            move || {
                assert_eq!(port.wait(), Some(100));
                taken.wait();
                end.wait();
            }
        });
        until(|| port.waiting() == 2);
        port.post(100).unwrap();
        taken.wait();
        port.post(101).unwrap();
        assert!(last.has_nothing());
        end.wait();
        assert_eq!(last.packet(), Some(101));
        runner.join().unwrap();
    });
}

/// IO-9.
#[test]
fn a_thread_runs_for_one_port_at_a_time() {
    within(LIMIT, "two ports", || {
        let [first, second] = [(); 2].map(|()| Arc::new(CompletionPort::new(1)));
        first.post(1).unwrap();
        first.post(2).unwrap();
        second.post(3).unwrap();
        assert_eq!(first.wait(), Some(1));
        let other = Consumer::wait_at(&first);
        assert!(other.has_nothing());
        assert_eq!(second.wait(), Some(3));
        assert_eq!(other.packet(), Some(2));
        assert_eq!((first.running(), second.running()), (1, 1));
        // It is not this port's to say that it leaves, or blocks.
        first.leave();
        assert_eq!(first.while_blocked(|| second.running()), 1);
        assert_eq!((first.running(), second.running()), (1, 1));
    });
}

/// IO-5, I9.
#[test]
fn close_releases_everybody_delivers_what_was_posted_and_refuses_the_rest() {
    within(LIMIT, "close", || {
        let port = Arc::new(CompletionPort::new(1));
        let consumers = [(); 8].map(|()| Consumer::wait_at(&port));
        port.close();
        assert!(consumers.iter().all(|consumer| consumer.packet().is_none()));

        let port = Arc::new(CompletionPort::new(1));
        port.post(1).unwrap();
        port.post(2).unwrap();
        port.close();
        port.close();
        assert_eq!(port.post(3), Err(PostError(3)));
        assert_eq!(
            [port.wait(), port.wait(), port.wait(), port.wait()],
            [Some(1), Some(2), None, None]
        );
        assert_eq!(port.post(4), Err(PostError(4)));
        assert!(port.is_empty());
    });
}

/// IO-9: a closed port has no threads.
#[test]
fn a_thread_that_never_comes_back_keeps_nobody_from_the_end_after_close() {
    within(LIMIT, "close and a held place", || {
        let port = Arc::new(CompletionPort::new(1));
        (1..=3).for_each(|n| port.post(n).unwrap());
        assert_eq!(port.wait(), Some(1));
        let consumers = [(); 3].map(|()| Consumer::wait_at(&port));
        assert!(consumers[2].has_nothing());
        port.close();
        let taken: BTreeSet<_> = consumers.iter().map(Consumer::packet).collect();
        assert_eq!(taken, BTreeSet::from([None, Some(2), Some(3)]));
    });
}

/// I2.
#[test]
fn every_packet_is_dropped_once_by_who_has_it_and_never_under_the_lock() {
    /// Looks at its port when it is dropped, which needs the lock.
    struct Packet(std::sync::Weak<CompletionPort<Self>>, Arc<AtomicUsize>);

    impl Drop for Packet {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            if let Some(port) = self.0.upgrade() {
                let _ = port.len();
            }
        }
    }

    within(LIMIT, "drops", || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let port = Arc::new(CompletionPort::new(1));
        let packet = || Packet(Arc::downgrade(&port), dropped.clone());
        (0..100).for_each(|_| assert!(port.post(packet()).is_ok()));
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        drop(port.wait());
        let mut many = Vec::new();
        assert_eq!(port.wait_many(&mut many, 9), 9);
        drop(many);
        assert_eq!(dropped.load(Ordering::Relaxed), 10);
        port.close();
        drop(port.post(packet()));
        assert_eq!(dropped.load(Ordering::Relaxed), 11);
        drop(port);
        assert_eq!(dropped.load(Ordering::Relaxed), 101);
    });
}

#[test]
fn a_port_is_a_static_or_carries_what_it_borrows() {
    static PORT: CompletionPort<&str> = CompletionPort::new(1);
    PORT.post("static").unwrap();
    assert_eq!(PORT.wait(), Some("static"));

    let words = String::from("borrowed by a packet");
    let port = CompletionPort::<&str>::unlimited();
    let longest = thread::scope(|scope| {
        let waiter = scope.spawn(|| port.wait().unwrap().len());
        port.post(words.as_str()).unwrap();
        waiter.join().unwrap()
    });
    assert_eq!(longest, words.len());
}

/// A seat is a thread-local; the destructors of others may come after its own.
#[test]
fn a_port_serves_a_thread_that_has_lost_its_thread_locals() {
    struct Late(Arc<CompletionPort<u32>>);

    impl Drop for Late {
        fn drop(&mut self) {
            assert_eq!(self.0.wait(), Some(2));
            self.0.while_blocked(|| self.0.leave());
            assert_eq!(self.0.wait_timeout(Duration::from_millis(1)), Err(WaitError::TimedOut));
            self.0.post(3).unwrap();
        }
    }

    thread_local! {
        static BEFORE: std::cell::OnceCell<Late> = const { std::cell::OnceCell::new() };
        static AFTER: std::cell::OnceCell<Late> = const { std::cell::OnceCell::new() };
    }

    within(LIMIT, "late", || {
        let port = Arc::new(CompletionPort::new(1));
        (1..=2).for_each(|n| port.post(n).unwrap());
        let other = Arc::new(CompletionPort::new(1));
        other.post(2).unwrap();
        thread::spawn({
            let (port, other) = (port.clone(), other.clone());
            move || {
                // Whatever the order in which thread-locals end, one of these is after the seat's.
                assert!(BEFORE.with(|late| late.set(Late(port.clone())).is_ok()));
                assert_eq!(port.wait(), Some(1));
                assert!(AFTER.with(|late| late.set(Late(other)).is_ok()));
            }
        })
        .join()
        .unwrap();
        for port in [port, other] {
            assert_eq!(port.running(), 0);
            assert_eq!(port.wait(), Some(3));
        }
    });
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// What a soak's consumer has taken: it must be in order for each poster (IO-4).
#[derive(Default)]
struct Taken {
    sum: u64,
    count: u64,
    last: [u64; 4],
}

impl Taken {
    fn note(&mut self, (poster, n): (usize, u64)) {
        assert!(self.last[poster] < n, "packet {n} of {poster} after {}", self.last[poster]);
        self.last[poster] = n;
        self.sum += n;
        self.count += 1;
    }
}

/// Four threads post, five take in every way there is; every packet must be taken once.
fn soak(concurrency: usize, seed: u64) {
    let rounds = number("AIO_PORT_ROUNDS", 5_000);
    within(
        LIMIT.max(Duration::from_millis(rounds)),
        &format!("concurrency {concurrency}"),
        move || {
            let port = CompletionPort::new(concurrency);
            let inside = AtomicUsize::new(0);
            let blocks = AtomicBool::new(false);
            let consume = |seed| {
                let mut random = Random(seed);
                let mut taken = Taken::default();
                let mut many = Vec::new();
                loop {
                    let timeout = Duration::from_micros(random.below(60));
                    let outcome = match random.below(6) {
                        0 => port.wait().ok_or(WaitError::Closed).map(|packet| many.push(packet)),
                        1 => port.try_wait().map(|packet| many.push(packet)),
                        2 if port.wait_many(&mut many, 7) == 0 => Err(WaitError::Closed),
                        2 => Ok(()),
                        _ => port.wait_timeout(timeout).map(|packet| many.push(packet)),
                    };
                    match outcome {
                        Ok(()) => {}
                        Err(WaitError::TimedOut) => continue,
                        Err(WaitError::Closed) => return taken,
                    }
                    let running = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    // Posters close the port at the end, and whoever was blocked may exceed the number.
                    let exempt = blocks.load(Ordering::SeqCst);
                    assert!(running <= concurrency || exempt, "{running} run");
                    many.drain(..).for_each(|packet| taken.note(packet));
                    inside.fetch_sub(1, Ordering::SeqCst);
                    match random.below(64) {
                        0 => port.leave(),
                        1 if concurrency > 1 => {
                            blocks.store(true, Ordering::SeqCst);
                            port.while_blocked(thread::yield_now);
                        }
                        _ => {}
                    }
                }
            };
            let (port, consume, blocks) = (&port, &consume, &blocks);
            let taken: Vec<Taken> = thread::scope(|scope| {
                let consumers: Vec<_> =
                    (0..5).map(|n| scope.spawn(move || consume(seed ^ n))).collect();
                let posters: Vec<_> = (0..4)
                    .map(|poster| {
                        scope.spawn(move || {
                            let mut random = Random(seed ^ (100 + poster as u64));
                            for n in 1..=rounds {
                                port.post((poster, n)).unwrap();
                                // Lets the queue run empty, so that threads sleep and are woken.
                                if random.below(20) == 0 {
                                    until(|| port.is_empty());
                                }
                            }
                        })
                    })
                    .collect();
                posters.into_iter().for_each(|poster| poster.join().unwrap());
                blocks.store(true, Ordering::SeqCst);
                port.close();
                consumers.into_iter().map(|consumer| consumer.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().map(|taken| taken.count).sum::<u64>(), 4 * rounds);
            assert_eq!(
                taken.iter().map(|taken| taken.sum).sum::<u64>(),
                4 * rounds * (rounds + 1) / 2
            );
            assert_eq!((port.len(), port.waiting()), (0, 0));
        },
    );
}

/// I1, I2, IO-8.
#[test]
fn every_packet_is_taken_once_whatever_races_and_one_thread_runs_at_a_time() {
    soak(1, 1);
}

/// I1, I2.
#[test]
fn every_packet_is_taken_once_whatever_races_and_two_threads_run_at_a_time() {
    soak(2, 2);
}

/// I1, I2.
#[test]
fn every_packet_is_taken_once_whatever_races_and_everybody_runs() {
    soak(usize::MAX, 3);
}

/// I1, I2: and a thread that waits without end gets what the other leaves.
#[test]
fn a_packet_posted_at_the_deadline_is_taken_or_goes_to_the_next() {
    within(LIMIT, "post against deadline", || {
        let port = CompletionPort::unlimited();
        let (sender, patient) = mpsc::channel();
        let (port, start) = (&port, &Barrier::new(2));
        let rounds = number("AIO_PORT_ROUNDS", 5_000) / 2;
        thread::scope(|scope| {
            scope.spawn(move || {
                while let Some(packet) = port.wait() {
                    sender.send(packet).unwrap();
                }
            });
            let hasty = scope.spawn(move || {
                let mut random = Random(rounds);
                let mut taken = Vec::new();
                for _ in 0..rounds {
                    start.wait();
                    taken.extend(port.wait_timeout(Duration::from_micros(20 + random.below(80))));
                    start.wait();
                }
                taken
            });
            let mut random = Random(!rounds);
            for round in 0..rounds {
                until(|| port.waiting() == 1);
                start.wait();
                let moment = Instant::now() + Duration::from_micros(60 + random.below(120));
                until(|| Instant::now() >= moment);
                port.post(round).unwrap();
                start.wait();
                until(|| port.is_empty());
            }
            let mut taken = hasty.join().unwrap();
            port.close();
            taken.extend(patient);
            taken.sort_unstable();
            assert!(taken.into_iter().eq(0..rounds));
        });
    });
}

/// I1, I2.
#[test]
fn a_post_that_races_with_close_is_delivered_or_comes_back() {
    within(LIMIT, "post against close", || {
        for _ in 0..number("AIO_PORT_ROUNDS", 5_000) / 25 {
            let port = CompletionPort::new(1);
            let start = Barrier::new(4);
            thread::scope(|scope| {
                let posters = [(); 2].map(|()| {
                    scope.spawn(|| {
                        start.wait();
                        (0..).take_while(|n| port.post(*n).is_ok()).count()
                    })
                });
                let consumer = scope.spawn(|| {
                    start.wait();
                    std::iter::from_fn(|| port.wait()).count()
                });
                start.wait();
                until(|| port.running() > 0 || !port.is_empty());
                port.close();
                let posted: usize = posters.into_iter().map(|poster| poster.join().unwrap()).sum();
                assert_eq!(consumer.join().unwrap(), posted);
            });
        }
    });
}

/// What a thread of a random program is told to do, at one of two ports.
#[derive(Clone, Copy, Debug)]
enum Command {
    Wait,
    WaitTimeout,
    TryWait,
    WaitMany(usize),
    Leave,
    /// Enters `while_blocked`, and obeys inside it until [`Command::Unblock`].
    Block,
    Unblock,
    End,
    Panic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Packets(Vec<u32>),
    TimedOut,
    Closed,
}

type Ports = Arc<[CompletionPort<u32>; 2]>;

/// A thread that obeys.
struct Actor {
    commands: mpsc::Sender<(usize, Command)>,
    thread: JoinHandle<()>,
}

impl Actor {
    fn start(index: usize, ports: &Ports, answers: &mpsc::Sender<(usize, Answer)>) -> Self {
        let (commands, told) = mpsc::channel();
        let (ports, answers) = (ports.clone(), answers.clone());
        let answer = move |answer| answers.send((index, answer)).unwrap();
        let thread = thread::spawn(move || {
            let _ = obey(&ports, &told, &answer);
        });
        Self { commands, thread }
    }
}

fn obey(
    ports: &Ports,
    commands: &mpsc::Receiver<(usize, Command)>,
    answer: &dyn Fn(Answer),
) -> ControlFlow<()> {
    let from = |result: Result<u32, WaitError>| match result {
        Ok(packet) => Answer::Packets(vec![packet]),
        Err(WaitError::TimedOut) => Answer::TimedOut,
        Err(WaitError::Closed) => Answer::Closed,
    };
    while let Ok((port, command)) = commands.recv() {
        let port = &ports[port];
        answer(match command {
            Command::Wait => from(port.wait().ok_or(WaitError::Closed)),
            Command::WaitTimeout => from(port.wait_timeout(Duration::from_micros(50))),
            Command::TryWait => from(port.try_wait()),
            Command::WaitMany(max) => {
                let mut packets = Vec::new();
                match port.wait_many(&mut packets, max) {
                    0 => Answer::Closed,
                    _ => Answer::Packets(packets),
                }
            }
            Command::Leave => {
                port.leave();
                Answer::Done
            }
            Command::Block => {
                port.while_blocked(|| {
                    answer(Answer::Done);
                    obey(ports, commands, answer)
                })?;
                Answer::Done
            }
            Command::Unblock => return ControlFlow::Continue(()),
            Command::End => return ControlFlow::Break(()),
            Command::Panic => panic::resume_unwind(Box::new("as told")),
        });
    }
    ControlFlow::Break(())
}

/// A port as the contract describes it, one step at a time.
#[derive(Debug)]
struct Model {
    limit: usize,
    queue: VecDeque<u32>,
    running: BTreeSet<usize>,
    /// The threads that wait, and how many packets each would take; released from the end.
    waiting: Vec<(usize, usize)>,
    closed: bool,
}

impl Model {
    fn may_take(&self) -> bool {
        !self.queue.is_empty() && (self.running.len() < self.limit || self.closed)
    }

    fn take(&mut self, actor: usize, max: usize) -> Vec<u32> {
        self.running.insert(actor);
        self.queue.drain(..max.min(self.queue.len())).collect()
    }
}

/// A random program: threads and ports beside their model, in lockstep.
struct Program {
    ports: Ports,
    models: [Model; 2],
    actors: Vec<Actor>,
    /// For each thread, the port that it runs for, and those it will run for again as it unblocks.
    runs: Vec<Option<usize>>,
    blocked: Vec<Vec<Option<usize>>>,
    answers: mpsc::Receiver<(usize, Answer)>,
    report: mpsc::Sender<(usize, Answer)>,
    trace: Vec<String>,
    posted: u32,
}

impl Program {
    const ACTORS: usize = 4;

    fn new(limits: [usize; 2]) -> Self {
        let ports = Arc::new(limits.map(CompletionPort::new));
        let (report, answers) = mpsc::channel();
        Self {
            models: limits.map(|limit| Model {
                limit,
                queue: VecDeque::new(),
                running: BTreeSet::new(),
                waiting: Vec::new(),
                closed: false,
            }),
            actors: (0..Self::ACTORS).map(|index| Actor::start(index, &ports, &report)).collect(),
            ports,
            runs: vec![None; Self::ACTORS],
            blocked: vec![Vec::new(); Self::ACTORS],
            answers,
            report,
            trace: Vec::new(),
            posted: 0,
        }
    }

    fn is_waiting(&self, actor: usize) -> bool {
        self.models.iter().any(|model| model.waiting.iter().any(|(waiting, _)| *waiting == actor))
    }

    fn answer(&self) -> (usize, Answer) {
        self.answers.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no answer: {self}"))
    }

    /// A thread stops running for whichever port it ran for.
    fn stop(&mut self, actor: usize) {
        if let Some(port) = self.runs[actor].take() {
            self.models[port].running.remove(&actor);
        }
    }

    /// Releases whom a port has to release, and checks what each gets.
    fn settle(&mut self) {
        for port in 0..2 {
            // Those who are released together may pop in any order.
            let mut released = Vec::new();
            let mut packets = BTreeSet::new();
            while self.models[port].may_take() {
                let Some((actor, max)) = self.models[port].waiting.pop() else { break };
                let taken = self.models[port].take(actor, max);
                self.runs[actor] = Some(port);
                released.push((actor, taken.len()));
                packets.extend(taken);
            }
            for _ in 0..released.len() {
                let (actor, answer) = self.answer();
                let Answer::Packets(taken) = answer else {
                    panic!("{actor} got {answer:?}: {self}")
                };
                assert!(released.contains(&(actor, taken.len())), "{actor} got {taken:?}: {self}");
                assert!(taken.is_sorted(), "{actor} got {taken:?}: {self}");
                for packet in taken {
                    assert!(packets.remove(&packet), "{actor} got {packet}: {self}");
                }
            }
        }
    }

    /// Posts `count` packets without looking who is released; one, if somebody waits for many: how
    /// many that would be is open.
    fn post(&mut self, port: usize, count: usize) {
        let model = &mut self.models[port];
        let count = if model.waiting.iter().all(|(_, max)| *max == 1) { count } else { 1 };
        for _ in 0..count {
            self.posted += 1;
            self.trace.push(format!("post {} at {port}", self.posted));
            let posted = self.ports[port].post(self.posted);
            if model.closed {
                assert_eq!(posted, Err(PostError(self.posted)));
            } else {
                assert_eq!(posted, Ok(()));
                model.queue.push_back(self.posted);
            }
        }
        self.settle();
    }

    fn close(&mut self, port: usize) {
        self.trace.push(format!("close {port}"));
        self.ports[port].close();
        let model = &mut self.models[port];
        model.closed = true;
        let released = std::mem::take(&mut model.waiting);
        let room: usize = released.iter().map(|(_, max)| *max).fold(0, usize::saturating_add);
        let taken = room.min(model.queue.len());
        let mut packets: BTreeSet<u32> = model.queue.drain(..taken).collect();
        for _ in 0..released.len() {
            // Which of them get the packets is open.
            match self.answer() {
                (actor, Answer::Packets(taken)) => {
                    for packet in taken {
                        assert!(packets.remove(&packet), "{actor} got {packet}: {self}");
                    }
                    self.models[port].running.insert(actor);
                    self.runs[actor] = Some(port);
                }
                (actor, answer) => assert_eq!(answer, Answer::Closed, "{actor}: {self}"),
            }
        }
        assert!(packets.is_empty(), "{packets:?} not taken: {self}");
    }

    fn command(&mut self, actor: usize, port: usize, command: Command) {
        self.trace.push(format!("{actor} {command:?} at {port}"));
        self.actors[actor].commands.send((port, command)).unwrap();
        let expected = match command {
            Command::Wait => self.wait(actor, port, 1, true),
            Command::WaitMany(max) => self.wait(actor, port, max, true),
            Command::WaitTimeout | Command::TryWait => self.wait(actor, port, 1, false),
            Command::Leave | Command::Block => {
                let here = self.runs[actor] == Some(port);
                if here {
                    self.stop(actor);
                }
                if let Command::Block = command {
                    self.blocked[actor].push(here.then_some(port));
                }
                Some(Answer::Done)
            }
            Command::Unblock => {
                if let Some(Some(port)) = self.blocked[actor].pop() {
                    if self.runs[actor].is_none() {
                        self.runs[actor] = Some(port);
                        self.models[port].running.insert(actor);
                    }
                }
                Some(Answer::Done)
            }
            Command::End | Command::Panic => {
                self.blocked[actor].clear();
                self.stop(actor);
                let next = Actor::start(actor, &self.ports, &self.report);
                let ended = std::mem::replace(&mut self.actors[actor], next);
                assert_eq!(ended.thread.join().is_err(), matches!(command, Command::Panic));
                None
            }
        };
        // What the command leads to for others may be answered before it is.
        if let Some(expected) = expected {
            let mut early = Vec::new();
            loop {
                let answer = self.answer();
                if answer.0 == actor {
                    assert_eq!(answer.1, expected, "{actor}: {self}");
                    break;
                }
                early.push(answer);
            }
            early.into_iter().for_each(|answer| self.report.send(answer).unwrap());
        }
        self.settle();
    }

    /// What a wait gives at once: nothing if the thread is to wait.
    fn wait(&mut self, actor: usize, port: usize, max: usize, blocks: bool) -> Option<Answer> {
        self.stop(actor);
        let model = &mut self.models[port];
        if model.may_take() {
            self.runs[actor] = Some(port);
            return Some(Answer::Packets(model.take(actor, max)));
        }
        if model.closed {
            return Some(Answer::Closed);
        }
        if blocks {
            model.waiting.push((actor, max));
            return None;
        }
        Some(Answer::TimedOut)
    }

    /// Waits until the ports are as their models say.
    fn compare(&self) {
        let pairs = || self.ports.iter().zip(&self.models);
        // A thread that waits at one port has stopped running for the other before.
        until(|| pairs().all(|(port, model)| port.waiting() == model.waiting.len()));
        for (port, model) in pairs() {
            assert_eq!(port.running(), model.running.len(), "running: {self}");
            assert_eq!(port.len(), model.queue.len(), "queued: {self}");
        }
        assert!(self.answers.try_recv().is_err(), "released without need: {self}");
    }

    fn run(mut self, random: &mut Random) {
        for _ in 0..60 {
            let port = random.below(2) as usize;
            let actor = random.below(Self::ACTORS as u64) as usize;
            match random.below(30) {
                0..8 => self.post(port, 1 + random.below(3) as usize),
                8 if random.below(4) == 0 => self.close(port),
                _ if self.is_waiting(actor) => continue,
                number => {
                    let command = match number {
                        9..18 => Command::Wait,
                        18 => Command::WaitTimeout,
                        19..21 => Command::TryWait,
                        21..23 => Command::WaitMany(1 + random.below(4) as usize),
                        23 => Command::Leave,
                        24..26 if self.blocked[actor].len() < 3 => Command::Block,
                        26..28 if !self.blocked[actor].is_empty() => Command::Unblock,
                        28 => Command::End,
                        29 => Command::Panic,
                        _ => continue,
                    };
                    self.command(actor, port, command);
                }
            }
            self.compare();
        }
        (0..2).for_each(|port| self.close(port));
        self.compare();
        for actor in self.actors {
            drop(actor.commands);
            actor.thread.join().unwrap();
        }
        assert!(self.ports.iter().all(|port| port.running() == 0));
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "after {:#?}, where {:#?}", self.trace, self.models)
    }
}

/// IO-4, IO-5, IO-7, IO-8, IO-9.
#[test]
fn random_programs_do_what_a_sequential_model_does() {
    let programs = number("AIO_PORT_PROGRAMS", 150);
    within(LIMIT.max(Duration::from_millis(100 * programs)), "random programs", move || {
        for seed in 0..programs {
            let mut random = Random(seed);
            let limits = [1 + random.below(3) as usize, 1 + random.below(2) as usize];
            Program::new(limits).run(&mut random);
        }
    });
}
