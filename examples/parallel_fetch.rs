//! Hundreds of connections at a time on a few workers; the documents that arrive are worked on in
//! parallel, by rayon.
//!
//! ```console
//! cargo run --release --example parallel_fetch -- --connections 200 --kilobytes 256
//! ```
//!
//! The handlers install into a pool of their own: aio-core's workers are there for callbacks, and do not
//! steal rayon's jobs.

mod numbers_server;

use aio_client::{AsyncResult, Client, Completion, Error, Framing, LengthPrefix, op};
use aio_core::Runtime;
use clap::Parser;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

/// Fetches as many documents at a time from an embedded server, and adds up their numbers.
#[derive(Parser)]
struct Options {
    /// How many connections
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// How long each document is
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    kilobytes: u32,
}

/// What travels from callback to callback.
struct Fetch {
    handlers: Arc<rayon::ThreadPool>,
    progress: ProgressBar,
    outcome: Sender<Result<u64, Error>>,
}

fn connect_callback(ar: AsyncResult<op::Connect, Fetch>) {
    let Completion { result, state: fetch, .. } = Client::end_connect(ar);
    match result {
        Ok(client) => drop(client.begin_receive(receive_callback, (client.clone(), fetch))),
        Err(error) => drop(fetch.outcome.send(Err(error))),
    }
}

fn receive_callback(ar: AsyncResult<op::Receive, (Client, Fetch)>) {
    let client = ar.async_state().0.clone();
    let Completion { result, state: (_, fetch), .. } = client.end_receive(ar);
    let Fetch { handlers, progress, outcome } = fetch;
    // The worker is free for the next callback while the pool adds up.
    handlers.spawn(move || {
        let sum = result.map(|document| {
            progress.inc(document.len() as u64);
            document
                .par_chunks(1 << 14)
                .map(|part| part.iter().map(|&n| u64::from(n)).sum::<u64>())
                .sum()
        });
        let _ = outcome.send(sum);
    });
}

fn main() -> ExitCode {
    match fetch(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("parallel_fetch: {error}");
            ExitCode::FAILURE
        }
    }
}

fn fetch(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let length = options.kilobytes * 1024;
    let server = numbers_server::start(length)?;
    let runtime = Runtime::builder().build()?;
    let handlers = Arc::new(rayon::ThreadPoolBuilder::new().build()?);
    let total = u64::from(options.connections) * u64::from(length);
    let style = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec}";
    let progress = ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?);
    let (outcome, outcomes) = mpsc::channel();
    for _ in 0..options.connections {
        let handlers = handlers.clone();
        let fetch = Fetch { handlers, progress: progress.clone(), outcome: outcome.clone() };
        Client::builder()
            .runtime(&runtime)
            .framing(Framing::LengthPrefix(LengthPrefix::U32Be))
            .begin_connect(server, connect_callback, fetch);
    }
    drop(outcome);
    let sum = outcomes.into_iter().sum::<Result<u64, Error>>()?;
    progress.finish_and_clear();
    let bytes = HumanBytes(total);
    let mut stdout = io::stdout();
    writeln!(
        stdout,
        "fetched {} documents, {bytes}, whose numbers add up to {sum}",
        options.connections
    )?;
    Ok(())
}
