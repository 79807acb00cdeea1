//! The server of `parallel_fetch`: sends a document of bytes, their number first, to whoever connects.

use aio_core::{AsyncResult, Runtime, Socket, is_aborted, op};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// What travels with the pending accept.
type State = (Socket, &'static [u8]);

/// Serves on a runtime of its own, for as long as the process runs.
pub fn start(length: u32) -> io::Result<SocketAddr> {
    let mut document = length.to_be_bytes().to_vec();
    document.extend((0..length).map(|n| (n % 251) as u8));
    // Every connection is sent the same bytes.
    let document: &[u8] = document.leak();
    let runtime = Runtime::builder().workers(1).thread_name("server").build()?;
    let listener = runtime.tcp_v4()?;
    listener.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.listen(4096)?;
    listener.begin_accept(accept_callback, (listener.clone(), document));
    let address = listener.local_addr();
    std::mem::forget(runtime);
    address
}

fn accept_callback(ar: AsyncResult<op::Accept, State>) {
    let (listener, document) = ar.async_state().clone();
    match listener.end_accept(ar).result {
        // The connection is closed when it has been sent.
        Ok(connection) => drop(connection.begin_send(document, |_| (), ())),
        Err(error) if is_aborted(&error) => return,
        Err(error) => {
            // Who waits to be accepted is told so by the end of the connection.
            eprintln!("server: {error}");
            listener.close();
            return;
        }
    }
    listener.begin_accept(accept_callback, (listener.clone(), document));
}
