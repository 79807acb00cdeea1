//! A call under way. Each of the client's calls is written once, as an async function; here are the
//! three ways to go through it: blocking, with a callback, and as an [`Operation`](crate::Operation).
//!
//! ```text
//!            poll                    output                  taken
//! ┌─────────┐ ───▶ ┌─────────┐ ─────────────────▶ ┌──────┐ ────────▶ ┌──────┐
//! │ Waiting │      │ Polling │                    │ Over │           │ Over │
//! └─────────┘ ◀─── └─────────┘                    └──────┘           └──────┘
//!            pending                              Some(…)             None
//! ```
//!
//! 1. The thread that takes a task from *Waiting* to *Polling* has its future to itself, and no lock.
//! 2. A wake-up is noted under the lock (`is_awake`) until the next poll begins. Whoever notes it in
//!    *Waiting*, or comes back from a poll and finds it noted, hands the task on: to the threads
//!    that block in [`wait`](Task::wait), if there are any, else to a worker, as a step. So none is lost, and a
//!    task is with one worker at most.
//! 3. A thread that blocks so goes through the call itself. It keeps the deadline itself, too. That, and that
//!    steps run inside a callback that waits, is why a blocking call gets on in a callback that holds the
//!    only worker, and so do the calls that are in its way. A call that tells its progress is no step: whom it
//!    tells is a callback of the user's, which must not be nested in another one.
//! 4. Outcome, then turn, then event, then callback. The callback is posted to a worker: it never runs inside
//!    begin and never nested in another one. What a receive has won keeps the [turn](Won::turn) from other
//!    receives until the outcome stands, so that none of them finds the stream without the message while nobody
//!    can give it back.
//! 5. A call is ended early, by a cancel or by its deadline, through the event of its [`Call`], which
//!    its future waits for beside whatever else; it is never dropped. So it ends as it likes: with what
//!    it has won meanwhile, or having taken nothing.
//! 6. An outcome is taken once, by the one [`Pending`] of the call, or goes to its callback. If the caller drops
//!    the call instead, the outcome is dropped: by the caller if it stands, else by the thread that completes the
//!    call, which finds `is_abandoned` under the lock. What is won gives itself back when it is dropped.
//! 7. No code of others runs under the lock: the callback, and what an executor does when its waker is
//!    cloned, woken or dropped (I8).

use crate::deadline::Deadline;
use crate::error::Error;
use aio_core::{Completion, Operation, RegisteredWait, RuntimeHandle, op};
use aio_sync::{AutoResetEvent, EventRef, ManualResetEvent, WaitHandle};
use std::fmt;
use std::future::{self, Future};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Where a call may be gone on with, when it is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On a worker, also inside a callback that waits.
    InsideCallback,
    /// On a worker that is in no callback, since one of the user's runs there.
    OnWorker,
}

/// What a call goes by while it is under way.
pub(crate) struct Call {
    pub(crate) deadline: Deadline,
    /// `None` if there is no runtime; then the call has failed at once.
    runtime: Option<RuntimeHandle>,
    place: Place,
    /// Why the call shall end early: 0, or an [`Interrupt`], the first that came.
    interrupt: AtomicU8,
    /// Set after that.
    interrupted: ManualResetEvent,
}

/// Why a call shall end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interrupt {
    Cancel = 1,
    TimeOut = 2,
}

/// Why a call has canceled its operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The call is to end early.
    Interrupt,
    /// What the call waits for beside the operation has come.
    Other,
}

impl Call {
    pub(crate) fn interrupt(&self, why: Interrupt) {
        let order = Ordering::Relaxed;
        let _ = self.interrupt.compare_exchange(0, why as u8, order, order);
        self.interrupted.set();
    }

