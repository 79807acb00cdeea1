//! The works: what is asked of the contenders, and who takes part.

use crate::contender::Contender;
use crate::options::Settings;
use clap::ValueEnum;
use serde::Serialize;
use servers::Server;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ValueEnum)]
pub(crate) enum Work {
    /// Echo in a closed loop, at several numbers of connections
    #[value(name = "p1")]
    P1,
    /// One connection in a closed loop
    #[value(name = "p3")]
    P3,
    /// Echo in an open loop, at several rates
    #[value(name = "p4")]
    P4,
    /// Mostly idle: many connections, one in a hundred of them active
    #[value(name = "p5")]
    P5,
    /// As many connections as workers, in a closed loop
    #[value(name = "p6")]
    P6,
    /// Connect, send, receive, close
    #[value(name = "p9")]
    P9,
    /// Stream of 64 KiB chunks
    #[value(name = "p10")]
    P10,
    /// Slow handlers, in an open loop
    #[value(name = "p11")]
    P11,
    /// Starvation: a fresh connection beside many pending receives
    #[value(name = "p12")]
    P12,
    /// Cancel and deadline
    #[value(name = "p13")]
    P13,
}

impl Work {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::P1 => "P1: echo of 64 bytes, closed loop",
            Self::P3 => "P3: one connection, closed loop",
            Self::P4 => "P4: echo of 64 bytes, open loop",
            Self::P5 => "P5: mostly idle connections",
            Self::P6 => "P6: as many connections as workers, closed loop",
            Self::P9 => "P9: connect, send, receive, close, closed loop",
            Self::P10 => "P10: stream of 64 KiB chunks, closed loop",
            Self::P11 => "P11: slow handlers, open loop",
            Self::P12 => "P12: a fresh connection beside pending receives",
            Self::P13 => "P13: cancel and deadline",
        }
    }

    /// What its figures mean, in a sentence or two.
    pub(crate) fn note(self) -> &'static str {
        match self {
            Self::P1 => {
                "A connection sends again when its echo is there. CPU and switches are the server's, per round trip."
            }
            Self::P3 => {
                "Across two CPUs this is mostly the time it takes to wake a halted one; `--pin shared` takes that out."
            }
            Self::P4 => {
                "Messages are sent at the offered rate whatever the server does; latency counts from the time at which a message was to be sent. Rates are shares of raw mio's closed-loop throughput, the same for everybody."
            }
            Self::P5 => {
                "Every connection has a pending receive. Memory is resident memory of the server process, without the kernel's sockets; then one connection in a hundred is active in a closed loop."
            }
            Self::P6 => "The thread pool's best case: each pending receive can have a thread.",
            Self::P9 => {
                "Latency is from before connect until the echo is complete; CPU includes accepting and closing."
            }
            Self::P10 => {
                "Four chunks in flight on each connection. CPU is the server's per chunk and per MB that it received and sent back."
            }
            Self::P11 => {
                "256 connections at 20 % of raw mio's throughput; where handlers block, one in 1,000 does for 10 ms. Latency is that of the other round trips."
            }
            Self::P12 => {
                "From before connect until the echo is complete, one fresh connection after another, while every other connection has a pending receive."
            }
            Self::P13 => {
                "From the request, or from the deadline, to the callback, with nothing else to do and beside 1,000 pending receives; in races, a byte arrives while its receive is canceled, and must be found by that receive or by the next."
            }
        }
    }

    /// Whom the others are divided by in its tables.
    pub(crate) fn baseline(self) -> Server {
        match self {
            Self::P6 => Server::ThreadPerConnection,
            _ => Server::RawMio,
        }
    }
}

/// What is asked, but for whom. Cells with the same case are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub(crate) struct Case {
    pub(crate) work: Work,
    pub(crate) connections: usize,
    /// In an open loop: the offered rate, as a share of raw mio's closed-loop throughput.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) percent: Option<u32>,
    pub(crate) variant: Variant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Variant {
    Plain,
    NoneBlocks,
    SomeBlock,
    Cancel,
    Deadline,
    Race,
}

impl Case {
    fn new(work: Work, connections: usize) -> Self {
        Self { work, connections, percent: None, variant: Variant::Plain }
    }

    pub(crate) fn title(&self) -> String {
        let count = crate::report::thousands(self.connections as f64);
        let connections = match self.connections {
            1 => "1 connection".to_owned(),
            _ => format!("{count} connections"),
        };
        match (self.work, self.variant, self.percent) {
            (_, Variant::NoneBlocks, _) => "no handler blocks".to_owned(),
            (_, Variant::SomeBlock, _) => "one handler in 1,000 blocks 10 ms".to_owned(),
            (_, Variant::Cancel, _) => format!("from cancel to callback, {count} others pending"),
            (_, Variant::Deadline, _) => {
                format!("from deadline to callback, {count} others pending")
            }
            (_, Variant::Race, _) => "cancel against arrival".to_owned(),
            (Work::P12, ..) => format!("{count} pending receives"),
            (_, _, Some(percent)) => format!("{percent} %, {connections}"),
            _ => connections,
        }
    }
}

