//! The cases of .NET's own tests of its wait handles that apply here. WH-numbers are those of the
//! contract; handles that are null, disposed or named cannot be written down in Rust.
#![cfg(not(any(loom, shuttle)))]

mod within;

use std::thread;
use std::time::Duration;

use aio_sync::{
    AutoResetEvent, ManualResetEvent, WaitHandle, wait_all, wait_all_timeout, wait_any,
    wait_any_timeout,
};
use within::within_a_minute;

const NOT_AT_ALL: Duration = Duration::ZERO;

fn handles<T: WaitHandle>(events: &[T]) -> Vec<&dyn WaitHandle> {
    events.iter().map(|event| event as &dyn WaitHandle).collect()
}

/// WH-1.
#[test]
fn events_begin_as_they_were_made() {
    assert!(AutoResetEvent::new(true).wait_timeout(NOT_AT_ALL));
    assert!(!AutoResetEvent::new(false).wait_timeout(NOT_AT_ALL));
    assert!(ManualResetEvent::new(true).wait_timeout(NOT_AT_ALL));
    assert!(!ManualResetEvent::new(false).wait_timeout(NOT_AT_ALL));
}

/// WH-3.
#[test]
fn a_manual_reset_event_stays_set_until_reset() {
    let event = ManualResetEvent::new(false);
    assert!(!event.wait_timeout(NOT_AT_ALL));
    event.set();
    assert!(event.wait_timeout(NOT_AT_ALL) && event.wait_timeout(NOT_AT_ALL));
    event.set();
    assert!(event.wait_timeout(NOT_AT_ALL));
    event.reset();
    assert!(!event.wait_timeout(NOT_AT_ALL));
}

/// WH-4.
#[test]
fn an_auto_reset_event_lets_one_wait_through() {
    let event = AutoResetEvent::new(false);
    assert!(!event.wait_timeout(NOT_AT_ALL));
    event.set();
    assert!(event.wait_timeout(NOT_AT_ALL));
    assert!(!event.wait_timeout(NOT_AT_ALL));
    event.set();
    event.reset();
    assert!(!event.wait_timeout(NOT_AT_ALL));
}

/// WH-5.
#[test]
fn sets_of_an_auto_reset_event_without_a_waiter_are_one() {
    let event = AutoResetEvent::new(false);
    (0..10).for_each(|_| {
        event.set();
    });
    assert!(event.try_wait());
    assert!(!event.try_wait());
}

/// WH-24.
#[test]
fn wait_all_resets_auto_reset_events_and_no_others() {
    let autos: [_; 10] = std::array::from_fn(|_| AutoResetEvent::new(true));
    assert!(wait_all_timeout(&handles(&autos), NOT_AT_ALL));
    assert!(!wait_all_timeout(&handles(&autos), NOT_AT_ALL));
    let manuals: [_; 10] = std::array::from_fn(|_| ManualResetEvent::new(true));
    assert!(wait_all_timeout(&handles(&manuals), NOT_AT_ALL));
    assert!(wait_all_timeout(&handles(&manuals), NOT_AT_ALL));
}

/// WH-20, WH-21.
#[test]
fn wait_any_reports_the_one_that_is_set_and_then_none() {
    let autos: [_; 10] = std::array::from_fn(|index| AutoResetEvent::new(index == 5));
    assert_eq!(wait_any_timeout(&handles(&autos), NOT_AT_ALL), Some(5));
    assert_eq!(wait_any_timeout(&handles(&autos), NOT_AT_ALL), None);
    let manuals: [_; 10] = std::array::from_fn(|index| ManualResetEvent::new(index == 5));
    assert_eq!(wait_any_timeout(&handles(&manuals), NOT_AT_ALL), Some(5));
    assert_eq!(wait_any_timeout(&handles(&manuals), NOT_AT_ALL), Some(5));
}

#[test]
fn ping_pong_with_auto_reset_events() {
    within_a_minute(|| {
        let (ping, pong) = (AutoResetEvent::new(true), AutoResetEvent::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(ping.wait_timeout(Duration::from_secs(30)));
                    pong.set();
                }
            });
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(pong.wait_timeout(Duration::from_secs(30)));
                    ping.set();
                }
            });
        });
        assert!(ping.is_set() && !pong.is_set());
    });
}

#[test]
fn ping_pong_with_manual_reset_events() {
    within_a_minute(|| {
        let (ping, pong) = (ManualResetEvent::new(true), ManualResetEvent::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(ping.wait_timeout(Duration::from_secs(30)));
                    ping.reset();
                    pong.set();
                }
            });
            scope.spawn(|| {
                for _ in 0..10 {
                    assert!(pong.wait_timeout(Duration::from_secs(30)));
                    pong.reset();
                    ping.set();
                }
            });
        });
    });
}

/// WH-22.
#[test]
fn wait_any_accepts_the_same_handle_twice_and_reports_the_lower_index() {
    let (idle, event) = (AutoResetEvent::new(false), AutoResetEvent::new(true));
    assert_eq!(wait_any(&[&idle, &event, &event]), 1);
    assert!(!event.is_set());
}

/// WH-18, which is different here: there is no limit.
#[test]
fn more_than_64_handles_are_welcome() {
    let events: Vec<_> = (0..1_000).map(|index| AutoResetEvent::new(index == 999)).collect();
    assert_eq!(wait_any(&handles(&events)), 999);
    events.iter().for_each(|event| {
        event.set();
    });
    wait_all(&handles(&events));
    assert!(!events.iter().any(AutoResetEvent::is_set));
}

/// WH-25.
#[test]
#[should_panic(expected = "names an event twice")]
fn wait_all_refuses_the_same_handle_twice() {
    let event = ManualResetEvent::new(true);
    wait_all(&[&event, &event]);
}

/// WH-30, WH-31: signaled or not, manual-reset or auto-reset, the same or another.
#[test]
fn signal_and_wait_signals_in_any_case() {
    for initial in [false, true] {
        let (signal, on) = (AutoResetEvent::new(false), AutoResetEvent::new(initial));
        assert_eq!(signal.signal_and_wait_timeout(&on, NOT_AT_ALL), initial);
        assert!(signal.is_set() && !on.is_set());
        let (signal, on) = (ManualResetEvent::new(false), ManualResetEvent::new(initial));
        assert_eq!(signal.signal_and_wait_timeout(&on, Duration::from_millis(1)), initial);
        assert!(signal.is_set() && on.is_set() == initial);

        let event = AutoResetEvent::new(initial);
        event.signal_and_wait(&event);
        assert!(!event.is_set());
        let event = ManualResetEvent::new(initial);
        assert!(event.signal_and_wait_timeout(&event, NOT_AT_ALL));
        assert!(event.is_set());
    }
}

/// WH-23, WH-26: a wait for all leaves signals to others while it waits.
#[test]
fn a_signal_that_a_wait_for_all_cannot_use_yet_is_there_for_others() {
    within_a_minute(|| {
        let (a, b) = (AutoResetEvent::new(false), AutoResetEvent::new(false));
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_all(&[&a, &b]));
            while !format!("{a:?}{b:?}").contains("has_waiters: true") {
                thread::yield_now();
            }
            for event in [&a, &b, &a, &b] {
                event.set();
                assert!(event.try_wait());
            }
            a.set();
            b.set();
            waiter.join().unwrap();
        });
        assert!(!a.is_set() && !b.is_set());
    });
}
