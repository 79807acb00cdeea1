//! Every interleaving, within a bound on preemptions, of small programs over the events.
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p aio-sync --test loom
//! ```
//!
//! A deadline is a thread that makes it come. Blocking is a mutex and a condition variable of loom's, so
//! a lost wake-up is reported as a deadlock. P-numbers are those of the table of pitfalls.
#![cfg(loom)]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Counter, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};

use aio_sync::{
    AutoResetEvent, Expiry, ManualResetEvent, Registration, WaitFuture, WaitOptions, wait_all,
    wait_all_with, wait_any, wait_any_with,
};
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use loom::thread;

/// Runs `model` in every interleaving with at most `preemptions` preemptions, and says how many there were.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let executions = Arc::new(Counter::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(builder.preemption_bound.unwrap_or(preemptions));
    builder.max_branches = 20_000;
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

/// Lends what is on the stack of a model to its threads.
fn shared<T>(value: &T) -> &'static T {
    // SAFETY: every model joins its threads before it returns.
    unsafe { &*std::ptr::from_ref(value) }
}

fn expiring(expiry: &Expiry) -> WaitOptions {
    WaitOptions::new().expiry(expiry)
}

fn poll(future: Pin<&mut WaitFuture<'_>>) -> bool {
    future.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// P2, P20.
#[test]
fn a_signal_is_taken_by_the_wait_or_kept_when_a_timeout_races_with_it() {
    explore(3, || {
        let event = Arc::new(AutoResetEvent::new(false));
        let expiry = Expiry::new();
        let setter = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        let clock = thread::spawn({
            let expiry = expiry.clone();
            move || expiry.come()
        });
        let taken = event.wait_with(&expiring(&expiry));
        setter.join().unwrap();
        clock.join().unwrap();
        assert_ne!(taken, event.is_set());
    });
}

/// P1.
#[test]
fn a_timeout_racing_with_set_leaves_a_manual_event_set() {
    explore(3, || {
        let event = Arc::new(ManualResetEvent::new(false));
        let expiry = Expiry::new();
        let setter = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        let clock = thread::spawn({
            let expiry = expiry.clone();
            move || expiry.come()
        });
        let _ = event.wait_with(&expiring(&expiry));
        setter.join().unwrap();
        clock.join().unwrap();
        assert!(event.is_set());
    });
}

/// C11: whatever path the signal takes.
#[test]
fn what_happened_before_set_is_visible_after_the_wait() {
    explore(3, || {
        let shared = Arc::new((AutoResetEvent::new(false), AtomicUsize::new(0)));
        let setter = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.1.store(1, Relaxed);
                shared.0.set();
            }
        });
        shared.0.wait_one();
        assert_eq!(shared.1.load(Relaxed), 1);
        setter.join().unwrap();
    });
}

#[test]
fn what_happened_before_set_is_visible_to_all_who_see_a_manual_event_set() {
    explore(3, || {
        let shared = Arc::new((ManualResetEvent::new(false), AtomicUsize::new(0)));
        let setter = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.1.store(1, Relaxed);
                shared.0.set();
            }
        });
        let looker = thread::spawn({
            let shared = shared.clone();
            move || assert!(!shared.0.is_set() || shared.1.load(Relaxed) == 1)
        });
        shared.0.wait_one();
        assert_eq!(shared.1.load(Relaxed), 1);
        setter.join().unwrap();
        looker.join().unwrap();
    });
}

/// P18.
#[test]
fn setting_an_event_that_is_set_publishes() {
    explore(3, || {
        let shared = Arc::new((AutoResetEvent::new(true), AtomicUsize::new(0)));
        let setter = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.1.store(1, Relaxed);
                shared.0.set()
            }
        });
        shared.0.wait_one();
        let seen = shared.1.load(Relaxed);
        let coalesced = setter.join().unwrap();
        assert!(!coalesced || seen == 1, "the wait took the signal of this set as well");
    });
}

/// P19.
#[test]
fn reset_then_check_then_wait_misses_nothing() {
    explore(3, || {
        let shared = Arc::new((ManualResetEvent::new(true), AtomicUsize::new(0)));
        let setter = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.1.store(1, Relaxed);
                shared.0.set();
            }
        });
        shared.0.reset();
        while shared.1.load(Relaxed) == 0 {
            shared.0.wait_one();
            if shared.1.load(Relaxed) == 0 {
                shared.0.reset();
            }
        }
        setter.join().unwrap();
    });
}

