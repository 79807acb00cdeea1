//! What workers run.

use crate::base::clock::Moment;
use crate::base::counters::Point;
use crate::base::error::Aborted;
use crate::base::kind::{Direction, OperationKind};
use crate::base::latencies::Interval;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::CancelReason;
use crate::base::process_threads::{self, Job, Lane, PROCESS_THREADS};
use crate::base::report::OperationReport;
use crate::base::running::Callback;
use crate::pool::inside::{Inside, wait_inside};
use crate::pool::worker_pool::{Hooks, Wait, WorkerPool};
use crate::runtime::{registered_wait, resolver};
use crate::state::context::{PanicPolicy, Posted, RunContext, RuntimeInner, Timed, Work};
use crate::state::in_flight::{Handle, Owner};
use crate::state::socket;
#[cfg(feature = "testing")]
use crate::testing::Injector;
use aio_sync::{BlockingWait, EventRef, Registration, WaitHandle, set_blocking_wait};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::pin::pin;
use std::process;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

thread_local! {
    /// The runtime whose worker this thread is, if it is one.
    static CURRENT_RUNTIME: RefCell<Weak<RuntimeInner>> = const { RefCell::new(Weak::new()) };
    /// True while this thread, a worker, is in the wait of its driver.
    static IS_WAITING: Cell<bool> = const { Cell::new(false) };
}

impl RuntimeInner {
    /// Which of the workers the calling thread is, if it is one.
    pub(crate) fn worker(&self) -> Option<usize> {
        self.pool.current_worker()
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.pool.is_stopping()
    }

    /// Has a worker run `work`, after what it runs now; once the workers have ended, a thread of the process.
    /// The calling thread never runs it here (I3).
    pub(crate) fn post(&self, work: Work) {
        #[cfg(feature = "testing")]
        let Some(work) = self.delay(work) else { return };
        self.post_now(work);
        #[cfg(feature = "testing")]
        if self.injector.as_ref().is_some_and(Injector::has_been_overtaken) {
            self.post_delayed();
        }
    }

    fn post_now(&self, work: Work) {
        let Err(work) = self.pool.post(self, work) else { return };
        // The caller has borrowed the runtime from an `Arc`, so it is there.
        let runtime = self.me.upgrade().expect("a runtime exists while something is posted to it");
        PROCESS_THREADS.push(Lane::Deliver, Box::new(Delivery { runtime, work }));
    }

    /// Delays `work`, if the injector says so; else returns it.
    #[cfg(feature = "testing")]
    fn delay(&self, work: Work) -> Option<Work> {
        let injector = self.injector.as_ref().filter(|_| work.may_be_delayed());
        let Some(injector) = injector else { return Some(work) };
        match injector.delay(work, || self.is_stopping()) {
            Ok(until) => {
                // One entry is enough for all at one time: the worker that comes for it takes everything out.
                self.watch(until, 0, Timed::Delayed);
                None
            }
            Err(work) => Some(work),
        }
    }

    /// Delays the completion of an operation that a worker has got done, if the injector says so; else returns the
    /// operation. Of other threads it delays none: all workers may be waiting for one.
    #[cfg(feature = "testing")]
    pub(crate) fn delay_completion(&self, operation: Owner) -> Option<Owner> {
        if self.injector.is_none() || self.worker().is_none() {
            return Some(operation);
        }
        match self.delay(Work::Done(operation))? {
            Work::Done(operation) => Some(operation),
            work => unreachable!("it is returned as it was: {work:?}"),
        }
    }

    /// Posts what has been delayed.
    #[cfg(feature = "testing")]
    fn post_delayed(&self) {
        for work in self.injector.iter().flat_map(Injector::take_delayed) {
            self.post_now(work);
        }
    }

