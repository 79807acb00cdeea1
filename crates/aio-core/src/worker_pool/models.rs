//! Models of the sleep and wake protocol, explored by loom.
//!
//! A wait never ends by itself here, a tick's included: what is posted from outside must be run without
//! the watcher's help. (What the watcher is for, callbacks that block, is in `tests/starvation.rs`.)

use super::{Host, Threads, Wait, WorkerPool, work};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::time::Duration;

#[derive(Debug)]
enum Job {
    Count,
    /// Posts another one from the worker that runs it.
    PostAnother,
}

/// Workers that sleep until they are woken.
struct Sleepers {
    pool: WorkerPool<Job>,
    woken: Vec<(Mutex<bool>, Condvar)>,
    run: AtomicUsize,
}

impl Host for Sleepers {
    type Work = Job;

    fn pool(&self) -> &WorkerPool<Job> {
        &self.pool
    }

    fn run(&self, job: Job) {
        self.run.fetch_add(1, Ordering::Relaxed);
        if matches!(job, Job::PostAnother) {
            assert!(self.pool.post(self, Job::Count).is_ok());
        }
    }

    fn run_inside(&self, job: Job) -> Option<Job> {
        Some(job)
    }

    fn wait(&self, worker: usize, wait: Wait, _found: &mut Vec<Job>) {
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
    builder.check(move || {
        let host = Arc::new(Sleepers {
            pool: WorkerPool::new(workers),
            woken: (0..workers).map(|_| (Mutex::new(false), Condvar::new())).collect(),
            run: AtomicUsize::new(0),
        });
        let threads: Vec<_> = (0..workers)
            .map(|index| {
                let host = host.clone();
                thread::spawn(move || work(&*host, index))
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
        Threads::stop(&*host);
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
        let host = Arc::new(Sleepers {
            pool: WorkerPool::new(1),
            woken: vec![(Mutex::new(false), Condvar::new())],
            run: AtomicUsize::new(0),
        });
        let worker = host.clone();
        let worker = thread::spawn(move || work(&*worker, 0));
        let poster = host.clone();
        let poster = thread::spawn(move || poster.pool.post(&*poster, Job::Count).is_err());
        Threads::stop(&*host);
        let given_back = poster.join().unwrap();
        worker.join().unwrap();
        assert_eq!(host.run.load(Ordering::Relaxed) + usize::from(given_back), 1);
    });
}