/// P5, WH-6.
#[test]
fn two_sets_release_two_present_waiters() {
    explore(2, || {
        let event = AutoResetEvent::new(false);
        let (mut first, mut second) = (pin!(event.wait()), pin!(event.wait()));
        assert!(!poll(first.as_mut()) && !poll(second.as_mut()));
        // Scoped by the joins below.
        let event: &'static AutoResetEvent = shared(&event);
        let setters = [thread::spawn(|| event.set()), thread::spawn(|| event.set())];
        for setter in setters {
            assert!(!setter.join().unwrap(), "it was never left signaled");
        }
        assert!(poll(first.as_mut()) && poll(second.as_mut()));
    });
}

#[test]
fn two_setters_and_two_waiters_lose_and_double_nothing() {
    explore(2, || {
        let event = Arc::new(AutoResetEvent::new(false));
        let expiry = Expiry::new();
        let waiter = thread::spawn({
            let (event, expiry) = (event.clone(), expiry.clone());
            move || usize::from(event.wait_with(&expiring(&expiry)))
        });
        let setters: Vec<_> = (0..2)
            .map(|_| {
                let event = event.clone();
                thread::spawn(move || usize::from(!event.set()))
            })
            .collect();
        let mut future = pin!(event.wait());
        let early = poll(future.as_mut());
        let given: usize = setters.into_iter().map(|setter| setter.join().unwrap()).sum();
        expiry.come();
        let taken = waiter.join().unwrap() + usize::from(early || poll(future.as_mut()));
        assert_eq!(given, taken + usize::from(event.is_set()));
    });
}

/// P4, WH-7.
#[test]
fn set_then_reset_releases_everybody_present() {
    explore(2, || {
        let event = ManualResetEvent::new(false);
        let (mut first, mut second) = (pin!(event.wait()), pin!(event.wait()));
        assert!(!poll(first.as_mut()) && !poll(second.as_mut()));
        let event: &'static ManualResetEvent = shared(&event);
        let setter = thread::spawn(|| {
            event.set();
            event.reset();
        });
        let late = thread::spawn(|| event.try_wait());
        let early = poll(first.as_mut());
        setter.join().unwrap();
        late.join().unwrap();
        assert!((early || poll(first.as_mut())) && poll(second.as_mut()));
    });
}

/// The lock is contended by two setters and a waiter that gives up.
#[test]
fn a_contended_lock_is_passed_on() {
    explore(2, || {
        let event = Arc::new(AutoResetEvent::new(false));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let event = event.clone();
                thread::spawn(move || {
                    let mut future = pin!(event.wait());
                    poll(future.as_mut())
                })
            })
            .collect();
        let mut future = pin!(event.wait());
        let mut taken = usize::from(poll(future.as_mut()));
        event.set();
        for thread in threads {
            taken += usize::from(thread.join().unwrap());
        }
        if taken == 0 {
            assert!(poll(future.as_mut()) || event.is_set());
        }
    });
}

/// P7.
#[test]
fn wait_any_takes_one_signal_and_leaves_the_other() {
    explore(3, || {
        let events = Arc::new([AutoResetEvent::new(false), AutoResetEvent::new(false)]);
        let setters: Vec<_> = (0..2)
            .map(|index| {
                let events = events.clone();
                thread::spawn(move || events[index].set())
            })
            .collect();
        let index = wait_any(&[&events[0], &events[1]]);
        for setter in setters {
            setter.join().unwrap();
        }
        assert!(!events[index].is_set() && events[1 - index].is_set());
    });
}

/// P7: the setter that finds the wait for any decided goes on to the next waiter.
#[test]
fn a_wait_for_any_swallows_no_signal_of_another_waiter() {
    explore(2, || {
        let events = Arc::new([AutoResetEvent::new(false), AutoResetEvent::new(false)]);
        let any = thread::spawn({
            let events = events.clone();
            move || wait_any(&[&events[1], &events[0]])
        });
        let setters: Vec<_> = (0..2)
            .map(|index| {
                let events = events.clone();
                thread::spawn(move || events[index].set())
            })
            .collect();
        let mut one = pin!(events[0].wait());
        let mut ready = poll(one.as_mut());
        for setter in setters {
            setter.join().unwrap();
        }
        let index = any.join().unwrap();
        ready = ready || poll(one.as_mut());
        // Two signals were set. If `any` took that of event 1, the other is the future's.
        assert!(if index == 0 { ready } else { events[1].is_set() });
    });
}

