//! The races that a test can bring about on purpose: by stopping a thread in a window of `hooks`, or by
//! knowing from the queue who is there. Each holds in every run; how often the latter are repeated,
//! `AIO_SYNC_ROUNDS` says (1,000,000 for a soak).

#[path = "../tests/within/mod.rs"]
mod within;

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use within::within_a_minute;

use crate::hooks::{Window, at};
use crate::{
    AutoResetEvent, EventRef, ManualResetEvent, Registration, WaitHandle, WaitOptions, wait_all,
    wait_all_timeout, wait_any,
};

fn rounds() -> usize {
    std::env::var("AIO_SYNC_ROUNDS").map_or(2_000, |rounds| rounds.parse().expect("a number"))
}

/// The time after which so many rounds hang.
fn limit(rounds: usize) -> Duration {
    Duration::from_secs(60) + Duration::from_millis(1) * u32::try_from(rounds).unwrap_or(u32::MAX)
}

fn until_waiters(event: &impl WaitHandle, count: usize) {
    while event.event().raw().waiters() != count {
        thread::yield_now();
    }
}

fn until_contended(event: &impl WaitHandle) {
    while !event.event().raw().is_contended() {
        thread::yield_now();
    }
}

fn poll(future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

const A_MOMENT: Duration = Duration::from_millis(1);

/// WH-6, P5.
#[test]
fn two_sets_release_two_present_waiters() {
    let rounds = rounds();
    within::within(limit(rounds), move || {
        let (event, released) = (AutoResetEvent::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        event
                            .wait_with(&WaitOptions::new().spins(0))
                            .then(|| released.fetch_add(1, SeqCst));
                    }
                });
            }
            for round in 0..rounds {
                until_waiters(&event, 2);
                assert_eq!(
                    released.load(SeqCst),
                    2 * round,
                    "both have been released and are back"
                );
                assert!(!event.set() && !event.set(), "each signal was handed over");
            }
        });
        assert_eq!(released.load(SeqCst), 2 * rounds);
        assert!(!event.is_set());
    });
}

/// WH-7, P4. Two events take turns, as a waiter that is quick enough to come back before the reset would
/// be released twice.
#[test]
fn set_then_reset_releases_everybody_present() {
    const WAITERS: usize = 3;
    let rounds = rounds();
    within::within(limit(rounds), move || {
        let events = [const { ManualResetEvent::new(false) }; 2];
        let released = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..WAITERS {
                scope.spawn(|| {
                    for round in 0..rounds {
                        assert!(events[round % 2].wait_with(&WaitOptions::new().spins(0)));
                        released.fetch_add(1, SeqCst);
                    }
                });
            }
            for round in 0..rounds {
                until_waiters(&events[round % 2], WAITERS);
                assert_eq!(released.load(SeqCst), WAITERS * round);
                events[round % 2].set();
                events[round % 2].reset();
            }
        });
        assert_eq!(released.load(SeqCst), WAITERS * rounds);
    });
}

/// WH-9, P1, P2: deadlines all around the time of the set.
#[test]
fn no_set_is_lost_to_a_timeout() {
    let rounds = rounds();
    within::within(limit(rounds), move || {
        let (event, stop) = (AutoResetEvent::new(false), AtomicBool::new(false));
        let (mut given, mut taken) = (0, 0);
        thread::scope(|scope| {
            let waiters: Vec<_> = (0..2_u64)
                .map(|waiter| {
                    let (event, stop) = (&event, &stop);
                    scope.spawn(move || {
                        let (mut taken, mut nanos) = (0, waiter);
                        while !stop.load(SeqCst) {
                            nanos = (nanos * 1_103 + 12_345) % 40_000;
                            let options = WaitOptions::new().spins((nanos % 2) as u32 * 50);
                            taken += usize::from(
                                event.wait_with(&options.timeout(Duration::from_nanos(nanos))),
                            );
                        }
                        taken
                    })
                })
                .collect();
            for round in 0..rounds {
                given += usize::from(!event.set());
                if round % 4 == 0 {
                    thread::yield_now();
                }
            }
            stop.store(true, SeqCst);
            taken = waiters.into_iter().map(|waiter| waiter.join().unwrap()).sum();
        });
        assert_eq!(given, taken + usize::from(event.is_set()));
    });
}

