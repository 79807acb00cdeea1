//! The server of .NET's "Asynchronous Server Socket Example".
//!
//! ```console
//! cargo run --release --example async_server
//! cargo run --release --example client -- --port 11000    # in a second terminal
//! ```

mod ascii;
mod eof_server;

use aio_core::{Engine, Runtime};
use clap::Parser;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

/// Sends back what a client sends, once `<EOF>` has arrived, and closes.
#[derive(Parser)]
struct Options {
    /// Address to listen on; with port 0 the system chooses one, which is printed
    #[arg(long, default_value = "127.0.0.1:11000")]
    address: SocketAddr,
    /// Where a pending operation waits: auto, blocking or readiness
    #[arg(long, default_value_t)]
    engine: Engine,
}

fn main() -> ExitCode {
    match serve(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            write_error(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> io::Result<()> {
    let runtime = Runtime::builder().engine(options.engine).build()?;
    let listener = eof_server::bind(&runtime, options.address)?;
    if options.address.port() == 0 {
        write_line(&format!("Local address and port : {}", listener.local_addr()?));
    }
    let console = eof_server::Console { line: write_line, error: write_error };
    eof_server::start_listening(&listener, console);
    Ok(())
}

// A server goes on serving when nobody reads what it prints.

fn write_line(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn write_error(error: &str) {
    let _ = writeln!(io::stderr(), "async_server: {error}");
}
