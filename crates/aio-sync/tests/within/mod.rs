//! A watchdog, so that a broken promise fails a test instead of hanging it.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Runs `test` on a thread of its own, and fails when it has not ended after a minute.
pub(crate) fn within_a_minute(test: impl FnOnce() + Send + 'static) {
    let (ended, end) = mpsc::channel();
    let name = thread::current().name().unwrap_or("a test").to_owned();
    let thread = thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            test();
            // The receiver is gone only if the minute is over.
            let _ = ended.send(());
        })
        .expect("a thread for the test");
    match end.recv_timeout(Duration::from_secs(60)) {
        Ok(()) => {}
        Err(mpsc::RecvTimeoutError::Disconnected) => {}
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{name} hangs"),
    }
    if let Err(payload) = thread.join() {
        std::panic::resume_unwind(payload);
    }
}
