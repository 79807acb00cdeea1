//! What does it cost to hand a job to another thread, from post to handler?
//!
//! Submitters hand over batches of 16 jobs that do nothing but count themselves, and wait for each
//! batch to be done: the shape of the benchmark that tokio has for `spawn_blocking`. A round is a
//! batch of every submitter; throughput counts jobs. Twice as many consumers as there are processors
//! take the jobs, from
//!
//! * a runtime's workers, by `RuntimeHandle::post`, with as many of them;
//! * a port with the default concurrency, one packet at a time or, *many*, what is there;
//! * a port without limit;
//! * the textbook's queue: std's channel, its receiver under a lock;
//! * rayon's `spawn`, on a pool of that size;
//! * tokio's `spawn_blocking`, on a pool of that size, and on one of its default size (512);
//! * `blocking`'s `unblock`, on its one pool (500).
//!
//! Wall time, on few processors: it shows the cost of wake-ups and of crowding, and says nothing about
//! how a queue scales to many processors.

use aio_core::{CompletionPort, Runtime};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

const JOBS: usize = 16;

type Job = Box<dyn FnOnce() + Send>;

fn dispatch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("post to handler, batches of 16");
    for submitters in [1, 2, 4, 8, 16] {
        group.throughput(Throughput::Elements((submitters * JOBS) as u64));
        let mut bench = |name, rounds: fn(usize, u64) -> Duration| {
            group.bench_function(BenchmarkId::new(name, submitters), |bencher| {
                bencher.iter_custom(|count| rounds(submitters, count));
            });
        };
        bench("runtime", runtime_rounds);
        bench("port", |submitters, rounds| {
            port_rounds(&CompletionPort::new(0), take_one, submitters, rounds)
        });
        bench("port, many", |submitters, rounds| {
            port_rounds(&CompletionPort::new(0), take_many, submitters, rounds)
        });
        bench("port, unlimited", |submitters, rounds| {
            port_rounds(&CompletionPort::unlimited(), take_one, submitters, rounds)
        });
        bench("locked channel", channel_rounds);
        bench("rayon", rayon_rounds);
        bench("tokio", |submitters, rounds| tokio_rounds(consumers(), submitters, rounds));
        bench("tokio, 512 threads", |submitters, rounds| tokio_rounds(512, submitters, rounds));
        bench("blocking, 500 threads", |submitters, rounds| {
            submit(submitters, rounds, &|job| blocking::unblock(job).detach())
        });
    }
    group.finish();
}

criterion_group!(benches, dispatch);
criterion_main!(benches);

/// What one submitter waits for.
struct Batch {
    left: AtomicUsize,
    submitter: Thread,
}

impl Batch {
    fn job(self: &Arc<Self>) -> Job {
        let batch = self.clone();
        Box::new(move || {
            if batch.left.fetch_sub(1, Ordering::AcqRel) == 1 {
                batch.submitter.unpark();
            }
        })
    }

    fn wait(&self) {
        while self.left.load(Ordering::Acquire) > 0 {
            thread::park();
        }
    }
}

/// Hands over batches until every submitter has done its `rounds`; returns how long they took.
fn submit(submitters: usize, rounds: u64, hand_over: &(impl Fn(Job) + Sync)) -> Duration {
    let barrier = Barrier::new(submitters + 1);
    thread::scope(|scope| {
        for _ in 0..submitters {
            scope.spawn(|| {
                let submitter = thread::current();
                let batch = Arc::new(Batch { left: AtomicUsize::new(0), submitter });
                barrier.wait();
                for _ in 0..rounds {
                    batch.left.store(JOBS, Ordering::Relaxed);
                    (0..JOBS).for_each(|_| hand_over(batch.job()));
                    batch.wait();
                }
                barrier.wait();
            });
        }
        barrier.wait();
        let begun = Instant::now();
        barrier.wait();
        begun.elapsed()
    })
}

fn consumers() -> usize {
    2 * thread::available_parallelism().map_or(1, usize::from)
}

fn runtime_rounds(submitters: usize, rounds: u64) -> Duration {
    let runtime = Runtime::builder().workers(consumers()).build().expect("threads");
    let handle = runtime.handle();
    submit(submitters, rounds, &|job| handle.post(job))
}

fn port_rounds(
    port: &CompletionPort<Job>,
    take: fn(&CompletionPort<Job>),
    submitters: usize,
    rounds: u64,
) -> Duration {
    thread::scope(|scope| {
        (0..consumers()).for_each(|_| drop(scope.spawn(|| take(port))));
        let elapsed = submit(submitters, rounds, &|job| assert!(port.post(job).is_ok()));
        port.close();
        elapsed
    })
}

fn take_one(port: &CompletionPort<Job>) {
    while let Some(job) = port.wait() {
        job();
    }
}

fn take_many(port: &CompletionPort<Job>) {
    let mut jobs = Vec::new();
    while port.wait_many(&mut jobs, JOBS) > 0 {
        jobs.drain(..).for_each(|job| job());
    }
}

fn channel_rounds(submitters: usize, rounds: u64) -> Duration {
    let (sender, receiver) = mpsc::channel::<Job>();
    let receiver = Mutex::new(receiver);
    // The lock is held while a job is waited for, not while it runs.
    let take = || receiver.lock().expect("nobody panics").recv();
    thread::scope(|scope| {
        for _ in 0..consumers() {
            scope.spawn(|| {
                while let Ok(job) = take() {
                    job();
                }
            });
        }
        let elapsed = submit(submitters, rounds, &|job| sender.send(job).expect("a receiver"));
        drop(sender);
        elapsed
    })
}

fn rayon_rounds(submitters: usize, rounds: u64) -> Duration {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(consumers()).build();
    let pool = pool.expect("threads");
    submit(submitters, rounds, &|job| pool.spawn(job))
}

fn tokio_rounds(threads: usize, submitters: usize, rounds: u64) -> Duration {
    let runtime =
        tokio::runtime::Builder::new_current_thread().max_blocking_threads(threads).build();
    let runtime = runtime.expect("a runtime");
    submit(submitters, rounds, &|job| drop(runtime.spawn_blocking(job)))
}
