//! What the threads of a port share and sleep on: std's and aio-sync's, or loom's.

use std::time::Duration;
use system::Moment;
pub(super) use system::{AtomicUsize, Event, Mutex, MutexGuard, thread_local};

/// When a wait gives up.
pub(super) enum Deadline {
    /// At once: the thread does not sleep.
    Now,
    At(Moment),
    Never,
}

impl Deadline {
    /// A time that is too long for the clock is no limit.
    pub(super) fn after(timeout: Duration) -> Self {
        if timeout.is_zero() {
            return Self::Now;
        }
        system::after(timeout).map_or(Self::Never, Self::At)
    }

    pub(super) fn has_come(&self) -> bool {
        match self {
            Self::Now => true,
            Self::At(moment) => system::has_come(moment),
            Self::Never => false,
        }
    }
}

#[cfg(not(loom))]
mod system {
    use super::Deadline;
    use aio_sync::{AutoResetEvent, WaitOptions};
    pub(in crate::port) use std::sync::atomic::AtomicUsize;
    pub(in crate::port) use std::sync::{Mutex, MutexGuard};
    pub(in crate::port) use std::thread_local;
    pub(in crate::port) use std::time::Instant as Moment;
    use std::time::{Duration, Instant};

    pub(super) fn after(timeout: Duration) -> Option<Moment> {
        Instant::now().checked_add(timeout)
    }

    pub(super) fn has_come(moment: &Moment) -> bool {
        Instant::now() >= *moment
    }

    /// The gate spins before, if that is worth it.
    const NO_SPINS: WaitOptions = WaitOptions::new().spins(0);

    pub(in crate::port) struct Event(AutoResetEvent);

    impl Event {
        pub(in crate::port) fn new() -> Self {
            Self(AutoResetEvent::new(false))
        }

        pub(in crate::port) fn set(&self) {
            self.0.set();
        }

        pub(in crate::port) fn try_wait(&self) -> bool {
            self.0.try_wait()
        }

        pub(in crate::port) fn wait_one(&self) {
            self.0.wait_one();
        }

        /// Returns false if the deadline came before a signal.
        pub(in crate::port) fn wait_until(&self, deadline: &Deadline) -> bool {
            match deadline {
                Deadline::Now => self.0.try_wait(),
                Deadline::At(moment) => self.0.wait_with(&NO_SPINS.deadline(*moment)),
                Deadline::Never => self.0.wait_with(&NO_SPINS),
            }
        }
    }
}

/// In a model, time is another thread: a deadline comes when that thread says so.
#[cfg(loom)]
mod system {
    use super::Deadline;
    use loom::sync::Condvar;
    pub(in crate::port) use loom::sync::atomic::AtomicUsize;
    pub(in crate::port) use loom::sync::{Mutex, MutexGuard};
    pub(in crate::port) use loom::thread_local;
    use std::mem;
    use std::sync::Arc;
    use std::time::Duration;

    /// The moment at which a wait on this event gives up.
    pub(in crate::port) type Moment = Arc<Event>;

    pub(super) fn after(_: Duration) -> Option<Moment> {
        None
    }

    pub(super) fn has_come(event: &Moment) -> bool {
        event.state.lock().unwrap().expired
    }

    pub(in crate::port) struct Event {
        state: Mutex<EventState>,
        changed: Condvar,
    }

    #[derive(Default)]
    struct EventState {
        signaled: bool,
        expired: bool,
    }

    impl Event {
        pub(in crate::port) fn new() -> Self {
            Self { state: Mutex::default(), changed: Condvar::new() }
        }

        pub(in crate::port) fn set(&self) {
            self.state.lock().unwrap().signaled = true;
            self.changed.notify_one();
        }

        pub(in crate::port) fn try_wait(&self) -> bool {
            mem::take(&mut self.state.lock().unwrap().signaled)
        }

        pub(in crate::port) fn wait_one(&self) {
            self.wait_until(&Deadline::Never);
        }

        pub(in crate::port) fn wait_until(&self, deadline: &Deadline) -> bool {
            let mut state = self.state.lock().unwrap();
            while !state.signaled {
                if state.expired && !matches!(deadline, Deadline::Never) {
                    return false;
                }
                state = self.changed.wait(state).unwrap();
            }
            state.signaled = false;
            true
        }

        /// The deadline of the waits on this event comes.
        #[cfg(test)]
        pub(in crate::port) fn expire(&self) {
            self.state.lock().unwrap().expired = true;
            self.changed.notify_one();
        }
    }
}