    pub(crate) fn is_canceled(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed) == Interrupt::Cancel as u8
    }

    /// Has the call interrupted when its time is over, until the guard is dropped.
    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        let (Some(_), Some(runtime)) = (self.deadline.at(), &self.runtime) else {
            return Watch { wait: None };
        };
        let call = self.clone();
        let wait = runtime.register_wait_step(
            Interrupted(self.clone()),
            Some(self.deadline.remaining()),
            true,
            move |timed_out| {
                if timed_out {
                    call.interrupt(Interrupt::TimeOut);
                }
            },
        );
        Watch { wait: Some(wait) }
    }

    /// Is ready when the call is interrupted.
    pub(crate) fn interrupted(&self) -> impl Future<Output = ()> + '_ {
        self.interrupted.event().wait()
    }

    /// Awaits an operation, and cancels it if the call is interrupted, or if `other` comes first. Also returns
    /// why it did, if it did.
    pub(crate) async fn outcome<K: op::Kind>(
        &self,
        mut operation: Pin<&mut Operation<K>>,
        mut other: Pin<&mut impl Future<Output = ()>>,
    ) -> (Completion<K>, Option<Cause>) {
        let mut interrupted = pin!(self.interrupted());
        let mut canceled_for = None;
        let completion = future::poll_fn(|context| {
            if let Poll::Ready(completion) = operation.as_mut().poll(context) {
                return Poll::Ready(completion);
            }
            if canceled_for.is_some() {
                return Poll::Pending;
            }
            canceled_for = if interrupted.as_mut().poll(context).is_ready() {
                Some(Cause::Interrupt)
            } else if other.as_mut().poll(context).is_ready() {
                Some(Cause::Other)
            } else {
                return Poll::Pending;
            };
            operation.cancel();
            operation.as_mut().poll(context)
        });
        (completion.await, canceled_for)
    }

    fn post(&self, callback: impl FnOnce() + Send + 'static) {
        match &self.runtime {
            Some(runtime) => runtime.post(callback),
            // No runtime, no worker; and if there is no thread either, there is nobody to tell.
            None => drop(thread::Builder::new().spawn(callback)),
        }
    }

    /// As [`post`](Self::post); if a callback holds the only worker and waits, inside that, unless a callback
    /// of the user's would run there.
    fn post_step(&self, step: impl FnOnce() + Send + 'static) {
        match &self.runtime {
            Some(runtime) if self.place == Place::InsideCallback => runtime.post_step(step),
            _ => self.post(step),
        }
    }

    /// Waits as [`RuntimeHandle::wait_for`] does.
    fn wait_for(&self, event: EventRef<'_>, timeout: Duration) -> bool {
        match &self.runtime {
            Some(runtime) => runtime.wait_for(&event, timeout),
            None => event.wait_timeout(timeout),
        }
    }
}

/// The event of a call's interruption.
struct Interrupted(Arc<Call>);

impl WaitHandle for Interrupted {
    fn event(&self) -> EventRef<'_> {
        self.0.interrupted.event()
    }
}

/// Watches the time of a call until it is dropped.
pub(crate) struct Watch {
    wait: Option<RegisteredWait>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(wait) = &self.wait {
            // If it fires all the same, the time was over.
            let _ = wait.unregister();
        }
    }
}

