//! Win32/.NET event objects: [`ManualResetEvent`] and [`AutoResetEvent`].
//!
//! An event is signaled or nonsignaled. Threads and tasks wait until it is signaled; others set and reset
//! it. A manual-reset event stays signaled until it is reset, an auto-reset event lets one wait through.
//! Several can be waited for at once, for [any](wait_any()) or for [all](wait_all()) of them.
//!
//! ```
//! use std::thread;
//! use aio_sync::{AutoResetEvent, ManualResetEvent, wait_any};
//!
//! static WORK: AutoResetEvent = AutoResetEvent::new(false);
//! static QUIT: ManualResetEvent = ManualResetEvent::new(false);
//!
//! let worker = thread::spawn(|| {
//!     let mut done = 0;
//!     while wait_any(&[&WORK, &QUIT]) == 0 {
//!         done += 1;
//!     }
//!     done
//! });
//! WORK.set();
//! while WORK.is_set() {
//!     thread::yield_now();
//! }
//! QUIT.set();
//! assert_eq!(worker.join().unwrap(), 1);
//! ```
//!
//! # What is promised
//!
//! * An event is one pointer wide, is made in a constant, owns nothing, and shares nothing with others.
//!   Without waiters each operation is one atomic instruction. Only sleeping and waking is a system call.
//! * Who waits when an event is set is released by that set. Two sets of an auto-reset event release two
//!   waiters, and a set followed by a reset releases everybody who was there.
//! * Waiters are served first come, first served; who waits for all of several events comes in where it
//!   finds the last of them missing.
//! * No signal is lost to a timeout, to a dropped future, or to a wait that another event has ended.
//! * A wait for all takes all signals in one moment, or none.
//! * What happened before a `set` is visible after the waits that it satisfies.
//! * No code of a user, such as a waker, runs under a lock.
//!
//! Setting an event with waiters takes a lock of a few instructions inside the event; so `set` must not
//! be called from a signal handler.
//!
//! In a callback of `aio-core` a wait keeps that runtime's I/O moving. It runs no other callback: an event that
//! only another callback sets needs another worker.

#![deny(unsafe_code)]

mod auto_reset_event;
mod deadline;
mod hooks;
mod manual_reset_event;
mod parker;
#[expect(unsafe_code, reason = "its node and block are queued while it is pinned")]
mod pinned_wait;
#[cfg(all(test, not(any(loom, shuttle))))]
#[expect(unsafe_code, reason = "frees events and moves futures to threads as only unsafe code can")]
mod race_tests;
#[expect(unsafe_code, reason = "the queue leads through the memory of the waiters")]
mod raw_event;
#[expect(unsafe_code, reason = "pins its wait, and borrows from the handle that it owns")]
mod registration;
mod sleeper;
mod sync;
mod wait_all;
#[expect(unsafe_code, reason = "queues nodes of its own frame")]
mod wait_any;
#[expect(unsafe_code, reason = "the waker belongs to the owner, then to the claimer")]
mod wait_block;
#[expect(unsafe_code, reason = "pins its wait")]
mod wait_future;
mod wait_handle;
#[expect(unsafe_code, reason = "the links of the queue")]
mod wait_list;
#[expect(unsafe_code, reason = "queues a node of its own frame")]
mod wait_one;
mod wait_options;
#[expect(unsafe_code, reason = "setters use the list of events that the waiter keeps")]
mod watch;

pub use auto_reset_event::AutoResetEvent;
pub use manual_reset_event::ManualResetEvent;
#[cfg(any(loom, shuttle))]
pub use parker::Expiry;
pub use raw_event::EventRef;
pub use registration::Registration;
pub use sleeper::{BlockingWait, set_blocking_wait};
pub use wait_all::{wait_all, wait_all_timeout, wait_all_until, wait_all_with};
pub use wait_any::{wait_any, wait_any_timeout, wait_any_until, wait_any_with};
pub use wait_future::WaitFuture;
pub use wait_handle::WaitHandle;
pub use wait_options::WaitOptions;

#[cfg(not(any(loom, shuttle)))]
const _: () = {
    assert!(size_of::<ManualResetEvent>() == size_of::<usize>());
    assert!(size_of::<AutoResetEvent>() == size_of::<usize>());
    assert!(cfg!(not(target_pointer_width = "64")) || size_of::<WaitFuture<'_>>() <= 96);
};

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<ManualResetEvent>();
    is_send_and_sync::<AutoResetEvent>();
    is_send_and_sync::<EventRef<'_>>();
    is_send_and_sync::<WaitFuture<'_>>();
    is_send_and_sync::<Registration<&ManualResetEvent>>();
    is_send_and_sync::<WaitOptions>();
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
