//! How a runtime ends: drain, abort, drop, and the report of it (I7).
//!
//! ```text
//!   ┌─────────┐ drain ┌──────────┐  nothing is pending, or    ┌──────────┐        ┌───────┐
//!   │ Running │ ────▶ │ Draining │ ─────────────────────────▶ │ Stopping │ ─────▶ │ Ended │
//!   └─────────┘       └──────────┘  the deadline has passed   └──────────┘        └───────┘
//!        └─────────────────┴───────────────────────────────────────▲
//!                     abort, drop
//! ```
//!
//! *Draining*: accepts complete as aborted, those that are begun too; everything else goes on and may be
//! begun. *Stopping*: what is pending completes as aborted, and so does what is begun; callbacks that
//! are queued are run. *Ended*: the workers have left their loops, and their threads can be joined.
//!
//! 1. States only go forward, and every call takes the runtime on from wherever it is. So it may be called
//!    twice, or by several threads at once: each waits and reports by itself.
//! 2. Whether anything is pending is told by the counters (`counters.rs`, invariant 3). A callback which has
//!    called one of these is begun and not delivered; while the lock of `calling` is held, none enters or
//!    leaves. So if as many are begun and not delivered as there are such callbacks, nothing else is.
//!    If they hold all workers that have not left, no other callback can run: then it is enough that all
//!    results stand.
//! 3. It is bounded. A call waits until its deadline; a drain then for as long as workers get on, for
//!    [`LIMIT`] at most. They do not when all results stand and the callbacks that are running have been for
//!    [`PATIENCE`] each, and no other callback waits, or none can run since these hold all workers.
//! 4. A call on a worker waits as every wait in a callback does, so that I/O goes on; it joins no thread.

use crate::base::report::OperationReport;
use crate::pool::inside::{Inside, wait_inside};
use crate::pool::threads::Threads;
use crate::state::context::RuntimeInner;
use crate::state::in_flight::Owner;
use crate::state::socket::{self, SocketInner};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long `abort` and the drop of a runtime wait for callbacks; and, altogether, a drain after its deadline.
const LIMIT: Duration = Duration::from_secs(5);

/// A callback that has been running for so long is not waited for by a drain after its deadline.
const PATIENCE: Duration = Duration::from_millis(100);

/// How often a call looks whether it is over.
const TICK: Duration = Duration::from_millis(1);

/// What a shutdown came to: see [`Runtime::drain`](crate::Runtime::drain) and
/// [`Runtime::abort`](crate::Runtime::abort).
///
/// ```
/// use aio_core::Runtime;
/// use std::time::{Duration, Instant};
///
/// let runtime = Runtime::builder().workers(1).build()?;
/// # let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// # let socket = runtime.tcp_v4()?;
/// # socket.connect(listener.local_addr()?)?;
/// socket.begin_receive(vec![0; 16], |_| {}, ());
/// let report = runtime.drain(Instant::now() + Duration::from_millis(10));
/// assert!(report.is_complete());
/// assert_eq!((report.aborted, report.interrupted[0].operation), (1, "receive"));
/// println!("{report}");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// How many operations have completed with a result of their own since the shutdown began, errors
    /// included.
    pub completed: u64,
    /// How many have completed as aborted since then: canceled, too late, or ended by the shutdown.
    pub aborted: u64,
    /// What was still pending when all that was pending was aborted, and how long it had been.
    pub interrupted: Vec<OperationReport>,
    /// The callbacks that have not returned, and for how long they have been running. Each holds a
    /// worker, which ends when the callback returns. Empty once all threads have ended.
    pub running: Vec<OperationReport>,
    /// How many callbacks could not run since others hold the workers. They run when those return.
    pub not_run: u64,
}

impl ShutdownReport {
    /// Returns true if every callback has run and returned, but for those that are shutting the runtime
    /// down themselves.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.running.is_empty() && self.not_run == 0
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} completed, {} aborted", self.completed, self.aborted)?;
        for operation in &self.interrupted {
            write!(f, "\nwas pending: {operation}")?;
        }
        for callback in &self.running {
            write!(f, "\nits callback has not returned: {callback}")?;
        }
        if self.not_run > 0 {
            write!(f, "\n{} callbacks could not run", self.not_run)?;
        }
        Ok(())
    }
}

fn join(threads: &Mutex<Threads>) {
    // Another thread that shuts the runtime down may hold the lock, but not for long: the workers have ended.
    threads.lock().unwrap_or_else(PoisonError::into_inner).join();
}

/// A call that ends the runtime, as long as it lasts.
struct Call<'a> {
    runtime: &'a RuntimeInner,
    /// The worker that makes it, if one does.
    worker: Option<usize>,
    in_callback: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker {
            let mut calling = self.runtime.shutdown.calling();
            calling.workers.retain(|calling| *calling != worker);
            calling.callbacks -= u64::from(self.in_callback);
        }
    }
}

impl RuntimeInner {
    /// See [`Runtime::drain`](crate::Runtime::drain).
    pub(crate) fn drain(&self, threads: &Mutex<Threads>, deadline: Instant) -> ShutdownReport {
        let call = self.call();
        self.begin_draining();
        self.wait_until(deadline, || self.is_stopping() || self.has_nothing_pending());
        let limit = deadline.max(Instant::now()).checked_add(LIMIT).unwrap_or(deadline);
        self.end(&call, threads, deadline, limit)
    }

