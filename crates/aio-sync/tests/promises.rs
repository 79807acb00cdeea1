//! What the crate's front page promises, each promise a test.
//!
//! `AIO_SYNC_ROUNDS` sets the number of rounds of the tests that race (1,000,000 for a soak).
#![cfg(not(any(loom, shuttle)))]

mod within;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use aio_sync::{
    AutoResetEvent, ManualResetEvent, wait_all, wait_all_timeout, wait_any, wait_any_timeout,
};
use within::within_a_minute;

fn rounds() -> usize {
    std::env::var("AIO_SYNC_ROUNDS").map_or(2_000, |rounds| rounds.parse().expect("a number"))
}

/// Returns when an event reports that somebody waits.
fn until_queued(event: &impl std::fmt::Debug) {
    while !format!("{event:?}").contains("has_waiters: true") {
        thread::yield_now();
    }
}

#[test]
fn set_before_wait_is_not_lost() {
    within_a_minute(|| {
        let (manual, auto) = (ManualResetEvent::new(false), AutoResetEvent::new(false));
        manual.set();
        auto.set();
        manual.wait_one();
        manual.wait_one();
        auto.wait_one();
        assert!(!auto.is_set());
    });
}

#[test]
fn set_wakes_a_waiter_that_sleeps() {
    within_a_minute(|| {
        let event = AutoResetEvent::new(false);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| event.wait_one());
            until_queued(&event);
            assert!(!event.set(), "it was nonsignaled");
            waiter.join().unwrap();
        });
        assert!(!event.is_set(), "the waiter took the signal");
    });
}

#[test]
fn a_timeout_is_never_early_and_takes_nothing() {
    within_a_minute(|| {
        let event = AutoResetEvent::new(false);
        let start = Instant::now();
        assert!(!event.wait_timeout(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        let start = Instant::now();
        assert!(!event.wait_until(start + Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
        event.set();
        assert!(event.wait_timeout(Duration::ZERO));
        assert!(!event.wait_timeout(Duration::ZERO));
    });
}

#[test]
fn wait_any_takes_the_lowest_signaled_and_leaves_the_others() {
    within_a_minute(|| {
        let events: [_; 10] = std::array::from_fn(|index| AutoResetEvent::new(index >= 5));
        let handles = events.each_ref().map(|event| event as &dyn aio_sync::WaitHandle);
        for expected in 5..10 {
            assert_eq!(wait_any(&handles), expected);
        }
        assert_eq!(wait_any_timeout(&handles, Duration::from_millis(1)), None);
    });
}

#[test]
fn wait_any_that_sleeps_is_ended_by_each_of_its_events() {
    within_a_minute(|| {
        for count in [1, 2, 8, 9, 64, 65, 200] {
            let events: Vec<_> = (0..count).map(|_| AutoResetEvent::new(false)).collect();
            for index in [0, count / 2, count - 1] {
                thread::scope(|scope| {
                    let waiter = scope.spawn(|| {
                        let handles: Vec<_> =
                            events.iter().map(|event| event as &dyn aio_sync::WaitHandle).collect();
                        wait_any(&handles)
                    });
                    until_queued(&events[count - 1]);
                    events[index].set();
                    assert_eq!(waiter.join().unwrap(), index);
                });
                // Nothing stays queued: the next signals are kept by their events.
                for event in &events {
                    event.set();
                    assert!(event.try_wait());
                }
            }
        }
    });
}

#[test]
fn wait_all_takes_all_or_nothing() {
    within_a_minute(|| {
        for count in [1, 2, 8, 9, 64, 65, 200] {
            let events: Vec<_> = (0..count).map(|_| AutoResetEvent::new(false)).collect();
            let handles: Vec<_> =
                events.iter().map(|event| event as &dyn aio_sync::WaitHandle).collect();
            for event in &events[1..] {
                event.set();
            }
            assert!(!wait_all_timeout(&handles, Duration::from_millis(1)));
            assert!(events[1..].iter().all(AutoResetEvent::is_set));
            events[0].set();
            wait_all(&handles);
            assert!(!events.iter().any(AutoResetEvent::is_set));
        }
    });
}

#[test]
fn wait_all_is_satisfied_by_events_set_one_by_one_in_any_order() {
    within_a_minute(|| {
        let events: [_; 5] = std::array::from_fn(|_| AutoResetEvent::new(false));
        let handles = || events.each_ref().map(|event| event as &dyn aio_sync::WaitHandle);
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]] {
            thread::scope(|scope| {
                let waiter = scope.spawn(|| wait_all(&handles()));
                while !events.iter().any(|event| format!("{event:?}").contains("has_waiters: true"))
                {
                    thread::yield_now();
                }
                for (set, index) in order.into_iter().enumerate() {
                    assert!(!waiter.is_finished(), "satisfied by {set} of 5");
                    events[index].set();
                }
                waiter.join().unwrap();
            });
            assert!(!events.iter().any(AutoResetEvent::is_set));
        }
    });
}

#[test]
fn tokens_are_neither_lost_nor_doubled_between_setters_and_waiters() {
    within_a_minute(|| {
        let events = Arc::new([AutoResetEvent::new(false), AutoResetEvent::new(false)]);
        let taken = Arc::new(AtomicUsize::new(0));
        let given = rounds();
        let quit = Arc::new(ManualResetEvent::new(false));
        let takers: Vec<_> = (0..3)
            .map(|_| {
                let (events, taken, quit) = (events.clone(), taken.clone(), quit.clone());
                thread::spawn(move || {
                    while wait_any(&[&events[0], &events[1], &quit]) != 2 {
                        taken.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        let mut coalesced = 0;
        for round in 0..given {
            coalesced += usize::from(events[round % 2].set());
        }
        while events.iter().any(AutoResetEvent::is_set) {
            thread::yield_now();
        }
        quit.set();
        takers.into_iter().for_each(|taker| taker.join().unwrap());
        assert_eq!(taken.load(SeqCst) + coalesced, given);
    });
}
