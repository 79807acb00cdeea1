//! Models of the sleep and wake protocol, and of waiting inside a piece of work, explored by loom.
//!
//! A wait never ends by itself here, a tick's included: what is posted from outside must be run without
//! the monitor's help. (What the monitor is for, callbacks that block, is in `tests/starvation.rs`.) The
//! tick of a wait inside a piece of work may come at any time, though: by it such a worker learns of posts.

use crate::pool::current::Current;
use crate::pool::inside::{INSIDE_TICK, Inside, wait_inside};
use crate::pool::jobs::Caller;
use crate::pool::worker::{self, Worker};
use crate::pool::worker_pool::{Hooks, Wait, WorkerPool};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::any::Any;
use std::time::Duration;

#[derive(Debug)]
enum Job {
    Count,
    /// Posts another one from the worker that runs it.
    PostAnother,
    /// Posts those from the worker that runs it, and waits inside for the flag.
    PostAndAwait(Vec<Job>, usize),
    /// Sets a flag.
    Set(usize),
    /// Nestable: waits inside for a flag, if there is one to wait for, and then sets another.
    Step {
        awaits: Option<usize>,
        sets: usize,
    },
}

/// Workers that sleep until they are woken.
struct Sleepers {
    pool: WorkerPool<Job>,
    woken: Vec<(Mutex<bool>, Condvar)>,
    run: AtomicUsize,
    flags: [AtomicBool; 2],
}

impl Sleepers {
    fn new(workers: usize) -> Self {
        Self {
            pool: WorkerPool::new(workers),
            woken: (0..workers).map(|_| (Mutex::new(false), Condvar::new())).collect(),
            run: AtomicUsize::new(0),
            flags: [AtomicBool::new(false), AtomicBool::new(false)],
        }
    }

    fn await_flag(&self, flag: usize) {
        let me = self.pool.current_worker().unwrap();
        wait_inside(self, me, Inside::Nestable, None, || self.flags[flag].load(Ordering::Acquire));
    }

    fn set_flag(&self, flag: usize) {
        self.flags[flag].store(true, Ordering::Release);
    }
}

impl Hooks for Sleepers {
    type Work = Job;

    fn pool(&self) -> &WorkerPool<Job> {
        &self.pool
    }

    fn run(&self, job: Job) {
        match job {
            Job::Count => {}
            Job::PostAnother => assert!(self.pool.post(self, Job::Count).is_ok()),
            Job::PostAndAwait(jobs, flag) => {
                for job in jobs {
                    assert!(self.pool.post(self, job).is_ok());
                }
                self.await_flag(flag);
            }
            Job::Set(flag) => self.set_flag(flag),
            Job::Step { awaits, sets } => {
                awaits.into_iter().for_each(|flag| self.await_flag(flag));
                self.set_flag(sets);
            }
        }
        self.run.fetch_add(1, Ordering::Relaxed);
    }

    fn is_nestable(&self, job: &Job) -> bool {
        matches!(job, Job::Step { .. })
    }

    fn run_inside(&self, job: Job) {
        assert!(self.is_nestable(&job), "{job:?} inside another one");
        self.run(job);
    }

    fn run_job(&self, _worker: usize, look: impl FnOnce() -> bool) -> bool {
        look()
    }

    fn job_panicked(&self, _payload: Box<dyn Any + Send>) {}

    fn wait(&self, worker: usize, wait: Wait, _ready: &mut Vec<Job>) {
        if wait.timeout == Some(INSIDE_TICK) {
            return thread::yield_now();
        }
        let (woken, condvar) = &self.woken[worker];
        let mut woken = woken.lock().unwrap();
        while !*woken && wait.timeout != Some(Duration::ZERO) {
            woken = condvar.wait(woken).unwrap();
        }
        *woken = false;
    }

    fn wake(&self, worker: usize) {
        let (woken, condvar) = &self.woken[worker];
        *woken.lock().unwrap() = true;
        condvar.notify_one();
    }

    fn take_over(&self, _from: usize, _to: usize) {}

    fn abort(&self) {}
}

