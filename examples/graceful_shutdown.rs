//! How a server ends well: it accepts nobody any more, finishes what it is at, up to a deadline, and
//! reports what it could not finish.
//!
//! ```console
//! cargo run --release --example graceful_shutdown               # asked to end in mid-conversation
//! cargo run --release --example graceful_shutdown -- --forever  # by Ctrl-C
//! ```

mod signals;

use aio_core::{AsyncResult, Completion, IoBuf, Runtime, Socket, op};
use aio_sync::ManualResetEvent;
use clap::Parser;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
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
    match serve(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("graceful_shutdown: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> io::Result<bool> {
    let runtime = Runtime::builder().build()?;
    let signals = signals::set_on_signal(&runtime, &QUIT)?;
    let listener = runtime.tcp_v4()?;
    listener.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.listen(100)?;
    let address = listener.local_addr()?;
    listener.begin_accept(accept_callback, listener.clone());

    let silent = TcpStream::connect(address)?;
    let forever = options.forever;
    let talker = thread::spawn(move || talk(address, forever));
    QUIT.wait_one();
    writeln!(io::stdout(), "asked to end")?;
    if let Some(signals) = signals {
        signals.close();
    }
    // The conversation goes on meanwhile; the silent client is given up at the deadline.
    let report = runtime.drain(Instant::now() + Duration::from_millis(500));
    writeln!(io::stdout(), "{report}")?;
    drop(silent);
    let answer = talker.join().expect("the talker returns")?;
    writeln!(io::stdout(), "the last answer: {answer}")?;
    // False if a callback does not return: then the process ends without it.
    Ok(report.is_complete())
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

/// Goes on for a while after the server has been asked to end.
fn talk(server: SocketAddr, forever: bool) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    let mut answer = [0; 5];
    for word in ["first", "after"] {
        stream.write_all(word.as_bytes())?;
        stream.read_exact(&mut answer)?;
        if !forever {
            QUIT.set();
        }
        QUIT.wait_one();
        thread::sleep(Duration::from_millis(50));
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
