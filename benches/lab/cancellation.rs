//! Cancel and deadline (P13), in a child process: the time from the request, or from the deadline, to the
//! callback, in a runtime that has nothing else to do and beside many pending receives; and whether a byte is
//! ever lost that arrives at the instant of a cancel.

use crate::cell::{Measurement, Quantiles, Races};
use crate::control::print;
use crate::generator::histogram;
use crate::works::{Case, Variant};
use aio_core::socket2::{Domain, Type};
use aio_core::{AsyncResult, Completion, Engine, Operation, Runtime, Socket, is_aborted, op};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU64;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{hint, thread};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    Cancel,
    Deadline,
    Race,
}

/// A receive is pending for so many microseconds before its deadline: any number, since a wait for whole
/// milliseconds would end in time for those that are whole.
const TIMEOUT: Range<u64> = 1_000..3_000;
/// What a thread is given that does not ask for less, in nanoseconds. The lab asks for less, and what it
/// starts would inherit that.
const TIMER_SLACK: u64 = 50_000;
/// A million in the five rounds of a full run.
const RACES_PER_REPETITION: u64 = 20;

#[derive(Serialize, Deserialize)]
enum Measured {
    Latency { count: u64, quantiles: Quantiles },
    Races(Races),
}

/// Measures in a child process, so that the runtime is gone afterwards.
pub(crate) fn measure(
    engine: Engine,
    workers: usize,
    case: Case,
    repetitions: u64,
) -> io::Result<Measurement> {
    let (what, count) = match case.variant {
        Variant::Deadline => ("deadline", repetitions / 4),
        Variant::Race => ("race", repetitions * RACES_PER_REPETITION),
        _ => ("cancel", repetitions),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["cancel", what, "--engine", &engine.to_string()]);
    command.args(["--workers", &workers.to_string(), "--count", &count.max(1).to_string()]);
    command.args(["--pending", &case.connections.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("it ended with {}", output.status)));
    }
    Ok(match serde_json::from_slice(&output.stdout)? {
        Measured::Latency { count, quantiles } => {
            Measurement { round_trips: count, latency: Some(quantiles), ..Measurement::default() }
        }
        Measured::Races(races) => {
            Measurement { round_trips: races.races, races: Some(races), ..Measurement::default() }
        }
    })
}

/// The child.
pub(crate) fn run(
    what: What,
    engine: Engine,
    workers: usize,
    pending: usize,
    count: u64,
) -> io::Result<()> {
    rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK))?;
    let runtime = Runtime::builder().engine(engine).workers(workers).build()?;
    let beside = (0..pending).map(|_| pend(&runtime)).collect::<io::Result<Vec<_>>>()?;
    let measured = match what {
        What::Cancel => cancels(&runtime, count)?,
        What::Deadline => deadlines(&runtime, count)?,
        What::Race => races(&runtime, count)?,
    };
    if let Some(over) = beside.iter().position(Operation::is_completed) {
        return Err(io::Error::other(format!("the receive {over} beside did not stay pending")));
    }
    print(&measured)
}

/// A receive of what nobody sends, with a deadline that does not come.
fn pend(runtime: &Runtime) -> io::Result<Operation<op::Receive<[u8; 64]>>> {
    let socket = runtime.socket(Domain::IPV4, Type::DGRAM, None)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    Ok(socket.with_timeout(Duration::from_secs(3600)).receive_async([0; 64]))
}

fn cancels(runtime: &Runtime, count: u64) -> io::Result<Measured> {
    let (_peer, socket) = connection(runtime)?;
    latency(count, || {
        let (ended, end) = mpsc::channel();
        let callback = move |ar: AsyncResult<op::Receive<Vec<u8>>>| {
            let _ = ended.send((Instant::now(), ar.error().is_some_and(is_aborted)));
        };
        let operation = socket.begin_receive(vec![0; 64], callback, ());
        // The engine is to be waiting by then.
        thread::sleep(Duration::from_micros(200));
        let requested = Instant::now();
        operation.cancel();
        over(&end, requested)
    })
}

fn deadlines(runtime: &Runtime, count: u64) -> io::Result<Measured> {
    let (_peer, socket) = connection(runtime)?;
    latency(count, || {
        let (ended, end) = mpsc::channel();
        let callback = move |ar: AsyncResult<op::Receive<Vec<u8>>>| {
            let is_over = ar.error().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
            let _ = ended.send((Instant::now(), is_over));
        };
        let deadline = Instant::now() + Duration::from_micros(fastrand::u64(TIMEOUT));
        socket.with_deadline(deadline).begin_receive(vec![0; 64], callback, ());
        over(&end, deadline)
    })
}

/// How long after `due` a callback ran, which must have seen the end that was asked for.
fn over(end: &mpsc::Receiver<(Instant, bool)>, due: Instant) -> io::Result<Duration> {
    match end.recv_timeout(Duration::from_secs(5)) {
        Ok((ended, true)) => Ok(ended.saturating_duration_since(due)),
        Ok((_, false)) => Err(io::Error::other("an operation ended otherwise than asked")),
        Err(_) => Err(io::Error::other("an operation did not end")),
    }
}

fn latency(count: u64, mut once: impl FnMut() -> io::Result<Duration>) -> io::Result<Measured> {
    let mut histogram = histogram();
    for _ in 0..count / 10 {
        once()?;
    }
    for _ in 0..count {
        histogram.saturating_record(once()?.as_nanos() as u64);
    }
    Ok(Measured::Latency { count, quantiles: Quantiles::of(&histogram) })
}

/// A peer sends one byte after another, each when it is told to; the receive of each is canceled at the
/// same time. An aborted receive must have taken nothing: the next one finds the byte.
fn races(runtime: &Runtime, count: u64) -> io::Result<Measured> {
    let (mut peer, socket) = connection(runtime)?;
    static TURN: AtomicU64 = AtomicU64::new(0);
    let sender = thread::spawn(move || {
        for turn in 1..=count {
            while TURN.load(Ordering::Acquire) < turn {
                hint::spin_loop();
            }
            // The cancel comes sooner or later than this.
            (0..turn % 64 * 16).for_each(|_| hint::spin_loop());
            peer.write_all(&[turn as u8])?;
        }
        Ok::<_, io::Error>(peer)
    });
    let receiver = socket.with_timeout(Duration::from_secs(5));
    let mut races = Races { races: count, aborted: 0, lost_bytes: 0 };
    for turn in 1..=count {
        let operation = socket.receive_async(vec![0; 1]);
        TURN.store(turn, Ordering::Release);
        (0..turn / 64 % 64 * 16).for_each(|_| hint::spin_loop());
        operation.cancel();
        let Completion { result, buffer, .. } = operation.wait();
        let byte = match result {
            Ok(_) => buffer[0],
            Err(error) if is_aborted(&error) => {
                races.aborted += 1;
                let mut next = [0];
                receiver.receive(&mut next)?;
                next[0]
            }
            Err(error) => return Err(error),
        };
        // What comes is one too far for each that was lost.
        let ahead = byte.wrapping_sub(turn as u8).wrapping_sub(races.lost_bytes as u8);
        races.lost_bytes += u64::from(ahead);
    }
    sender.join().map_err(|_| io::Error::other("the sender has panicked"))??;
    Ok(Measured::Races(races))
}

fn connection(runtime: &Runtime) -> io::Result<(TcpStream, Socket)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let peer = TcpStream::connect(listener.local_addr()?)?;
    peer.set_nodelay(true)?;
    Ok((peer, runtime.associate(listener.accept()?.0)?))
}
