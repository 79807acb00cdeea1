//! The lab: thread pool against event loop, with everything else held equal.
//!
//! This process generates the load and measures; each server under test is a process of its own, the
//! same program run as `lab serve`. What is measured is in `works.rs`, who takes part in `plan.rs`
//! and in the library `servers`, how a cell is measured in `measure.rs`, and what is made of the cells in `report/`.
//!
//! It needs Linux: epoll, `/proc`, and contenders that run nowhere else.

mod cancellation;
mod cell;
mod contender;
mod control;
mod cost;
mod environment;
mod figures;
mod generator;
mod interrupt;
mod measure;
mod options;
mod payload;
mod pinning;
mod plan;
mod report;
mod server_process;
mod statistics;
mod targets;
mod weight;
mod works;

use cell::{Cell, Outcome};
use clap::Parser;
use environment::Environment;
use indicatif::{ProgressBar, ProgressStyle};
use measure::Laboratory;
use options::{Command, Options, Settings};
use report::Report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::Service;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let Options { command, measure } = Options::parse();
    let done = match command {
        None => compare(&measure.into()),
        Some(Command::Serve { server, port, workers, buffer, slow_us, cpu }) => {
            let slow = Duration::from_micros(slow_us);
            let pinned = cpu.map_or(Ok(()), pinning::pin);
            raise_descriptor_limit();
            pinned.and_then(|()| control::run(server, Service { port, workers, buffer, slow }))
        }
        Some(Command::Cancel { engine, workers, count, pending, what }) => {
            raise_descriptor_limit();
            cancellation::run(what, engine, workers, pending, count)
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "lab: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(settings: &Settings) -> io::Result<()> {
    interrupt::listen()?;
    check(settings).map_err(io::Error::other)?;
    if let Some(pinning) = settings.pinning {
        pinning::pin(pinning.generator_cpu())?;
    }
    // Otherwise a timeout may be 50 µs late, and so may a message of an open loop.
    rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1))?;

    let mut report = Report::create(&settings.output, Environment::now(settings))?;
    let plan = plan::plan(settings);
    let progress = ProgressBar::new((plan.len() * settings.rounds) as u64);
    let style =
        ProgressStyle::with_template("{elapsed:>4} of {duration} [{bar:30}] {pos}/{len}  {msg}");
    progress.set_style(style.map_err(io::Error::other)?.progress_chars("=> "));
    progress.set_message("capacity of raw mio");
    let laboratory = Laboratory::set_up(settings)?;
    for round in 1..=settings.rounds {
        for plan::Planned { case, contender, skipped } in &plan {
            progress.set_message(format!("{:?} {}: {contender}", case.work, case.title()));
            let outcome = match skipped {
                Some(reason) => Outcome::Skipped(reason.clone()),
                None => laboratory.measure(*case, *contender)?,
            };
            report.add(Cell { round, case: *case, contender: *contender, outcome })?;
            progress.inc(1);
        }
    }
    let mut weights = Vec::new();
    if settings.weight {
        for name in weight::NAMES {
            progress.set_message(format!("P14: clean release build of {name}"));
            weights.push(weight::measure(name, &settings.output)?);
        }
    }
    progress.finish_and_clear();
    let table = report.finish(&weights)?;
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(table.as_bytes()).and_then(|()| {
        writeln!(stdout, "\nIn {}: cells.jsonl, table.md, report.html", settings.output.display())
    });
    match printed {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// What would otherwise fail half an hour later.
fn check(settings: &Settings) -> Result<(), String> {
    if let Some(pinning) = settings.pinning {
        pinning.check()?;
    }
    let allowed = raise_descriptor_limit();
    let needed = plan::descriptors(settings);
    if allowed.is_some_and(|allowed| allowed < needed) {
        return Err(format!(
            "this needs {needed} descriptors, and a process may have {}; ask for fewer with \
             --connections and --idle-connections, or raise the hard limit (ulimit -Hn)",
            allowed.unwrap_or_default()
        ));
    }
    servers::listen(settings.port)
        .map_err(|error| format!("port {} is not to be had: {error}", settings.port))?;
    Ok(())
}

/// Raises the limit as far as it goes, and returns it; none means that there is none.
fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current }
}
