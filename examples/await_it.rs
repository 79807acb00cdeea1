//! The same client, awaited: under tokio, and under an executor of fifteen lines.
//!
//! ```console
//! cargo run --release --example await_it
//! ```
//!
//! A started call goes on by itself, on the workers of aio-core; an executor is only told when it is
//! over. So any will do, and tokio's needs neither its I/O nor its timers.

mod outcome;

use aio_client::{Client, Error, Framing};
use std::future::Future;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

async fn ask(server: SocketAddr, question: &str) -> Result<String, Error> {
    let client = Client::builder()
        .timeout(Duration::from_secs(5))
        .framing(Framing::delimiter("\n"))
        .connect_async(server)
        .await?;
    client.send_text_async(question).await?;
    client.receive_text_async().await
}

/// Polls one future on this thread, which sleeps in between.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}

fn main() -> ExitCode {
    outcome::exit_of("await_it", ask_twice)
}

fn ask_twice() -> io::Result<()> {
    let server = start_server()?;
    writeln!(io::stdout(), "block_on: {}", block_on(ask(server, "who waits?"))?)?;
    let tokio = tokio::runtime::Builder::new_current_thread().build()?;
    writeln!(io::stdout(), "tokio: {}", tokio.block_on(ask(server, "and who now?"))?)?;
    Ok(())
}

/// Sends every line back in capitals.
fn start_server() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || -> io::Result<()> {
        for stream in listener.incoming() {
            let mut stream = stream?;
            let mut line = String::new();
            BufReader::new(stream.try_clone()?).read_line(&mut line)?;
            stream.write_all(line.to_uppercase().as_bytes())?;
        }
        Ok(())
    });
    Ok(address)
}
