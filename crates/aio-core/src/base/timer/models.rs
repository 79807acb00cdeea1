//! Models of the timekeeper and of threads that enter deadlines, explored by loom.

use super::Timer;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::{Duration, Instant};

/// The only worker.
const WORKER: usize = 0;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

/// Enters a deadline, and wakes the timekeeper if that is asked for.
fn enter(timer: &Timer<()>, base: Instant, after: u64, woken: &AtomicUsize) {
    if let Some(keeper) = timer.enter(base + hours(after), after as usize, ()) {
        assert_eq!(keeper, WORKER);
        woken.fetch_add(1, Ordering::Relaxed);
    }
}

/// The worker is woken, and comes to wait again.
fn wait_again(timer: &Timer<()>) -> Option<Duration> {
    timer.release(WORKER);
    timer.keep(WORKER)
}

fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Invariant 3.
#[test]
fn no_deadline_is_slept_through() {
    explore(|| {
        let base = Instant::now();
        let (timer, woken) = (Arc::new(Timer::new()), Arc::new(AtomicUsize::new(0)));
        let threads: Vec<_> = [1, 2]
            .into_iter()
            .map(|after| {
                let (timer, woken) = (timer.clone(), woken.clone());
                thread::spawn(move || enter(&timer, base, after, &woken))
            })
            .collect();
        let mut wait = timer.keep(WORKER);
        let mut seen = woken.load(Ordering::Relaxed);
        if seen > 0 {
            wait = wait_again(&timer);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        if woken.load(Ordering::Relaxed) > seen {
            seen = woken.load(Ordering::Relaxed);
            wait = wait_again(&timer);
        }
        assert!(wait.is_some_and(|wait| wait <= hours(1)), "after {seen} wake-ups: {wait:?}");
    });
}

/// Invariants 3 and 4: the time that was arranged for a deadline that is over does for the next.
#[test]
fn a_deadline_that_is_taken_out_has_arranged_the_next() {
    explore(|| {
        let base = Instant::now();
        let (timer, woken) = (Arc::new(Timer::new()), Arc::new(AtomicUsize::new(0)));
        let caller = {
            let (timer, woken) = (timer.clone(), woken.clone());
            thread::spawn(move || {
                enter(&timer, base, 1, &woken);
                timer.remove(base + hours(1), 1);
                enter(&timer, base, 2, &woken);
            })
        };
        let mut wait = timer.keep(WORKER);
        // A report of the engine ends the wait.
        wait = wait_again(&timer).or(wait);
        caller.join().unwrap();
        let woken = woken.load(Ordering::Relaxed);
        if woken > 0 {
            wait = wait_again(&timer);
        }
        assert!(woken <= 1, "{woken} wake-ups");
        assert!(wait.is_some_and(|wait| wait <= hours(2)), "after {woken} wake-ups: {wait:?}");
    });
}
