//! Echoes every byte of every connection, until SIGINT or SIGTERM; then it finishes what it has begun
//! and prints what it served.
//!
//! ```console
//! cargo run --release --example echo_server -- --address 127.0.0.1:7000
//! nc 127.0.0.1 7000    # in a second terminal
//! ```
//!
//! A connection is one operation at a time: receive, send what was received, receive again. Its state
//! and its one buffer travel with the operation, so an echo allocates nothing here.

use aio_core::{AsyncResult, Completion, Engine, IoBuf, Runtime, Slice, Socket, is_aborted, op};
use aio_sync::{AutoResetEvent, ManualResetEvent};
use clap::Parser;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long connections may take to finish once the server has been told to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait before accepting again, if no connection ends meanwhile.
const PAUSE: Duration = Duration::from_millis(100);

/// Sends back whatever a connection receives.
#[derive(Parser)]
struct Options {
    /// Address to listen on; with port 0 the system chooses one, which is printed
    #[arg(long, default_value = "127.0.0.1:7000")]
    address: SocketAddr,
    /// Where a pending operation waits: auto, blocking or readiness
    #[arg(long, default_value_t)]
    engine: Engine,
    /// Worker threads [default: one for each CPU]
    #[arg(long)]
    workers: Option<usize>,
    /// Size of each connection's buffer
    #[arg(long, value_name = "BYTES", default_value_t = 16 * 1024)]
    #[arg(value_parser = buffer_size)]
    buffer: usize,
}

fn buffer_size(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes @ 1..=0x4000_0000) => Ok(bytes),
        _ => Err("a buffer has 1 byte to 1 GiB".to_owned()),
    }
}