/// P2 for several events.
#[test]
fn a_wait_for_any_that_times_out_takes_nothing() {
    explore(2, || {
        let events = Arc::new([AutoResetEvent::new(false), AutoResetEvent::new(false)]);
        let expiry = Expiry::new();
        let setter = thread::spawn({
            let events = events.clone();
            move || events[1].set()
        });
        let clock = thread::spawn({
            let expiry = expiry.clone();
            move || expiry.come()
        });
        let won = wait_any_with(&[&events[0], &events[1]], &expiring(&expiry));
        setter.join().unwrap();
        clock.join().unwrap();
        assert_eq!(won.is_none(), events[1].is_set());
        // Nobody is left in a queue.
        assert!(!events[0].set() && events[0].try_wait());
    });
}

#[test]
fn wait_any_accepts_the_same_event_twice() {
    explore(2, || {
        let event = Arc::new(AutoResetEvent::new(false));
        let setter = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        assert_eq!(wait_any(&[&event, &event]), 0);
        setter.join().unwrap();
        assert!(!event.is_set());
    });
}

/// P8.
#[test]
fn wait_all_takes_all_signals_or_none_when_a_timeout_races() {
    explore(2, || {
        let events = Arc::new([AutoResetEvent::new(false), AutoResetEvent::new(false)]);
        let expiry = Expiry::new();
        let setter = thread::spawn({
            let events = events.clone();
            move || {
                events[0].set();
                events[1].set();
            }
        });
        let clock = thread::spawn({
            let expiry = expiry.clone();
            move || expiry.come()
        });
        let taken = wait_all_with(&[&events[0], &events[1]], &expiring(&expiry));
        setter.join().unwrap();
        clock.join().unwrap();
        assert_eq!([!taken, !taken], [events[0].is_set(), events[1].is_set()]);
    });
}

/// P10: the setters of both events meet at one wait.
#[test]
fn wait_all_is_satisfied_by_two_setters_at_once() {
    explore(2, || {
        let shared = Arc::new((
            [AutoResetEvent::new(false), AutoResetEvent::new(false)],
            [AtomicUsize::new(0), AtomicUsize::new(0)],
        ));
        let setters: Vec<_> = (0..2)
            .map(|index| {
                let shared = shared.clone();
                thread::spawn(move || {
                    shared.1[index].store(1, Relaxed);
                    shared.0[index].set();
                })
            })
            .collect();
        wait_all(&[&shared.0[0], &shared.0[1]]);
        assert!(shared.1.iter().all(|written| written.load(Relaxed) == 1));
        for setter in setters {
            setter.join().unwrap();
        }
        assert!(!shared.0[0].is_set() && !shared.0[1].is_set());
    });
}

/// P9.
#[test]
fn wait_all_is_not_satisfied_by_signals_that_were_never_there_together() {
    explore(2, || {
        let events = Arc::new([AutoResetEvent::new(true), AutoResetEvent::new(false)]);
        let expiry = Expiry::new();
        let setter = thread::spawn({
            let (events, expiry) = (events.clone(), expiry.clone());
            move || {
                assert!(events[0].reset());
                events[1].set();
                expiry.come();
            }
        });
        assert!(!wait_all_with(&[&events[0], &events[1]], &expiring(&expiry)));
        setter.join().unwrap();
        assert!(!events[0].is_set() && events[1].is_set());
    });
}

/// P8, P10: the setter of the watch finds the other event busy, because its setter is serving a future, and
/// pins a wait whose time is over.
#[test]
fn a_wait_for_all_that_gives_up_while_it_is_pinned_outlives_its_use() {
    explore(2, || {
        let events = Arc::new([AutoResetEvent::new(false), AutoResetEvent::new(false)]);
        let expiry = Expiry::new();
        expiry.come();
        let mut future = pin!(events[0].wait());
        assert!(!poll(future.as_mut()));
        let setters: Vec<_> = (0..2)
            .map(|index| {
                let events = events.clone();
                thread::spawn(move || events[index].set())
            })
            .collect();
        assert!(!wait_all_with(&[&events[0], &events[1]], &expiring(&expiry)));
        for setter in setters {
            setter.join().unwrap();
        }
        assert!(poll(future.as_mut()) && events[1].is_set());
    });
}

