//! WH-42 to WH-45: callbacks on workers when events are set, or are not in time.

mod support;

use aio_core::{RegisteredWait, Runtime};
use aio_sync::{AutoResetEvent, EventRef, ManualResetEvent, Registration, WaitHandle, wait_any};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, connected, with_every_runtime};

/// WH-43.
#[test]
fn the_callback_runs_on_a_worker_and_is_told_whether_the_time_was_over() {
    with_every_runtime(|runtime: &Runtime| {
        let (sender, receiver) = mpsc::channel();
        let report = |sender: &mpsc::Sender<_>| {
            let sender = sender.clone();
            move |timed_out| {
                let name = thread::current().name().unwrap_or_default().to_owned();
                sender.send((timed_out, name)).unwrap();
            }
        };
        let event = Arc::new(ManualResetEvent::new(false));
        let waits = [
            runtime.register_wait(event.clone(), None, true, report(&sender)),
            runtime.register_wait(event.clone(), Some(LIMIT * 2), true, report(&sender)),
        ];
        let never = Arc::new(ManualResetEvent::new(false));
        let timeout = Some(Duration::from_millis(2));
        let timed = runtime.register_wait(never, timeout, true, report(&sender));
        let (timed_out, name) = receiver.recv_timeout(LIMIT).unwrap();
        assert!(timed_out && name.starts_with("aio-worker"), "{name}");
        event.set();
        for _ in &waits {
            let (timed_out, name) = receiver.recv_timeout(LIMIT).unwrap();
            assert!(!timed_out && name.starts_with("aio-worker"), "{name}");
        }
        for wait in waits.iter().chain([&timed]) {
            wait.wait_one();
            assert!(!wait.unregister());
        }
        // One that is set already, and once is once.
        let set = runtime.register_wait(event, Some(LIMIT * 2), true, report(&sender));
        assert!(!receiver.recv_timeout(LIMIT).unwrap().0);
        set.wait_one();
        assert!(receiver.try_recv().is_err());
    });
}

/// WH-44: an auto-reset event is consumed by each run; no signal is lost, with timeouts going on.
#[test]
fn every_signal_of_an_auto_reset_event_is_one_run() {
    with_every_runtime(|runtime: &Runtime| {
        let event = Arc::new(AutoResetEvent::new(false));
        let (sender, receiver) = mpsc::channel();
        let timeout = Some(Duration::from_micros(300));
        let wait = runtime.register_wait(event.clone(), timeout, false, move |timed_out| {
            if !timed_out {
                sender.send(()).unwrap();
            }
        });
        for round in 0..300_u32 {
            if round % 3 == 0 {
                thread::sleep(Duration::from_micros(u64::from(round)));
            }
            event.set();
            receiver.recv_timeout(LIMIT).unwrap();
        }
        assert!(wait.unregister());
        wait.wait_one();
        assert!(receiver.try_recv().is_err());
        event.set();
        assert!(event.try_wait(), "nobody waits for it any more");
    });
}

/// WH-44: a manual-reset event that stays set makes it run again and again; others go on beside it.
#[test]
fn an_event_that_stays_set_runs_it_continuously() {
    with_every_runtime(|runtime: &Runtime| {
        let event = Arc::new(ManualResetEvent::new(true));
        let (runs, inside) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let wait = runtime.register_wait(event.clone(), None, false, {
            let runs = runs.clone();
            move |timed_out| {
                assert!(!timed_out && !inside.swap(true, Ordering::Relaxed), "it overlaps itself");
                runs.fetch_add(1, Ordering::Relaxed);
                inside.store(false, Ordering::Relaxed);
            }
        });
        let (socket, peer) = connected(runtime);
        for _ in 0..20 {
            std::io::Write::write_all(&mut &peer, b"x").unwrap();
            assert_eq!(socket.receive_async([0; 1]).wait().buffer, *b"x");
        }
        while runs.load(Ordering::Relaxed) < 100 {
            thread::yield_now();
        }
        event.reset();
        assert!(wait.unregister());
        wait.wait_one();
        assert_eq!(runtime.metrics().callback_panics, 0);
    });
}

/// WH-43: the time of one round ends it a moment before its wake-up arrives, which finds the next.
#[test]
fn a_wake_up_that_comes_late_is_no_timeout() {
    const TIMEOUT: Duration = Duration::from_millis(200);

    /// Holds up whoever sets the event, before the next in its queue is woken.
    struct Slow;

    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            thread::sleep(TIMEOUT * 3 / 2);
        }
    }

    with_every_runtime(|runtime: &Runtime| {
        let event = Arc::new(ManualResetEvent::new(false));
        let mut slow = pin!(Registration::new(event.clone()));
        assert!(slow.as_mut().register(Waker::from(Arc::new(Slow))));
        let (sender, receiver) = mpsc::channel();
        let theirs = event.clone();
        let wait = runtime.register_wait(event.clone(), Some(TIMEOUT), false, move |timed_out| {
            theirs.reset();
            let _ = sender.send((timed_out, Instant::now()));
        });
        event.set();
        let (timed_out, first) = receiver.recv_timeout(LIMIT).unwrap();
        assert!(!timed_out);
        let (timed_out, second) = receiver.recv_timeout(LIMIT).unwrap();
        assert!(timed_out && second - first >= TIMEOUT, "{:?}", second - first);
        assert!(wait.unregister());
    });
}