fn main() -> ExitCode {
    match serve(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "echo_server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let mut builder = Runtime::builder().engine(options.engine);
    if let Some(workers) = options.workers {
        builder = builder.workers(workers);
    }
    let runtime = builder.build()?;
    let v4 = options.address.is_ipv4();
    let listener = if v4 { runtime.tcp_v4()? } else { runtime.tcp_v6()? };
    listener.bind(options.address)?;
    listener.listen(1024)?;
    let server = Arc::new(Server::new(listener, options.buffer));
    #[cfg(unix)]
    let _signals = unix::set_on_signal(&runtime, &server)?;

    server.begin_accept();
    print(format_args!("listening on {}", server.listener.local_addr()?));

    loop {
        server.attention.wait_one();
        if server.quit.is_set() {
            break;
        }
        // There was no descriptor for a connection, most likely. It stays in the system's queue.
        let _ = server.connection_ended.wait_timeout(PAUSE);
        server.begin_accept();
    }
    server.drain();
    server.report();
    Ok(())
}

struct Server {
    listener: Socket,
    buffer: usize,
    /// Set when the main thread is to look at `quit`, or is to accept again.
    attention: AutoResetEvent,
    /// Set once the server is to end.
    quit: ManualResetEvent,
    connection_ended: AutoResetEvent,
    /// True exactly when the last accept failed, which is reported once and not for every attempt.
    accept_fails: AtomicBool,
    connections: Mutex<Connections>,
    /// Set when the last connection has ended, once `draining` is true.
    drained: ManualResetEvent,
    served: Served,
}

#[derive(Default)]
struct Connections {
    open: HashMap<u64, Socket>,
    accepted: u64,
    draining: bool,
}

/// Totals of the connections that have ended.
#[derive(Default)]
struct Served {
    bytes: AtomicU64,
    errors: AtomicU64,
}

/// What travels with the one operation of a connection.
struct Connection {
    server: Arc<Server>,
    socket: Socket,
    /// Its key in `Connections::open`.
    number: u64,
    echoed: u64,
}

impl Server {
    fn new(listener: Socket, buffer: usize) -> Self {
        Self {
            listener,
            buffer,
            attention: AutoResetEvent::new(false),
            quit: ManualResetEvent::new(false),
            connection_ended: AutoResetEvent::new(false),
            accept_fails: AtomicBool::new(false),
            connections: Mutex::default(),
            drained: ManualResetEvent::new(false),
            served: Served::default(),
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin_accept(self: &Arc<Self>) {
        self.listener.begin_accept(Self::accept_callback, self.clone());
    }

    fn accept_callback(ar: AsyncResult<op::Accept, Arc<Self>>) {
        let server = ar.async_state().clone();
        match server.listener.end_accept(ar).result {
            Ok(socket) => {
                server.accept_fails.store(false, Ordering::Relaxed);
                server.begin_accept();
                server.open(socket);
            }
            Err(error) if is_aborted(&error) => {}
            // That client hung up before it was accepted; the next may be there already.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => server.begin_accept(),
            Err(error) => {
                if !server.accept_fails.swap(true, Ordering::Relaxed) {
                    let _ = writeln!(io::stderr(), "echo_server: {error}; trying again");
                }
                server.attention.set();
            }
        }
    }

    fn open(self: Arc<Self>, socket: Socket) {
        // Fails only for a connection that is broken, which the receive will say.
        let _ = socket.with_socket(|socket| socket.set_tcp_nodelay(true));
        let mut connections = self.connections();
        let number = connections.accepted;
        connections.accepted += 1;
        connections.open.insert(number, socket.clone());
        if connections.draining {
            let _ = socket.shutdown(Shutdown::Read);
        }
        drop(connections);
        let buffer = vec![0; self.buffer];
        Connection { server: self, socket, number, echoed: 0 }.receive(buffer);
    }

    /// Stops accepting, lets every connection echo what has arrived, and waits for them to end.
    fn drain(&self) {
        self.listener.close();
        let mut connections = self.connections();
        connections.draining = true;
        for socket in connections.open.values() {
            // What has arrived can still be received; the end of the stream follows it.
            let _ = socket.shutdown(Shutdown::Read);
        }
        if connections.open.is_empty() {
            self.drained.set();
        }
        drop(connections);
        if !self.drained.wait_timeout(DRAIN_LIMIT) {
            let left: Vec<_> = self.connections().open.values().cloned().collect();
            left.iter().for_each(Socket::close);
            // Closing has aborted what was pending; the callbacks have only to run. If one does not
            // return, the report comes all the same.
            let _ = self.drained.wait_timeout(DRAIN_LIMIT);
        }
    }

    fn report(&self) {
        print(format_args!(
            "served {} connections, {} bytes, {} errors",
            self.connections().accepted,
            self.served.bytes.load(Ordering::Relaxed),
            self.served.errors.load(Ordering::Relaxed),
        ));
    }
}

impl Connection {
    fn receive(self, buffer: Vec<u8>) {
        self.socket.clone().begin_receive(buffer, Self::receive_callback, self);
    }

    fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, Self>) {
        let socket = ar.async_state().socket.clone();
        let Completion { result, buffer, state: connection, .. } = socket.end_receive(ar);
        match result {
            Ok(0) => connection.end(true),
            Ok(received) => {
                socket.begin_send(buffer.slice(..received), Self::send_callback, connection);
            }
            Err(_) => connection.end(false),
        }
    }

    fn send_callback(ar: AsyncResult<op::Send<Slice<Vec<u8>>>, Self>) {
        let socket = ar.async_state().socket.clone();
        let completion = socket.end_send(ar);
        let mut connection = completion.state;
        connection.echoed += completion.bytes_transferred as u64;
        match completion.result {
            Ok(_) => connection.receive(completion.buffer.into_inner()),
            Err(_) => connection.end(false),
        }
    }

    fn end(self, is_clean: bool) {
        if is_clean {
            // Fails only if the client has gone already.
            let _ = self.socket.shutdown(Shutdown::Write);
        }
        self.socket.close();
        let served = &self.server.served;
        served.bytes.fetch_add(self.echoed, Ordering::Relaxed);
        served.errors.fetch_add(u64::from(!is_clean), Ordering::Relaxed);
        let mut connections = self.server.connections();
        connections.open.remove(&self.number);
        if connections.draining && connections.open.is_empty() {
            self.server.drained.set();
        }
        drop(connections);
        self.server.connection_ended.set();
    }
}

/// Prints a line. The server goes on serving when nobody reads it.
fn print(line: std::fmt::Arguments<'_>) {
    let mut stdout = io::stdout();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

#[cfg(unix)]
mod unix {
    use super::{Arc, Runtime, Server, Socket, io};
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::low_level::pipe;
    use std::os::unix::net::UnixStream;

    /// Sets `quit` when a signal arrives. A signal writes a byte to a socket, so that its arrival is
    /// an operation like any other and takes no thread of its own.
    pub(super) fn set_on_signal(runtime: &Runtime, server: &Arc<Server>) -> io::Result<Socket> {
        let (arrivals, signals) = UnixStream::pair()?;
        pipe::register(SIGINT, signals.try_clone()?)?;
        pipe::register(SIGTERM, signals)?;
        let arrivals = runtime.associate(arrivals)?;
        let server = server.clone();
        let quit = move |_| {
            server.quit.set();
            server.attention.set();
        };
        arrivals.begin_receive([0], quit, ());
        Ok(arrivals)
    }
}
