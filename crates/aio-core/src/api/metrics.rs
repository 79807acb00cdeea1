//! What a runtime tells of itself.

use crate::api::runtime::Runtime;
use crate::base::histogram::Histogram;
use crate::base::kind::OperationKind;
use crate::base::latencies::Stretch;
use crate::base::report::OperationReport;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a [`Runtime`] has counted: see [`Runtime::metrics`].
///
/// The numbers are read one after the other while others count: each is right, and none is of an earlier
/// time than one that depends on it, so that nothing has ended more often than it was begun.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// Of each kind of operation, in the alphabetical order of their names; then of what was posted to the
    /// runtime (`post`) and of registered waits that were over (`register_wait`), which complete when they
    /// are posted; and of jobs that were given to rayon (`rayon_job`), which count when a worker has run them.
    pub operations: Vec<OperationMetrics>,
    /// How many callbacks have panicked; a panic of a waker that a completion woke, or of the drop of a
    /// buffer that nobody waited for, or of a job that was given to rayon, counts as one.
    pub callback_panics: u64,
    /// How many pieces of work wait for a worker: callbacks to be run, sockets that are ready, turns.
    pub queue_depth: usize,
    /// How many workers run something.
    pub workers_busy: usize,
    /// How many workers wait for something to run.
    pub workers_idle: usize,
}

/// What a [`Runtime`] has counted of one kind of operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OperationMetrics {
    /// The name of the kind, as in `begin_NAME`.
    pub operation: &'static str,
    /// How many have been begun and have not completed.
    pub pending: u64,
    /// How many have completed with a result of their own, errors included.
    pub completed: u64,
    /// How many have completed as aborted ([`is_aborted`](crate::is_aborted)).
    pub aborted: u64,
    /// Of how many that have completed the callback has not returned.
    pub undelivered: u64,
    /// How long they took, if [the builder](crate::Builder::latency_histograms) asked for that.
    pub latency: Option<Latency>,
}

/// How long operations of a kind took.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Latency {
    /// From begin until the result stood.
    pub until_completed: Histogram,
    /// From there until the callback was run, for those that have one.
    pub until_callback: Histogram,
}

impl Metrics {
    /// Returns what has been counted of one kind of operation, by its name, as in `begin_NAME`.
    #[must_use]
    pub fn operation(&self, name: &str) -> Option<&OperationMetrics> {
        self.operations.iter().find(|operation| operation.operation == name)
    }

    /// Returns how many operations have been begun and have not completed.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.operations.iter().map(|operation| operation.pending).sum()
    }

    /// Returns how many operations have completed with a result of their own, errors included.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.operations.iter().map(|operation| operation.completed).sum()
    }

    /// Returns how many operations have completed as aborted.
    #[must_use]
    pub fn aborted(&self) -> u64 {
        self.operations.iter().map(|operation| operation.aborted).sum()
    }

    /// Returns of how many operations that have completed the callback has not returned.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.operations.iter().map(|operation| operation.undelivered).sum()
    }
}

impl Runtime {
    /// Returns what has happened so far, and what is going on.
    ///
    /// ```
    /// let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let socket = runtime.tcp_v4()?;
    /// # socket.connect(listener.local_addr()?)?;
    /// let receive = socket.receive_async([0; 16]);
    /// let metrics = runtime.metrics();
    /// assert_eq!(metrics.operation("receive").unwrap().pending, 1);
    /// # drop(receive);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let inner = self.inner();
        let totals = inner.counters.totals_by_kind();
        let workers_idle = inner.pool.idle_workers();
        Metrics {
            operations: OperationKind::ALL
                .into_iter()
                .zip(totals)
                .map(|(kind, totals)| OperationMetrics {
                    operation: kind.name(),
                    pending: totals.pending(),
                    completed: totals.completed,
                    aborted: totals.aborted,
                    undelivered: totals.undelivered(),
                    latency: inner.latencies.as_ref().map(|latencies| Latency {
                        until_completed: latencies.histogram(kind, Stretch::UntilCompleted),
                        until_callback: latencies.histogram(kind, Stretch::UntilCallback),
                    }),
                })
                .collect(),
            callback_panics: inner.callback_panics.load(Ordering::Relaxed),
            queue_depth: inner.pool.queued(),
            workers_busy: inner.pool.workers().saturating_sub(workers_idle),
            workers_idle,
        }
    }

    /// Names the callbacks that have held a worker for `threshold` or longer, the longest first: what
    /// keeps others from running when all workers are held.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let runtime = aio_core::Runtime::builder().workers(1).build()?;
    /// for callback in runtime.starvation_report(Duration::from_millis(500)) {
    ///     println!("a worker is held by the callback of a {callback}");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn starvation_report(&self, threshold: Duration) -> Vec<OperationReport> {
        let inner = self.inner();
        let mut held: Vec<_> = inner
            .running()
            .map(|(_, callback, begun)| (inner.clock.since(begun), callback))
            .filter(|(age, _)| *age >= threshold)
            .collect();
        held.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
        held.iter().map(|(age, callback)| inner.report_of(*callback, *age)).collect()
    }
}