/// WH-45.
#[test]
fn unregistered_before_it_is_set_it_does_not_run_and_takes_no_signal() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..100 {
            let event = Arc::new(AutoResetEvent::new(false));
            let ran = Arc::new(AtomicUsize::new(0));
            let wait = runtime.register_wait(event.clone(), None, true, {
                let ran = ran.clone();
                move |_| {
                    ran.fetch_add(1, Ordering::Relaxed);
                }
            });
            let setter = thread::spawn({
                let event = event.clone();
                move || event.set()
            });
            let was_first = wait.unregister();
            setter.join().unwrap();
            assert_eq!(wait_any(&[&wait]), 0);
            // Either it ran, or the event has its signal.
            let runs = ran.load(Ordering::Relaxed);
            assert_eq!(runs + usize::from(event.try_wait()), 1);
            assert!(was_first || runs == 1);
            assert!(!wait.unregister());
            assert_eq!(Arc::strong_count(&ran), 1, "the callback is dropped");
        }
    });
}

/// WH-45: from its own callback.
#[test]
fn unregistered_from_inside() {
    with_every_runtime(|runtime: &Runtime| {
        let event = Arc::new(ManualResetEvent::new(false));
        let own = Arc::new(OnceLock::<RegisteredWait>::new());
        let runs = Arc::new(AtomicUsize::new(0));
        let wait = runtime.register_wait(event.clone(), None, false, {
            let (own, runs) = (own.clone(), runs.clone());
            move |_| {
                let own: &RegisteredWait = own.get().unwrap();
                runs.fetch_add(1, Ordering::Relaxed);
                assert!(own.unregister() && !own.unregister() && !own.has_ended());
            }
        });
        own.set(wait.clone()).unwrap();
        event.set();
        wait.wait_one();
        assert!(wait.has_ended());
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert_eq!(runtime.metrics().callback_panics, 0);
    });
}

/// I10: it goes on, and so does everybody else.
#[test]
fn a_panic_in_the_callback_is_counted_and_the_wait_goes_on() {
    with_every_runtime(|runtime: &Runtime| {
        let event = Arc::new(AutoResetEvent::new(false));
        let (sender, receiver) = mpsc::channel();
        let wait = runtime.register_wait(event.clone(), None, false, move |_| {
            sender.send(()).unwrap();
            panic!("on purpose: in a registered wait");
        });
        for _ in 0..3 {
            event.set();
            receiver.recv_timeout(LIMIT).unwrap();
        }
        assert!(wait.unregister());
        wait.wait_one();
        assert_eq!(runtime.metrics().callback_panics, 3);
    });
}

/// I10: it is the wait that ends then.
#[test]
fn a_panic_of_the_handle_ends_the_wait() {
    /// Has an event when it is asked the first time.
    struct Once(ManualResetEvent, AtomicBool);

    impl WaitHandle for Once {
        fn event(&self) -> EventRef<'_> {
            assert!(!self.1.swap(true, Ordering::Relaxed), "on purpose: in a handle");
            self.0.event()
        }
    }

    with_every_runtime(|runtime: &Runtime| {
        for asked in [false, true] {
            let handle = Once(ManualResetEvent::new(true), AtomicBool::new(asked));
            let (sender, receiver) = mpsc::channel();
            let wait = runtime.register_wait(handle, Some(LIMIT), false, move |timed_out| {
                sender.send(timed_out).unwrap();
            });
            if !asked {
                assert!(!receiver.recv_timeout(LIMIT).unwrap());
            }
            wait.wait_one();
            assert!(!wait.unregister());
            assert!(receiver.recv().is_err(), "the callback is dropped");
        }
        assert_eq!(runtime.metrics().callback_panics, 2);
    });
}

/// I7: a runtime that ends, ends its waits; the signal is still there for others.
#[test]
fn a_runtime_that_ends_unregisters() {
    for workers in [1, 3] {
        let runtime = support::builder().workers(workers).build().unwrap();
        let event = Arc::new(AutoResetEvent::new(false));
        let kept = Arc::new(());
        let waits: Vec<_> = [None, Some(LIMIT)]
            .into_iter()
            .map(|timeout| {
                let kept = kept.clone();
                runtime.register_wait(event.clone(), timeout, false, move |_| drop(kept.clone()))
            })
            .collect();
        let often = Arc::new(ManualResetEvent::new(true));
        let often = runtime.register_wait(often, None, false, |_| {});
        drop(runtime);
        for wait in waits.iter().chain([&often]) {
            assert!(wait.has_ended() && !wait.unregister());
        }
        assert_eq!(Arc::strong_count(&kept), 1);
        event.set();
        assert!(event.try_wait());
    }
}

/// I3, I7: its callback would have no worker to run on, so it does not run, even if the event is set.
#[test]
fn a_wait_that_is_registered_when_the_runtime_has_ended_has_ended() {
    let runtime = support::builder().workers(1).build().unwrap();
    let handle = runtime.handle();
    drop(runtime);
    let event = Arc::new(AutoResetEvent::new(true));
    for timeout in [None, Some(Duration::ZERO), Some(LIMIT)] {
        let ran = Arc::new(AtomicBool::new(false));
        let runs = ran.clone();
        let wait = handle.register_wait(event.clone(), timeout, false, move |_| {
            runs.store(true, Ordering::Relaxed);
        });
        assert!(wait.has_ended() && !ran.load(Ordering::Relaxed), "{timeout:?}");
        assert!(event.is_set(), "{timeout:?}: its signal is still there");
    }
}

/// Operations and registered waits are wait handles like others.
#[test]
fn waits_for_an_operation_and_for_another_wait() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, peer) = connected(runtime);
        let receive = socket.begin_receive(vec![0; 1], |_| {}, ());
        let first = runtime.register_wait(receive, None, true, |_| {});
        let second = runtime.register_wait(first.clone(), None, true, |_| {});
        assert!(!first.has_ended() && !second.has_ended());
        std::io::Write::write_all(&mut &peer, b"x").unwrap();
        second.wait_one();
        assert!(first.has_ended());
    });
}
