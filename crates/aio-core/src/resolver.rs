//! Host names are looked up on threads of their own, since the system can neither do it without
//! blocking nor be told to stop.
//!
//! The threads serve the whole process: a few at most ([`MOST_THREADS`]), started when somebody asks and
//! none is free, gone after a while without work. They are exempt from I7, since they may be stuck in
//! the system for as long as its configuration says: no shutdown waits for them, and they hold nothing
//! that it has to wait for.
//!
//! 1. A [`Lookup`] is queued, then looked up by one thread, then forgotten. It holds its operation's
//!    owner until the first of these takes it: the name has been looked up, the operation is canceled,
//!    its runtime stops. So whatever happens the operation goes on, or completes, once (I1), and a
//!    cancel does not wait for the system (I9).
//! 2. Under the one lock, after a lookup was queued there are as many idle threads as lookups in the queue,
//!    or a thread is being started, or there are as many as there may be. A thread that comes back
//!    from its wait, for whatever reason, looks at the queue before it leaves. So for every lookup a
//!    thread comes, or the last that could not be started takes the blame for all.
//! 3. A runtime that stops looks for its lookups after it has said so, and a lookup that is queued looks
//!    whether its runtime has said so after it has been queued, both under the lock: one of the two
//!    sees the other. Until a worker takes it, the operation stays in its lookup. So no operation is in
//!    the hands of a thread of ours while its runtime ends, to complete too late and not on a worker.

use crate::error::{Aborted, attempted, error_like};
use crate::in_flight::{Owner, Wish};
use crate::op;
use crate::runtime::{RuntimeInner, Work};
use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// As many names that take long can keep others waiting.
const MOST_THREADS: usize = 4;

/// For how long a thread without work stays.
const IDLE: Duration = Duration::from_secs(10);

/// A name that is to be looked up for an operation.
#[derive(Debug)]
pub(crate) struct Lookup {
    runtime: Arc<RuntimeInner>,
    name: String,
    port: u16,
    operation: Mutex<Option<Owner>>,
}

impl Lookup {
    pub(crate) fn runtime(&self) -> &Arc<RuntimeInner> {
        &self.runtime
    }

    fn operation(&self) -> MutexGuard<'_, Option<Owner>> {
        // Nothing that can panic runs under the lock.
        self.operation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what has been asked of the operation before it was here.
    fn give(&self, operation: Owner) -> Option<Wish> {
        let mut here = self.operation();
        let wish = operation.wish();
        *here = Some(operation);
        wish
    }

    fn take(&self) -> Option<Owner> {
        self.operation().take()
    }

    /// False once nobody waits for the answer.
    fn is_wanted(&self) -> bool {
        self.operation().is_some()
    }

    /// Blocks for as long as the system likes.
    fn ask(&self) -> io::Result<Vec<SocketAddr>> {
        let addresses = (&*self.name, self.port).to_socket_addrs();
        addresses.map(Iterator::collect).map_err(|error| attempted("look up the name", error))
    }

    /// The operation shall not go on.
    pub(crate) fn cancel(&self, wish: Wish) {
        self.abort(wish.into());
    }

    fn abort(&self, reason: Aborted) {
        if let Some(operation) = self.take() {
            if reason == Aborted::ShutDown {
                self.runtime.note_interrupted(&operation, None);
            }
            operation.fail(&self.runtime, reason.into());
        }
    }

    /// The name has been looked up, or cannot be: has a worker tell its operation.
    fn found(self: &Arc<Self>, addresses: io::Result<Vec<SocketAddr>>) {
        let answer = Answer { lookup: self.clone(), addresses };
        self.runtime.post(Work::Found(Box::new(answer)));
    }
}

/// What a lookup has come to.
#[derive(Debug)]
pub(crate) struct Answer {
    lookup: Arc<Lookup>,
    addresses: io::Result<Vec<SocketAddr>>,
}

impl Answer {
    /// A worker is here to tell the operation.
    pub(crate) fn tell(self) {
        if let Some(operation) = self.lookup.take() {
            go_on(&self.lookup.runtime, operation, self.addresses);
        }
    }
}

/// Has the operation complete, or set out for its addresses.
fn go_on(
    runtime: &Arc<RuntimeInner>,
    mut operation: Owner,
    addresses: io::Result<Vec<SocketAddr>>,
) {
    if operation.found(addresses) {
        operation.complete(runtime);
    } else {
        op::set_out(runtime, operation);
    }
}

