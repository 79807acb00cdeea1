//! The server of .NET's "Asynchronous Server Socket Example": it collects what a client sends until
//! `<EOF>` appears, sends all of it back and closes.
//!
//! Where the original leaks the socket of a client that closes early, ends the process when one
//! resets, and collects without limit, this one closes that connection and goes on.

use crate::ascii;
use aio_core::{AsyncResult, Completion, Runtime, Socket, is_aborted, op};
use aio_sync::{AutoResetEvent, ManualResetEvent};
use std::fmt;
use std::io;
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What ends a message.
pub const EOF: &str = "<EOF>";

/// A client that has sent as much without an `<EOF>` is not worth more memory.
const MAX_MESSAGE: usize = 1 << 20;

/// How long to wait before accepting again, if no connection closes meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

// Thread signal.
static ALL_DONE: ManualResetEvent = ManualResetEvent::new(false);

/// What became of the accept, if it failed; written before `ALL_DONE` is set.
static ACCEPT_FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

static CONNECTION_CLOSED: AutoResetEvent = AutoResetEvent::new(false);

/// Where the server's lines go.
#[derive(Clone, Copy)]
pub struct Console {
    pub line: fn(&str),
    pub error: fn(&str),
}

// State object for reading client data asynchronously.
struct StateObject {
    // Client socket.
    work_socket: Socket,
    // Received data string.
    sb: String,
    /// For messages: a socket whose client has reset no longer knows.
    peer: String,
    console: Console,
}

impl StateObject {
    // Size of receive buffer.
    const BUFFER_SIZE: usize = 1024;

    /// Returns true if the `<EOF>` tag is there. Only what the last receive can have completed is
    /// searched, so that a long message is not searched again for every piece of it.
    fn append(&mut self, text: &str) -> bool {
        // All of it is ASCII, so every index is the start of a character.
        let searched = self.sb.len().saturating_sub(EOF.len() - 1);
        self.sb.push_str(text);
        self.sb[searched..].contains(EOF)
    }

    /// Gives this client up.
    fn fail(self, reason: impl fmt::Display) {
        (self.console.error)(&format!("{}: {reason}", self.peer));
        close(&self.work_socket);
    }
}

/// Binds a socket to the address and listens on it.
pub fn bind(runtime: &Runtime, address: SocketAddr) -> io::Result<Socket> {
    let listener = if address.is_ipv4() { runtime.tcp_v4()? } else { runtime.tcp_v6()? };
    listener.bind(address)?;
    listener.listen(100)?;
    Ok(listener)
}

/// Serves until the listener is closed or its runtime ends.
pub fn start_listening(listener: &Socket, console: Console) {
    loop {
        // Start an asynchronous socket to listen for connections.
        (console.line)("Waiting for a connection...");
        let mut reported = false;
        while let Err(error) = accept(listener, console) {
            match error.kind() {
                _ if is_aborted(&error) => return,
                // That client hung up before it was accepted; the next may be there already.
                io::ErrorKind::ConnectionAborted => {}
                // Most likely there are too many open files, which takes a while to get better.
                _ => {
                    if !mem::replace(&mut reported, true) {
                        (console.error)(&format!("{error}; trying again"));
                    }
                    let _ = CONNECTION_CLOSED.wait_timeout(PAUSE);
                }
            }
        }
    }
}

fn accept(listener: &Socket, console: Console) -> io::Result<()> {
    // Set the event to nonsignaled state.
    ALL_DONE.reset();
    listener.begin_accept(accept_callback, (listener.clone(), console));

    // Wait until a connection is made before continuing.
    ALL_DONE.wait_one();
    let failure = ACCEPT_FAILURE.lock().unwrap_or_else(PoisonError::into_inner).take();
    failure.map_or(Ok(()), Err)
}

fn accept_callback(ar: AsyncResult<op::Accept, (Socket, Console)>) {
    // Get the socket that handles the client request.
    let (listener, console) = ar.async_state().clone();
    match listener.end_accept(ar).result {
        Ok(handler) => {
            // Signal the main thread to continue.
            ALL_DONE.set();

            // Create the state object.
            let peer = handler.peer_addr().map_or("a client".to_owned(), |peer| peer.to_string());
            let state =
                StateObject { work_socket: handler.clone(), sb: String::new(), peer, console };
            handler.begin_receive(vec![0; StateObject::BUFFER_SIZE], read_callback, state);
        }
        Err(error) => {
            *ACCEPT_FAILURE.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            ALL_DONE.set();
        }
    }
}

fn read_callback(ar: AsyncResult<op::Receive<Vec<u8>>, StateObject>) {
    // Read data from the client socket.
    let handler = ar.async_state().work_socket.clone();
    let Completion { result, buffer, mut state, .. } = handler.end_receive(ar);
    match result {
        Ok(0) => state.fail("closed without <EOF>"),
        Ok(bytes_read) => {
            // There might be more data, so store the data received so far. Check for the
            // end-of-file tag. If it is not there, read more data.
            if state.append(&ascii::get_string(&buffer[..bytes_read])) {
                let StateObject { sb: content, console, .. } = state;
                (console.line)(&format!(
                    "Read {} bytes from socket. \n Data : {content}",
                    content.len()
                ));
                // Echo the data back to the client.
                send(&handler, &content, console);
            } else if state.sb.len() >= MAX_MESSAGE {
                state.fail(format_args!("no <EOF> in {MAX_MESSAGE} bytes, which is the limit"));
            } else {
                handler.begin_receive(buffer, read_callback, state);
            }
        }
        Err(error) => state.fail(error),
    }
}

fn send(handler: &Socket, data: &str, console: Console) {
    // Convert the string data to byte data using ASCII encoding.
    let byte_data = ascii::get_bytes(data);

    // Begin sending the data to the remote device.
    handler.begin_send(byte_data, send_callback, (handler.clone(), console));
}

fn send_callback(ar: AsyncResult<op::Send<Vec<u8>>, (Socket, Console)>) {
    let (handler, console) = ar.async_state().clone();
    match handler.end_send(ar).result {
        Ok(bytes_sent) => (console.line)(&format!("Sent {bytes_sent} bytes to client.")),
        Err(error) => (console.error)(&error.to_string()),
    }
    close(&handler);
}

fn close(handler: &Socket) {
    // Fails only if the client has gone already.
    let _ = handler.shutdown(Shutdown::Both);
    handler.close();
    CONNECTION_CLOSED.set();
}
