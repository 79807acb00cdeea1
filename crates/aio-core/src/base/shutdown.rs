//! How far the end of a runtime has come: see `runtime/shutdown.rs`.

use crate::base::counters::Totals;
use crate::base::report::OperationReport;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Shutdown {
    pub(crate) draining: AtomicBool,
    /// True once somebody wants to know what is interrupted.
    pub(crate) is_reported: AtomicBool,
    /// True once a call has not waited for the end, and has said so.
    pub(crate) given_up: AtomicBool,
    /// What had been counted when the shutdown began.
    pub(crate) before: OnceLock<Totals>,
    pub(crate) interrupted: Mutex<Vec<OperationReport>>,
    pub(crate) calling: Mutex<Calling>,
}

/// The workers that are in one of the calls.
#[derive(Debug, Default)]
pub(crate) struct Calling {
    pub(crate) workers: Vec<usize>,
    /// How many of these are in a callback.
    pub(crate) callbacks: u64,
}

impl Shutdown {
    pub(crate) fn calling(&self) -> MutexGuard<'_, Calling> {
        // Nothing that can panic runs under the lock.
        self.calling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn interrupted(&self) -> MutexGuard<'_, Vec<OperationReport>> {
        self.interrupted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
