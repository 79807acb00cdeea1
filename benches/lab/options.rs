//! The command line.

use crate::generator::Arrivals;
use crate::pinning::Pinning;
use crate::works::Work;
use aio_core::Engine;
use clap::{Args, Parser, Subcommand, ValueEnum};
use servers::Server;
use std::path::PathBuf;
use std::time::Duration;

/// Compares servers: thread pool against event loop.
///
/// Measures aio's engines beside other runtimes in interleaved rounds, on the loopback interface, and
/// writes cells.jsonl, table.md and report.html.
#[derive(Parser)]
#[command(name = "lab", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) measure: Measure,
}

#[derive(Args)]
pub(crate) struct Measure {
    /// Measures a part, in less than two minutes
    #[arg(long)]
    quick: bool,
    /// Runs a little of everything in some seconds: whether it works, not how fast
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// What to measure [default: all of it]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORK")]
    works: Vec<Work>,
    /// Engines of aio to measure [default: readiness,blocking]
    #[arg(long, value_delimiter = ',', value_name = "ENGINE")]
    engines: Vec<Engine>,
    /// Servers to compare with, or none [default: all of them]
    #[arg(long, value_delimiter = ',', value_name = "PEER", value_parser = peer, long_help = peers_help())]
    peers: Vec<Peer>,
    /// Numbers of connections of P1 [default: 16,64,256,1000,4000]
    #[arg(long, value_delimiter = ',', value_name = "COUNT", value_parser = count)]
    connections: Vec<usize>,
    /// Numbers of connections of P5 [default: 1000,10000]
    #[arg(long, value_delimiter = ',', value_name = "COUNT", value_parser = count)]
    idle_connections: Vec<usize>,
    /// Offered rates of P4, in per cent of raw mio's throughput [default: 10,25,50,75,90,100,110]
    #[arg(long, value_delimiter = ',', value_name = "PERCENT")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rates: Vec<u32>,
    /// How messages arrive in an open loop
    #[arg(long, value_enum, default_value = "poisson")]
    arrivals: Arrivals,
    /// Workers of the runtimes that have some [default: 1,2]
    #[arg(long, value_delimiter = ',', value_name = "COUNT", value_parser = workers)]
    workers: Vec<usize>,
    /// Seconds for each cell, after a fifth as much of warming up [default: 2]
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
    /// How often each cell is measured [default: 5]
    #[arg(long, value_parser = count)]
    rounds: Option<usize>,
    /// On which CPUs [default: wherever the system puts them]
    #[arg(long, value_enum)]
    pin: Option<Pinning>,
    /// Port of the servers; 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Also counts crates and times clean builds (P14), which takes minutes
    #[arg(long)]
    weight: bool,
    /// Where the results go
    #[arg(long, default_value = "target/lab", value_name = "FOLDER")]
    output: PathBuf,
}

/// What the lab runs itself as.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// A server under test
    #[command(hide = true)]
    Serve {
        #[arg(value_parser = Server::named)]
        server: Server,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        workers: usize,
        #[arg(long)]
        buffer: usize,
        #[arg(long)]
        slow_us: u64,
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Cancels operations, or lets their deadlines pass
    #[command(hide = true)]
    Cancel {
        #[arg(long)]
        engine: Engine,
        #[arg(long)]
        workers: usize,
        #[arg(long)]
        count: u64,
        /// Receives beside those that are ended
        #[arg(long)]
        pending: usize,
        what: crate::cancellation::What,
    },
}

/// How much is measured by default.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Full,
    Quick,
    Smoke,
}

impl Extent {
    fn pick<T>(self, full: T, quick: T, smoke: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
            Self::Smoke => smoke,
        }
    }
}

