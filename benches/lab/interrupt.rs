//! Ctrl-C: the lab ends its servers, keeps what it has written, and says so.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

pub(crate) fn listen() -> io::Result<()> {
    let flag = INTERRUPTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, flag.clone())?;
    }
    Ok(())
}

pub(crate) fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed))
}

/// An error once the lab is to end.
pub(crate) fn check() -> io::Result<()> {
    // Not `ErrorKind::Interrupted`, which much of std takes as "try again".
    if is_interrupted() { Err(io::Error::other("interrupted")) } else { Ok(()) }
}