    fn run_one(&self, work: Work) {
        match work {
            Work::Completed(operation) => self.deliver(operation),
            Work::Wait(wait) => {
                self.run_callback(OperationKind::RegisterWait, || wait.run());
            }
            Work::Call(Posted(callback)) | Work::Step(Posted(callback)) => {
                self.run_callback(OperationKind::Post, || self.catch_panic(callback));
            }
            Work::Fail(failing) => failing.fail_one(self),
            #[cfg(feature = "testing")]
            Work::Done(operation) => operation.complete(self),
            Work::Due(timed) => self.is_due(timed),
            Work::Ready { socket, report } => {
                // What a turn completes first is delivered by the worker that is here. What else it
                // completes others may deliver, if this callback takes long.
                self.deliver_here(self.driver.run_report(&socket, report));
            }
            Work::Turn { socket, direction } => {
                self.deliver_here(self.take_turn(socket, direction));
            }
            Work::Found(Posted(tell)) => tell(),
        }
    }

    /// Runs the callback of what a turn has completed, if it has one.
    fn deliver_here(&self, completed: Option<Owner>) {
        let Some(operation) = completed else { return };
        #[cfg(feature = "testing")]
        if self.injector.is_some() {
            return self.post(Work::Completed(operation));
        }
        self.deliver(operation);
    }

    /// Has a worker run the callback of what has completed, if it has one.
    #[inline]
    pub(crate) fn post_completed(&self, completed: Option<Owner>) {
        if let Some(operation) = completed {
            self.post(Work::Completed(operation));
        }
    }

    /// A worker is here for a turn that another thread has left to it.
    fn take_turn(&self, socket: SocketNumber, direction: Direction) -> Option<Owner> {
        let socket = socket::find(socket)?;
        // One that could go on for long does not outlast its runtime.
        if self.is_stopping() {
            self.driver.stop(&socket, Aborted::ShutDown);
            return None;
        }
        self.driver.take_turn(&socket, direction)
    }

    /// Ends what is due. Code of a user's may run: wakers, the maps of `post_to`, drops of what was lent.
    fn is_due(&self, timed: Timed) {
        match timed {
            Timed::Operation(operation) => {
                operation.cancel(CancelReason::TimedOut);
                self.catch_panic(|| drop(operation));
            }
            Timed::Wait(wait) => wait.time_out(),
            Timed::Rest(socket, direction) => self.post(Work::Turn { socket, direction }),
            #[cfg(feature = "testing")]
            Timed::Delayed => self.post_delayed(),
        }
    }

    /// Runs the callback of an operation that has completed.
    fn deliver(&self, operation: Owner) {
        let (worker, now) = (self.worker(), self.clock.now());
        let callback = Callback { kind: operation.kind(), socket: operation.socket() };
        let has_permit = operation.has_permit();
        if let Some(latencies) = &self.latencies {
            let took = now.saturating_sub(operation.completed_at());
            latencies.record(worker, callback.kind, Interval::UntilCallback, took);
        }
        self.run_where_seen(worker, callback, now, || self.catch_panic(|| operation.deliver()));
        self.is_over(worker, callback.kind, has_permit);
    }

    /// Runs a callback that is not that of an operation.
    fn run_callback(&self, kind: OperationKind, run: impl FnOnce()) {
        let (worker, now) = (self.worker(), self.clock.now());
        self.run_where_seen(worker, Callback { kind, socket: None }, now, run);
        self.is_over(worker, kind, false);
    }

    /// Runs a callback where everybody can see it.
    fn run_where_seen(
        &self,
        worker: Option<usize>,
        callback: Callback,
        now: Moment,
        run: impl FnOnce(),
    ) {
        if let Some(worker) = worker {
            self.running.begin(worker, callback, now);
        }
        run();
        if let Some(worker) = worker {
            self.running.end(worker);
            if self.refuses_accepts() {
                // A drain is to know of what is left to do before it knows that this is over.
                self.pool.call_if_spawned(self);
            }
        }
    }