/// What to measure.
pub(crate) struct Settings {
    pub(crate) works: Vec<Work>,
    pub(crate) engines: Vec<Engine>,
    pub(crate) peers: Vec<Server>,
    pub(crate) connections: Vec<usize>,
    pub(crate) idle_connections: Vec<usize>,
    pub(crate) rates: Vec<u32>,
    pub(crate) arrivals: Arrivals,
    pub(crate) workers: Vec<usize>,
    pub(crate) duration: Duration,
    pub(crate) rounds: usize,
    /// Probes of P12, operations of P13; races are twenty times as many.
    pub(crate) repetitions: u64,
    pub(crate) pinning: Option<Pinning>,
    pub(crate) port: u16,
    pub(crate) weight: bool,
    pub(crate) output: PathBuf,
}

impl From<Measure> for Settings {
    fn from(measure: Measure) -> Self {
        let extent = match (measure.quick, measure.smoke) {
            (true, _) => Extent::Quick,
            (_, true) => Extent::Smoke,
            _ => Extent::Full,
        };
        let quick = extent == Extent::Quick;
        let seconds = extent.pick(2.0, 0.2, 0.05);
        let every_peer = || {
            let polls = |server: &Server| matches!(server, Server::CompioPoll | Server::MonoioPoll);
            Server::PEERS.into_iter().filter(|server| !(quick && polls(server))).collect()
        };
        let peers: Vec<Server> = measure.peers.iter().filter_map(|peer| peer.0).collect();
        Self {
            works: or(measure.works, || match quick {
                true => {
                    vec![Work::P1, Work::P3, Work::P4, Work::P5, Work::P6, Work::P11, Work::P12]
                }
                false => Work::value_variants().to_vec(),
            }),
            engines: or(measure.engines, || vec![Engine::Readiness, Engine::Blocking]),
            peers: if measure.peers.is_empty() { every_peer() } else { or(peers, Vec::new) },
            connections: or(measure.connections, || {
                extent.pick(vec![16, 64, 256, 1000, 4000], vec![16, 256], vec![16])
            }),
            idle_connections: or(measure.idle_connections, || {
                extent.pick(vec![1000, 10_000], vec![2000], vec![200])
            }),
            rates: or(measure.rates, || {
                extent.pick(vec![10, 25, 50, 75, 90, 100, 110], vec![25, 50, 75], vec![25])
            }),
            arrivals: measure.arrivals,
            workers: or(measure.workers, || vec![1, 2]),
            duration: measure.seconds.unwrap_or(Duration::from_secs_f64(seconds)),
            rounds: measure.rounds.unwrap_or(extent.pick(5, 2, 1)),
            repetitions: extent.pick(10_000, 500, 50),
            pinning: measure.pin,
            port: measure.port,
            weight: measure.weight,
            output: measure.output,
        }
    }
}

/// What is named twice is measured once.
fn or<T: PartialEq>(given: Vec<T>, default: impl FnOnce() -> Vec<T>) -> Vec<T> {
    if given.is_empty() {
        return default();
    }
    let mut once = Vec::with_capacity(given.len());
    for value in given {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

/// A server to compare with, or `none`.
#[derive(Clone, Copy)]
struct Peer(Option<Server>);

fn peer(name: &str) -> Result<Peer, String> {
    if name == "none" {
        return Ok(Peer(None));
    }
    let server = Server::PEERS.into_iter().find(|peer| peer.name() == name);
    server.map(|server| Peer(Some(server))).ok_or_else(|| format!("the peers are {}", peer_names()))
}

fn peers_help() -> String {
    format!("Servers to compare with, or none: {} [default: all of them]", peer_names())
}

fn peer_names() -> String {
    Server::PEERS.map(Server::name).join(", ")
}

fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000_000) => Ok(count),
        _ => Err("a whole number from 1 to 1,000,000".to_owned()),
    }
}

/// Each is a thread.
fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers @ 1..=1000) => Ok(workers),
        _ => Err("a whole number from 1 to 1,000".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0.01..=3600.0) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("a number from 0.01 to 3600".to_owned()),
    }
}
