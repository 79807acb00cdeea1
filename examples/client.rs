//! The flow of .NET's "Using an Asynchronous Client Socket": connect, send, receive until the server
//! closes, print.
//!
//! ```console
//! cargo run --release --example client                    # against an embedded server
//! cargo run --release --example client -- --port 11000    # against yours, such as async_server
//! ```
//!
//! The names and their order are the document's. What differs: every callback sets its event on
//! every path, so that a failure ends the wait; the socket has a deadline, which covers the whole; and
//! the receive buffer travels with the operation instead of lying in the state object.

mod ascii;
mod eof_server;

use aio_core::{AsyncResult, Completion, Engine, Runtime, Socket, is_aborted, op};
use aio_sync::ManualResetEvent;
use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connects to a server, sends a message, receives until the server closes, and prints the response.
#[derive(Parser)]
struct Options {
    /// Server to connect to, by name or address [default with --port: 127.0.0.1]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    host: Option<String>,
    /// The server's port [default with --host: 11000]; with neither, an embedded server answers
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What to send, in ASCII
    #[arg(long, default_value = "This is a test<EOF>")]
    message: String,
    /// Time for the whole, from connect to the last byte
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    #[arg(allow_negative_numbers = true)]
    timeout: Duration,
    /// Where a pending operation waits: auto, blocking or readiness
    #[arg(long, default_value_t)]
    engine: Engine,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 => {
            Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
        }
        _ => Err("a timeout is a number of seconds above 0".to_owned()),
    }
}

// ManualResetEvent instances signal completion.
static CONNECT_DONE: ManualResetEvent = ManualResetEvent::new(false);
static SEND_DONE: ManualResetEvent = ManualResetEvent::new(false);
static RECEIVE_DONE: ManualResetEvent = ManualResetEvent::new(false);

// The response from the remote device.
static RESPONSE: Mutex<String> = Mutex::new(String::new());

/// Why a callback failed, if one did; written before it sets its event.
static FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

// State object for receiving data from remote device.
struct StateObject {
    // Client socket.
    work_socket: Socket,
    // Received data string.
    sb: String,
}

impl StateObject {
    // Size of receive buffer.
    const BUFFER_SIZE: usize = 256;
    /// A server that sends more is not answering: it is filling memory.
    const MAX_RESPONSE: usize = 64 << 20;
}

