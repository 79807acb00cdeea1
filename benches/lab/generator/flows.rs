//! Closed loop of connect, send, receive, close.

use super::{Observed, STARVED_AFTER, dial, histogram, interest::Interest, record, starved};
use crate::cost::thread_cpu_time;
use crate::server_process::ServerProcess;
use crate::{interrupt, payload};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// So many clients, each of which connects, sends a message, takes its echo, closes, and begins again.
pub(crate) struct Flows {
    interest: Interest,
    flows: Vec<Flow>,
    message: usize,
    /// How many have begun so far.
    number: usize,
}

struct Flow {
    number: usize,
    stream: TcpStream,
    begun: Instant,
    received: usize,
}

impl Flows {
    pub(crate) fn new(concurrent: usize, message: usize) -> io::Result<Self> {
        let flows = Vec::with_capacity(concurrent);
        Ok(Self { interest: Interest::new()?, flows, message, number: 0 })
    }

    pub(crate) fn run(
        &mut self,
        server: &mut ServerProcess,
        warm_up: Duration,
        duration: Duration,
    ) -> io::Result<Observed> {
        let mut discarded = histogram();
        self.drive(server.address, warm_up, &mut discarded)?;
        let before = server.cost()?;
        let cpu_before = thread_cpu_time()?;
        let begun = Instant::now();
        let mut latency = histogram();
        self.drive(server.address, duration, &mut latency)?;
        let elapsed = begun.elapsed();
        let generator_cpu = thread_cpu_time()? - cpu_before;
        let server = server.cost()?.since(before);
        let round_trips = latency.len();
        let lateness = histogram();
        Ok(Observed { round_trips, elapsed, latency, lateness, generator_cpu, server })
    }

    fn drive(
        &mut self,
        server: SocketAddr,
        duration: Duration,
        latency: &mut hdrhistogram::Histogram<u64>,
    ) -> io::Result<()> {
        let begun = Instant::now();
        let end = begun + duration;
        let mut last_echo = begun;
        for index in 0..self.flows.capacity() {
            let flow = self.begin(server, index)?;
            self.flows.push(flow);
        }
        let mut open = self.flows.len();
        while open > 0 {
            interrupt::check()?;
            if Instant::now() > last_echo + STARVED_AFTER {
                return Err(starved());
            }
            self.interest.wait(Duration::from_millis(100))?;
            let ready: Vec<usize> = self.interest.events().collect();
            for index in ready {
                // An event may be left of a stream that is closed, and then says nothing of this one.
                if !self.flows[index].receive(self.message)? {
                    continue;
                }
                let now = Instant::now();
                last_echo = now;
                record(latency, now - self.flows[index].begun);
                if now < end {
                    // This closes the one before.
                    self.flows[index] = self.begin(server, index)?;
                } else {
                    self.flows[index].received = usize::MAX;
                    open -= 1;
                }
            }
        }
        self.flows.clear();
        Ok(())
    }

    fn begin(&mut self, server: SocketAddr, index: usize) -> io::Result<Flow> {
        let begun = Instant::now();
        let number = self.number;
        self.number += 1;
        let stream = dial::connect(number, server)?;
        stream.set_nonblocking(true)?;
        // It fits into the empty buffer of a new socket.
        (&stream).write_all(payload::bytes(number, 0, self.message))?;
        self.interest.add(&stream, index)?;
        Ok(Flow { number, stream, begun, received: 0 })
    }
}

impl Flow {
    /// Whether the echo has become complete.
    fn receive(&mut self, message: usize) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        while self.received < message {
            let received = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::Error::other("the server has closed the connection")),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            if buffer[..received] != *payload::bytes(self.number, self.received as u64, received) {
                return Err(io::Error::other("other bytes came back than were sent"));
            }
            self.received += received;
            if self.received == message {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
