//! Completion-port-style asynchronous sockets over a worker pool, without async/await.
//!
//! An operation is *begun* on a [`Socket`] with the buffer it needs, a callback and a state, and is
//! *ended* in the callback, which gets the result, the buffer and the state back. Callbacks run on
//! the worker threads of a [`Runtime`], never inside `begin_*` and never nested in one another. What completes
//! after the runtime has ended is delivered by a thread of the process.
//!
//! ```
//! use aio_core::{AsyncResult, Runtime, Socket, op};
//! use aio_sync::ManualResetEvent;
//! use std::io;
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//!
//! let runtime = Runtime::builder().workers(1).build()?;
//! let listener = runtime.tcp_v4()?;
//! listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
//! listener.listen(100)?;
//! listener.begin_accept(
//!     |accepted: AsyncResult<op::Accept, Socket>| {
//!         let listener = accepted.async_state().clone();
//!         if let Ok(peer) = listener.end_accept(accepted).result {
//!             peer.begin_send(b"hello".to_vec(), |_| {}, ());
//!         }
//!     },
//!     listener.clone(),
//! );
//!
//! let client = runtime.tcp_v4()?;
//! let done = Arc::new(ManualResetEvent::new(false));
//! client.begin_connect(
//!     listener.local_addr()?,
//!     |connected: AsyncResult<op::Connect, (Socket, Arc<ManualResetEvent>)>| {
//!         let (client, done) = connected.async_state().clone();
//!         client.end_connect(connected).result.expect("the listener is there");
//!         client.clone().begin_receive(
//!             vec![0; 256],
//!             move |received| {
//!                 let completion = client.end_receive(received);
//!                 assert_eq!(&completion.buffer[..completion.bytes_transferred], b"hello");
//!                 done.set();
//!             },
//!             (),
//!         );
//!     },
//!     (client.clone(), done.clone()),
//! );
//! done.wait_one();
//! # Ok::<(), io::Error>(())
//! ```
//!
//! The same operations can be started without a callback, and waited for or awaited: see
//! [`Operation`].
//!
//! # Where an operation waits
//!
//! Every operation is tried at once, without blocking. One that cannot finish waits where its
//! [`Engine`] makes it wait: in the operating system's readiness queue ([`Engine::Readiness`], the
//! default: it holds no thread), or on a worker ([`Engine::Blocking`], the classic thread pool).
//! Nothing else differs between them.
//!
//! # What holds for every operation
//!
//! * It completes exactly once, and its callback runs exactly once.
//! * Its buffer comes back in every outcome.
//! * `begin_*` never fails, never blocks and never runs the callback: every outcome, bad arguments
//!   included, arrives at `end_*`.
//! * Operations of one socket and direction take effect in the order of their begin calls.
//! * A panic in a callback is caught and counted; the worker and everybody else go on (unless the program is
//!   built with `panic = "abort"`).
//!
//! # What a cancel or a deadline leaves behind
//!
//! An operation that is canceled ([`OperationHandle::cancel`]) or too late ([`Socket::with_timeout`]) still
//! completes once, and if it has done its work it completes with that. Else it is aborted, and what it
//! leaves behind is the same under both engines, since under both a call is made only when it can do its work
//! at once:
//!
//! | operation | leaves behind |
//! |---|---|
//! | receive, receive_list, receive_from, receive_message_from | *nothing happened*: no byte and no datagram was taken; the next receive gets them |
//! | accept | *nothing happened*: the connection is the next accept's |
//! | accept_receive | until there is a connection, *nothing happened*; then, while it waits for the first bytes, *terminal* for that connection, which is closed; dropping the operation gives the connection back to the listener instead |
//! | send, send_list, send_file that have sent nothing; datagrams | *nothing happened*; the next send follows what was sent before |
//! | send, send_list, send_file that have sent a part | *partial*: `bytes_transferred` bytes were sent; the stream is broken there, later sends are aborted, and closing it resets a connection of TCP (after [`Socket::shutdown`] the peer reads just these bytes) |
//! | disconnect, behind a send | *nothing happened* |
//! | connect | *terminal*: the socket can only be closed, since the system goes on connecting |
//! | connect_to, look_up | *nothing happened*: the socket of the attempt is closed |
//!
//! # What a callback may do
//!
//! *Wait.* A worker whose callback waits for an [`Operation`], in a synchronous call, or for an event of
//! `aio_sync`, keeps I/O moving meanwhile, so it works with a single worker, too. It runs no other callback: an
//! event that only another callback sets, or a rayon job, needs another worker; if none is free, and none becomes
//! free, the wait does not end. The number of workers is by default that of the CPUs, which in a container may be
//! one. Waits that `aio_sync` does not know of, such as those of channels and mutexes, hold the worker altogether.
//!
//! *Compute.* The workers are the threads of a rayon pool, so `rayon::spawn`, `join`, scopes, parallel iterators and
//! `broadcast` in a callback run on the workers of its runtime, between other callbacks. Idle workers help when
//! one has been in the same callback for about a millisecond. A panic of a spawned job is that of a callback
//! ([`PanicPolicy`]).
//!
//! Code that runs inside another operation's completion (a waker, the map of [`Operation::post_to`], the drop of a
//! buffer) may take its time while a worker is free. It can run inside a callback that waits, so it must not need
//! what a waiting callback holds.
//!
//! # Features
//!
//! * `bytes`: `bytes::Bytes` and `bytes::BytesMut` as buffers.
//! * `tracing`: a span for each operation (`operation`, target `aio_core`, level debug, with its `kind` and
//!   `socket`), child of the one that is current at begin, and current in the callback; in it an event
//!   when the operation has completed, has failed, or was aborted.