    /// What the workers run, by worker, each with the moment since which it does.
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, Callback, Moment)> {
        // A worker that only looks for a job is about to have found none.
        let is_one =
            |callback: Callback, since| !callback.is_job() || !self.clock.since(since).is_zero();
        self.running.all().filter(move |(_, callback, since)| is_one(*callback, *since))
    }

    /// A callback in words, which has been running for so long.
    pub(crate) fn report_of(&self, callback: Callback, age: Duration) -> OperationReport {
        let socket = callback.socket.and_then(socket::find);
        let system = socket.as_ref().and_then(|socket| socket.descriptor.pin());
        OperationReport::new(callback.kind, system.as_deref(), age)
    }

    /// An operation, or a callback of another kind, is over.
    pub(crate) fn is_over(&self, worker: Option<usize>, kind: OperationKind, takes_permit: bool) {
        if let Some(limit) = self.limit.as_ref().filter(|_| takes_permit) {
            limit.give_back();
        }
        self.counters.count(worker, kind, Point::Delivered);
    }

    /// Counts a callback that is about to be posted and is not that of an operation.
    pub(crate) fn has_fired(&self, kind: OperationKind) {
        let worker = self.worker();
        self.counters.count(worker, kind, Point::Begun);
        self.counters.count(worker, kind, Point::Completed);
    }

    /// Counts an operation that is about to start, and has it canceled at its deadline, if it has one.
    /// If too many are pending it completes here; else it is returned.
    /// `is_late`: its deadline has passed already, and it has one attempt.
    pub(crate) fn admit(&self, operation: Owner, is_late: bool) -> Option<Owner> {
        self.counters.count(self.worker(), operation.kind(), Point::Begun);
        operation.begins_at(self.clock.now());
        if let Some(limit) = &self.limit {
            if !limit.take() {
                operation.fail(self, limit.error());
                return None;
            }
            operation.takes_permit();
        }
        if is_late {
            operation.is_late();
        } else if let Some(deadline) = operation.deadline() {
            let handle = operation.handle();
            self.watch(deadline, handle.identity(), Timed::Operation(handle));
        }
        Some(operation)
    }

    /// Has `entry` seen to at its deadline.
    pub(crate) fn watch(&self, deadline: Instant, identity: usize, entry: Timed) {
        if let Some(timekeeper) = self.timer.enter(deadline, identity, entry) {
            self.driver.wake(timekeeper);
        }
    }

    /// Blocks until `operation` has completed or the deadline has passed; true if it has completed. A thread that is
    /// no worker sees to the operation itself, if it can.
    pub(crate) fn wait_for(operation: &Handle, deadline: Option<Instant>) -> bool {
        if !Self::is_on_worker() {
            if let Some(socket) = operation.place() {
                let driver = &socket.runtime.driver;
                if let Some(is_over) = driver.wait_here(&socket, operation, deadline) {
                    return is_over;
                }
            }
        }
        // When the operation's own deadline passes, callbacks may be holding all workers of its runtime.
        let own = operation.deadline();
        if let Some(own) = own.filter(|own| deadline.is_none_or(|deadline| *own < deadline)) {
            if Self::wait_for_event(operation.event(), Some(own)) {
                return true;
            }
            operation.cancel(CancelReason::TimedOut);
        }
        Self::wait_for_event(operation.event(), deadline)
    }

    /// Blocks until `event` is signaled or the deadline has passed. On a worker of whatever runtime, that
    /// is in a callback, it keeps that runtime's I/O moving meanwhile.
    pub(crate) fn wait_for_event(event: EventRef<'_>, deadline: Option<Instant>) -> bool {
        if let Some((home, me)) = Self::current() {
            return home.wait_inside(me, event, deadline);
        }
        match deadline {
            Some(deadline) => event.wait_until(deadline),
            None => {
                event.wait_one();
                true
            }
        }
    }

    /// True if the calling thread is a worker, of whatever runtime.
    pub(crate) fn is_on_worker() -> bool {
        CURRENT_RUNTIME.try_with(|home| home.borrow().strong_count() > 0).unwrap_or(false)
    }

    /// The runtime whose worker the calling thread is, and which one, if it is one.
    pub(crate) fn current() -> Option<(Arc<Self>, usize)> {
        let home = CURRENT_RUNTIME.try_with(|home| home.borrow().upgrade()).ok().flatten()?;
        let me = home.pool.current_worker()?;
        Some((home, me))
    }

    /// The same on worker `me`.
    fn wait_inside(
        self: &Arc<Self>,
        me: usize,
        event: EventRef<'_>,
        deadline: Option<Instant>,
    ) -> bool {
        let wake = Arc::new(WakeWorker {
            runtime: self.clone(),
            worker: me,
            is_over: AtomicBool::new(false),
        });
        let mut registration = pin!(Registration::new(event));
        if !registration.as_mut().register(Waker::from(wake.clone())) {
            return true;
        }
        let is_over = || wake.is_over.load(Ordering::Relaxed);
        wait_inside(&**self, me, Inside::Nestable, deadline, is_over);
        registration.take_back()
    }

    /// Runs code of a user's: a callback, wakers, the drop of what was lent. Its panic ends here (I10).
    pub(crate) fn catch_panic(&self, theirs: impl FnOnce()) {
        // What panicked is gone then, and nothing of ours is under way: there is no state that a
        // caught panic could leave broken.
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(theirs)) {
            self.callback_panicked(payload);
        }
    }

    fn callback_panicked(&self, payload: Box<dyn Any + Send>) {
        if self.on_panic == PanicPolicy::Abort {
            process::abort();
        }
        self.callback_panics.fetch_add(1, Ordering::Relaxed);
        drop_payload(payload);
    }
}

