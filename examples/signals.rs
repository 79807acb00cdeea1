//! Sets an event when the process is asked to end: by Ctrl-C or SIGTERM. Where there are no signals, Ctrl-C
//! ends the process by itself.

use aio_core::Runtime;
use aio_sync::ManualResetEvent;
use std::io;

/// A signal writes a byte to a socket, so that its arrival is an operation like any other and takes no
/// thread of its own. It is pending on `runtime` from then on.
#[cfg(unix)]
pub fn set_on_signal(runtime: &Runtime, event: &'static ManualResetEvent) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::low_level::pipe;
    let (arrivals, signals) = std::os::unix::net::UnixStream::pair()?;
    pipe::register(SIGINT, signals.try_clone()?)?;
    pipe::register(SIGTERM, signals)?;
    // The operation keeps its socket open.
    runtime.associate(arrivals)?.begin_receive([0], |_| _ = event.set(), ());
    Ok(())
}

#[cfg(not(unix))]
pub fn set_on_signal(_runtime: &Runtime, _event: &'static ManualResetEvent) -> io::Result<()> {
    Ok(())
}
