//! Registered waits: a callback on a worker when an event is set, or when it has not been for some time.
//! They hold no thread.
//!
//! ```text
//!           armed                 the event, or the time
//!   ┌──────┐ ──────▶ ┌───────┐ ─────────────────────────▶ ┌────────┐
//!   │ Held │         │ Armed │                            │ Posted │
//!   └──────┘ ◀───────└───────┘────────────────────────────└────────┘
//!       │     a worker is here, to run the callback and arm the wait again
//!       └──▶ Ended: once, or unregistered, or the runtime stops; also from Armed
//! ```
//!
//! 1. The phase changes under the wait's lock. In *Armed* and *Posted* the registration and the callback
//!    are under the lock; in *Held* one thread has them: the one that registers, then a worker. So the
//!    callback never overlaps itself, and the lock is not held while anything of the user's runs or
//!    is dropped (I8).
//! 2. Whichever of event and time comes first takes the wait from *Armed* to *Posted*; the other finds
//!    it not armed. If that happens while the thread in *Held* is still arming it, it is noted. A signal
//!    that the event hands over after the time was over is seen by the worker, which takes the
//!    registration back: the callback is then told of the signal (no signal is lost to a timeout).
//! 3. What is posted is run, even if it is unregistered meanwhile: the signal has been taken.
//!    What is unregistered in *Armed* drops its registration, which passes on a signal it was handed.
//! 4. A signal of an earlier round may wake late, when the time has ended that round and the worker has
//!    found the signal. The worker that comes for it finds neither event nor time, and arms the wait
//!    again for what is left of the time.
//! 5. The runtime holds every wait that has not ended, and a stopping one unregisters them. One that
//!    it does not find, or finds held, looks for that itself once it is armed.

use crate::base::kind::OperationKind;
use crate::base::sync::{Mutex, MutexGuard};
use crate::state::context::{Registered, RunContext, RuntimeInner, Timed, Waits, Work};
use aio_sync::{ManualResetEvent, Registration, WaitHandle};
use std::collections::HashMap;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// Everything of a wait that has its place under the lock.
struct State<H: WaitHandle, F> {
    phase: Phase,
    /// There exactly in *Armed* and *Posted*.
    parts: Option<Parts<H, F>>,
    /// The event or the time has come while the wait was being armed.
    fired: bool,
    /// Arming it took the signal of an event that was set.
    signaled: bool,
    unregistered: bool,
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Held,
    Armed,
    Posted,
    Ended,
}

struct Parts<H: WaitHandle, F> {
    registration: Pin<Box<Registration<H>>>,
    callback: F,
}

/// What a wait needs of its runtime.
pub(crate) trait Home: Send + Sync + 'static {
    fn waits(&self) -> &Waits;

    /// True once the runtime stops: no wait is armed any more.
    fn is_stopping(&self) -> bool;

    /// Has a worker run `wait`.
    fn post(&self, wait: Arc<dyn Registered>);

    /// Has `wait` told that its time is over.
    fn watch(&self, deadline: Instant, identity: usize, wait: Arc<dyn Registered>);

    /// It is not to be told any more.
    fn forget(&self, deadline: Instant, identity: usize);

    fn has_come(&self, deadline: Instant) -> bool;

    /// Runs code of a user's.
    fn catch_panic(&self, theirs: impl FnOnce());
}

impl Home for RuntimeInner {
    fn waits(&self) -> &Waits {
        &self.waits
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping()
    }

    fn post(&self, wait: Arc<dyn Registered>) {
        self.has_fired(OperationKind::RegisterWait);
        self.post(Work::Wait(wait));
    }

    fn watch(&self, deadline: Instant, identity: usize, wait: Arc<dyn Registered>) {
        self.watch(deadline, identity, Timed::Wait(wait));
    }

    fn forget(&self, deadline: Instant, identity: usize) {
        self.timer.remove(deadline, identity);
    }

    fn has_come(&self, deadline: Instant) -> bool {
        deadline <= Instant::now()
    }

    fn catch_panic(&self, theirs: impl FnOnce()) {
        self.catch_panic(theirs);
    }
}

struct EventWait<R, H: WaitHandle, F> {
    runtime: Arc<R>,
    timeout: Option<Duration>,
    once: bool,
    context: RunContext,
    state: Mutex<State<H, F>>,
    ended: ManualResetEvent,
}

/// Registers a wait: see [`RuntimeHandle::register_wait`](crate::RuntimeHandle::register_wait).
pub(crate) fn register<R, H, F>(
    runtime: &Arc<R>,
    handle: H,
    timeout: Option<Duration>,
    once: bool,
    context: RunContext,
    callback: F,
) -> Arc<dyn Registered>
where
    R: Home,
    H: WaitHandle + Send + 'static,
    F: FnMut(bool) + Send + 'static,
{
    let wait = Arc::new(EventWait {
        runtime: runtime.clone(),
        timeout,
        once,
        context,
        state: Mutex::new(State {
            phase: Phase::Held,
            parts: None,
            fired: false,
            signaled: false,
            unregistered: false,
            deadline: None,
        }),
        ended: ManualResetEvent::new(false),
    });
    waits(&**runtime).insert(wait.identity(), wait.clone());
    let registration = Box::pin(Registration::new(handle));
    wait.clone().arm(Parts { registration, callback });
    wait
}

/// Unregisters the waits of `runtime`, which is stopping.
pub(crate) fn abort(runtime: &impl Home) {
    let all: Vec<_> = waits(runtime).values().cloned().collect();
    for wait in all {
        wait.unregister();
    }
}

