//! The works: what is asked of the contenders.

use crate::figures::thousands;
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
    pub(crate) fn new(work: Work, connections: usize) -> Self {
        Self { work, connections, percent: None, variant: Variant::Plain }
    }

    pub(crate) fn title(&self) -> String {
        let count = thousands(self.connections as f64);
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