    /// See [`Runtime::abort`](crate::Runtime::abort).
    pub(crate) fn abort_now(&self, threads: &Mutex<Threads>) -> ShutdownReport {
        let call = self.call();
        let limit = Instant::now() + LIMIT;
        self.end(&call, threads, limit, limit)
    }

    /// Takes the runtime to its end, waits for that, and reports.
    fn end(
        &self,
        call: &Call<'_>,
        threads: &Mutex<Threads>,
        deadline: Instant,
        limit: Instant,
    ) -> ShutdownReport {
        let shutdown = &self.shutdown;
        shutdown.is_reported.store(true, Ordering::Relaxed);
        self.pool.stop(self);
        self.wait_until(limit, || {
            self.pool.has_ended()
                || call.worker.is_some() && self.has_nothing_pending()
                || Instant::now() >= deadline && self.is_stuck()
        });
        if call.worker.is_none() {
            if self.pool.has_ended() {
                join(threads);
            } else {
                shutdown.given_up.store(true, Ordering::Relaxed);
            }
        }
        self.report()
    }

    /// The runtime is dropped by its owner.
    pub(crate) fn drop_threads(&self, threads: &Mutex<Threads>) {
        self.pool.stop(self);
        // A worker that drops its own runtime, in a callback, must not wait for itself. A thread that has
        // been told of a callback that does not return does not wait for it again.
        if self.pool.current_worker().is_none() {
            if !self.shutdown.given_up.load(Ordering::Relaxed) {
                self.wait_until(Instant::now() + LIMIT, || self.pool.has_ended());
            }
            if self.pool.has_ended() {
                join(threads);
            }
        }
    }

    fn call(&self) -> Call<'_> {
        let worker = self.pool.current_worker();
        let running = worker.and_then(|worker| self.running.of(worker));
        let in_callback = running.is_some_and(|callback| !callback.is_job());
        if let Some(worker) = worker {
            let mut calling = self.shutdown.calling();
            calling.workers.push(worker);
            calling.callbacks += u64::from(in_callback);
        }
        self.shutdown.before.get_or_init(|| self.counters.totals());
        Call { runtime: self, worker, in_callback }
    }

    fn begin_draining(&self) {
        self.shutdown.draining.store(true, Ordering::SeqCst);
        for listener in self.listeners.all().into_iter().filter_map(socket::find) {
            self.driver.refuse_accepts(&listener);
        }
        // For jobs that were left before that was said.
        self.pool.call(self);
    }

    /// True if accepts are not to be begun any more.
    pub(crate) fn refuses_accepts(&self) -> bool {
        self.shutdown.draining.load(Ordering::SeqCst)
    }

    /// True if nothing is pending that a call has to wait for (invariant 2).
    fn has_nothing_pending(&self) -> bool {
        let calling = self.shutdown.calling();
        let calls = self.pool.calls_answered(self, &calling.workers);
        let totals = self.counters.totals();
        // Nor was there a job, if none has called meanwhile (`pool/jobs.rs`).
        totals.begun - totals.delivered == calling.callbacks && calls == Some(self.pool.calls())
            || totals.pending() == 0 && calling.workers.len() >= self.pool.present_workers()
    }

    /// True if only callbacks are left that do not return, and those that cannot run because of them.
    fn is_stuck(&self) -> bool {
        let totals = self.counters.totals();
        let callers = self.shutdown.calling().workers.clone();
        let running: Vec<_> = self.running().collect();
        let mut others = running.iter().filter(|(worker, ..)| !callers.contains(worker)).peekable();
        let free = self.pool.present_workers().saturating_sub(running.len());
        totals.pending() == 0
            && others.peek().is_some()
            && others.all(|(.., begun)| self.clock.since(*begun) >= PATIENCE)
            && (free == 0 || totals.undelivered() <= running.len() as u64)
    }

    /// Waits until `is_over` or the deadline; on a worker, of whatever runtime, its I/O goes on.
    fn wait_until(&self, deadline: Instant, is_over: impl Fn() -> bool) {
        if let Some((home, me)) = Self::home() {
            wait_inside(&*home, me, Inside::Nestable, Some(deadline), is_over);
            return;
        }
        while !is_over() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let _ = self.pool.wait_until_ended(left.min(TICK));
        }
    }

    /// Notes that a shutdown aborts `operation`, which is pending at `socket`.
    pub(crate) fn note_interrupted(&self, operation: &Owner, socket: Option<&SocketInner>) {
        if self.is_stopping() && self.shutdown.is_reported.load(Ordering::Relaxed) {
            let report = operation.report(&self.clock, socket);
            self.shutdown.interrupted().push(report);
        }
    }

    fn report(&self) -> ShutdownReport {
        let calling = self.shutdown.calling().workers.clone();
        let totals = self.counters.totals();
        let since = totals - *self.shutdown.before.get_or_init(|| totals);
        let (mut running, mut not_run) = (Vec::new(), 0);
        if !self.pool.has_ended() {
            let callbacks: Vec<_> = self.running().collect();
            let counted = callbacks.iter().filter(|(_, callback, _)| !callback.is_job()).count();
            not_run = totals.undelivered().saturating_sub(counted as u64);
            running = callbacks
                .into_iter()
                .filter(|(worker, ..)| !calling.contains(worker))
                .map(|(_, callback, begun)| self.report_of(callback, self.clock.since(begun)))
                .collect();
        }
        ShutdownReport {
            completed: since.completed,
            aborted: since.aborted,
            interrupted: self.shutdown.interrupted().clone(),
            running,
            not_run,
        }
    }
}
