//! A registered wait, as the program that registered it holds it.

use crate::state::context::{Registered, RuntimeInner};
use aio_sync::{EventRef, WaitHandle};
use std::fmt;
use std::sync::Arc;

/// A wait that a [`Runtime`](crate::Runtime) has registered: see
/// [`Runtime::register_wait`](crate::Runtime::register_wait).
///
/// Dropping it changes nothing. It is itself a wait handle, set when the wait has ended and its callback
/// will not run again.
#[derive(Clone)]
pub struct RegisteredWait {
    pub(crate) wait: Arc<dyn Registered>,
}

impl RegisteredWait {
    /// Ends the wait. Returns true if it had not ended before.
    ///
    /// Its callback may be running, or about to run once more if its event or its time has come; that is
    /// over when this handle, as a wait handle, is set. May be called from the callback itself.
    #[must_use = "false means that it had ended before; the callback may run once more"]
    pub fn unregister(&self) -> bool {
        self.wait.unregister()
    }

    /// Returns true once the wait has ended and its callback will not run again.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.wait.ended().is_set()
    }

    /// Blocks until the wait has ended and its callback will not run again. Not for its own callback.
    ///
    /// In another callback I/O goes on meanwhile, as in [`Operation::wait`](crate::Operation::wait); but the
    /// callback of this wait, if it is still to run, needs another worker.
    pub fn wait_one(&self) {
        RuntimeInner::wait_for_event(self.wait.ended().event(), None);
    }
}

impl WaitHandle for RegisteredWait {
    fn event(&self) -> EventRef<'_> {
        self.wait.ended().event()
    }
}

impl fmt::Debug for RegisteredWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegisteredWait").field("has_ended", &self.has_ended()).finish()
    }
}
