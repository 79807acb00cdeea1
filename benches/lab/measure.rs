//! Measuring one cell.

use crate::cell::{GeneratorUse, IdleUse, Measurement, Outcome, Quantiles, ServerUse};
use crate::contender::Contender;
use crate::generator::flows::Flows;
use crate::generator::{Generator, Load, Observed, Pacing, probe};
use crate::options::Settings;
use crate::server_process::{ServerProcess, StartError};
use crate::statistics::Spread;
use crate::works::{
    BUFFER, CHUNK, CHUNKS, Case, IDLE_PER_ACTIVE, MESSAGE, OPEN_LOOP_CONNECTIONS, SLOW, SLOW_EVERY,
    Variant, Work,
};
use crate::{cancellation, interrupt};
use servers::{Server, Service};
use std::time::Duration;
use std::{io, thread};

/// How long connections do nothing, at least, before the CPU time of idleness is taken, and while it is.
const CALM: Duration = Duration::from_millis(250);
/// How often the capacity is measured, of which the median counts.
const CAPACITIES: usize = 3;

pub(crate) struct Laboratory<'s> {
    pub(crate) settings: &'s Settings,
    /// Raw mio's closed-loop throughput, which offered rates are shares of.
    pub(crate) capacity: f64,
}

impl<'s> Laboratory<'s> {
    /// Measures the capacity first, if an open loop is to come.
    pub(crate) fn set_up(settings: &'s Settings) -> io::Result<Self> {
        let mut laboratory = Self { settings, capacity: f64::NAN };
        if settings.works.iter().any(|work| matches!(work, Work::P4 | Work::P11)) {
            let mio = Contender::new(Server::RawMio, 1);
            let load =
                Load { message: MESSAGE, pacing: Pacing::Closed { depth: 1 }, slow_every: None };
            let mut capacities = Vec::new();
            for _ in 0..CAPACITIES {
                let mut server = match laboratory.start(mio, BUFFER) {
                    Ok(server) => server,
                    Err(StartError::Io(error)) => return Err(error),
                    Err(StartError::Unavailable(reason)) => return Err(io::Error::other(reason)),
                };
                let observed = laboratory.echo(&mut server, OPEN_LOOP_CONNECTIONS, load)?;
                capacities.push(per_second(&observed));
            }
            laboratory.capacity = Spread::of(capacities).expect("some were measured").median;
        }
        Ok(laboratory)
    }

    /// An error only if the lab is to end.
    pub(crate) fn measure(&self, case: Case, contender: Contender) -> io::Result<Outcome> {
        if let (Work::P13, Server::Aio(engine)) = (case.work, contender.server) {
            let count = self.settings.repetitions;
            let measured = cancellation::measure(engine, contender.workers, case, count);
            return Ok(outcome(measured));
        }
        let buffer = if case.work == Work::P10 { CHUNK } else { BUFFER };
        let mut server = match self.start(contender, buffer) {
            Ok(server) => server,
            Err(StartError::Unavailable(reason)) => return Ok(Outcome::Skipped(reason)),
            Err(StartError::Io(error)) => return Err(error),
        };
        let measured = self.measure_with(&mut server, case, contender);
        interrupt::check()?;
        Ok(outcome(measured))
    }

    fn start(&self, contender: Contender, buffer: usize) -> Result<ServerProcess, StartError> {
        let Settings { port, pinning, .. } = *self.settings;
        let service = Service { port, workers: contender.workers, buffer, slow: SLOW };
        ServerProcess::start(contender, service, pinning)
    }

    fn measure_with(
        &self,
        server: &mut ServerProcess,
        case: Case,
        contender: Contender,
    ) -> io::Result<Measurement> {
        let closed =
            Load { message: MESSAGE, pacing: Pacing::Closed { depth: 1 }, slow_every: None };
        match case.work {
            Work::P1 | Work::P3 | Work::P6 => {
                self.echo(server, case.connections, closed).map(|observed| summary(&observed))
            }
            Work::P4 | Work::P11 => {
                let rate = self.capacity * f64::from(case.percent.expect("an open loop")) / 100.0;
                let arrivals = self.settings.arrivals;
                let slow_every = (case.variant == Variant::SomeBlock).then_some(SLOW_EVERY);
                let load = Load { pacing: Pacing::Open { rate, arrivals }, slow_every, ..closed };
                let observed = self.echo(server, case.connections, load)?;
                Ok(Measurement { offered_per_second: Some(rate), ..summary(&observed) })
            }
            Work::P5 => self.mostly_idle(server, case.connections, closed, contender),
            Work::P9 => {
                let mut flows = Flows::new(case.connections, MESSAGE)?;
                let observed = flows.run(server, self.warm_up(), self.settings.duration)?;
                Ok(summary(&observed))
            }
            Work::P10 => {
                let load =
                    Load { message: CHUNK, pacing: Pacing::Closed { depth: CHUNKS }, ..closed };
                let observed = self.echo(server, case.connections, load)?;
                let megabytes = observed.round_trips as f64 * CHUNK as f64 / 1e6;
                let cpu_us_per_mb = Some(observed.server.cpu_us() as f64 / megabytes);
                Ok(Measurement { cpu_us_per_mb, ..summary(&observed) })
            }
            Work::P12 => self.fresh_connections(server, case.connections),
            Work::P13 => unreachable!("it has no server, and peers take no part in it"),
        }
    }

