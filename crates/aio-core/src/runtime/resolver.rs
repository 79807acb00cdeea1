//! Host names are looked up on the threads of the process (`process_threads.rs`), since the system can neither do
//! it without blocking nor be told to stop.
//!
//! A lookup is exempt from I7: its thread may be stuck in the system for as long as the system's configuration
//! says. No shutdown waits for it, and it holds nothing that a shutdown has to wait for.
//!
//! 1. A [`Lookup`] is entered in [`LOOKUPS`], then looked up by one thread, then taken out. It holds its
//!    operation's owner until the first of these takes the owner: a worker that has the answer, a cancel, the
//!    runtime's stop. So whatever happens the operation goes on, or completes, once (I1), and a cancel does
//!    not wait for the system (I9).
//! 2. A lookup is pushed once, and then runs or fails once (`process_threads.rs`, invariant 5).
//! 3. A runtime that stops says so, and then goes through its lookups in [`LOOKUPS`]. A lookup is entered there,
//!    and then looks whether its runtime has said so. Both take the lock, so one of the two sees the other.
//!    Until a worker takes it, the operation stays in its lookup. So no operation is in the hands of a thread
//!    of the process while its runtime ends.
//! 4. A lookup without an operation is one that nobody wants. It says so to the thread that is stuck with it, so
//!    that it keeps no other lookup waiting. The thread says which one it is before it looks whether the operation
//!    is still there; the one who takes the operation looks for the thread after that. Both are under the
//!    lookup's lock, so one of the two sees the other.

use crate::base::error::{Aborted, attempted, error_like};
use crate::base::operation_queue::Wish;
use crate::base::process_threads::{Job, Lane, PROCESS_THREADS, Ticket};
use crate::state::context::{Posted, RuntimeInner, Work};
use crate::state::in_flight::{Cancel, Owner, Part};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A name that is to be looked up for an operation.
pub(crate) struct Lookup {
    runtime: Arc<RuntimeInner>,
    name: String,
    port: u16,
    /// Blocks for as long as it likes.
    ask: Ask,
    go_on: GoOn,
    state: Mutex<State>,
}

/// How the addresses of a name are found: the system's way, but for tests.
type Ask = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// How the operation goes on.
type GoOn = fn(&Arc<RuntimeInner>, Owner, io::Result<Vec<SocketAddr>>);

#[derive(Default)]
struct State {
    operation: Option<Owner>,
    /// There while a thread looks the name up.
    under_way: Option<Ticket>,
}

/// The lookups that have no answer yet, by their identity.
static LOOKUPS: Mutex<BTreeMap<usize, Arc<Lookup>>> = Mutex::new(BTreeMap::new());

fn lookups() -> MutexGuard<'static, BTreeMap<usize, Arc<Lookup>>> {
    // Nothing that can panic runs under the lock.
    LOOKUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lookup {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the lookup apart from every other that exists.
    fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn give(&self, operation: Owner) {
        self.state().operation = Some(operation);
    }

    /// Takes the operation, of which this is a part no longer, and the ticket of the thread that looks its name up.
    fn take(&self) -> Option<(Owner, Option<Ticket>)> {
        let (operation, under_way) = {
            let mut state = self.state();
            (state.operation.take()?, state.under_way)
        };
        operation.leave_part();
        Some((operation, under_way))
    }

    /// False once nobody waits for the answer.
    fn is_wanted(&self) -> bool {
        self.state().operation.is_some()
    }

    fn abort(&self, reason: Aborted) {
        let Some((operation, under_way)) = self.take() else { return };
        if let Some(ticket) = under_way {
            ticket.no_longer_counts();
        }
        if reason == Aborted::ShutDown {
            self.runtime.note_interrupted(&operation, None);
        }
        operation.fail(&self.runtime, reason.into());
    }

    /// The name has been looked up, or cannot be: has a worker tell its operation.
    fn found(self: &Arc<Self>, addresses: io::Result<Vec<SocketAddr>>) {
        if self.is_wanted() {
            let lookup = self.clone();
            self.runtime.post(Work::Found(Posted(Box::new(move || lookup.tell(addresses)))));
        }
        self.is_over();
    }

    /// A worker is here to tell the operation.
    fn tell(&self, addresses: io::Result<Vec<SocketAddr>>) {
        if let Some((operation, _)) = self.take() {
            (self.go_on)(&self.runtime, operation, addresses);
        }
    }

    fn is_over(&self) {
        let lookup = lookups().remove(&self.identity());
        // Not under the lock (I8).
        drop(lookup);
    }
}

