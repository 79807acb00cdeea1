//! Every interleaving, within a bound on preemptions, of small programs over a port.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p aio-core --lib port
//! ```
//!
//! `LOOM_MAX_PREEMPTIONS` sets another bound. A deadline is a thread that makes it come. A thread that sleeps does so on a condition variable of
//! loom's, so a lost wake-up is reported as a deadlock. Each model ends with what must be left of the
//! port: no packet, nobody waiting, no wake-up under way.

use super::completion_port::CompletionPort;
use super::error::{PostError, WaitError};
use super::gate::Gate;
use super::seat::Seat;
use super::sync::Deadline;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Runs `model` in every interleaving, or in every one with at most `preemptions` preemptions, and
/// says how many there were.
fn explore(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions);
    let (count, start) = (executions.clone(), std::time::Instant::now());
    builder.check(move || {
        count.fetch_add(1, SeqCst);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("{name}: {} executions, {:.1?}\n", executions.load(SeqCst), start.elapsed());
    // To the terminal, whether or not the harness captures what tests print.
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

fn port(concurrency: usize) -> Arc<CompletionPort<u32>> {
    let port = Arc::new(CompletionPort::new(concurrency));
    port.gate();
    port
}

fn spawn<R: 'static>(
    port: &Arc<CompletionPort<u32>>,
    act: impl FnOnce(&CompletionPort<u32>) -> R + 'static,
) -> thread::JoinHandle<R> {
    let port = port.clone();
    thread::spawn(move || act(&port))
}

/// A deadline of this thread's waits, and the thread that makes it come.
fn deadline() -> (Deadline, thread::JoinHandle<()>) {
    let event = Seat::current().event.clone();
    let deadline = Deadline::At(event.clone());
    (deadline, thread::spawn(move || event.expire()))
}

fn assert_at_rest(gate: &Gate, queued: usize) {
    let counts = gate.counts();
    assert_eq!(counts.queued, queued, "packets left");
    assert_eq!(counts.waiting, 0, "threads left");
    assert!(!gate.is_waking(), "a wake-up that no thread notes");
}

#[test]
fn a_post_releases_the_thread_that_waits() {
    explore(None, || {
        let port = port(1);
        let poster = spawn(&port, |port| port.post(7).unwrap());
        assert_eq!(port.wait(), Some(7));
        poster.join().unwrap();
        assert_at_rest(port.gate(), 0);
    });
}

/// Success wins, and a timeout takes nothing; either leaves the thread fit for its next waits.
#[test]
fn a_packet_is_taken_or_kept_when_a_deadline_races_with_the_post() {
    explore(Some(4), || {
        let port = port(1);
        let poster = spawn(&port, |port| port.post(7).unwrap());
        let (deadline, clock) = deadline();
        match port.wait_until(&deadline) {
            Ok(packet) => assert_eq!(packet, 7),
            Err(error) => {
                assert_eq!(error, WaitError::TimedOut);
                assert_eq!(port.wait(), Some(7));
            }
        }
        clock.join().unwrap();
        poster.join().unwrap();
        assert_at_rest(port.gate(), 0);
        let poster = spawn(&port, |port| port.post(8).unwrap());
        assert_eq!(port.wait(), Some(8));
        poster.join().unwrap();
        assert_at_rest(port.gate(), 0);
    });
}

/// What a waiter leaves when its time is over goes to the next.
#[test]
fn a_wake_up_that_finds_its_thread_out_of_time_is_not_lost_to_another() {
    explore(Some(3), || {
        let port = port(2);
        let other = spawn(&port, |port| port.wait());
        let poster = spawn(&port, |port| port.post(7).unwrap());
        let (deadline, clock) = deadline();
        let mine = port.wait_until(&deadline);
        if mine.is_ok() {
            port.post(8).unwrap();
        }
        assert_eq!(other.join().unwrap(), Some(if mine.is_ok() { 8 } else { 7 }));
        clock.join().unwrap();
        poster.join().unwrap();
        assert_at_rest(port.gate(), 0);
    });
}

#[test]
fn close_releases_the_thread_that_waits() {
    explore(None, || {
        let port = port(1);
        let closer = spawn(&port, CompletionPort::close);
        assert_eq!(port.wait(), None);
        closer.join().unwrap();
        assert_at_rest(port.gate(), 0);
    });
}

#[test]
fn close_a_post_and_a_deadline_leave_one_outcome() {
    explore(None, || {
        let port = port(1);
        let other = spawn(&port, |port| {
            let posted = port.post(7);
            port.close();
            posted
        });
        let (deadline, clock) = deadline();
        let outcome = port.wait_until(&deadline);
        other.join().unwrap().unwrap();
        clock.join().unwrap();
        match outcome {
            Ok(packet) => assert_eq!(packet, 7),
            Err(error) => {
                assert_eq!(error, WaitError::TimedOut);
                assert_eq!(port.try_wait(), Ok(7));
            }
        }
        assert_eq!(port.wait(), None);
        assert_eq!(port.post(8), Err(PostError(8)));
    });
}

/// The packet is delivered, or it comes back.
#[test]
fn a_post_that_races_with_close_is_delivered_or_refused() {
    explore(None, || {
        let port = port(1);
        let poster = spawn(&port, |port| port.post(7));
        let closer = spawn(&port, CompletionPort::close);
        let taken = port.wait();
        let posted = poster.join().unwrap();
        closer.join().unwrap();
        match posted {
            Ok(()) => assert_eq!(taken, Some(7)),
            Err(PostError(packet)) => assert_eq!((packet, taken), (7, None)),
        }
    });
}

/// A thread that ends frees its place for the next, which sleeps or is about to.
#[test]
fn one_of_two_waiters_runs_at_a_time_and_the_end_of_one_lets_the_other_run() {
    explore(Some(4), || {
        let port = port(1);
        let inside = Arc::new(AtomicUsize::new(0));
        let consumers = [(); 2].map(|()| {
            let inside = inside.clone();
            spawn(&port, move |port| {
                let packet = port.wait().unwrap();
                assert_eq!(inside.fetch_add(1, SeqCst), 0, "more than one runs");
                // Somewhere for the other to run, if it wrongly does.
                assert_eq!(port.running(), 1);
                inside.fetch_sub(1, SeqCst);
                packet
            })
        });
        port.post(1).unwrap();
        port.post(2).unwrap();
        let taken = consumers.map(|consumer| consumer.join().unwrap());
        assert_eq!(taken.iter().sum::<u32>(), 3);
        assert_at_rest(port.gate(), 0);
    });
}

/// The poster wakes one; it wakes the other, without which it would not go on.
#[test]
fn two_posts_release_two_waiters_when_both_may_run() {
    explore(Some(4), || {
        let port = port(2);
        let meeting = Arc::new((Mutex::new(0), Condvar::new()));
        let consumers = [(); 2].map(|()| {
            let meeting = meeting.clone();
            spawn(&port, move |port| {
                let packet = port.wait().unwrap();
                let (arrived, changed) = &*meeting;
                let mut arrived = arrived.lock().unwrap();
                *arrived += 1;
                changed.notify_one();
                while *arrived < 2 {
                    arrived = changed.wait(arrived).unwrap();
                }
                packet
            })
        });
        port.post(1).unwrap();
        port.post(2).unwrap();
        let taken = consumers.map(|consumer| consumer.join().unwrap());
        assert_eq!(taken.iter().sum::<u32>(), 3);
        assert_at_rest(port.gate(), 0);
    });
}

/// The thread that comes back and the thread that is woken race for the second packet.
#[test]
fn a_thread_that_comes_back_and_a_thread_that_is_woken_share_the_packets() {
    explore(Some(3), || {
        let port = port(1);
        let drain = |port: &CompletionPort<u32>| std::iter::from_fn(|| port.wait()).sum::<u32>();
        let consumer = spawn(&port, drain);
        let poster = spawn(&port, |port| {
            port.post(1).unwrap();
            port.post(2).unwrap();
            port.close();
        });
        let mine = drain(&port);
        assert_eq!(mine + consumer.join().unwrap(), 3);
        poster.join().unwrap();
        assert_at_rest(port.gate(), 0);
    });
}

/// The second packet can only be taken while the first's thread is blocked, waiting for just that.
#[test]
fn a_thread_that_says_it_is_blocked_lets_another_run() {
    explore(Some(4), || {
        let port = port(1);
        let other = spawn(&port, |port| port.wait().unwrap());
        let poster = spawn(&port, |port| {
            port.post(1).unwrap();
            port.post(2).unwrap();
        });
        let mine = port.wait().unwrap();
        let theirs = port.while_blocked(|| other.join().unwrap());
        assert_eq!(mine + theirs, 3);
        poster.join().unwrap();
        assert_at_rest(port.gate(), 0);
        let before = port.running();
        port.leave();
        // The other thread may be on its way out still.
        assert!(port.running() < before);
    });
}

/// A thread runs for one port: by waiting at another it lets the first go on.
#[test]
fn a_thread_that_waits_at_another_port_lets_another_run() {
    explore(None, || {
        let (port, other) = (port(1), port(1));
        port.post(1).unwrap();
        port.post(2).unwrap();
        assert_eq!(port.wait(), Some(1));
        let relay = {
            let other = other.clone();
            spawn(&port, move |port| other.post(port.wait().unwrap()).unwrap())
        };
        assert_eq!(other.wait(), Some(2));
        relay.join().unwrap();
        assert_at_rest(port.gate(), 0);
        assert_at_rest(other.gate(), 0);
    });
}