/// Bytes of a message of an echo.
pub(crate) const MESSAGE: usize = 64;
/// Bytes of a connection's buffer: longer than a message, so that a short receive tells that there is no more.
pub(crate) const BUFFER: usize = 4096;
/// Bytes of a chunk of a stream, and of a stream's buffer.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Chunks in flight on a connection.
pub(crate) const CHUNKS: usize = 4;
/// Connections of the open loops.
pub(crate) const OPEN_LOOP_CONNECTIONS: usize = 256;
/// One connection of so many is active where most are idle.
pub(crate) const IDLE_PER_ACTIVE: usize = 100;
/// One handler of so many is slow.
pub(crate) const SLOW_EVERY: u64 = 1000;
pub(crate) const SLOW: Duration = Duration::from_millis(10);
const SLOW_WORKERS: usize = 4;
const SLOW_PERCENT: u32 = 20;
const PENDING_PER_WORKER: usize = 1000;
/// Receives that are pending beside those that are canceled.
const PENDING_BESIDE: usize = 1000;
/// tokio's default.
const BLOCKING_THREADS: usize = 512;

/// One cell of a round: a contender and a case, or the reason why the one does not do the other.
pub(crate) struct Planned {
    pub(crate) case: Case,
    pub(crate) contender: Contender,
    pub(crate) skipped: Option<String>,
}

/// The cells of one round, in the order in which they are measured: the contenders take turns.
pub(crate) fn plan(settings: &Settings) -> Vec<Planned> {
    let mut planned = Vec::new();
    for &work in &settings.works {
        for case in cases(work, settings) {
            for contender in contenders(case, settings) {
                planned.push(Planned { case, contender, skipped: reason_to_skip(case, contender) });
            }
        }
    }
    planned
}

fn cases(work: Work, settings: &Settings) -> Vec<Case> {
    let plain = |connections| Case::new(work, connections);
    match work {
        Work::P1 => settings.connections.iter().copied().map(plain).collect(),
        Work::P3 => vec![plain(1)],
        Work::P4 => {
            let open = |&percent| Case { percent: Some(percent), ..plain(OPEN_LOOP_CONNECTIONS) };
            settings.rates.iter().map(open).collect()
        }
        Work::P5 => settings.idle_connections.iter().copied().map(plain).collect(),
        Work::P6 => vec![plain(2), plain(8)],
        Work::P9 => vec![plain(16)],
        Work::P10 => vec![plain(4)],
        Work::P11 => [Variant::NoneBlocks, Variant::SomeBlock]
            .map(|variant| {
                let case = plain(OPEN_LOOP_CONNECTIONS);
                Case { percent: Some(SLOW_PERCENT), variant, ..case }
            })
            .to_vec(),
        Work::P12 => {
            let most = settings.workers.iter().max().expect("at least one");
            vec![plain(0), plain(PENDING_PER_WORKER * most)]
        }
        Work::P13 => [
            (Variant::Cancel, 0),
            (Variant::Cancel, PENDING_BESIDE),
            (Variant::Deadline, 0),
            (Variant::Deadline, PENDING_BESIDE),
            (Variant::Race, 0),
        ]
        .map(|(variant, pending)| Case { variant, ..plain(pending) })
        .to_vec(),
    }
}

fn contenders(case: Case, settings: &Settings) -> Vec<Contender> {
    let most = *settings.workers.iter().max().expect("at least one");
    let least = *settings.workers.iter().min().expect("at least one");
    let workers = match case.work {
        // As many workers as connections.
        Work::P6 => vec![case.connections],
        Work::P11 => vec![SLOW_WORKERS],
        Work::P12 | Work::P13 => vec![most],
        _ => settings.workers.clone(),
    };
    let mut contenders = Vec::new();
    for &engine in &settings.engines {
        let server = Server::Aio(engine);
        contenders.extend(workers.iter().map(|&workers| Contender::new(server, workers)));
    }
    for &server in &settings.peers {
        if !takes_part(server, case.work) {
            continue;
        }
        let workers = match (server, workers.as_slice()) {
            (_, &[only]) => only,
            // Beside the others that run on one thread.
            (Server::Smol, _) => least,
            _ => most,
        };
        contenders.push(Contender::new(server, workers));
    }
    contenders
}

/// Whether a work has something to say about a peer.
fn takes_part(server: Server, work: Work) -> bool {
    match work {
        Work::P6 => matches!(
            server,
            Server::RawMio
                | Server::TokioMultiThread
                | Server::TokioSpawnBlocking
                | Server::ThreadPerConnection
                | Server::RayonJobs
                | Server::RayonAndAQueue
        ),
        // A single thread is held up by the first handler that blocks.
        Work::P11 => matches!(
            server,
            Server::TokioMultiThread
                | Server::TokioSpawnBlocking
                | Server::Smol
                | Server::ThreadPerConnection
        ),
        Work::P13 => false,
        _ => !server.starves(),
    }
}

fn reason_to_skip(case: Case, contender: Contender) -> Option<String> {
    let Case { work, connections, .. } = case;
    let pool = Server::TokioSpawnBlocking;
    // Under P12 it is run all the same: what becomes of the fresh connection is the question.
    if contender.server == pool && connections > BLOCKING_THREADS && work != Work::P12 {
        return Some(format!(
            "its {BLOCKING_THREADS} blocking threads are all held by pending receives"
        ));
    }
    None
}

/// The descriptors that the generator, or a server, needs at most.
pub(crate) fn descriptors(settings: &Settings) -> u64 {
    const BESIDE: usize = 128;
    let most = plan(settings).iter().map(|planned| planned.case.connections).max().unwrap_or(0);
    (most + BESIDE) as u64
}
