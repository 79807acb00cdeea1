//! Whether another processor could set an event while this one spins.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Returns true if spinning can help: another processor could set the event meanwhile.
///
/// Under a model checker it cannot. All interleavings are run anyway; spinning would multiply them.
pub(crate) fn spinning_helps() -> bool {
    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;
    // A cache of what the system says. Threads that race to fill it store the same answer.
    static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);

    if cfg!(any(loom, shuttle)) {
        return false;
    }
    match ANSWER.load(Relaxed) {
        UNKNOWN => {
            let several = super::system::several_processors();
            ANSWER.store(if several { YES } else { NO }, Relaxed);
            several
        }
        answer => answer == YES,
    }
}
