//! What is made of the cells: records, a table, and a page with charts.

mod charts;
mod page;
mod table;

use crate::cell::Cell;
use crate::environment::Environment;
use crate::targets;
use crate::weight::Weight;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The cells of a run. Each is on disk as soon as it is measured.
pub(crate) struct Report {
    folder: PathBuf,
    records: BufWriter<File>,
    environment: Environment,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    cell: &'a Cell,
    environment: &'a Environment,
}

impl Report {
    pub(crate) fn create(folder: &Path, environment: Environment) -> io::Result<Self> {
        let named =
            |error| io::Error::other(format!("cannot write to {}: {error}", folder.display()));
        fs::create_dir_all(folder).map_err(named)?;
        let records = File::create(folder.join("cells.jsonl")).map_err(named)?;
        let folder = folder.to_owned();
        Ok(Self { folder, records: BufWriter::new(records), environment, cells: Vec::new() })
    }

    pub(crate) fn add(&mut self, cell: Cell) -> io::Result<()> {
        let record = Record { cell: &cell, environment: &self.environment };
        serde_json::to_writer(&mut self.records, &record)?;
        self.records.write_all(b"\n")?;
        self.records.flush()?;
        self.cells.push(cell);
        Ok(())
    }

    /// Writes the table, which it returns, and the page.
    pub(crate) fn finish(mut self, weights: &[Weight]) -> io::Result<String> {
        for weight in weights {
            let record = serde_json::json!({ "work": "P14", "weight": weight });
            writeln!(self.records, "{record}")?;
        }
        self.records.flush()?;
        let Self { folder, environment, cells, .. } = self;
        let targets = targets::judge(&cells, &table::cases(&cells));
        let sections = table::sections(&cells);
        let table = table::markdown(&environment, &targets, &sections, weights);
        fs::write(folder.join("table.md"), &table)?;
        let page = page::html(&environment, &targets, &sections, weights, &cells)?;
        fs::write(folder.join("report.html"), page)?;
        Ok(table)
    }
}

/// What a reader must know of the run.
fn facts(environment: &Environment) -> Vec<String> {
    let Environment { cpu, cpus, kernel, rustc, load, commit, pinning, arrivals, .. } = environment;
    let pinning = match pinning {
        None => "the system places generator and server".to_owned(),
        Some(pinning) => format!("CPUs {pinning:?}").to_lowercase(),
    };
    vec![
        format!("{cpus} CPUs of {cpu}, Linux {kernel}, {rustc}; {pinning}"),
        format!("Load of the machine in the minute before: {load}; nothing else should run on it"),
        format!("commit {commit}; {}", environment.versions()),
        format!("Loopback interface; open loops with {arrivals:?} arrivals"),
        "Figures are medians of the rounds; ratios are taken round by round: median (least–most)".to_owned(),
        "×n is the number of workers; those without have one thread, or one for each connection".to_owned(),
        "† generator-bound: the generator itself was busy for more than 80 % of the time, or later at p99 than a tenth of the median \
         latency: throughput and latency are then its own as much as the server's"
            .to_owned(),
    ]
}