#![deny(unsafe_code)]

// Floors, from top to bottom. A file uses what is on its floor or below (`tests/layers.rs`).

/// What users hold.
mod api {
    pub(crate) mod async_result;
    pub(crate) mod builder;
    pub(crate) mod connect_to;
    pub(crate) mod metrics;
    pub(crate) mod operation;
    pub(crate) mod registered_wait;
    pub(crate) mod runtime;
    pub(crate) mod runtime_handle;
    pub(crate) mod socket;
}

/// What workers run, and how a runtime ends.
mod runtime {
    pub(crate) mod registered_wait;
    pub(crate) mod resolver;
    pub(crate) mod run;
    pub(crate) mod shutdown;
}

pub mod op;

mod engine;

/// The data that refer to one another.
mod state {
    #[expect(unsafe_code, reason = "knows the type of an operation's body, and so its memory")]
    pub(crate) mod body;
    pub(crate) mod completion;
    pub(crate) mod connection;
    pub(crate) mod context;
    pub(crate) mod driver;
    #[expect(
        unsafe_code,
        reason = "gives an operation's one owner access to what it shares with handles"
    )]
    pub(crate) mod in_flight;
    pub(crate) mod perform;
    pub(crate) mod socket;
}

#[cfg(feature = "testing")]
pub mod testing;

/// The worker pool.
mod pool {
    mod current;
    pub(crate) mod inside;
    mod jobs;
    #[cfg(all(test, loom))]
    mod models;
    mod roster;
    #[expect(unsafe_code, reason = "a run queue's own end is used on one thread alone")]
    mod run_queue;
    mod stall_detector;
    pub(crate) mod threads;
    mod worker;
    pub(crate) mod worker_pool;
}

/// A queue for users, after Win32's.
mod port {
    pub(crate) mod completion_port;
    pub(crate) mod error;
    mod gate;
    #[cfg(all(loom, test))]
    mod models;
    mod seat;
    mod sync;
}

/// What knows nothing of operations and sockets.
mod base {
    pub(crate) mod address;
    pub(crate) mod buffer;
    #[cfg_attr(
        any(target_os = "linux", target_os = "android"),
        expect(unsafe_code, reason = "reads a clock that std does not have")
    )]
    pub(crate) mod clock;
    pub(crate) mod counters;
    pub(crate) mod current_part;
    #[expect(unsafe_code, reason = "closes a descriptor exactly once, when its last user has left")]
    pub(crate) mod descriptor;
    pub(crate) mod engine;
    pub(crate) mod error;
    pub(crate) mod histogram;
    pub(crate) mod kind;
    pub(crate) mod latencies;
    pub(crate) mod limit;
    pub(crate) mod listeners;
    #[expect(unsafe_code, reason = "gives one thread at a time access to what a lock protects")]
    pub(crate) mod lock;
    #[expect(unsafe_code, reason = "hands out memory for operations")]
    pub(crate) mod memory;
    pub(crate) mod number;
    pub(crate) mod operation_queue;
    pub(crate) mod process_threads;
    pub(crate) mod references;
    pub(crate) mod report;
    pub(crate) mod running;
    pub(crate) mod shutdown;
    pub(crate) mod span;
    pub(crate) mod spin;
    pub(crate) mod sync;
    pub(crate) mod table;
    pub(crate) mod timer;
    pub(crate) mod unread;
    pub(crate) mod wake;
}

pub use api::async_result::{AsyncResult, OperationHandle};
pub use api::builder::Builder;
pub use api::metrics::{Latency, Metrics, OperationMetrics};
pub use api::operation::Operation;
pub use api::registered_wait::RegisteredWait;
pub use api::runtime::Runtime;
pub use api::runtime_handle::RuntimeHandle;
pub use api::socket::IntoSocket2Error;
pub use base::buffer::{IoBuf, IoBufMut, Slice};
pub use base::engine::{Engine, ParseEngineError};
pub use base::error::is_aborted;
pub use base::histogram::Histogram;
pub use base::report::OperationReport;
pub use port::completion_port::CompletionPort;
pub use port::error::{PostError, WaitError};
pub use runtime::shutdown::ShutdownReport;
pub use socket2;
pub use state::completion::Completion;
pub use state::context::PanicPolicy;
pub use state::socket::{Socket, Unread};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
