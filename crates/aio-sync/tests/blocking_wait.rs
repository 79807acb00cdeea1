//! A thread that has said what it does while it waits for events does that, and loses no signal.
#![cfg(not(any(loom, shuttle)))]

mod within;

use aio_sync::{
    AutoResetEvent, BlockingWait, ManualResetEvent, WaitHandle, set_blocking_wait, wait_all,
    wait_all_timeout, wait_any, wait_any_timeout,
};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::task::{Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};
use within::within_a_minute;

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    rings: Condvar,
    count: AtomicUsize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.count.fetch_add(1, SeqCst);
        *self.rung.lock().unwrap() = true;
        self.rings.notify_one();
    }
}

/// Waits for a bell in place of sleeping, and tells how often it was asked to.
struct Waits {
    bell: Arc<Bell>,
    blocked: Cell<usize>,
    /// Refuses while this is true.
    sleeps: Cell<bool>,
    /// Returns at once.
    returns: Cell<bool>,
}

impl BlockingWait for Waits {
    fn waker(&self) -> Option<Waker> {
        (!self.sleeps.get()).then(|| Waker::from(self.bell.clone()))
    }

    fn block(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) {
        self.blocked.set(self.blocked.get() + 1);
        if self.returns.get() {
            return;
        }
        let mut rung = self.bell.rung.lock().unwrap();
        while !is_over() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            // Without a deadline nothing but the waker ends this.
            rung = match left {
                Some(left) => self.bell.rings.wait_timeout(rung, left).unwrap().0,
                None if *rung => rung,
                None => self.bell.rings.wait(rung).unwrap(),
            };
            *rung = false;
        }
    }
}

fn install() -> Rc<Waits> {
    let waits = Rc::new(Waits {
        bell: Arc::default(),
        blocked: Cell::new(0),
        sleeps: Cell::new(false),
        returns: Cell::new(false),
    });
    assert!(set_blocking_wait(Some(waits.clone())).is_none());
    waits
}

/// Sets an event once somebody waits for it, as far as that can be seen.
fn set_later(event: &'static AutoResetEvent) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(5));
        event.set();
    })
}

#[test]
fn every_wait_that_blocks_is_its() {
    within_a_minute(|| {
        static A: AutoResetEvent = AutoResetEvent::new(false);
        static B: AutoResetEvent = AutoResetEvent::new(false);
        let waits = install();
        type Wait = fn();
        let all: [(Wait, &[&'static AutoResetEvent]); 6] = [
            (|| A.wait_one(), &[&A]),
            (|| assert!(A.wait_timeout(Duration::from_secs(30))), &[&A]),
            (|| assert_eq!(wait_any(&[&B, &A]), 1), &[&A]),
            (|| wait_all(&[&A, &B]), &[&A, &B]),
            (|| assert!(wait_all_timeout(&[&A, &B], Duration::from_secs(30))), &[&A, &B]),
            (|| assert_eq!(wait_any_timeout(&[&A, &B], Duration::from_secs(30)), Some(1)), &[&B]),
        ];
        for (index, (wait, events)) in all.into_iter().enumerate() {
            let setters: Vec<_> = events.iter().map(|event| set_later(event)).collect();
            wait();
            setters.into_iter().for_each(|setter| setter.join().unwrap());
            assert_eq!(waits.blocked.get(), index + 1);
            assert!(!A.is_set() && !B.is_set());
        }
        set_blocking_wait(None);
        let setter = set_later(&A);
        A.wait_one();
        setter.join().unwrap();
        assert_eq!(waits.blocked.get(), 6);
    });
}

#[test]
fn a_wait_that_need_not_block_is_not_its() {
    let waits = install();
    let (set, other) = (ManualResetEvent::new(true), ManualResetEvent::new(false));
    set.wait_one();
    assert_eq!(wait_any(&[&other, &set]), 1);
    wait_all(&[&set]);
    assert!(!other.wait_timeout(Duration::ZERO));
    assert_eq!(wait_any_timeout(&[&other], Duration::ZERO), None);
    assert!(!wait_all_timeout(&[&set, &other], Duration::ZERO));
    assert_eq!(waits.blocked.get(), 0);
    set_blocking_wait(None);
}

#[test]
fn a_timeout_takes_no_signal() {
    let waits = install();
    let event = AutoResetEvent::new(false);
    assert!(!event.wait_timeout(Duration::from_millis(5)));
    assert_eq!(wait_any_timeout(&[&event], Duration::from_millis(5)), None);
    assert!(!wait_all_timeout(&[&event], Duration::from_millis(5)));
    event.set();
    assert!(event.try_wait());
    assert_eq!((waits.blocked.get(), waits.bell.count.load(SeqCst)), (3, 0));
    set_blocking_wait(None);
}

/// It sleeps if it says so, and for the rest if it returns early.
#[test]
fn a_thread_may_sleep_all_the_same() {
    within_a_minute(|| {
        static EVENT: AutoResetEvent = AutoResetEvent::new(false);
        let waits = install();
        for (sleeps, returns) in [(true, false), (false, true)] {
            waits.sleeps.set(sleeps);
            waits.returns.set(returns);
            let setter = set_later(&EVENT);
            EVENT.wait_one();
            setter.join().unwrap();
            let begun = Instant::now();
            assert!(!EVENT.wait_timeout(Duration::from_millis(20)));
            assert!(begun.elapsed() >= Duration::from_millis(20));
        }
        assert_eq!(waits.blocked.get(), 2);
        set_blocking_wait(None);
    });
}

/// Threads of both kinds hand each other tokens: none is lost, none is doubled.
#[test]
fn no_signal_is_lost() {
    within_a_minute(|| {
        const TOKENS: usize = 20_000;
        let events: Arc<[_; 2]> = Arc::new([AutoResetEvent::new(true), AutoResetEvent::new(false)]);
        let (report, taken) = mpsc::channel();
        for own in [0, 1] {
            let (events, report) = (events.clone(), report.clone());
            thread::spawn(move || {
                let waits = (own == 0).then(install);
                for turn in 0..TOKENS {
                    match turn % 4 {
                        0 => events[own].wait_one(),
                        1 => assert_eq!(wait_any(&[&events[own]]), 0),
                        2 => wait_all(&[&events[own]]),
                        _ => while !events[own].event().wait_timeout(Duration::from_micros(50)) {},
                    }
                    events[1 - own].set();
                }
                report.send(waits.is_some_and(|waits| waits.blocked.get() > 0)).unwrap();
            });
        }
        assert!(taken.recv().unwrap() | taken.recv().unwrap());
        assert!(events[0].is_set() && !events[1].is_set());
    });
}
