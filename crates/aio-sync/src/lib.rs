//! Win32/.NET event objects: [`ManualResetEvent`] and [`AutoResetEvent`].

use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

macro_rules! event {
    ($(#[$doc:meta])* $name:ident, $auto:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name {
            state: Mutex<bool>,
            condvar: Condvar,
        }

        impl $name {
            /// Makes an event, signaled if `initial` is true.
            #[must_use]
            pub const fn new(initial: bool) -> Self {
                Self { state: Mutex::new(initial), condvar: Condvar::new() }
            }

            /// Signals the event.
            pub fn set(&self) {
                *self.state.lock().unwrap_or_else(|e| e.into_inner()) = true;
                if $auto { self.condvar.notify_one() } else { self.condvar.notify_all() }
            }

            /// Makes the event nonsignaled.
            pub fn reset(&self) {
                *self.state.lock().unwrap_or_else(|e| e.into_inner()) = false;
            }

            /// Returns true if the event is signaled; takes the signal of an auto-reset event.
            pub fn try_wait(&self) -> bool {
                self.wait_until(Some(Instant::now()))
            }

            /// Blocks until the event is signaled.
            pub fn wait_one(&self) {
                self.wait_until(None);
            }

            /// Blocks until the event is signaled or the time is over; false if it is over.
            pub fn wait_timeout(&self, timeout: Duration) -> bool {
                self.wait_until(Instant::now().checked_add(timeout))
            }

            fn wait_until(&self, deadline: Option<Instant>) -> bool {
                let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
                while !*state {
                    state = match deadline {
                        None => self.condvar.wait(state).unwrap_or_else(|e| e.into_inner()),
                        Some(deadline) => {
                            let left = deadline.saturating_duration_since(Instant::now());
                            if left.is_zero() {
                                return false;
                            }
                            self.condvar.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0
                        }
                    };
                }
                if $auto {
                    *state = false;
                }
                true
            }
        }
    };
}

event!(
    /// Stays signaled until it is reset; releases every waiter.
    ManualResetEvent,
    false
);
event!(
    /// Lets one waiter through per signal.
    AutoResetEvent,
    true
);

impl ManualResetEvent {
    /// True if the event is signaled.
    pub fn is_set(&self) -> bool {
        *self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}