/// P10: two waits for all of the same events, and both setters.
#[test]
fn crossing_waits_for_all_and_crossing_setters_end() {
    explore(1, || {
        let events = Arc::new([ManualResetEvent::new(false), ManualResetEvent::new(false)]);
        let waiters: Vec<_> = (0..2)
            .map(|index| {
                let events = events.clone();
                thread::spawn(move || wait_all(&[&events[index], &events[1 - index]]))
            })
            .collect();
        let setter = thread::spawn({
            let events = events.clone();
            move || events[0].set()
        });
        events[1].set();
        setter.join().unwrap();
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

/// P10: nobody sees a manual-reset event unset after one effect of its being set.
#[test]
fn a_manual_set_that_satisfies_waits_for_all_is_seen_whole() {
    // In one allocation, since the order of the addresses decides the order of locks.
    #[repr(C)]
    struct Events {
        autos: [AutoResetEvent; 2],
        manual: ManualResetEvent,
    }

    explore(2, || {
        let autos = [AutoResetEvent::new(true), AutoResetEvent::new(true)];
        let events = Arc::new(Events { autos, manual: ManualResetEvent::new(false) });
        let waiters: Vec<_> = (0..2)
            .map(|index| {
                let events = events.clone();
                thread::spawn(move || wait_all(&[&events.manual, &events.autos[index]]))
            })
            .collect();
        let setter = thread::spawn({
            let events = events.clone();
            move || events.manual.set()
        });
        if !events.autos[0].is_set() {
            assert!(events.manual.is_set());
        }
        setter.join().unwrap();
        for thread in waiters {
            thread.join().unwrap();
        }
    });
}

/// P3.
#[test]
fn a_dropped_future_passes_its_signal_on() {
    explore(3, || {
        let event = AutoResetEvent::new(false);
        let event: &'static AutoResetEvent = shared(&event);
        let mut second = pin!(event.wait());
        let setter = {
            let mut first = Box::pin(event.wait());
            assert!(!poll(first.as_mut()) && !poll(second.as_mut()));
            let setter = thread::spawn(|| event.set());
            drop(first);
            setter
        };
        setter.join().unwrap();
        assert!(poll(second.as_mut()), "the signal was passed on");
    });
}

struct Woken(Counter);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// The waker is changed while the setter takes it.
#[test]
fn the_last_waker_is_woken_or_the_future_is_ready() {
    explore(3, || {
        let event = AutoResetEvent::new(false);
        let event: &'static AutoResetEvent = shared(&event);
        let last = Arc::new(Woken(Counter::new(0)));
        let mut future = pin!(event.wait());
        assert!(!poll(future.as_mut()));
        let setter = thread::spawn(|| event.set());
        let waker = Waker::from(last.clone());
        let ready = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        setter.join().unwrap();
        assert!(ready || last.0.load(SeqCst) == 1);
        assert!(ready || poll(future.as_mut()));
    });
}

#[test]
fn a_future_is_woken_on_an_executor() {
    explore(3, || {
        let event = Arc::new(AutoResetEvent::new(false));
        let setter = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        loom::future::block_on(event.wait());
        setter.join().unwrap();
        assert!(!event.is_set());
    });
}

/// P22.
#[test]
fn a_registration_taken_back_while_it_fires_was_told_or_took_nothing() {
    explore(3, || {
        let event = Arc::new(AutoResetEvent::new(false));
        let woken = Arc::new(Woken(Counter::new(0)));
        let mut registration = pin!(Registration::new(event.clone()));
        assert!(registration.as_mut().register(woken.clone().into()));
        let setter = thread::spawn({
            let event = event.clone();
            move || event.set()
        });
        let told = registration.as_mut().take_back();
        setter.join().unwrap();
        assert_eq!(usize::from(told), woken.0.load(SeqCst));
        assert_ne!(told, event.is_set());
    });
}

#[test]
fn signal_and_wait_misses_nothing_that_the_signal_brings_about() {
    explore(3, || {
        let events = Arc::new((AutoResetEvent::new(false), ManualResetEvent::new(false)));
        let server = thread::spawn({
            let events = events.clone();
            move || {
                events.0.wait_one();
                events.1.set();
                events.1.reset();
            }
        });
        events.0.signal_and_wait(&events.1);
        server.join().unwrap();
    });
}
