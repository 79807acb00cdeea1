//! What happens to programs that are wrong, or nearly.
#![cfg(not(any(loom, shuttle)))]

mod within;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use aio_sync::{
    AutoResetEvent, EventRef, ManualResetEvent, Registration, WaitFuture, WaitHandle, wait_all,
    wait_all_timeout, wait_all_until, wait_any, wait_any_timeout, wait_any_until,
};
use within::within_a_minute;

fn poll(future: Pin<&mut WaitFuture<'_>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[test]
#[should_panic(expected = "wait_any of no events")]
fn wait_any_of_nothing_panics() {
    wait_any(&[]);
}

#[test]
#[should_panic(expected = "wait_all of no events")]
fn wait_all_of_nothing_panics() {
    let _ = wait_all_timeout(&[], Duration::ZERO);
}

#[test]
fn a_refused_wait_for_all_takes_nothing_and_locks_nothing() {
    let (a, b) = (AutoResetEvent::new(true), AutoResetEvent::new(true));
    let wait = std::panic::catch_unwind(|| wait_all(&[&a, &b, &a]));
    assert!(wait.is_err());
    assert!(a.reset() && b.reset());
}

#[test]
fn a_zero_timeout_takes_what_is_there_and_never_blocks() {
    let event = AutoResetEvent::new(true);
    assert!(event.wait_timeout(Duration::ZERO));
    assert!(!event.wait_timeout(Duration::ZERO));
    assert_eq!(wait_any_timeout(&[&event], Duration::ZERO), None);
    assert!(!wait_all_timeout(&[&event], Duration::ZERO));
    let past = Instant::now();
    event.set();
    assert!(event.wait_until(past));
    assert_eq!(wait_any_until(&[&event], past), None);
    assert!(!wait_all_until(&[&event], past));
}

/// P15.
#[test]
fn the_longest_timeout_is_for_ever_and_does_not_overflow() {
    within_a_minute(|| {
        let event = AutoResetEvent::new(false);
        thread::scope(|scope| {
            for timeout in
                [Duration::MAX, Duration::from_secs(u64::MAX / 4), Duration::from_secs(1 << 40)]
            {
                let event = &event;
                let waiter = scope.spawn(move || event.wait_timeout(timeout));
                while !format!("{event:?}").contains("has_waiters: true") {
                    thread::yield_now();
                }
                event.set();
                assert!(waiter.join().unwrap());
            }
            let any = scope.spawn(|| wait_any_timeout(&[&event], Duration::MAX));
            event.set();
            assert_eq!(any.join().unwrap(), Some(0));
            let all = scope.spawn(|| wait_all_timeout(&[&event], Duration::MAX));
            event.set();
            assert!(all.join().unwrap());
        });
    });
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_registration_taken_back_while_it_fires_was_told_or_took_nothing() {
    within_a_minute(|| {
        let event = Arc::new(AutoResetEvent::new(false));
        for _ in 0..2_000 {
            let count = Arc::new(Count(AtomicUsize::new(0)));
            let mut registration = pin!(Registration::new(event.clone()));
            assert!(registration.as_mut().register(count.clone().into()));
            thread::scope(|scope| {
                let setter = scope.spawn(|| event.set());
                let told = registration.as_mut().take_back();
                setter.join().unwrap();
                assert_eq!(count.0.load(SeqCst), usize::from(told));
                assert_ne!(event.reset(), told);
            });
            assert!(
                !registration.as_mut().take_back(),
                "the second time there is nothing to take back"
            );
        }
    });
}

#[test]
fn a_dropped_registration_passes_its_signal_on() {
    let event = AutoResetEvent::new(false);
    {
        let mut registration = pin!(Registration::new(&event));
        assert!(registration.as_mut().register(Waker::noop().clone()));
        event.set();
        assert!(!event.is_set());
    }
    assert!(event.is_set());
}

#[test]
#[should_panic(expected = "registered twice")]
fn registering_twice_panics() {
    let mut registration = pin!(Registration::new(AutoResetEvent::new(false)));
    registration.as_mut().register(Waker::noop().clone());
    registration.as_mut().register(Waker::noop().clone());
}

#[test]
fn a_dropped_pending_future_leaves_the_queue() {
    let event = AutoResetEvent::new(false);
    {
        let mut wait = pin!(event.wait());
        assert!(!poll(wait.as_mut()));
    }
    event.set();
    assert!(event.is_set(), "the event keeps its signal");
}

#[test]
fn a_future_dropped_after_its_signal_came_passes_it_on() {
    let event = AutoResetEvent::new(false);
    let mut second = pin!(event.wait());
    {
        let mut first = pin!(event.wait());
        assert!(!poll(first.as_mut()) && !poll(second.as_mut()));
        event.set();
        assert!(!poll(second.as_mut()));
    }
    assert!(poll(second.as_mut()));
}

/// P28.
#[test]
fn a_forgotten_future_costs_its_memory_and_one_signal() {
    let event = Box::new(AutoResetEvent::new(false));
    let mut wait = Box::pin(event.wait());
    assert!(!poll(wait.as_mut()));
    std::mem::forget(wait);
    let moved = *event;
    moved.set();
    assert!(!moved.is_set(), "handed to the future that nobody looks at");
    moved.set();
    assert!(moved.is_set(), "the queue is empty again");
}

#[test]
#[should_panic(expected = "polled after it was ready")]
fn a_future_polled_after_it_was_ready_panics() {
    let event = ManualResetEvent::new(true);
    let mut wait = pin!(event.wait());
    assert!(poll(wait.as_mut()));
    poll(wait.as_mut());
}

#[test]
fn a_future_that_is_never_polled_takes_nothing() {
    let event = AutoResetEvent::new(true);
    drop(event.wait());
    assert!(event.is_set());
}

/// Points at another event each time it is asked.
struct Fickle {
    events: [AutoResetEvent; 2],
    asked: AtomicUsize,
}

impl WaitHandle for Fickle {
    fn event(&self) -> EventRef<'_> {
        self.events[self.asked.fetch_add(1, SeqCst) % 2].event()
    }
}

#[test]
fn a_handle_that_points_elsewhere_each_time_is_asked_once_per_wait() {
    let fickle =
        Fickle { events: [const { AutoResetEvent::new(false) }; 2], asked: AtomicUsize::new(0) };
    assert_eq!(wait_any_timeout(&[&fickle], Duration::from_millis(1)), None);
    assert!(!wait_all_timeout(&[&fickle], Duration::from_millis(1)));
    let mut registration = pin!(Registration::new(&fickle));
    assert!(registration.as_mut().register(Waker::noop().clone()));
    assert!(!registration.as_mut().take_back());
    assert_eq!(fickle.asked.load(SeqCst), 3);
    for event in &fickle.events {
        event.set();
        assert!(event.is_set(), "nobody is left in a queue");
    }
}
