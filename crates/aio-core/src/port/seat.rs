//! [`Seat`]: what a thread is to the ports of the process. A thread runs for one port at most.

use super::gate::Gate;
use super::sync::{Event, thread_local};
use crate::base::spin::Spinner;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// What a thread is to the ports of the process: asleep at one, running for one, or neither (IO-9).
pub(super) struct Seat {
    /// What the thread sleeps on.
    pub(super) event: Arc<Event>,
    /// The gate that counts the thread as running, if one does.
    pub(super) gate: Cell<Option<Arc<Gate>>>,
    /// Whether it pays for the thread to spin before it sleeps.
    pub(super) spinner: Spinner,
}

thread_local! {
    static SEAT: Rc<Seat> = Rc::new(Seat::new());
}

impl Seat {
    fn new() -> Self {
        Self { event: Arc::new(Event::new()), gate: Cell::new(None), spinner: Spinner::default() }
    }

    /// Tells apart the threads that wait; not 0.
    pub(super) fn number(&self) -> usize {
        Arc::as_ptr(&self.event).addr()
    }

    /// Returns the seat of this thread; one for the caller alone if the thread is so near its end
    /// that it has lost its own.
    pub(super) fn current() -> Rc<Self> {
        SEAT.try_with(Rc::clone).unwrap_or_else(|_| Rc::new(Self::new()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.stop_running();
        }
    }
}

/// When dropped, a thread that ran for this gate before it blocked runs again.
pub(super) struct Resume(pub(super) Option<Arc<Gate>>);

impl Drop for Resume {
    fn drop(&mut self) {
        let Some(gate) = self.0.take() else { return };
        let seat = Seat::current();
        // Unless it has begun to run for another port meanwhile.
        let now = seat.gate.take().unwrap_or_else(|| {
            gate.resume_running();
            gate
        });
        seat.gate.set(Some(now));
    }
}
