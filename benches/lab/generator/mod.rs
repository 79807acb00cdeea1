//! The load generator: one thread over epoll, with no runtime under test.
//!
//! *Open loop*: messages are sent at their times, whatever the server does, and latency counts from the
//! time at which a message was to be sent. *Closed loop*: a connection sends again when its echo is there;
//! a slow server is then asked less, so its latency is no answer to how it does under a given load.
//!
//! The generator records how late it was itself, and how busy.

mod arrivals;
mod connection;
mod dial;
pub(crate) mod flows;
mod interest;
pub(crate) mod probe;

pub(crate) use arrivals::Arrivals;

use crate::cost::{Cost, thread_cpu_time};
use crate::interrupt;
use crate::payload::LONGEST;
use crate::server_process::ServerProcess;
use arrivals::Schedule;
use connection::Connection;
use hdrhistogram::Histogram;
use interest::Interest;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A server that has sent nothing for so long, with echoes due, is taken to have starved.
pub(crate) const STARVED_AFTER: Duration = Duration::from_secs(5);

/// What is asked of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Bytes of a message.
    pub(crate) message: usize,
    pub(crate) pacing: Pacing,
    /// Every so many messages, one whose handler blocks.
    pub(crate) slow_every: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pacing {
    /// So many messages in flight on each connection.
    Closed { depth: usize },
    /// So many messages per second, over all connections in turn.
    Open { rate: f64, arrivals: Arrivals },
}

/// What came of it. Times are in nanoseconds.
pub(crate) struct Observed {
    pub(crate) round_trips: u64,
    pub(crate) elapsed: Duration,
    /// Of the messages whose handler does not block.
    pub(crate) latency: Histogram<u64>,
    /// How much later than intended messages were sent; empty in a closed loop.
    pub(crate) lateness: Histogram<u64>,
    pub(crate) generator_cpu: Duration,
    /// What the server has used.
    pub(crate) server: Cost,
}

/// A histogram up to a minute, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("the bounds are right")
}

fn record(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_nanos() as u64);
}

/// Connections to a server.
pub(crate) struct Generator {
    interest: Interest,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
}

impl Generator {
    pub(crate) fn connect(server: SocketAddr, connections: usize) -> io::Result<Self> {
        let mut generator = Self {
            interest: Interest::new()?,
            connections: Vec::with_capacity(connections),
            buffer: vec![0; LONGEST],
        };
        for index in 0..connections {
            let connection = Connection::open(index, server)?;
            generator.interest.add(&connection.stream, index)?;
            generator.connections.push(connection);
        }
        Ok(generator)
    }

    /// Sends a message on every connection and takes the echoes: each is accepted then, and has a
    /// pending receive.
    pub(crate) fn greet(&mut self, message: usize) -> io::Result<()> {
        let load = Load { message, pacing: Pacing::Closed { depth: 1 }, slow_every: None };
        self.drive(load, Duration::ZERO, self.connections.len()).map(drop)
    }

    /// Puts the load on the first `active` connections, after a while of warming up.
    pub(crate) fn run(
        &mut self,
        server: &mut ServerProcess,
        load: Load,
        active: usize,
        warm_up: Duration,
        duration: Duration,
    ) -> io::Result<Observed> {
        self.drive(load, warm_up, active)?;
        // Nothing is in flight now, so everything that is counted falls between the two.
        let before = server.cost()?;
        let cpu_before = thread_cpu_time()?;
        let begun = Instant::now();
        let Driven { round_trips, latency, lateness } = self.drive(load, duration, active)?;
        let elapsed = begun.elapsed();
        let generator_cpu = thread_cpu_time()? - cpu_before;
        let server = server.cost()?.since(before);
        Ok(Observed { round_trips, elapsed, latency, lateness, generator_cpu, server })
    }