/// Lets others have the worker: pending once.
pub(crate) async fn yield_once() {
    let mut has_yielded = false;
    future::poll_fn(|context| {
        if mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A call of whatever output, as its handles see it.
pub(crate) trait Started: Send + Sync {
    fn call(&self) -> &Call;

    /// Set when the call is over.
    fn completed(&self) -> &ManualResetEvent;

    /// Blocks until the call is over or `timeout` has passed; true if it is over.
    fn wait(self: Arc<Self>, timeout: Duration) -> bool;
}

/// A call, as the one caller sees it that takes its outcome.
pub(crate) trait Pending<O>: Started {
    /// Returns the outcome when the call is over, once.
    fn take(&self) -> Option<Result<O, Error>>;

    /// Returns the outcome when the call is over, once; until then the waker is kept for that moment.
    fn poll_outcome(&self, waker: &Waker) -> Poll<Option<Result<O, Error>>>;

    /// Has the outcome dropped, now or when it stands: the caller will not take it.
    fn abandon(&self);
}

/// What a call that succeeds has won, before its caller has it. Where that was taken from somewhere, dropping
/// it gives it back.
pub(crate) trait Won: Send + 'static {
    /// What other calls wait for.
    type Turn;

    /// Takes the turn away, which is dropped when the outcome stands.
    fn turn(&mut self) -> Option<Self::Turn>;
}

impl Won for () {
    type Turn = ();

    fn turn(&mut self) -> Option<()> {
        None
    }
}

/// A call that wins a `T`.
pub(crate) struct Task<T> {
    call: Arc<Call>,
    state: Mutex<State<T>>,
    completed: ManualResetEvent,
    /// Signaled when one of the threads that wait is to go through the call.
    handed_on: AutoResetEvent,
}

/// Gets the outcome of a call, and the call, to make a handle of.
pub(crate) type Then<T> = Box<dyn FnOnce(Arc<Task<T>>, Result<T, Error>) + Send>;

struct State<T> {
    phase: Phase<T>,
    /// True from a wake-up until the next poll begins.
    is_awake: bool,
    /// How many threads block in [`Task::wait`].
    waiting: usize,
    /// Of the task that awaits the outcome, if one does.
    waker: Option<Waker>,
    /// Gets the outcome, if it is not to be taken.
    then: Option<Then<T>>,
    /// True once the caller has dropped the call: nobody takes the outcome.
    is_abandoned: bool,
}

enum Phase<T> {
    Waiting(Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>),
    Polling,
    Over(Option<Result<T, Error>>),
}

impl<T: Won> Task<T> {
    /// Starts a call, and goes through it up to where it has to wait.
    pub(crate) fn start<F>(
        runtime: RuntimeHandle,
        deadline: Deadline,
        place: Place,
        future: impl FnOnce(Arc<Call>) -> F,
        then: Option<Then<T>>,
    ) -> Arc<Self>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let call = Call::new(Some(runtime), deadline, place);
        let task = Self::new(call.clone(), Phase::Waiting(Box::pin(future(call))), then);
        task.poll();
        task
    }

    /// Makes a call that is over, since there is no runtime for it.
    pub(crate) fn failed(error: Error, then: Option<Then<T>>) -> Arc<Self> {
        let call = Call::new(None, Deadline::after(Duration::MAX), Place::OnWorker);
        let task = Self::new(call, Phase::Polling, then);
        task.complete(Err(error));
        task
    }

    fn new(call: Arc<Call>, phase: Phase<T>, then: Option<Then<T>>) -> Arc<Self> {
        let (is_awake, is_abandoned) = (false, false);
        let state = State { phase, is_awake, waiting: 0, waker: None, then, is_abandoned };
        Arc::new(Self {
            call,
            state: Mutex::new(state),
            completed: ManualResetEvent::new(false),
            handed_on: AutoResetEvent::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes on with the call, if nobody does and it is not over.
    fn poll(self: &Arc<Self>) {
        let mut future = {
            let mut state = self.state();
            match mem::replace(&mut state.phase, Phase::Polling) {
                Phase::Waiting(future) => {
                    state.is_awake = false;
                    future
                }
                other => {
                    state.phase = other;
                    return;
                }
            }
        };
        let waker = Waker::from(self.clone());
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                let mut state = self.state();
                state.phase = Phase::Waiting(future);
                if state.is_awake {
                    self.hand_on(state);
                }
            }
            Poll::Ready(outcome) => {
                drop(future);
                self.complete(outcome);
            }
        }
    }

    /// Somebody shall go on with the call.
    fn hand_on(self: &Arc<Self>, state: MutexGuard<'_, State<T>>) {
        let is_awaited = state.waiting > 0;
        drop(state);
        if is_awaited {
            self.handed_on.set();
        } else {
            let task = self.clone();
            self.call.post_step(move || task.poll());
        }
    }

    fn complete(self: &Arc<Self>, mut outcome: Result<T, Error>) {
        let turn = outcome.as_mut().ok().and_then(T::turn);
        let mut outcome = Some(outcome);
        let mut state = self.state();
        let (waker, then) = (state.waker.take(), state.then.take());
        let is_to_be_taken = then.is_none() && !state.is_abandoned;
        state.phase = Phase::Over(if is_to_be_taken { outcome.take() } else { None });
        drop(state);
        // Drops an outcome that nobody takes, before another call has the turn.
        let then = then.zip(outcome);
        drop(turn);
        self.completed.set();
        self.handed_on.set();
        if let Some(waker) = waker {
            waker.wake();
        }
        if let Some((then, outcome)) = then {
            let task = self.clone();
            self.call.post(move || then(task, outcome));
        }
    }

    /// Goes through the call until it is over or `until` has come.
    fn go_through(self: &Arc<Self>, until: Option<Instant>) {
        let mut deadline = self.call.deadline.at();
        loop {
            if self.state().is_awake {
                self.poll();
            }
            if self.completed.is_set() {
                return;
            }
            let next = [until, deadline].into_iter().flatten().min();
            let timeout =
                next.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            if self.call.wait_for(self.handed_on.event(), timeout) {
                continue;
            }
            if deadline.is_some_and(|at| at <= Instant::now()) {
                // A timer of the runtime would do it, too, if there is a worker to run it.
                deadline = None;
                self.call.interrupt(Interrupt::TimeOut);
            } else if until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
        }
    }

    /// A thread that was waiting does so no more.
    fn leave(self: &Arc<Self>) {
        let mut state = self.state();
        state.waiting -= 1;
        if state.waiting > 0 {
            // This thread may have taken the signal that was meant for another.
            drop(state);
            self.handed_on.set();
        } else if state.is_awake && matches!(state.phase, Phase::Waiting(_)) {
            self.hand_on(state);
        }
    }
}

impl<T: Won + Into<O>, O> Pending<O> for Task<T> {
    fn take(&self) -> Option<Result<O, Error>> {
        let outcome = self.state().phase.take_outcome()?;
        outcome.map(|outcome| outcome.map(T::into))
    }

    fn poll_outcome(&self, waker: &Waker) -> Poll<Option<Result<O, Error>>> {
        let mut cloned = None;
        loop {
            let mut state = self.state();
            if let Some(outcome) = state.phase.take_outcome() {
                drop(state);
                return Poll::Ready(outcome.map(|outcome| outcome.map(T::into)));
            }
            if state.waker.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
                drop(state);
                return Poll::Pending;
            }
            if let Some(cloned) = cloned.take() {
                let before = state.waker.replace(cloned);
                drop(state);
                drop(before);
                return Poll::Pending;
            }
            drop(state);
            cloned = Some(waker.clone());
        }
    }

    fn abandon(&self) {
        let mut state = self.state();
        state.is_abandoned = true;
        let waker = state.waker.take();
        let outcome = state.phase.take_outcome();
        drop(state);
        drop((outcome, waker));
    }
}

impl<T> Phase<T> {
    /// `None` until the call is over; then the outcome, if it is there.
    fn take_outcome(&mut self) -> Option<Option<Result<T, Error>>> {
        match self {
            Self::Over(outcome) => Some(outcome.take()),
            Self::Waiting(_) | Self::Polling => None,
        }
    }
}

impl<T: Won> Started for Task<T> {
    fn call(&self) -> &Call {
        &self.call
    }

    fn completed(&self) -> &ManualResetEvent {
        &self.completed
    }

    fn wait(self: Arc<Self>, timeout: Duration) -> bool {
        if !self.completed.is_set() {
            self.state().waiting += 1;
            self.go_through(Instant::now().checked_add(timeout));
            self.leave();
        }
        self.completed.is_set()
    }
}

impl<T: Won> Wake for Task<T> {
    fn wake(self: Arc<Self>) {
        let mut state = self.state();
        let is_first = !mem::replace(&mut state.is_awake, true);
        if is_first && matches!(state.phase, Phase::Waiting(_)) {
            self.hand_on(state);
        }
    }
}

impl Call {
    fn new(runtime: Option<RuntimeHandle>, deadline: Deadline, place: Place) -> Arc<Self> {
        Arc::new(Self {
            deadline,
            runtime,
            place,
            interrupt: AtomicU8::new(0),
            interrupted: ManualResetEvent::new(false),
        })
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("is_completed", &self.completed.is_set())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Attempt, ErrorKind};
    use aio_core::Runtime;
    use std::sync::mpsc;

    const LIMIT: Duration = Duration::from_secs(30);

    fn task(runtime: &Runtime, future: impl Future<Output = ()> + Send + 'static) -> Arc<Task<()>> {
        let deadline = Deadline::after(Duration::MAX);
        let call = |_| async {
            future.await;
            Ok(())
        };
        Task::start(runtime.handle(), deadline, Place::InsideCallback, call, None)
    }

    /// Invariant 2.
    #[test]
    fn a_wake_up_during_a_poll_is_not_lost() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let waited_for = task(&runtime, async {
            for _ in 0..100 {
                yield_once().await;
            }
        });
        assert!(waited_for.clone().wait(LIMIT));
        let left_alone = task(&runtime, yield_once());
        assert!(left_alone.completed().wait_timeout(LIMIT), "a worker goes on with it");
    }

    /// Invariant 2: a thread that stops waiting hands on what it was to do.
    #[test]
    fn a_task_that_is_woken_when_its_waiter_leaves_goes_on() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let event = Arc::new(ManualResetEvent::new(false));
        let future = {
            let event = event.clone();
            async move { event.event().wait().await }
        };
        let task = task(&runtime, future);
        // As a thread does whose time is over at the moment when the task is woken.
        task.state().waiting += 1;
        event.set();
        task.leave();
        assert!(task.completed().wait_timeout(LIMIT));
    }

    #[test]
    fn a_call_without_a_runtime_is_over_and_its_callback_runs_on_a_thread_of_its_own() {
        let (sender, receiver) = mpsc::channel();
        let here = thread::current().id();
        let then: Then<()> = Box::new(move |task, outcome| {
            let elsewhere = thread::current().id() != here;
            let kind = outcome.unwrap_err().kind();
            sender.send((task.completed().is_set(), elsewhere, kind)).unwrap();
        });
        let error = Error::new(ErrorKind::Connect, Attempt::Connect, "somebody", "no threads");
        let task = Task::failed(error, Some(then));
        assert!(task.wait(Duration::ZERO));
        assert_eq!(receiver.recv_timeout(LIMIT).unwrap(), (true, true, ErrorKind::Connect));
    }
}
