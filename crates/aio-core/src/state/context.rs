//! What the sockets, the engine and the workers of a runtime share, and the work that passes between them.

use crate::base::clock::Clock;
use crate::base::counters::Counters;
use crate::base::kind::Direction;
use crate::base::latencies::Latencies;
use crate::base::limit::Limit;
use crate::base::listeners::Listeners;
use crate::base::number::SocketNumber;
use crate::base::operation_queue::Ticket;
use crate::base::running::Running;
use crate::base::shutdown::Shutdown;
use crate::base::sync::Mutex;
use crate::base::timer::Timer;
use crate::pool::worker_pool::WorkerPool;
use crate::state::driver::Driver;
use crate::state::in_flight::{Handle, Owner};
use crate::state::socket::SocketInner;
#[cfg(feature = "testing")]
use crate::testing::Injector;
use aio_sync::ManualResetEvent;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

/// What becomes of a panic in a callback, or in a job that it has given to rayon and does not wait for.
///
/// In both cases the panic hook has run first, and has printed the message unless it was replaced. A program that
/// is built with `panic = "abort"` has no choice: nothing can be caught there, and any panic aborts the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PanicPolicy {
    /// It is caught and counted in [`callback_panics`](crate::Metrics::callback_panics); the worker goes on.
    #[default]
    Continue,
    /// The process aborts.
    Abort,
}

/// What the sockets, the engine and the workers of a runtime share.
#[derive(Debug)]
pub(crate) struct RuntimeInner {
    pub(crate) me: Weak<Self>,
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) pool: WorkerPool<Work>,
    pub(crate) timer: Timer<Timed>,
    pub(crate) waits: Waits,
    pub(crate) counters: Counters,
    pub(crate) running: Running,
    pub(crate) clock: Clock,
    pub(crate) listeners: Listeners<Handle>,
    pub(crate) limit: Option<Limit>,
    pub(crate) latencies: Option<Latencies>,
    pub(crate) shutdown: Shutdown,
    pub(crate) on_panic: PanicPolicy,
    pub(crate) callback_panics: AtomicU64,
    #[cfg(feature = "testing")]
    pub(crate) injector: Option<Injector<Work>>,
}

/// What has a deadline.
#[derive(Debug)]
pub(crate) enum Timed {
    Operation(Handle),
    Wait(Arc<dyn Registered>),
    /// A direction of a socket has rested: see `operation_queue.rs`, invariant 7.
    Rest(SocketNumber, Direction),
    /// What an [`Injector`] delays.
    #[cfg(feature = "testing")]
    Delayed,
}

/// What workers run.
#[derive(Debug)]
pub(crate) enum Work {
    /// This operation has completed: run its callback.
    Completed(Owner),
    /// This operation is done, and its completion was delayed: complete it.
    #[cfg(feature = "testing")]
    Done(Owner),
    /// The engine reports that this socket may be able to make progress.
    Ready { socket: Arc<SocketInner>, report: Report },
    /// These operations fail together: complete one.
    Fail(Arc<Failing>),
    /// Another thread has left this turn to a worker. It does not keep the socket open: the thread may take the turn
    /// after all, and no worker be free.
    Turn { socket: SocketNumber, direction: Direction },
    /// This name has been looked up: its operation goes on.
    Found(Posted),
    /// The deadline of this has passed.
    Due(Timed),
    /// This wait's event is set, or its time is over: run its callback.
    Wait(Arc<dyn Registered>),
    /// Somebody wants this to be run.
    Call(Posted),
    /// The same, and inside a callback that waits, too.
    Step(Posted),
}

#[cfg(feature = "testing")]
impl Work {
    /// True if no promise says when it runs.
    pub(crate) fn may_be_delayed(&self) -> bool {
        matches!(self, Self::Done(_) | Self::Completed(_) | Self::Ready { .. } | Self::Turn { .. })
    }
}

pub(crate) struct Posted(pub(crate) Box<dyn FnOnce() + Send>);

impl fmt::Debug for Posted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad("Posted")
    }
}

/// A registered wait, of whatever handle and callback.
pub(crate) trait Registered: fmt::Debug + Send + Sync {
    /// Its time is over.
    fn time_out(self: Arc<Self>);

    /// A worker is here to run the callback.
    fn run(self: Arc<Self>);

    /// Where that may be.
    fn context(&self) -> RunContext;

    fn unregister(&self) -> bool;

    fn ended(&self) -> &ManualResetEvent;
}

/// The waits of a runtime that have not ended.
pub(crate) type Waits = Mutex<HashMap<usize, Arc<dyn Registered>>>;

/// Where the callback of a wait may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunContext {
    /// On a worker that is in no callback.
    OnWorker,
    /// There, or inside a callback that waits: it is a step.
    InsideCallback,
}

/// Operations that fail together, each with its error: see `engine/failing.rs`.
#[derive(Debug)]
pub(crate) struct Failing(pub(crate) Mutex<VecDeque<(Owner, io::Error)>>);

/// A report of an engine that waits for readiness.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report {
    pub(crate) receive: bool,
    pub(crate) send: bool,
    /// Receiving stays ready for good, or may be ready again without a report: the peer has hung up,
    /// the connection is broken, or urgent data is on its way, before which a read stops short.
    pub(crate) stays_ready: bool,
    /// The wait that this is about, if it is about one.
    pub(crate) ticket: Option<Ticket>,
}
