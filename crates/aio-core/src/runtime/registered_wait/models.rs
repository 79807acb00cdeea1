//! Models of a registered wait, explored by loom: event, time, unregistering and the end of the runtime race.
//!
//! Time is a flag here. A worker is a thread that runs what is posted until nothing is left to come.

use super::{Home, abort, register};
use crate::base::sync::{AtomicBool, AtomicUsize, Mutex, Ordering};
use crate::state::context::{Registered, RunContext, Waits};
use aio_sync::AutoResetEvent;
use loom::thread;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

struct Model {
    waits: Waits,
    stopping: AtomicBool,
    is_late: AtomicBool,
    posted: Mutex<Vec<Arc<dyn Registered>>>,
    timed: Mutex<Vec<Arc<dyn Registered>>>,
    /// How often the callback ran for the event, and for the time.
    signals: AtomicUsize,
    timeouts: AtomicUsize,
}

impl Home for Model {
    fn waits(&self) -> &Waits {
        &self.waits
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn post(&self, wait: Arc<dyn Registered>) {
        self.posted.lock().unwrap().push(wait);
    }

    fn watch(&self, _deadline: Instant, _identity: usize, wait: Arc<dyn Registered>) {
        self.timed.lock().unwrap().push(wait);
    }

    fn forget(&self, _deadline: Instant, _identity: usize) {
        self.timed.lock().unwrap().clear();
    }

    fn has_come(&self, _deadline: Instant) -> bool {
        self.is_late.load(Ordering::SeqCst)
    }

    fn catch_panic(&self, theirs: impl FnOnce()) {
        theirs();
    }
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            waits: Mutex::new(HashMap::new()),
            stopping: AtomicBool::new(false),
            is_late: AtomicBool::new(false),
            posted: Mutex::new(Vec::new()),
            timed: Mutex::new(Vec::new()),
            signals: AtomicUsize::new(0),
            timeouts: AtomicUsize::new(0),
        })
    }

    fn register(
        self: &Arc<Self>,
        event: &Arc<AutoResetEvent>,
        timeout: Option<Duration>,
        once: bool,
    ) -> Arc<dyn Registered> {
        let counts = self.clone();
        let callback = move |timed_out| {
            let count = if timed_out { &counts.timeouts } else { &counts.signals };
            count.fetch_add(1, Ordering::SeqCst);
        };
        register(self, event.clone(), timeout, once, RunContext::OnWorker, callback)
    }

    /// Runs what is posted; returns how much that was.
    fn run_posted(&self) -> usize {
        let mut run = 0;
        loop {
            let next = self.posted.lock().unwrap().pop();
            let Some(wait) = next else { return run };
            wait.run();
            run += 1;
        }
    }

    /// The time of what is watched is over.
    fn time_out(&self) {
        self.is_late.store(true, Ordering::SeqCst);
        let due = std::mem::take(&mut *self.timed.lock().unwrap());
        due.into_iter().for_each(Registered::time_out);
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        abort(self);
    }

    fn counts(&self) -> (usize, usize) {
        (self.signals.load(Ordering::SeqCst), self.timeouts.load(Ordering::SeqCst))
    }

    /// The runtime knows of nothing any more, and nothing holds it.
    fn is_over(&self, wait: &Arc<dyn Registered>) {
        assert!(wait.ended().is_set());
        assert!(self.waits.lock().unwrap().is_empty());
        self.timed.lock().unwrap().clear();
    }
}

fn check(preemptions: usize, model: fn()) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

const SOME_TIME: Option<Duration> = Some(Duration::from_secs(1));

/// Invariant 2: the callback runs once, and a signal that it is not told of stays with the event.
#[test]
fn of_event_and_time_one_comes_first_and_no_signal_is_lost() {
    check(3, || {
        let (model, event) = (Model::new(), Arc::new(AutoResetEvent::new(false)));
        let (setter, setter_event) = (model.clone(), event.clone());
        let setter = thread::spawn(move || {
            setter_event.set();
            setter.run_posted();
        });
        let timer = model.clone();
        let wait = model.register(&event, SOME_TIME, true);
        let timer = thread::spawn(move || timer.time_out());
        model.run_posted();
        setter.join().unwrap();
        timer.join().unwrap();
        model.run_posted();
        let (signals, timeouts) = model.counts();
        assert_eq!(signals + timeouts, 1);
        assert_eq!(signals + usize::from(event.is_set()), 1);
        model.is_over(&wait);
    });
}

/// Invariant 2: it may come while the wait is being armed.
#[test]
fn a_time_that_is_over_while_the_wait_is_being_armed_is_noted() {
    check(3, || {
        let (model, event) = (Model::new(), Arc::new(AutoResetEvent::new(false)));
        let timer = model.clone();
        let timer = thread::spawn(move || timer.time_out());
        let wait = model.register(&event, SOME_TIME, true);
        timer.join().unwrap();
        // What was not watched then is told now.
        model.time_out();
        model.run_posted();
        assert_eq!(model.counts(), (0, 1));
        model.is_over(&wait);
    });
}

/// Invariant 3: the signal is taken and the callback told, or it stays.
#[test]
fn a_wait_that_is_unregistered_takes_no_signal_without_running() {
    check(3, || {
        let (model, event) = (Model::new(), Arc::new(AutoResetEvent::new(false)));
        let wait = model.register(&event, None, false);
        let (worker, signal) = (model.clone(), event.clone());
        let worker = thread::spawn(move || {
            signal.set();
            worker.run_posted();
        });
        assert!(wait.unregister());
        assert!(!wait.unregister());
        worker.join().unwrap();
        model.run_posted();
        let (signals, timeouts) = model.counts();
        assert_eq!((signals + usize::from(event.is_set()), timeouts), (1, 0));
        model.is_over(&wait);
    });
}

/// Invariants 1 and 4: rounds follow each other, on whatever worker, and each signal is told once.
#[test]
fn each_signal_is_told_once() {
    check(2, || {
        let (model, event) = (Model::new(), Arc::new(AutoResetEvent::new(false)));
        let wait = model.register(&event, None, false);
        let (worker, signal) = (model.clone(), event.clone());
        let worker = thread::spawn(move || {
            signal.set();
            worker.run_posted();
        });
        model.run_posted();
        worker.join().unwrap();
        model.run_posted();
        event.set();
        model.run_posted();
        assert_eq!((model.counts(), event.is_set()), ((2, 0), false));
        assert!(wait.unregister());
        model.is_over(&wait);
    });
}

/// Invariant 5: a stop that passes a wait by is found by that wait.
#[test]
fn a_wait_ends_with_its_runtime() {
    check(3, || {
        let (model, event) = (Model::new(), Arc::new(AutoResetEvent::new(false)));
        let stopper = model.clone();
        let stopper = thread::spawn(move || stopper.stop());
        let wait = model.register(&event, SOME_TIME, false);
        stopper.join().unwrap();
        model.run_posted();
        assert_eq!(model.counts(), (0, 0));
        model.is_over(&wait);
        event.set();
        assert!(event.is_set());
    });
}
