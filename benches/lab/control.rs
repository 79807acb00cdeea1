//! The server process's side of the pipe to the lab.
//!
//! It prints its address, then answers each line on standard input with what it has used so far, and
//! ends with its standard input: no server outlives the lab, however that ends.

use crate::cost::Cost;
use serde::{Deserialize, Serialize};
use servers::{Server, Service};
use std::io::{self, Write};
use std::net::SocketAddr;

/// The first line of a server.
#[derive(Serialize, Deserialize)]
pub(crate) enum Started {
    Listening(SocketAddr),
    Unavailable(String),
}

/// Serves until standard input ends.
pub(crate) fn run(server: Server, service: Service) -> io::Result<()> {
    match servers::start(server, service) {
        Ok(address) => print(&Started::Listening(address))?,
        Err(error) => return print(&Started::Unavailable(error.to_string())),
    }
    for _request in io::stdin().lines() {
        print(&Cost::of_the_other_threads()?)?;
    }
    Ok(())
}

/// Prints a line of JSON.
pub(crate) fn print(value: &impl Serialize) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, value)?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}