/// Work of a runtime that has ended.
struct Delivery {
    runtime: Arc<RuntimeInner>,
    work: Work,
}

impl Job for Delivery {
    fn run(self: Box<Self>, _ticket: process_threads::Ticket) {
        let Self { runtime, work } = *self;
        runtime.run(work);
    }
}

/// Drops what a panic has left. That may panic, too, and leave something: it is dropped in its turn, but what
/// is left after a few is never dropped.
fn drop_payload(mut payload: Box<dyn Any + Send>) {
    for _ in 0..4 {
        match panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(worse) => payload = worse,
        }
    }
    mem::forget(payload);
}

/// Ends the wait of a worker for an event.
struct WakeWorker {
    runtime: Arc<RuntimeInner>,
    worker: usize,
    /// True once the event has given its signal, or is about to.
    is_over: AtomicBool,
}

impl Wake for WakeWorker {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Relaxed);
        self.runtime.driver.wake(self.worker);
    }
}

/// What a worker does while code of a user's waits for an event there: it keeps I/O moving, unless others do, so
/// that what it waits for can come about, even if it is the only worker.
struct KeepsMoving {
    waker: Waker,
}

/// Ends such a wait of a worker.
struct WakeDriver {
    runtime: Weak<RuntimeInner>,
    worker: usize,
}

impl Wake for WakeDriver {
    fn wake(self: Arc<Self>) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.driver.wake(self.worker);
        }
    }
}

impl BlockingWait for KeepsMoving {
    fn waker(&self) -> Option<Waker> {
        // In the driver's wait it is the pool that waits for an event; a thread that has left the pool just sleeps.
        let is_in_work = !IS_WAITING.get() && RuntimeInner::current().is_some();
        is_in_work.then(|| self.waker.clone())
    }

    fn block(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) {
        if let Some((home, me)) = RuntimeInner::current() {
            wait_inside(&*home, me, Inside::NestableIfNobodyElse, deadline, is_over);
        }
    }
}

impl Hooks for RuntimeInner {
    type Work = Work;

    fn pool(&self) -> &WorkerPool<Work> {
        &self.pool
    }