impl Cancel for Lookup {
    fn cancel(&self, wish: Wish) {
        self.abort(wish.into());
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Job for Arc<Lookup> {
    fn run(self: Box<Self>, ticket: Ticket) {
        self.state().under_way = Some(ticket);
        if self.is_wanted() {
            let addresses = (self.ask)(&self.name, self.port);
            self.found(addresses.map_err(|error| attempted("look up the name", error)));
        } else {
            self.is_over();
        }
    }

    fn fail(self: Box<Self>, error: &io::Error) {
        let what = "start a thread to look up a host name";
        self.found(Err(attempted(what, error_like(error))));
    }
}

/// Looks `name` up; then `operation` goes on by `go_on`. The lookup is a part of it.
pub(crate) fn look_up(
    runtime: &Arc<RuntimeInner>,
    name: &str,
    port: u16,
    operation: Owner,
    go_on: GoOn,
) {
    let ask: Ask = |name, port| (name, port).to_socket_addrs().map(Iterator::collect);
    look_up_by(runtime, name, port, operation, go_on, ask);
}

fn look_up_by(
    runtime: &Arc<RuntimeInner>,
    name: &str,
    port: u16,
    operation: Owner,
    go_on: GoOn,
    ask: Ask,
) {
    if runtime.is_stopping() {
        operation.fail(runtime, Aborted::ShutDown.into());
        return;
    }
    if name.is_empty() {
        // The system would take it for this machine, or say that it does not know such a name.
        let error = io::Error::new(io::ErrorKind::InvalidInput, "the host is missing");
        go_on(runtime, operation, Err(error));
        return;
    }
    let lookup = Arc::new(Lookup {
        runtime: runtime.clone(),
        name: name.to_owned(),
        port,
        ask,
        go_on,
        state: Mutex::default(),
    });
    let handle = operation.handle();
    lookup.give(operation);
    if let Some(wish) = handle.enter(Part::LookUp(lookup.clone())) {
        lookup.cancel(wish);
        return;
    }
    lookups().insert(lookup.identity(), lookup.clone());
    if runtime.is_stopping() {
        // A shutdown that looked before the lookup was entered has passed it by.
        lookup.abort(Aborted::ShutDown);
        lookup.is_over();
        return;
    }
    PROCESS_THREADS.push(Lane::LookUp, Box::new(lookup));
}

/// Aborts what is being looked up for `runtime`, which is stopping.
pub(crate) fn abort(runtime: &RuntimeInner) {
    let of_runtime = |lookup: &&Arc<Lookup>| std::ptr::eq(&*lookup.runtime, runtime);
    let lookups: Vec<_> = lookups().values().filter(of_runtime).cloned().collect();
    for lookup in lookups {
        lookup.abort(Aborted::ShutDown);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::state::body::{self, Pending};
    use crate::{Runtime, is_aborted, op};
    use std::sync::Condvar;
    use std::thread;
    use std::time::{Duration, Instant};

    /// True once the servers that were silent answer.
    static ANSWER: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    /// Lets the lookups of this test end with it.
    struct Answers;

    impl Drop for Answers {
        fn drop(&mut self) {
            *ANSWER.0.lock().unwrap() = true;
            ANSWER.1.notify_all();
        }
    }

    /// `silent` has a server that does not answer.
    fn ask(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if name == "silent" {
            drop(ANSWER.1.wait_while(ANSWER.0.lock().unwrap(), |answer| !*answer).unwrap());
        }
        Ok(vec![SocketAddr::from(([192, 0, 2, 1], port))])
    }

    fn start(runtime: &Runtime, name: &str, timeout: Option<Duration>) -> Pending<op::LookUp> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let (operation, pending) = body::start(None, deadline, op::LookUp::new());
        let socket = runtime.tcp_v4().unwrap();
        let inner = socket.runtime_inner();
        let operation = inner.admit(operation, false).unwrap();
        look_up_by(inner, name, 7, operation, op::LookUp::found, ask);
        pending
    }

    /// Waits until threads are stuck with four that are wanted.
    fn are_under_way(runtime: &Runtime) {
        let is_one = |lookup: &&Arc<Lookup>| {
            let state = lookup.state();
            let is_stuck = state.operation.is_some() && state.under_way.is_some();
            is_stuck && std::ptr::eq(&*lookup.runtime, runtime.inner())
        };
        while lookups().values().filter(is_one).count() < 4 {
            thread::yield_now();
        }
    }

    fn error(mut pending: Pending<op::LookUp>) -> io::Error {
        pending.handle().wait(None);
        pending.take().unwrap().result.unwrap_err()
    }

    /// Whether they were canceled, too late, or their runtime has ended; and in the end also if they are wanted.
    #[test]
    fn lookups_that_are_stuck_hold_up_no_other() {
        let _answers = Answers;
        let [runtime, other] = [(); 2].map(|()| Runtime::builder().workers(1).build().unwrap());
        let is_served = || {
            let mut pending = start(&other, "quick", None);
            pending.handle().wait(None);
            assert_eq!(pending.take().unwrap().result.unwrap()[0].port(), 7);
        };
        is_served();

        let canceled: Vec<_> = (0..4).map(|_| start(&runtime, "silent", None)).collect();
        are_under_way(&runtime);
        thread::scope(|scope| {
            for pending in &canceled {
                scope.spawn(|| pending.handle().cancel(Wish::Cancel));
            }
        });
        is_served();
        assert!(canceled.into_iter().map(error).all(|error| is_aborted(&error)));

        let soon = Some(Duration::from_millis(20));
        let late: Vec<_> = (0..4).map(|_| start(&runtime, "silent", soon)).collect();
        for error in late.into_iter().map(error) {
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        is_served();

        let aborted: Vec<_> = (0..4).map(|_| start(&runtime, "silent", None)).collect();
        are_under_way(&runtime);
        assert_eq!(runtime.abort().interrupted.len(), 4);
        is_served();
        assert!(aborted.into_iter().map(error).all(|error| is_aborted(&error)));

        // These are wanted, and lose their place when they have been at it for long.
        let wanted: Vec<_> = (0..4).map(|_| start(&other, "silent", None)).collect();
        are_under_way(&other);
        is_served();
        wanted.iter().for_each(|pending| pending.handle().cancel(Wish::Cancel));
    }
}
