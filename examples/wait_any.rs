//! A socket, a quit event and a timeout: whichever comes first.
//!
//! ```console
//! cargo run --release --example wait_any              # a server that speaks twice
//! cargo run --release --example wait_any -- --forever # one that goes on until Ctrl-C
//! ```

mod outcome;
mod signals;

use aio_core::{Runtime, is_aborted};
use aio_sync::{ManualResetEvent, wait_any_timeout};
use clap::Parser;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

static QUIT: ManualResetEvent = ManualResetEvent::new(false);

/// Prints what a server says, and when it says nothing for a while.
#[derive(Parser)]
struct Options {
    /// The server goes on until Ctrl-C
    #[arg(long)]
    forever: bool,
}

fn main() -> ExitCode {
    outcome::exit("wait_any", listen(&Options::parse()))
}

fn listen(options: &Options) -> io::Result<()> {
    let runtime = Runtime::builder().build()?;
    signals::set_on_signal(&runtime, &QUIT)?;
    let client = runtime.connect_to(start_server(options.forever)?)?;
    loop {
        let receive = client.receive_async(vec![0; 256]);
        match wait_any_timeout(&[&receive, &QUIT], Duration::from_millis(250)) {
            Some(0) => {}
            Some(_) => return writeln!(io::stdout(), "asked to quit"),
            None => {
                writeln!(io::stdout(), "nothing for a while")?;
                receive.cancel();
            }
        }
        // The operation may have won against its cancel: what it received must not be lost.
        let completion = receive.wait();
        match completion.result {
            Ok(0) => return writeln!(io::stdout(), "the server has closed"),
            Ok(n) => {
                let text = String::from_utf8_lossy(&completion.buffer[..n]);
                writeln!(io::stdout(), "received {text:?}")?;
            }
            Err(error) if is_aborted(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn start_server(forever: bool) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        let mut stream = listener.accept()?.0;
        let again = std::iter::repeat_n("again", if forever { usize::MAX } else { 0 });
        for text in ["at once", "later"].into_iter().chain(again) {
            stream.write_all(text.as_bytes())?;
            thread::sleep(Duration::from_millis(400));
        }
        Ok(())
    });
    Ok(address)
}