    fn enter(&self, worker: usize) {
        CURRENT_RUNTIME.with(|home| *home.borrow_mut() = self.me.clone());
        let waker = Waker::from(Arc::new(WakeDriver { runtime: self.me.clone(), worker }));
        set_blocking_wait(Some(Rc::new(KeepsMoving { waker })));
    }

    fn run(&self, work: Work) {
        self.run_one(work);
    }

    fn is_nestable(&self, work: &Work) -> bool {
        match work {
            Work::Wait(wait) => wait.context() == RunContext::InsideCallback,
            Work::Completed(_) | Work::Call(_) => false,
            #[cfg(feature = "testing")]
            Work::Done(_) => true,
            Work::Ready { .. }
            | Work::Turn { .. }
            | Work::Found(_)
            | Work::Fail(_)
            | Work::Due(_)
            | Work::Step(_) => true,
        }
    }

    fn run_inside(&self, work: Work) {
        match work {
            Work::Wait(wait) => {
                wait.run();
                self.is_over(self.worker(), OperationKind::RegisterWait, false);
            }
            Work::Step(Posted(step)) => {
                self.catch_panic(step);
                self.is_over(self.worker(), OperationKind::Post, false);
            }
            Work::Fail(failing) => failing.fail_one(self),
            #[cfg(feature = "testing")]
            Work::Done(operation) => operation.complete(self),
            Work::Due(timed) => self.is_due(timed),
            // As a part of what runs now: what is kept for later waits until that is over, and so
            // does what this completes, for which another worker may be free.
            Work::Ready { socket, report } => {
                self.post_completed(self.driver.run_report(&socket, report));
            }
            Work::Turn { socket, direction } => {
                self.post_completed(self.take_turn(socket, direction));
            }
            Work::Found(Posted(tell)) => tell(),
            Work::Completed(_) | Work::Call(_) => {
                unreachable!("a callback does not nest: {work:?}")
            }
        }
    }

    fn run_job(&self, worker: usize, look: impl FnOnce() -> bool) -> bool {
        self.running.begin(worker, Callback::JOB, self.clock.now());
        let has_run = look();
        self.running.end(worker);
        if has_run {
            let kind = Callback::JOB.kind;
            for point in [Point::Begun, Point::Completed, Point::Delivered] {
                self.counters.count(Some(worker), kind, point);
            }
        }
        has_run
    }

    fn job_panicked(&self, payload: Box<dyn Any + Send>) {
        self.callback_panicked(payload);
    }

    fn wait(&self, worker: usize, mut wait: Wait, found: &mut Vec<Work>) {
        // One that only looks comes back at once.
        let keeps_time = wait.alone && wait.timeout != Some(Duration::ZERO);
        if keeps_time {
            if let Some(first) = self.timer.keep(worker) {
                wait.timeout = Some(wait.timeout.map_or(first, |timeout| timeout.min(first)));
            }
        }
        IS_WAITING.set(true);
        self.driver.wait(worker, wait, found);
        IS_WAITING.set(false);
        #[cfg(feature = "testing")]
        if let Some(injector) = &self.injector {
            injector.reorder(found);
        }
        if keeps_time {
            self.timer.release(worker);
        }
        let due = self.timer.due();
        if !due.is_empty() {
            // A piece each, so that one which takes long does not keep the others from other workers.
            found.extend(due.into_iter().map(Work::Due));
        }
    }

    fn wake(&self, worker: usize) {
        self.driver.wake(worker);
    }

    fn take_over(&self, from: usize, to: usize) {
        self.driver.take_over(from, to);
    }

    fn abort(&self) {
        resolver::abort(self);
        registered_wait::abort(self);
        #[cfg(feature = "testing")]
        self.post_delayed();
        for socket in socket::sockets_of(self) {
            self.driver.stop(&socket, Aborted::ShutDown);
        }
    }
}