    fn warm_up(&self) -> Duration {
        self.settings.duration / 5
    }

    fn echo(
        &self,
        server: &mut ServerProcess,
        connections: usize,
        load: Load,
    ) -> io::Result<Observed> {
        let mut generator = Generator::connect(server.address, connections)?;
        generator.run(server, load, connections, self.warm_up(), self.settings.duration)
    }

    fn mostly_idle(
        &self,
        server: &mut ServerProcess,
        connections: usize,
        load: Load,
        contender: Contender,
    ) -> io::Result<Measurement> {
        let empty = server.cost()?;
        let mut generator = Generator::connect(server.address, connections)?;
        generator.greet(load.message)?;
        let full = server.cost()?;
        let pause = CALM.max(self.settings.duration / 2);
        // What is left to do when the last echo is out, and whatever keeps watch for a while.
        thread::sleep(pause);
        let before = server.cost()?;
        thread::sleep(pause);
        let cpu = server.cost()?.since(before).cpu_us() as f64;
        let active = connections.div_ceil(IDLE_PER_ACTIVE);
        let observed =
            generator.run(server, load, active, self.warm_up(), self.settings.duration)?;
        let grown = full.resident.saturating_sub(empty.resident) as f64;
        let resident_per_connection = grown / connections as f64;
        // The raw loop has one buffer for all.
        let buffer = if contender.server == Server::RawMio { 0.0 } else { BUFFER as f64 };
        let idle = IdleUse {
            resident_per_connection,
            beyond_buffer: resident_per_connection - buffer,
            cpu_us_per_second: cpu / pause.as_secs_f64(),
        };
        Ok(Measurement { idle: Some(idle), ..summary(&observed) })
    }

    fn fresh_connections(
        &self,
        server: &mut ServerProcess,
        pending: usize,
    ) -> io::Result<Measurement> {
        let mut generator = Generator::connect(server.address, pending)?;
        generator.greet(MESSAGE)?;
        let count = self.settings.repetitions as usize / 5;
        probe::fresh_connections(server.address, MESSAGE, count / 10 + 1)?;
        let before = server.cost()?;
        let latency = probe::fresh_connections(server.address, MESSAGE, count)?;
        let used = server.cost()?.since(before);
        Ok(Measurement {
            round_trips: latency.len(),
            latency: Some(Quantiles::of(&latency)),
            server: Some(server_use(used, latency.len())),
            ..Measurement::default()
        })
    }
}

fn outcome(measured: io::Result<Measurement>) -> Outcome {
    match measured {
        Ok(measurement) => Outcome::Measured(Box::new(measurement)),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn per_second(observed: &Observed) -> f64 {
    observed.round_trips as f64 / observed.elapsed.as_secs_f64()
}

fn server_use(used: crate::cost::Cost, round_trips: u64) -> ServerUse {
    let each = |total: u64| total as f64 / round_trips as f64;
    ServerUse {
        user_us: each(used.user_us),
        system_us: each(used.system_us),
        voluntary_switches: each(used.voluntary_switches),
        involuntary_switches: each(used.involuntary_switches),
        resident: used.resident,
        threads: used.threads,
    }
}

fn summary(observed: &Observed) -> Measurement {
    let latency = Quantiles::of(&observed.latency);
    let cpu = observed.generator_cpu.as_secs_f64() / observed.elapsed.as_secs_f64();
    let lateness = &observed.lateness;
    let lateness_p99_us =
        (!lateness.is_empty()).then(|| lateness.value_at_quantile(0.99) as f64 / 1e3);
    let is_late = lateness_p99_us.is_some_and(|late| late > latency.p50_us / 10.0);
    Measurement {
        round_trips: observed.round_trips,
        seconds: observed.elapsed.as_secs_f64(),
        offered_per_second: None,
        per_second: Some(per_second(observed)),
        latency: Some(latency),
        server: Some(server_use(observed.server, observed.round_trips)),
        generator: Some(GeneratorUse { cpu, lateness_p99_us, is_bound: is_late || cpu > 0.8 }),
        ..Measurement::default()
    }
}
