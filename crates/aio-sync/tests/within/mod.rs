//! A watchdog, so that a broken promise fails a test instead of hanging it.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Runs `test` on a thread of its own, and fails when it has not ended after a minute.
pub(crate) fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    within(Duration::from_secs(60), test);
}

/// Runs `test` on a thread of its own, and fails when it has not ended after `limit`.
pub(crate) fn within(limit: Duration, test: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel::<()>();
    let name = thread::current().name().unwrap_or("the test").to_owned();
    let thread = thread::Builder::new().name(name.clone());
    let thread = thread.spawn(move || {
        // Dropped when the test ends, in whatever way.
        let _ended = ended;
        test();
    });
    let thread = thread.expect("a thread for the test");
    assert_eq!(end.recv_timeout(limit), Err(RecvTimeoutError::Disconnected), "{name} hangs");
    if let Err(payload) = thread.join() {
        std::panic::resume_unwind(payload);
    }
}