#[derive(Debug)]
struct Resolver {
    state: Mutex<State>,
    queued: Condvar,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Arc<Lookup>>,
    /// Those that threads are at.
    under_way: Vec<Arc<Lookup>>,
    threads: usize,
    /// How many of the threads are in their wait.
    idle: usize,
}

static RESOLVER: Resolver = Resolver {
    state: Mutex::new(State { queue: VecDeque::new(), under_way: Vec::new(), threads: 0, idle: 0 }),
    queued: Condvar::new(),
};

/// Looks `name` up and then has `operation` set out for the addresses.
pub(crate) fn look_up(runtime: &Arc<RuntimeInner>, name: &str, port: u16, operation: Owner) {
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
        operation: Mutex::new(None),
    });
    operation.go_to_lookup(&lookup);
    if let Some(wish) = lookup.give(operation) {
        lookup.cancel(wish);
        return;
    }
    if runtime.is_stopping() {
        // Not to race with an answer.
        lookup.abort(Aborted::ShutDown);
        return;
    }
    if let Err((error, left)) = RESOLVER.queue(&lookup) {
        let what = "start a thread to look up a host name";
        for lookup in left {
            lookup.found(Err(attempted(what, error_like(&error))));
        }
    }
    // A shutdown that looked before the lookup was queued has passed it by.
    if runtime.is_stopping() {
        lookup.abort(Aborted::ShutDown);
    }
}

/// Aborts what is being looked up for `runtime`, which is stopping.
pub(crate) fn abort(runtime: &RuntimeInner) {
    let of_runtime = |lookup: &&Arc<Lookup>| std::ptr::eq(&*lookup.runtime, runtime);
    let lookups: Vec<_> = {
        let state = RESOLVER.state();
        state.queue.iter().chain(&state.under_way).filter(of_runtime).cloned().collect()
    };
    for lookup in lookups {
        lookup.abort(Aborted::ShutDown);
    }
}

impl Resolver {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An error comes with those that it leaves without a thread.
    fn queue(
        &'static self,
        lookup: &Arc<Lookup>,
    ) -> Result<(), (io::Error, VecDeque<Arc<Lookup>>)> {
        let mut state = self.state();
        state.queue.push_back(lookup.clone());
        if state.queue.len() <= state.idle || state.threads == MOST_THREADS {
            self.queued.notify_one();
            return Ok(());
        }
        state.threads += 1;
        drop(state);
        let thread = thread::Builder::new().name("aio-resolver".to_owned());
        thread.spawn(|| self.serve()).map(drop).map_err(|error| (error, self.lacks_thread()))
    }

    /// A thread could not be started. Returns the lookups for which no other will come: if it was the last,
    /// all of them, since others may have been queued that relied on it.
    fn lacks_thread(&self) -> VecDeque<Arc<Lookup>> {
        let mut state = self.state();
        state.threads -= 1;
        if state.threads > 0 { VecDeque::new() } else { mem::take(&mut state.queue) }
    }

    fn serve(&self) {
        let mut state = self.state();
        loop {
            if let Some(lookup) = state.queue.pop_front() {
                state.under_way.push(lookup.clone());
                drop(state);
                if lookup.is_wanted() {
                    lookup.found(lookup.ask());
                }
                self.state().under_way.retain(|other| !Arc::ptr_eq(other, &lookup));
                // It may be the last to hold its runtime, which is not dropped under the lock (I8).
                drop(lookup);
                state = self.state();
                continue;
            }
            state.idle += 1;
            let timeout;
            (state, timeout) =
                self.queued.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if timeout.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Runtime, in_flight};

    fn resolver(queue: VecDeque<Arc<Lookup>>, threads: usize) -> Resolver {
        let state = State { queue, under_way: Vec::new(), threads, idle: 0 };
        Resolver { state: Mutex::new(state), queued: Condvar::new() }
    }

    /// Invariant 2, I1: two were queued, each relied on the other's thread too, and neither can be started.
    #[test]
    fn no_lookup_is_left_behind_when_threads_cannot_be_started() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let socket = runtime.tcp_v4().unwrap();
        let lookup = |_| {
            let (operation, _) = in_flight::start(None, None, op::LookUp::new());
            Arc::new(Lookup {
                runtime: socket.runtime_inner().clone(),
                name: "localhost".to_owned(),
                port: 80,
                operation: Mutex::new(Some(operation)),
            })
        };
        let resolver = resolver((0..2).map(lookup).collect(), 2);
        assert!(resolver.lacks_thread().is_empty(), "the other thread may still come");
        assert_eq!(resolver.lacks_thread().len(), 2);
        assert!(resolver.state().queue.is_empty());
    }
}