#[test]
fn waiters_are_served_first_come_first_served() {
    let event = AutoResetEvent::new(false);
    let mut waits: Vec<_> = (0..5).map(|_| Box::pin(event.wait())).collect();
    waits.iter_mut().for_each(|wait| assert!(!poll(wait.as_mut())));
    drop(waits.remove(2));
    for next in 0..4 {
        event.set();
        let ready: Vec<_> = waits.iter_mut().map(|wait| poll(wait.as_mut())).collect();
        assert_eq!(ready.iter().position(|ready| *ready), Some(0), "round {next}: {ready:?}");
        drop(waits.remove(0));
    }
}

/// WH-8: the same thread cannot take back what it has handed over.
#[test]
fn a_setter_does_not_steal_its_signal_from_a_waiter() {
    let event = AutoResetEvent::new(false);
    let mut wait = pin!(event.wait());
    assert!(!poll(wait.as_mut()));
    event.set();
    assert!(!event.try_wait());
    assert!(poll(wait.as_mut()));
}

#[test]
fn a_signal_that_comes_when_the_time_is_over_is_accepted() {
    let event = Arc::new(AutoResetEvent::new(false));
    let other = event.clone();
    at(Window::TimeOver, move || {
        other.set();
    });
    assert!(event.wait_timeout(A_MOMENT));
    assert!(!event.is_set());
}

/// The setter has claimed a waiter, and the waiter's time is over before it is told.
#[test]
fn a_waiter_that_was_claimed_before_its_deadline_waits_for_its_release() {
    within_a_minute(|| {
        let event = AutoResetEvent::new(false);
        thread::scope(|scope| {
            let (over, is_over) = mpsc::channel();
            let (go, may_go) = mpsc::channel();
            let waiter = scope.spawn(|| {
                at(Window::TimeOver, move || {
                    over.send(()).unwrap();
                    may_go.recv().unwrap();
                });
                event.wait_timeout(A_MOMENT)
            });
            is_over.recv().unwrap();
            at(Window::Claimed, move || go.send(()).unwrap());
            assert!(!event.set());
            assert!(waiter.join().unwrap());
        });
    });
}

#[test]
fn a_waiter_that_has_given_up_is_passed_over() {
    let event = Arc::new(AutoResetEvent::new(false));
    let setter = event.clone();
    at(Window::GivenUp, move || {
        setter.set();
    });
    assert!(!event.wait_timeout(A_MOMENT));
    assert!(event.is_set(), "the signal stays");

    event.reset();
    let second = Arc::new(AtomicBool::new(false));
    let (setter, told) = (event.clone(), second.clone());
    at(Window::GivenUp, move || {
        let mut wait = pin!(setter.wait());
        assert!(!poll(wait.as_mut()), "queued behind the one that has given up");
        setter.set();
        told.store(poll(wait.as_mut()), SeqCst);
    });
    assert!(!event.wait_timeout(A_MOMENT));
    assert!(second.load(SeqCst), "the signal went to the next");

    let manual = Arc::new(ManualResetEvent::new(false));
    let setter = manual.clone();
    at(Window::GivenUp, move || {
        setter.set();
    });
    assert!(!manual.wait_timeout(A_MOMENT));
    assert!(manual.is_set());
}

/// P7: an event of a wait for any is set while the wait is still queueing.
#[test]
fn a_wait_for_any_decided_while_it_queues_leaves_the_other_signals() {
    let events = Arc::new([const { AutoResetEvent::new(false) }; 3]);
    let setter = events.clone();
    at(Window::PartlyQueued, move || {
        setter[1].set();
        setter[0].set();
    });
    assert_eq!(wait_any(&[&events[0], &events[1], &events[2]]), 0);
    assert!(events[1].is_set());
    assert!(events.iter().all(|event| event.event().raw().waiters() == 0));

    let manual = Arc::new([const { ManualResetEvent::new(false) }; 2]);
    let setter = manual.clone();
    at(Window::PartlyQueued, move || {
        setter[1].set();
    });
    assert_eq!(wait_any(&[&manual[0], &manual[1]]), 1);
    assert_eq!(manual[0].event().raw().waiters(), 0);
}