    /// Sends for `duration`, then waits for what is in flight.
    fn drive(&mut self, load: Load, duration: Duration, active: usize) -> io::Result<Driven> {
        let begun = Instant::now();
        let mut drive = Drive {
            load,
            begun,
            end: begun + duration,
            sent: 0,
            driven: Driven { round_trips: 0, latency: histogram(), lateness: histogram() },
        };
        let mut timetable = None;
        match load.pacing {
            Pacing::Open { rate, arrivals } => {
                timetable = Some(Timetable::new(Schedule::new(arrivals, rate), begun));
            }
            Pacing::Closed { depth } => {
                for connection in &mut self.connections[..active] {
                    for _ in 0..depth {
                        drive.send(connection, Instant::now())?;
                    }
                }
            }
        }
        let mut last_echo = begun;
        loop {
            let mut next = None;
            if let Some(timetable) = &mut timetable {
                next = timetable.send_due(&mut drive, &mut self.connections[..active])?;
            }
            if next.is_none() && drive.driven.round_trips == drive.sent {
                break;
            }
            let now = Instant::now();
            interrupt::check()?;
            if drive.driven.round_trips < drive.sent && now > last_echo + STARVED_AFTER {
                return Err(starved());
            }
            let pause =
                next.map_or(Duration::from_millis(100), |next| next.saturating_duration_since(now));
            self.interest.wait(pause)?;
            for event in self.interest.events() {
                let connection = &mut self.connections[event];
                connection.flush()?;
                if !connection.is_busy() {
                    continue;
                }
                last_echo = drive.receive(connection, &mut self.buffer)?;
                // A batch of events takes longer than messages may be late.
                if let Some(timetable) = &mut timetable {
                    timetable.send_due(&mut drive, &mut self.connections[..active])?;
                }
            }
        }
        Ok(drive.driven)
    }
}

fn starved() -> io::Error {
    let seconds = STARVED_AFTER.as_secs();
    io::Error::new(io::ErrorKind::TimedOut, format!("no echo for {seconds} s"))
}

struct Driven {
    round_trips: u64,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

/// A load being put on connections.
struct Drive {
    load: Load,
    begun: Instant,
    end: Instant,
    sent: u64,
    driven: Driven,
}

impl Drive {
    fn send(&mut self, connection: &mut Connection, intended: Instant) -> io::Result<()> {
        self.sent += 1;
        let is_slow = self.load.slow_every.is_some_and(|every| self.sent % every == 0);
        connection.send(self.load.message, intended, is_slow)
    }

    /// Takes what has arrived; in a closed loop, sends as many again. Returns the time.
    fn receive(&mut self, connection: &mut Connection, buffer: &mut [u8]) -> io::Result<Instant> {
        let mut completed = 0;
        let mut now = self.begun;
        let Driven { latency, .. } = &mut self.driven;
        connection.receive(buffer, |message| {
            if completed == 0 {
                now = Instant::now();
            }
            completed += 1;
            if !message.is_slow {
                record(latency, now - message.intended);
            }
        })?;
        self.driven.round_trips += completed;
        if matches!(self.load.pacing, Pacing::Closed { .. }) && now < self.end {
            for _ in 0..completed {
                self.send(connection, now)?;
            }
        }
        Ok(now.max(self.begun))
    }
}

/// A schedule of arrivals, by the clock.
struct Timetable {
    schedule: Schedule,
    begun: Instant,
    next: Instant,
    turn: usize,
}

impl Timetable {
    fn new(schedule: Schedule, begun: Instant) -> Self {
        Self { schedule, begun, next: begun, turn: 0 }
    }

    /// Sends what is due; returns when the next message is, if there is one.
    fn send_due(
        &mut self,
        drive: &mut Drive,
        connections: &mut [Connection],
    ) -> io::Result<Option<Instant>> {
        while self.next < drive.end {
            let now = Instant::now();
            if self.next > now {
                return Ok(Some(self.next));
            }
            record(&mut drive.driven.lateness, now - self.next);
            let turn = self.turn % connections.len();
            drive.send(&mut connections[turn], self.next)?;
            self.turn += 1;
            let offset = self.schedule.next().expect("arrivals do not end");
            self.next = self.begun + offset;
        }
        Ok(None)
    }
}
