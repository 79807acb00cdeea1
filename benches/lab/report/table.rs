//! The tables: a section for each work, a table for each case, a row for each contender.

use crate::cell::{Cell, Metric, Outcome};
use crate::contender::Contender;
use crate::environment::Environment;
use crate::figures::figure;
use crate::statistics::Spread;
use crate::targets::Judged;
use crate::weight::Weight;
use crate::works::{Case, Work};

pub(super) struct Section {
    pub(super) work: Work,
    pub(super) tables: Vec<Table>,
}

pub(super) struct Table {
    pub(super) title: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) contender: Contender,
    pub(super) entries: Entries,
    /// The generator was too busy or too late in most rounds.
    pub(super) is_generator_bound: bool,
}

pub(super) enum Entries {
    Figures(Vec<String>),
    /// In place of figures.
    Reason(String),
}

/// The columns of a work's tables, and those that are divided by the baseline's.
fn metrics(work: Work) -> (&'static [Metric], &'static [Metric]) {
    use Metric::{
        Aborted, BeyondBuffer, Cpu, CpuPerMb, GeneratorCpu, IdleCpu, LatenessP99, LostBytes, P50,
        P90, P99, P999, PerSecond, Races, ResidentPerConnection, Switches, Threads,
    };
    match work {
        Work::P1 | Work::P6 | Work::P9 => (
            &[
                PerSecond,
                Cpu,
                Switches,
                P50,
                P90,
                P99,
                P999,
                Metric::Resident,
                Threads,
                GeneratorCpu,
            ],
            &[Cpu, P99],
        ),
        Work::P3 => (&[PerSecond, Cpu, Switches, P50, P90, P99, P999, GeneratorCpu], &[P50, Cpu]),
        Work::P4 | Work::P11 => (
            &[PerSecond, Cpu, Switches, P50, P90, P99, P999, LatenessP99, GeneratorCpu],
            &[P99, Cpu],
        ),
        Work::P5 => (
            &[ResidentPerConnection, BeyondBuffer, Threads, IdleCpu, Cpu, Switches, P50, P99],
            &[Cpu],
        ),
        Work::P10 => (&[PerSecond, CpuPerMb, Switches, P50, P99, GeneratorCpu], &[CpuPerMb]),
        Work::P12 => (&[P50, P90, P99, Cpu, Switches, Threads], &[P50]),
        Work::P13 => (&[P50, P90, P99, P999, Races, Aborted, LostBytes], &[]),
    }
}

pub(super) fn sections(cells: &[Cell]) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for case in cases(cells) {
        let table = table(cells, case);
        match sections.last_mut() {
            Some(section) if section.work == case.work => section.tables.push(table),
            _ => sections.push(Section { work: case.work, tables: vec![table] }),
        }
    }
    sections
}

/// In the order in which they were measured.
pub(super) fn cases<'c>(cells: impl IntoIterator<Item = &'c Cell>) -> Vec<Case> {
    let mut cases = Vec::new();
    for cell in cells {
        if !cases.contains(&cell.case) {
            cases.push(cell.case);
        }
    }
    cases
}

fn table(cells: &[Cell], case: Case) -> Table {
    let cells: Vec<_> = cells.iter().filter(|cell| cell.case == case).collect();
    let mut contenders = Vec::new();
    for cell in &cells {
        if !contenders.contains(&cell.contender) {
            contenders.push(cell.contender);
        }
    }
    let baseline =
        contenders.iter().copied().find(|contender| contender.server == case.work.baseline());
    let (absolute, relative) = metrics(case.work);
    // What nobody measured in this case has no column.
    let measured = |metric: &&Metric| {
        cells
            .iter()
            .any(|cell| cell.measurement().and_then(|measured| metric.of(measured)).is_some())
    };
    let absolute: Vec<_> = absolute.iter().filter(measured).copied().collect();
    let relative: Vec<_> = match baseline {
        Some(_) => relative.iter().filter(measured).copied().collect(),
        None => Vec::new(),
    };
    let mut columns: Vec<_> = absolute.iter().map(|metric| metric.title().to_owned()).collect();
    if let Some(baseline) = baseline {
        columns.extend(relative.iter().map(|metric| {
            let name = metric.title().replace(" µs", "");
            format!("{name} ÷ {baseline}")
        }));
    }
    if columns.is_empty() {
        // For the reasons.
        columns.push("not measured".to_owned());
    }
    let rows = contenders.into_iter().map(|contender| {
        let own: Vec<_> =
            cells.iter().filter(|cell| cell.contender == contender).copied().collect();
        let bound = own.iter().filter(|cell| is_generator_bound(cell)).count();
        let mut figures: Vec<_> = absolute.iter().map(|metric| median(&own, *metric)).collect();
        if let Some(baseline) = baseline {
            figures.extend(relative.iter().map(|metric| {
                if contender == baseline {
                    return "1".to_owned();
                }
                let ratio = ratio(&cells, *metric, contender, baseline);
                ratio.map_or_else(|| "no value".to_owned(), |ratio| ratio.to_string())
            }));
        }
        let entries = match reason(&own) {
            Some(reason) => Entries::Reason(reason),
            None => Entries::Figures(figures),
        };
        Row { contender, entries, is_generator_bound: bound * 2 > own.len() }
    });
    Table { title: case.title(), columns, rows: rows.collect() }
}