/// P17, and the path on which a thread sleeps on the lock.
#[test]
fn operations_that_find_the_event_locked_wait_for_the_unlock_and_are_woken() {
    within_a_minute(|| {
        let auto = Arc::new(AutoResetEvent::new(false));
        let operations: [fn(&AutoResetEvent) -> bool; 4] = [
            |event| event.try_wait(),
            |event| event.is_set(),
            |event| event.reset(),
            |event| event.wait_timeout(A_MOMENT),
        ];
        for operation in operations {
            // A waiter that has given up: its node is in the queue, and the setter will find nobody.
            let (event, setter) = (auto.clone(), auto.clone());
            at(Window::GivenUp, move || {
                let (other, answer) = (setter.clone(), mpsc::channel());
                let thread = Arc::new(std::sync::Mutex::new(None));
                let started = thread.clone();
                at(Window::Locked, move || {
                    let locked = other.clone();
                    let spawned = thread::spawn(move || answer.0.send(operation(&other)).unwrap());
                    *started.lock().unwrap() = Some(spawned);
                    until_contended(&locked);
                });
                setter.set();
                assert!(answer.1.recv().unwrap(), "it saw the signal, not the moment before");
                thread.lock().unwrap().take().unwrap().join().unwrap();
            });
            assert!(!event.wait_timeout(A_MOMENT));
            event.reset();
        }
    });
}

/// P11: the event is gone before its setter has returned.
#[test]
fn a_waiter_may_free_the_event_before_the_setter_has_returned() {
    struct Shared(*const AutoResetEvent);
    // SAFETY: the event may be used by all threads.
    unsafe impl Send for Shared {}

    within_a_minute(|| {
        let event = Box::new(AutoResetEvent::new(false));
        let pointer = Shared(&*event);
        let mut wait = Box::pin(event.wait());
        assert!(!poll(wait.as_mut()));
        let (released, is_released) = mpsc::channel();
        let (freed, is_freed) = mpsc::channel();
        let setter = thread::spawn(move || {
            let pointer = pointer;
            at(Window::Released, move || {
                released.send(()).unwrap();
                is_freed.recv().unwrap();
            });
            // SAFETY: the event lives until its waiter is released.
            unsafe { &*pointer.0 }.set()
        });
        is_released.recv().unwrap();
        assert!(poll(wait.as_mut()));
        drop(wait);
        drop(event);
        freed.send(()).unwrap();
        assert!(!setter.join().unwrap());
    });
}

/// P11, as often as asked: the waiter's frame holds the event, and is gone when the wait returns.
#[test]
fn an_event_on_the_stack_of_its_waiter_may_be_set_by_pointer() {
    struct Shared(*const AutoResetEvent);
    // SAFETY: the event may be used by all threads.
    unsafe impl Send for Shared {}

    let rounds = rounds();
    within::within(limit(rounds), move || {
        let (sender, receiver) = mpsc::channel::<Shared>();
        let setter = thread::spawn(move || {
            for event in receiver {
                // SAFETY: the event lives until this set has released its waiter.
                unsafe { &*event.0 }.set();
            }
        });
        for round in 0..rounds {
            let event = Box::new(AutoResetEvent::new(false));
            sender.send(Shared(&*event)).unwrap();
            event
                .wait_with(&WaitOptions::new().spins((round % 3) as u32 * 20))
                .then_some(())
                .unwrap();
            drop(event);
        }
        drop(sender);
        setter.join().unwrap();
    });
}

/// P8, P10: the setter of the watch finds another event busy, pins the wait, and locks in order.
#[test]
fn a_setter_that_finds_an_event_of_a_wait_for_all_busy_ends_in_order() {
    for (auto, time_over) in [(true, false), (false, false), (true, true), (false, true)] {
        within_a_minute(move || {
            // The watch is the last that is missing; so the busy event comes before it.
            let manual = [const { ManualResetEvent::new(false) }; 2];
            let autos = [const { AutoResetEvent::new(false) }; 2];
            let events: [EventRef<'_>; 2] = if auto {
                autos.each_ref().map(WaitHandle::event)
            } else {
                manual.each_ref().map(WaitHandle::event)
            };
            let set = |index: usize| if auto { autos[index].set() } else { manual[index].set() };
            set(0);
            thread::scope(|scope| {
                let timeout = if time_over { A_MOMENT } else { Duration::MAX };
                let (gave_up, has_given_up) = mpsc::channel();
                let (go_on, may_go_on) = mpsc::channel();
                let waiter = scope.spawn(move || {
                    at(Window::TimeOver, move || may_go_on.recv().unwrap());
                    at(Window::GivenUp, move || gave_up.send(()).unwrap());
                    wait_all_timeout(&[&events[0], &events[1]], timeout)
                });
                until_waiters(&events[1], 1);
                events[0].raw().lock_member();
                let (pinned, is_pinned) = mpsc::channel();
                let setter = scope.spawn(move || {
                    at(Window::Pinned, move || pinned.send(()).unwrap());
                    set(1)
                });
                is_pinned.recv().unwrap();
                if time_over {
                    go_on.send(()).unwrap();
                    has_given_up.recv().unwrap();
                }
                events[0].raw().unlock_member();
                setter.join().unwrap();
                assert_eq!(waiter.join().unwrap(), !time_over);
                drop(go_on);
            });
            let left = if auto { time_over } else { true };
            assert_eq!([events[0].is_signaled(), events[1].is_signaled()], [left, left]);
            assert!(events.iter().all(|event| event.raw().waiters() == 0));
        });
    }
}