fn main() -> ExitCode {
    match start_client(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the exit status has to tell.
            let _ = writeln!(io::stderr(), "client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_client(options: &Options) -> io::Result<()> {
    // `None` if that is beyond what the clock can tell.
    let deadline = Instant::now().checked_add(options.timeout);
    let runtime = Runtime::builder().engine(options.engine).build()?;

    // Establish the remote endpoints for the socket.
    let remote_eps = match (&options.host, options.port) {
        (None, None) => vec![start_embedded_server(&runtime, &options.message)?],
        (host, port) => resolve(host.as_deref().unwrap_or("127.0.0.1"), port.unwrap_or(11000))?,
    };
    let failed = |attempt: String, error: io::Error| {
        let is_late = is_aborted(&error) && error.kind() == io::ErrorKind::TimedOut;
        let reason = match error.get_ref().and_then(|attempted| attempted.source()) {
            _ if is_late => format!("timed out after {:?}", options.timeout),
            // The system's words; in front of them aio-core says what was attempted, too.
            Some(system) => system.to_string(),
            None => error.to_string(),
        };
        io::Error::new(error.kind(), format!("{attempt}: {reason}"))
    };

    // Connect to the remote endpoint.
    let (client, remote_ep) = connect_first(&runtime, &remote_eps, deadline, failed)?;

    // Send test data to the remote device.
    send(&client, &options.message);
    SEND_DONE.wait_one();
    outcome().map_err(|error| failed(format!("send to {remote_ep}"), error))?;

    // Receive the response from the remote device.
    receive(&client);
    RECEIVE_DONE.wait_one();
    outcome().map_err(|error| failed(format!("receive from {remote_ep}"), error))?;

    // Write the response to the console.
    write_line(&format!("Response received : {}", lock(&RESPONSE)))?;

    // Release the socket. The shutdown fails only if the server has gone already.
    let _ = client.shutdown(Shutdown::Both);
    client.close();
    Ok(())
}

/// Starts the server of the document's sibling on the same runtime.
fn start_embedded_server(runtime: &Runtime, message: &str) -> io::Result<SocketAddr> {
    if !message.contains(eof_server::EOF) {
        let reason = "the embedded server answers a message with <EOF> in it; --message has none";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
    }
    let listener = eof_server::bind(runtime, SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.local_addr()?;
    let silent = eof_server::Console { line: |_| (), error: |_| () };
    thread::spawn(move || eof_server::start_listening(&listener, silent));
    Ok(address)
}

fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // As in a URL, an IPv6 address may stand in brackets.
    let name = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<_> = (name, port)
        .to_socket_addrs()
        .map_err(|error| io::Error::new(error.kind(), format!("resolve {host}: {error}")))?
        .collect();
    if addresses.is_empty() {
        let reason = format!("resolve {host}: it has no address");
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    Ok(addresses)
}

/// Connects to the first endpoint that accepts. A socket connects once, so each attempt has its own;
/// an endpoint that stays silent may use its share of the time that is left, not all of it.
fn connect_first(
    runtime: &Runtime,
    remote_eps: &[SocketAddr],
    deadline: Option<Instant>,
    failed: impl Fn(String, io::Error) -> io::Error,
) -> io::Result<(Socket, SocketAddr)> {
    let mut failures = Vec::new();
    for (&remote_ep, attempts_left) in remote_eps.iter().zip((1..=remote_eps.len()).rev()) {
        let client = if remote_ep.is_ipv4() { runtime.tcp_v4()? } else { runtime.tcp_v6()? };
        match connect(remote_ep, &limited(&client, deadline.map(|at| share(at, attempts_left)))) {
            Ok(()) => return Ok((limited(&client, deadline), remote_ep)),
            Err(error) => failures.push(failed(format!("connect to {remote_ep}"), error)),
        }
    }
    let reasons: Vec<_> = failures.iter().map(io::Error::to_string).collect();
    Err(io::Error::other(reasons.join("; ")))
}

/// Returns the socket with a deadline for the operations that are begun on it, in callbacks as well.
fn limited(client: &Socket, deadline: Option<Instant>) -> Socket {
    deadline.map_or_else(|| client.clone(), |at| client.with_deadline(at))
}

/// Returns when one of `parts` equal parts of the time until `deadline` is over.
fn share(deadline: Instant, parts: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(parts).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / parts
}

fn connect(remote_ep: SocketAddr, client: &Socket) -> io::Result<()> {
    CONNECT_DONE.reset();
    client.begin_connect(remote_ep, connect_callback, client.clone());

    CONNECT_DONE.wait_one();
    outcome()
}

fn connect_callback(ar: AsyncResult<op::Connect, Socket>) {
    // Retrieve the socket from the state object.
    let client = ar.async_state().clone();

    // Complete the connection. A server that has reset it by now has no address any more; the send
    // will say so.
    let connected = client.end_connect(ar).result.and_then(|()| match client.peer_addr() {
        Ok(remote_ep) => write_line(&format!("Socket connected to {remote_ep}")),
        Err(_) => Ok(()),
    });
    keep_failure(connected);

    // Signal that the connection has been made.
    CONNECT_DONE.set();
}

fn send(client: &Socket, data: &str) {
    // Convert the string data to byte data using ASCII encoding.
    let byte_data = ascii::get_bytes(data);

    // Begin sending the data to the remote device.
    client.begin_send(byte_data, send_callback, client.clone());
}

fn send_callback(ar: AsyncResult<op::Send<Vec<u8>>, Socket>) {
    // Retrieve the socket from the state object.
    let client = ar.async_state().clone();

    // Complete sending the data to the remote device.
    let sent = client
        .end_send(ar)
        .result
        .and_then(|bytes_sent| write_line(&format!("Sent {bytes_sent} bytes to server.")));
    keep_failure(sent);

    // Signal that all bytes have been sent.
    SEND_DONE.set();
}

fn receive(client: &Socket) {
    // Create the state object.
    let state = StateObject { work_socket: client.clone(), sb: String::new() };

    // Begin receiving the data from the remote device.
    client.begin_receive(vec![0; StateObject::BUFFER_SIZE], receive_callback, state);
}

fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, StateObject>) {
    // Retrieve the client socket from the state object.
    let client = ar.async_state().work_socket.clone();

    // Read data from the remote device.
    let Completion { result, buffer, mut state, .. } = client.end_receive(ar);
    let received = match result {
        Ok(0) => {
            // All the data has arrived; put it in response.
            *lock(&RESPONSE) = state.sb;
            Ok(())
        }
        Ok(bytes_read) if state.sb.len() + bytes_read <= StateObject::MAX_RESPONSE => {
            // There might be more data, so store the data received so far.
            state.sb.push_str(&ascii::get_string(&buffer[..bytes_read]));

            // Get the rest of the data.
            client.begin_receive(buffer, receive_callback, state);
            return;
        }
        Ok(_) => Err(io::Error::other(format!(
            "the response is longer than {} bytes, which is the limit",
            StateObject::MAX_RESPONSE
        ))),
        Err(error) => Err(error),
    };
    keep_failure(received);

    // Signal that all bytes have been received.
    RECEIVE_DONE.set();
}

/// Returns how the operation whose event has been set ended.
fn outcome() -> io::Result<()> {
    lock(&FAILURE).take().map_or(Ok(()), Err)
}

fn keep_failure(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        *lock(&FAILURE) = Some(error);
    }
}

/// Writes a line to standard output. A reader that wants no more of it, such as `head`, is no error.
fn write_line(line: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("write to stdout: {error}"))),
        Ok(()) => Ok(()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