fn waits(runtime: &impl Home) -> MutexGuard<'_, HashMap<usize, Arc<dyn Registered>>> {
    // Nothing that can panic runs under the lock.
    runtime.waits().lock().unwrap_or_else(PoisonError::into_inner)
}

impl<R, H, F> EventWait<R, H, F>
where
    R: Home,
    H: WaitHandle + Send + 'static,
    F: FnMut(bool) + Send + 'static,
{
    fn state(&self) -> MutexGuard<'_, State<H, F>> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the wait apart from every other that has not ended.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Takes the wait from *Held* to *Armed*, or further, for a new round.
    fn arm(self: Arc<Self>, parts: Parts<H, F>) {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.arm_until(deadline, parts);
    }

    fn arm_until(self: Arc<Self>, deadline: Option<Instant>, mut parts: Parts<H, F>) {
        if self.runtime.is_stopping() {
            // Registering would take the signal of an event that is set.
            self.end_held(parts);
            return;
        }
        {
            let mut state = self.state();
            (state.fired, state.deadline) = (false, deadline);
        }
        if let Some(deadline) = deadline {
            self.runtime.watch(deadline, self.identity(), self.clone());
        }
        // The handle is the user's, and may panic when it is asked for its event: then the wait is over.
        let mut registered = None;
        self.runtime.catch_panic(|| {
            let waker = Waker::from(self.clone());
            registered = Some(parts.registration.as_mut().register(waker));
        });
        let mut state = self.state();
        state.signaled = registered == Some(false);
        state.unregistered |= registered.is_none();
        state.parts = Some(parts);
        state.phase = Phase::Armed;
        if registered.is_some() && (state.signaled || state.fired) {
            self.post(state);
        } else if state.unregistered || self.runtime.is_stopping() {
            self.end(state);
        }
    }

    /// The event or the time has come.
    fn fire(self: &Arc<Self>, mut state: MutexGuard<'_, State<H, F>>) {
        match state.phase {
            Phase::Held => state.fired = true,
            Phase::Armed => self.post(state),
            Phase::Posted | Phase::Ended => {}
        }
    }

    /// Takes the wait from *Armed* to *Posted*.
    fn post(self: &Arc<Self>, mut state: MutexGuard<'_, State<H, F>>) {
        state.phase = Phase::Posted;
        drop(state);
        self.runtime.post(self.clone());
    }

    /// Takes the wait from *Armed* to *Ended*.
    fn end(&self, mut state: MutexGuard<'_, State<H, F>>) {
        state.phase = Phase::Ended;
        let (parts, deadline) = (state.parts.take(), state.deadline.take());
        drop(state);
        self.forget_deadline(deadline);
        self.let_go(parts);
    }

    /// Takes the wait from *Held* to *Ended*.
    fn end_held(&self, parts: Parts<H, F>) {
        self.state().phase = Phase::Ended;
        self.let_go(Some(parts));
    }

    fn forget_deadline(&self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.runtime.forget(deadline, self.identity());
        }
    }

    /// The wait has ended.
    fn let_go(&self, parts: Option<Parts<H, F>>) {
        self.runtime.catch_panic(|| drop(parts));
        let wait = waits(&*self.runtime).remove(&self.identity());
        // Not under the lock.
        drop(wait);
        self.runtime.catch_panic(|| {
            self.ended.set();
        });
    }
}

impl<R, H, F> Registered for EventWait<R, H, F>
where
    R: Home,
    H: WaitHandle + Send + 'static,
    F: FnMut(bool) + Send + 'static,
{
    fn time_out(self: Arc<Self>) {
        let state = self.state();
        // The time of an earlier round may be told late.
        if state.deadline.is_some_and(|deadline| self.runtime.has_come(deadline)) {
            self.fire(state);
        }
    }

    fn context(&self) -> RunContext {
        self.context
    }

    fn run(self: Arc<Self>) {
        let (mut parts, deadline, signaled) = {
            let mut state = self.state();
            state.phase = Phase::Held;
            let Some(parts) = state.parts.take() else {
                unreachable!("a wait that is posted has its parts");
            };
            (parts, state.deadline.take(), state.signaled)
        };
        self.forget_deadline(deadline);
        // Not one after the other: a signal that was handed over must be taken.
        let signaled = parts.registration.as_mut().take_back() | signaled;
        if !signaled && deadline.is_none_or(|deadline| !self.runtime.has_come(deadline)) {
            self.arm_until(deadline, parts);
            return;
        }
        self.runtime.catch_panic(|| (parts.callback)(!signaled));
        if self.once || self.state().unregistered {
            self.end_held(parts);
        } else {
            self.arm(parts);
        }
    }

    fn unregister(&self) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Ended || mem::replace(&mut state.unregistered, true) {
            return false;
        }
        if state.phase == Phase::Armed {
            self.end(state);
        }
        true
    }

    fn ended(&self) -> &ManualResetEvent {
        &self.ended
    }
}

impl<R, H, F> Wake for EventWait<R, H, F>
where
    R: Home,
    H: WaitHandle + Send + 'static,
    F: FnMut(bool) + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        self.fire(self.state());
    }
}

impl<R, H: WaitHandle, F> fmt::Debug for EventWait<R, H, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventWait")
            .field("timeout", &self.timeout)
            .field("once", &self.once)
            .field("ended", &self.ended.is_set())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
mod models;
