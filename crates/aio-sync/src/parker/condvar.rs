//! Every system without a call of its own here, and the model checkers: a table of beds, each a mutex
//! and a condition variable, chosen by the address slept on.
//!
//! A waker takes the bed's mutex after it has stored the new value. So a sleeper that has compared the
//! old value under that mutex is already waiting on the condition variable when it is notified. Two
//! words may share a bed; all of its sleepers are woken then, and look again.

#[cfg(not(any(loom, shuttle)))]
use std::sync::{Condvar, Mutex, PoisonError};

#[cfg(loom)]
use loom::sync::{Condvar, Mutex};
#[cfg(shuttle)]
use shuttle::sync::{Condvar, Mutex};

use super::Word;
use crate::deadline::Deadline;

#[derive(Debug)]
struct Bed {
    mutex: Mutex<()>,
    condvar: Condvar,
}

#[cfg(not(any(loom, shuttle)))]
fn bed(address: *const u32) -> &'static Bed {
    const BEDS: usize = 64;
    static TABLE: [Bed; BEDS] =
        [const { Bed { mutex: Mutex::new(()), condvar: Condvar::new() } }; BEDS];
    // Wait blocks are some tens of bytes apart on one stack and whole stacks apart otherwise.
    let address = address.addr();
    &TABLE[(address >> 4 ^ address >> 12 ^ address >> 21) % BEDS]
}

#[cfg(loom)]
loom::lazy_static! {
    static ref BED: Bed = Bed { mutex: Mutex::new(()), condvar: Condvar::new() };
}

#[cfg(shuttle)]
shuttle::lazy_static! {
    static ref BED: Bed = Bed { mutex: Mutex::new(()), condvar: Condvar::new() };
}

#[cfg(any(loom, shuttle))]
fn bed(_address: *const u32) -> &'static Bed {
    &BED
}

/// Sleeps if `word` holds `value`; returns false once the deadline has come.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn wait(word: &impl Word, value: u32, deadline: &Deadline) -> bool {
    let left = deadline.left();
    if left.is_some_and(|left| left.is_zero()) {
        return false;
    }
    let bed = bed(word.address());
    let asleep = bed.mutex.lock().unwrap_or_else(PoisonError::into_inner);
    if word.value() == value {
        match left {
            None => drop(bed.condvar.wait(asleep)),
            Some(left) => drop(bed.condvar.wait_timeout(asleep, left)),
        }
    }
    true
}

/// Sleeps if `word` holds `value`; returns false once the deadline has come.
#[cfg(any(loom, shuttle))]
pub(crate) fn wait(word: &impl Word, value: u32, deadline: &Deadline) -> bool {
    let bed = bed(word.address());
    let asleep = bed.mutex.lock().expect("no thread panics while it holds the mutex of a bed");
    if deadline.has_come() {
        return false;
    }
    if word.value() == value {
        drop(bed.condvar.wait(asleep));
    }
    true
}

/// Wakes a thread that sleeps on the word at `address`.
pub(crate) fn wake_one(address: *const u32) {
    // The bed may be shared, and whose turn it is cannot be told.
    wake_all(address);
}

/// Wakes all threads that sleep on the word at `address`.
pub(crate) fn wake_all(address: *const u32) {
    let bed = bed(address);
    drop(bed.mutex.lock());
    bed.condvar.notify_all();
}

/// Returns true if this process may run on more than one processor.
pub(crate) fn several_processors() -> bool {
    std::thread::available_parallelism().is_ok_and(|count| count.get() > 1)
}

/// The moment at which modelled waits give up, brought about by a thread of the model.
#[cfg(any(loom, shuttle))]
#[derive(Clone, Debug)]
pub struct Expiry(std::sync::Arc<crate::sync::AtomicBool>);

#[cfg(any(loom, shuttle))]
impl Default for Expiry {
    fn default() -> Self {
        Self(std::sync::Arc::new(crate::sync::AtomicBool::new(false)))
    }
}

#[cfg(any(loom, shuttle))]
impl Expiry {
    /// Makes a moment that has not come yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the moment come.
    pub fn come(&self) {
        self.0.store(true, crate::sync::Relaxed);
        wake_all(std::ptr::null());
    }

    pub(crate) fn has_come(&self) -> bool {
        self.0.load(crate::sync::Relaxed)
    }
}
