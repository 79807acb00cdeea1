//! Models of a worker that polls and of threads that wake it, explored by loom.
//!
//! A wait never becomes ready here, and a poll never ends by itself: a worker that goes on polling for a wait
//! that is over blocks for good, which loom reports as a deadlock.

use super::{Holder, Signal, Wakeable};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// Stands for the descriptor.
struct Bell {
    has_rung: Mutex<bool>,
    rings: Condvar,
}

impl Bell {
    fn new() -> Self {
        Self { has_rung: Mutex::new(false), rings: Condvar::new() }
    }

    /// Stands for `poll`.
    fn wait(&self) {
        let mut has_rung = self.has_rung.lock().unwrap();
        while !*has_rung {
            has_rung = self.rings.wait(has_rung).unwrap();
        }
    }
}

impl Signal for Bell {
    fn signal(&self) {
        *self.has_rung.lock().unwrap() = true;
        self.rings.notify_one();
    }

    fn clear(&self) {
        *self.has_rung.lock().unwrap() = false;
    }
}

struct Wait {
    holder: Holder,
    /// The wait that the direction is in, or 0.
    ticket: AtomicUsize,
}

struct Engine {
    workers: Vec<Wakeable<Bell>>,
    waits: Vec<Wait>,
    /// Stands for what is posted to the workers.
    posted: AtomicUsize,
}

impl Engine {
    fn new(workers: usize, waits: usize) -> Arc<Self> {
        let wait = |_| Wait { holder: Holder::new(), ticket: AtomicUsize::new(1) };
        Arc::new(Self {
            workers: (0..workers).map(|_| Wakeable::new(Bell::new())).collect(),
            waits: (0..waits).map(wait).collect(),
            posted: AtomicUsize::new(0),
        })
    }

    /// Worker `me` polls once for those of `waits` that are not over; returns how many those were. All have
    /// `ticket`.
    fn poll(&self, me: usize, waits: &[usize], ticket: usize) -> usize {
        let is_waiting = |wait: &&Wait| wait.ticket.load(Ordering::Relaxed) == ticket;
        let waits = || waits.iter().map(|wait| &self.waits[*wait]).filter(is_waiting);
        let woken = self.workers[me].begin();
        waits().filter_map(|wait| wait.holder.enter(me)).for_each(|it| self.have_let_go(it));
        let wanted = waits().count();
        // A worker that has been woken, or has nothing to poll for in this model, does not block.
        if !woken && wanted > 0 {
            self.workers[me].signal.wait();
            self.workers[me].notice();
        }
        self.workers[me].end();
        wanted
    }

    /// What a begin does: there is one at a time, and none before the last has ended.
    fn begin(&self, wait: usize, ticket: usize) {
        self.waits[wait].ticket.store(ticket, Ordering::Relaxed);
    }

    /// What a cancel or a close does.
    fn end(&self, wait: usize) {
        self.waits[wait].ticket.store(0, Ordering::Relaxed);
        self.wait_ended(wait);
    }

    fn wait_ended(&self, wait: usize) {
        let holder = &self.waits[wait].holder;
        Holder::to_wake([holder]).into_iter().flatten().for_each(|it| self.have_let_go(it));
    }

    fn have_let_go(&self, worker: usize) {
        if self.workers[worker].is_polling() {
            self.workers[worker].wake();
        }
    }
}

/// Runs `model` in every interleaving with at most `preemptions` preemptions, and says how many there were.
fn check(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(preemptions));
    let count = executions.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    let line = format!("{name}: {} executions\n", executions.load(Ordering::Relaxed));
    // To the terminal, whether or not the harness captures what tests print.
    std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes()).unwrap();
}

#[test]
fn a_worker_lets_go_of_a_wait_that_is_ended_while_it_begins_to_poll() {
    check(4, || {
        let engine = Engine::new(1, 1);
        let worker = engine.clone();
        let worker = thread::spawn(move || while worker.poll(0, &[0], 1) > 0 {});
        engine.end(0);
        worker.join().unwrap();
    });
}

/// Two threads end the two waits of one worker: the second may find that the first has woken it.
#[test]
fn a_worker_lets_go_of_waits_that_are_ended_by_two_threads() {
    check(3, || {
        let engine = Engine::new(1, 2);
        let worker = engine.clone();
        let worker = thread::spawn(move || while worker.poll(0, &[0, 1], 1) > 0 {});
        let other = engine.clone();
        let other = thread::spawn(move || other.end(1));
        engine.end(0);
        other.join().unwrap();
        worker.join().unwrap();
    });
}

/// A wait that goes from one worker to another is let go of by the one that polls for it.
#[test]
fn a_wait_that_was_taken_over_is_let_go_of() {
    check(3, || {
        let engine = Engine::new(2, 1);
        let worker = engine.clone();
        let workers = thread::spawn(move || {
            // It has been polled for by one worker; from here on by another.
            let _ = worker.waits[0].holder.enter(0);
            while worker.poll(1, &[0], 1) > 0 {}
        });
        engine.end(0);
        workers.join().unwrap();
    });
}

/// A worker that comes late to a wait that has ended does not hide the one that polls for the next wait.
#[test]
fn a_wait_after_one_that_another_worker_had_is_let_go_of() {
    check(3, || {
        let engine = Engine::new(2, 1);
        let late = engine.clone();
        let late = thread::spawn(move || while late.poll(0, &[0], 1) > 0 {});
        engine.end(0);
        engine.begin(0, 2);
        let worker = engine.clone();
        let worker = thread::spawn(move || while worker.poll(1, &[0], 2) > 0 {});
        engine.end(0);
        worker.join().unwrap();
        late.join().unwrap();
    });
}

/// The worker that polls for the next wait does not hide the one that polls for the wait that has just ended.
#[test]
fn a_wait_is_let_go_of_though_another_worker_has_the_next() {
    check(4, || {
        let engine = Engine::new(2, 1);
        let other = engine.clone();
        let other = thread::spawn(move || {
            other.begin(0, 0);
            // Before the thread that has ended the wait looks for its worker.
            other.begin(0, 2);
            if let Some(replaced) = other.waits[0].holder.enter(1) {
                other.have_let_go(replaced);
            }
            other.wait_ended(0);
        });
        while engine.poll(0, &[0], 1) > 0 {}
        other.join().unwrap();
    });
}

/// A wake-up that is about something other than a wait: what was done before it is seen after it.
#[test]
fn a_worker_sees_what_it_is_woken_for() {
    check(3, || {
        let engine = Engine::new(1, 1);
        let worker = engine.clone();
        let worker = thread::spawn(move || {
            let mut seen = 0;
            while seen < 2 {
                worker.poll(0, &[0], 1);
                seen = worker.posted.load(Ordering::Relaxed);
            }
        });
        let other = engine.clone();
        let post = |engine: &Engine| {
            engine.posted.fetch_add(1, Ordering::Relaxed);
            engine.workers[0].wake();
        };
        let other = thread::spawn(move || post(&other));
        post(&engine);
        other.join().unwrap();
        worker.join().unwrap();
    });
}