/// A metric of one contender divided by that of another, round by round.
pub(super) fn ratio(
    cells: &[&Cell],
    metric: Metric,
    contender: Contender,
    baseline: Contender,
) -> Option<Spread> {
    let of = |contender: Contender, round: usize| {
        let cell = cells.iter().find(|cell| cell.contender == contender && cell.round == round)?;
        metric.of(cell.measurement()?)
    };
    let rounds = cells.iter().filter(|cell| cell.contender == contender).map(|cell| cell.round);
    Spread::of(rounds.filter_map(|round| Some(of(contender, round)? / of(baseline, round)?)))
}

fn is_generator_bound(cell: &Cell) -> bool {
    let generator = cell.measurement().and_then(|measured| measured.generator.as_ref());
    generator.is_some_and(|generator| generator.is_bound)
}

/// Why there are no figures: no round has any.
fn reason(cells: &[&Cell]) -> Option<String> {
    let mut reason = None;
    for cell in cells {
        match &cell.outcome {
            Outcome::Measured(_) => return None,
            Outcome::Skipped(why) => reason = Some(format!("not run: {why}")),
            Outcome::Failed(why) => reason = Some(format!("failed: {why}")),
        }
    }
    reason
}

fn median(cells: &[&Cell], metric: Metric) -> String {
    let values = cells.iter().filter_map(|cell| metric.of(cell.measurement()?));
    Spread::of(values).map_or_else(|| "–".to_owned(), |spread| figure(spread.median))
}

/// A target's columns: work, case, figure, limit, what was reached, verdict.
pub(super) const TARGETS: [&str; 6] = ["work", "case", "figure", "at most", "reached", "verdict"];

pub(super) fn target(judged: &Judged) -> [String; 6] {
    let Judged { work, case, what, limit, reached } = judged;
    let reached = match reached {
        Some(spread) if spread.median >= 10.0 || *limit >= 10.0 => {
            let [median, least, most] = [spread.median, spread.least, spread.most].map(figure);
            format!("{median} ({least}–{most})")
        }
        Some(spread) => spread.to_string(),
        None => "–".to_owned(),
    };
    let verdict = judged.verdict().to_owned();
    [format!("{work:?}"), case.clone(), what.clone(), figure(*limit), reached, verdict]
}

pub(super) fn markdown(
    environment: &Environment,
    targets: &[Judged],
    sections: &[Section],
    weights: &[Weight],
) -> String {
    let mut text = String::from("# Thread pool against event loop\n\n");
    for line in super::facts(environment) {
        text += &format!("* {line}\n");
    }
    text += "\n## Targets\n\n";
    text += &format!("| {} |\n|---|---|---|--:|--:|---|\n", TARGETS.join(" | "));
    for judged in targets {
        text += &format!("| {} |\n", target(judged).join(" | "));
    }
    for section in sections {
        text += &format!("\n## {}\n\n{}\n", section.work.title(), section.work.note());
        for table in &section.tables {
            text += &format!("\n### {}\n\n", table.title);
            text += &format!("| | {} |\n", table.columns.join(" | "));
            text += &format!("|---|{}\n", "--:|".repeat(table.columns.len()));
            for row in &table.rows {
                text += &format!("| {}{} | ", row.contender, mark(row));
                match &row.entries {
                    Entries::Figures(figures) => text += &figures.join(" | "),
                    Entries::Reason(reason) => {
                        text += reason;
                        text += &" |".repeat(table.columns.len() - 1);
                    }
                }
                text += " |\n";
            }
        }
    }
    if !weights.is_empty() {
        text += &format!("\n## {WEIGHTS}\n\n| | crates | build, seconds |\n|---|--:|--:|\n");
        for Weight { name, crates, build_seconds } in weights {
            text += &format!("| {name} | {crates} | {} |\n", figure(*build_seconds));
        }
    }
    text
}

pub(super) const WEIGHTS: &str = "P14: crates in the tree, and a clean release build";

/// After the name of a contender whose row the generator bounds.
pub(super) fn mark(row: &Row) -> &'static str {
    if row.is_generator_bound { " †" } else { "" }
}