/// P10: several waits for all watch one manual-reset event, share events, and one of theirs is busy.
#[test]
fn a_manual_set_satisfies_as_many_waits_for_all_as_there_are_signals() {
    within_a_minute(|| {
        let autos = [const { AutoResetEvent::new(true) }; 3];
        // The highest address, so that it would be the watch even if others were missing.
        let start = Box::new(ManualResetEvent::new(false));
        let satisfied = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (one, other) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
                let (autos, start, satisfied) = (&autos, &start, &satisfied);
                scope.spawn(move || {
                    wait_all(&[start, &autos[one], &autos[other]]);
                    satisfied.fetch_add(1, SeqCst);
                });
            }
            until_waiters(&start, 4);
            autos[0].event().raw().lock_member();
            let (pinned, is_pinned) = mpsc::channel();
            let setter = scope.spawn(|| {
                at(Window::Pinned, move || pinned.send(()).unwrap());
                start.set();
            });
            is_pinned.recv().unwrap();
            autos[0].event().raw().unlock_member();
            setter.join().unwrap();
            let left = autos.iter().filter(|event| event.is_set()).count();
            assert_eq!(left, 1, "one wait took two of three signals");
            while satisfied.load(SeqCst) < 4 {
                autos.iter().for_each(|event| {
                    event.set();
                });
                thread::yield_now();
            }
        });
    });
}

/// P21.
#[test]
fn a_waker_may_use_the_event_and_may_panic() {
    struct Reentrant {
        event: Arc<ManualResetEvent>,
        woken: Arc<AtomicUsize>,
        panics: bool,
    }

    impl Wake for Reentrant {
        fn wake(self: Arc<Self>) {
            assert!(self.event.is_set(), "published before anybody is told");
            self.event.set();
            self.woken.fetch_add(1, SeqCst);
            assert!(!self.panics, "on purpose");
        }
    }

    let event = Arc::new(ManualResetEvent::new(false));
    let woken = Arc::new(AtomicUsize::new(0));
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(event.wait())).collect();
    for (index, wait) in waits.iter_mut().enumerate() {
        let (event, woken) = (event.clone(), woken.clone());
        let waker = Waker::from(Arc::new(Reentrant { event, woken, panics: index % 40 == 7 }));
        assert_eq!(wait.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    }
    let set = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| event.set()));
    assert!(set.is_err(), "the first panic goes on");
    assert_eq!(woken.load(SeqCst), 100, "everybody was woken");
    assert!(waits.iter_mut().all(|wait| poll(wait.as_mut())));
}

/// A panic out of the set takes the waiting thread's node out of its queue.
#[test]
fn signal_and_wait_whose_set_panics_leaves_the_queue() {
    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    let (signal, on) = (AutoResetEvent::new(false), AutoResetEvent::new(false));
    let mut wait = pin!(signal.wait());
    let waker = Waker::from(Arc::new(Panics));
    assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let waited =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| signal.signal_and_wait(&on)));
    assert!(waited.is_err());
    assert_eq!(on.event().raw().waiters(), 0);
}

/// P22: the registration is taken back in each window of the set that fires it.
#[test]
fn a_registration_taken_back_in_any_window_was_told_or_took_nothing() {
    for window in [Window::Locked, Window::Claimed, Window::Unlocked, Window::Released] {
        within_a_minute(move || {
            let event = Arc::new(AutoResetEvent::new(false));
            let (begin, begun) = mpsc::channel();
            let owner = thread::spawn({
                let event = event.clone();
                move || {
                    let mut registration = pin!(Registration::new(event));
                    assert!(registration.as_mut().register(Waker::noop().clone()));
                    begun.recv().unwrap();
                    registration.take_back()
                }
            });
            until_waiters(&event, 1);
            at(window, move || begin.send(()).unwrap());
            event.set();
            assert_eq!(owner.join().unwrap(), !event.is_set());
        });
    }
}
