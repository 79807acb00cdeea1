//! How a server ends well: accept nobody any more, finish up to a deadline, report what is left.
//!
//! ```console
//! cargo run --release --example graceful_shutdown               # asked to end in mid-conversation
//! cargo run --release --example graceful_shutdown -- --forever  # by Ctrl-C
//! ```

mod outcome;
mod signals;

use aio_core::{AsyncResult, Completion, IoBuf, Runtime, Socket, op};
use aio_sync::ManualResetEvent;
use clap::Parser;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

static QUIT: ManualResetEvent = ManualResetEvent::new(false);

/// Echoes what two clients say, of whom one says nothing, and ends.
#[derive(Parser)]
struct Options {
    /// The server goes on until Ctrl-C
    #[arg(long)]
    forever: bool,
}

fn main() -> ExitCode {
    outcome::exit("graceful_shutdown", serve(Options::parse().forever))
}

fn serve(forever: bool) -> io::Result<()> {
    // On another runtime: what waits for signals is nothing to finish.
    signals::set_on_signal(Runtime::global()?, &QUIT)?;
    let runtime = Runtime::builder().build()?;
    let listener = runtime.associate(TcpListener::bind("127.0.0.1:0")?)?;
    listener.begin_accept(accept_callback, listener.clone());
    let _silent = TcpStream::connect(listener.local_addr()?)?;
    let mut talker = TcpStream::connect(listener.local_addr()?)?;
    talk(&mut talker, "first")?;
    let _ = QUIT.wait_timeout(if forever { Duration::MAX } else { Duration::ZERO });
    let talking = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        talk(&mut talker, "after")
    });
    // The conversation goes on meanwhile; the silent client is given up at the deadline.
    let report = runtime.drain(Instant::now() + Duration::from_millis(500));
    writeln!(io::stdout(), "{report}")?;
    if !report.is_complete() {
        return Err(io::Error::other("it has not ended: callbacks have not returned"));
    }
    writeln!(io::stdout(), "the last answer: {}", talking.join().expect("it returns")?)
}

fn accept_callback(ar: AsyncResult<op::Accept, Socket>) {
    let listener = ar.async_state().clone();
    // Draining ends the accept, and with it this.
    if let Ok(client) = listener.end_accept(ar).result {
        client.begin_receive(vec![0; 256], receive_callback, client.clone());
        listener.begin_accept(accept_callback, listener.clone());
    }
}

fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, Socket>) {
    let client = ar.async_state().clone();
    let Completion { result, buffer, .. } = client.end_receive(ar);
    if let Ok(n @ 1..) = result {
        client.begin_send(buffer.slice(..n), |_| (), ());
        client.begin_receive(vec![0; 256], receive_callback, client.clone());
    }
}

fn talk(stream: &mut TcpStream, word: &str) -> io::Result<String> {
    stream.write_all(word.as_bytes())?;
    let mut answer = vec![0; word.len()];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
