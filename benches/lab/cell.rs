//! What was measured: one cell is one contender under one load in one round.

use crate::contender::Contender;
use crate::works::Case;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
pub(crate) struct Cell {
    pub(crate) round: usize,
    #[serde(flatten)]
    pub(crate) case: Case,
    #[serde(serialize_with = "contender")]
    pub(crate) contender: Contender,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

fn contender<S: Serializer>(contender: &Contender, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(contender)
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Measured(Box<Measurement>),
    /// Not run, and why.
    Skipped(String),
    /// Run, without a result, and why.
    Failed(String),
}

impl Cell {
    pub(crate) fn measurement(&self) -> Option<&Measurement> {
        match &self.outcome {
            Outcome::Measured(measurement) => Some(measurement),
            Outcome::Skipped(_) | Outcome::Failed(_) => None,
        }
    }
}

/// Times are in microseconds, memory in bytes; what a work does not measure is absent.
#[derive(Default, Serialize)]
pub(crate) struct Measurement {
    pub(crate) round_trips: u64,
    pub(crate) seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) offered_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<ServerUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) generator: Option<GeneratorUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_us_per_mb: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idle: Option<IdleUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) races: Option<Races>,
}

/// What the server used, for each round trip where that makes sense.
#[derive(Serialize)]
pub(crate) struct ServerUse {
    pub(crate) user_us: f64,
    pub(crate) system_us: f64,
    pub(crate) voluntary_switches: f64,
    pub(crate) involuntary_switches: f64,
    pub(crate) resident: u64,
    pub(crate) threads: u64,
}

#[derive(Serialize)]
pub(crate) struct GeneratorUse {
    /// Share of one CPU.
    pub(crate) cpu: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lateness_p99_us: Option<f64>,
    /// It was too busy or too late for latency to be the server's alone.
    pub(crate) is_bound: bool,
}

/// What connections cost that do nothing.
#[derive(Serialize)]
pub(crate) struct IdleUse {
    pub(crate) resident_per_connection: f64,
    /// Without the buffer that the pending receive fills.
    pub(crate) beyond_buffer: f64,
    pub(crate) cpu_us_per_second: f64,
}

#[derive(Serialize, serde::Deserialize)]
pub(crate) struct Races {
    /// How many receives were canceled at the instant at which a byte arrived.
    pub(crate) races: u64,
    /// How many of them were aborted; the others received the byte.
    pub(crate) aborted: u64,
    pub(crate) lost_bytes: u64,
}

#[derive(Clone, Copy, Serialize, serde::Deserialize)]
pub(crate) struct Quantiles {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Quantiles {
    /// From nanoseconds.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
        let at = |quantile| microseconds(histogram.value_at_quantile(quantile));
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: microseconds(histogram.max()),
        }
    }
}

/// A figure of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    PerSecond,
    Cpu,
    CpuPerMb,
    Switches,
    P50,
    P90,
    P99,
    P999,
    Resident,
    Threads,
    ResidentPerConnection,
    BeyondBuffer,
    IdleCpu,
    GeneratorCpu,
    LatenessP99,
    LostBytes,
    Races,
    Aborted,
}

impl Metric {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::PerSecond => "per second",
            Self::Cpu => "CPU µs",
            Self::CpuPerMb => "CPU µs per MB",
            Self::Switches => "switches",
            Self::P50 => "p50 µs",
            Self::P90 => "p90 µs",
            Self::P99 => "p99 µs",
            Self::P999 => "p99.9 µs",
            Self::Resident => "memory MiB",
            Self::Threads => "threads",
            Self::ResidentPerConnection => "bytes per connection",
            Self::BeyondBuffer => "beyond its buffer",
            Self::IdleCpu => "idle CPU µs per s",
            Self::GeneratorCpu => "generator CPU %",
            Self::LatenessP99 => "lateness p99 µs",
            Self::LostBytes => "bytes lost",
            Self::Races => "races",
            Self::Aborted => "of them aborted",
        }
    }

    pub(crate) fn of(self, measurement: &Measurement) -> Option<f64> {
        let Measurement { latency, server, generator, idle, races, .. } = measurement;
        let (latency, server, idle) = (latency.as_ref(), server.as_ref(), idle.as_ref());
        let (generator, races) = (generator.as_ref(), races.as_ref());
        match self {
            Self::PerSecond => measurement.per_second,
            Self::Cpu => server.map(|server| server.user_us + server.system_us),
            Self::CpuPerMb => measurement.cpu_us_per_mb,
            Self::Switches => {
                server.map(|server| server.voluntary_switches + server.involuntary_switches)
            }
            Self::P50 => latency.map(|latency| latency.p50_us),
            Self::P90 => latency.map(|latency| latency.p90_us),
            Self::P99 => latency.map(|latency| latency.p99_us),
            Self::P999 => latency.map(|latency| latency.p999_us),
            Self::Resident => server.map(|server| server.resident as f64 / (1 << 20) as f64),
            Self::Threads => server.map(|server| server.threads as f64),
            Self::ResidentPerConnection => idle.map(|idle| idle.resident_per_connection),
            Self::BeyondBuffer => idle.map(|idle| idle.beyond_buffer),
            Self::IdleCpu => idle.map(|idle| idle.cpu_us_per_second),
            Self::GeneratorCpu => generator.map(|generator| generator.cpu * 100.0),
            Self::LatenessP99 => generator.and_then(|generator| generator.lateness_p99_us),
            Self::LostBytes => races.map(|races| races.lost_bytes as f64),
            Self::Races => races.map(|races| races.races as f64),
            Self::Aborted => races.map(|races| races.aborted as f64),
        }
    }
}
