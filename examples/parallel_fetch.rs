//! Hundreds of connections at a time on a few workers; the documents that arrive are worked on in
//! parallel, by rayon.
//!
//! ```console
//! cargo run --release --example parallel_fetch -- --connections 200
//! ```

mod numbers_server;
mod outcome;

use aio_client::{AsyncResult, Client, Completion, Error, Framing, LengthPrefix::U32Be, op};
use aio_core::Runtime;
use clap::Parser;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};

/// Of a document, in bytes.
const LENGTH: u32 = 256 * 1024;

/// Fetches as many documents at a time from an embedded server, and adds up their numbers.
#[derive(Parser)]
struct Options {
    /// How many connections
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
}

/// What all callbacks share.
struct Fetch {
    /// A pool of their own: aio-core's workers are there for callbacks, and do not steal rayon's jobs.
    handlers: rayon::ThreadPool,
    progress: ProgressBar,
    sums: mpsc::Sender<Result<u64, Error>>,
}

fn connect_callback(ar: AsyncResult<op::Connect, Arc<Fetch>>) {
    let Completion { result, state: fetch, .. } = Client::end_connect(ar);
    match result {
        Ok(client) => drop(client.begin_receive(receive_callback, (client.clone(), fetch))),
        Err(error) => drop(fetch.sums.send(Err(error))),
    }
}

fn receive_callback(ar: AsyncResult<op::Receive, (Client, Arc<Fetch>)>) {
    let (client, fetch) = ar.async_state().clone();
    let result = client.end_receive(ar).result;
    // The worker is free for the next callback while the pool adds up.
    fetch.clone().handlers.spawn(move || {
        let sum = result.map(|document| {
            fetch.progress.inc(document.len() as u64);
            document.par_iter().with_min_len(1 << 14).map(|&n| u64::from(n)).sum()
        });
        let _ = fetch.sums.send(sum);
    });
}

fn main() -> ExitCode {
    outcome::exit("parallel_fetch", fetch(Options::parse().connections))
}

fn fetch(connections: u32) -> Result<(), Box<dyn std::error::Error>> {
    let (server, runtime) = (numbers_server::start(LENGTH)?, Runtime::builder().build()?);
    let handlers = rayon::ThreadPoolBuilder::new().build()?;
    let total = u64::from(connections) * u64::from(LENGTH);
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}";
    let progress = ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?);
    let (sums, received) = mpsc::channel();
    let fetch = Arc::new(Fetch { handlers, progress, sums });
    let builder = Client::builder().runtime(&runtime).framing(Framing::LengthPrefix(U32Be));
    for _ in 0..connections {
        builder.clone().begin_connect(server, connect_callback, fetch.clone());
    }
    let sum = received.iter().take(connections as usize).sum::<Result<u64, Error>>()?;
    fetch.progress.finish_and_clear();
    let bytes = HumanBytes(total);
    Ok(writeln!(io::stdout(), "{connections} documents, {bytes}, which add up to {sum}")?)
}