/// Posts `jobs` to so many workers from another thread, waits until `expected` have been run, and stops.
fn explore(workers: usize, preemptions: usize, jobs: fn() -> Vec<Job>, expected: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    // A wait inside a piece of work comes back again and again.
    builder.max_branches = 20_000;
    builder.check(move || {
        let host = Arc::new(Sleepers::new(workers));
        let threads: Vec<_> = (0..workers)
            .map(|index| {
                let host = host.clone();
                thread::spawn(move || worker::run(&*host, index, None))
            })
            .collect();
        for job in jobs() {
            assert!(host.pool.post(&*host, job).is_ok());
        }
        // A post that nobody hears of leaves the workers asleep, which loom reports as a deadlock:
        // the stop comes only when everything has been run.
        while host.run.load(Ordering::Acquire) < expected {
            thread::yield_now();
        }
        host.pool.stop(&*host);
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(host.run.load(Ordering::Relaxed), expected);
        assert!(host.pool.wait_until_ended(Duration::ZERO));
    });
}

#[test]
fn one_worker_runs_what_another_thread_posts() {
    explore(1, 3, || vec![Job::Count, Job::Count], 2);
}

#[test]
fn one_worker_runs_what_it_posts_itself() {
    explore(1, 3, || vec![Job::PostAnother], 2);
}

#[test]
fn two_workers_run_what_another_thread_posts() {
    explore(2, 2, || vec![Job::Count, Job::Count], 2);
}

/// Work that is posted when the workers are about to end, or have ended, is run or given back.
#[test]
fn a_post_that_races_with_the_end_is_run_or_given_back() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let host = Arc::new(Sleepers::new(1));
        let worker = host.clone();
        let worker = thread::spawn(move || worker::run(&*worker, 0, None));
        let poster = host.clone();
        let poster = thread::spawn(move || poster.pool.post(&*poster, Job::Count).is_err());
        host.pool.stop(&*host);
        let given_back = poster.join().unwrap();
        worker.join().unwrap();
        assert_eq!(host.run.load(Ordering::Relaxed) + usize::from(given_back), 1);
    });
}

/// Nobody else is there, and a callback lies in between.
#[test]
fn one_worker_that_waits_inside_finds_the_step_behind_a_callback() {
    let jobs = || {
        let step = Job::Step { awaits: None, sets: 0 };
        vec![Job::PostAndAwait(vec![], 0), Job::Count, step]
    };
    explore(1, 3, jobs, 3);
}

/// The wait inside the first step finds the second one.
#[test]
fn a_step_inside_a_wait_may_wait_for_the_next_one() {
    let jobs = || {
        let steps = vec![
            Job::Step { awaits: Some(1), sets: 0 },
            Job::Count,
            Job::Step { awaits: None, sets: 1 },
        ];
        vec![Job::PostAndAwait(steps, 0)]
    };
    explore(1, 3, jobs, 4);
}

/// What waits inside must not run it; the other worker is idle, or about to be.
#[test]
fn a_callback_that_lies_with_a_worker_that_waits_inside_is_run_by_another() {
    explore_waiting_inside(|host| assert!(host.pool.post(host, Job::Set(0)).is_ok()), true);
}

/// The same for one that lies in the shared queue, which it takes and moves if nobody is idle.
#[test]
fn a_callback_that_a_worker_that_waits_inside_has_moved_is_run_by_another() {
    explore_waiting_inside(|host| host.pool.shared.push(Job::Set(0)), false);
}

/// One worker posts a callback and waits inside until another has run it.
fn explore_waiting_inside(post: fn(&Sleepers), by_worker: bool) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_branches = 20_000;
    builder.check(move || {
        let host = Arc::new(Sleepers::new(2));
        if !by_worker {
            post(&host);
        }
        Current::new(host.pool.id, 0).set();
        let other = host.clone();
        let other = thread::spawn(move || {
            Current::new(other.pool.id, 1).set();
            let mut worker = Worker::new(&*other, 1, Caller::new(None));
            loop {
                if let Some(work) = worker.next(1).or_else(|| worker.idle()) {
                    return other.run(work);
                }
            }
        });
        if by_worker {
            post(&host);
        }
        host.await_flag(0);
        other.join().unwrap();
    });
}
