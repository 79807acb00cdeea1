//! I1, I2: a cancel, a deadline and a close at the moment when data arrives: every operation completes once,
//! every buffer comes back, and every byte was received by one operation or is still in the socket.
//!
//! `AIO_ROUNDS=1000000 cargo test --release -p aio-core --test races -- --nocapture` runs each race as often
//! with every engine, and tells how they went.

#![cfg(unix)]

mod support;

use aio_core::{Completion, Runtime, Socket, is_aborted, op};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use support::{rounds, with_every_runtime};

/// Numbers that look random, the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    /// Lets a moment pass.
    fn linger(&mut self) {
        (0..self.below(400)).for_each(|_| std::hint::spin_loop());
    }
}

const MARK: u8 = 0xA5;

/// The bytes of a stream are numbered.
fn numbers(from: u64, count: usize) -> Vec<u8> {
    (from..).map(|number| (number % 251) as u8).take(count).collect()
}

type Received = Completion<op::Receive<Vec<u8>>>;

/// Checks what a receive came to; the bytes before it were `before`. Returns how many it received.
fn check(completion: Received, before: u64, size: usize) -> usize {
    let n = completion.bytes_transferred;
    assert_eq!(completion.buffer.len(), size, "the buffer comes back");
    match &completion.result {
        Ok(received) => assert_eq!(*received, n),
        Err(error) => assert!(n == 0 && is_aborted(error), "{error}"),
    }
    assert_eq!(completion.buffer[..n], numbers(before, n), "after {before} bytes");
    assert!(completion.buffer[n..].iter().all(|byte| *byte == MARK));
    n
}

#[derive(Default)]
struct Outcome {
    won: usize,
    aborted: usize,
}

#[expect(clippy::print_stdout, reason = "figures of a long run are there to be read")]
fn tell(runtime: &Runtime, what: &str, outcome: &Outcome, bytes: u64) {
    let (engine, workers) = (runtime.engine(), runtime.workers());
    let Outcome { won, aborted } = outcome;
    println!(
        "{what}, {engine}, {workers} workers: {} operations, {won} received, {aborted} aborted, \
         {bytes} bytes",
        won + aborted
    );
    let metrics = runtime.metrics();
    let receives = metrics.operation("receive").unwrap();
    assert_eq!(
        (receives.pending, receives.completed, receives.aborted),
        (0, *won as u64, *aborted as u64)
    );
}

/// One stream, whose peer writes all the time, and receives that are ended at any moment.
fn against_a_stream(
    runtime: &Runtime,
    what: &str,
    receive: impl Fn(&Socket, Vec<u8>, &mut Random) -> Received,
) {
    let (system, mut peer) = UnixStream::pair().unwrap();
    let socket = runtime.associate(system).unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = thread::spawn({
        let (written, stop) = (written.clone(), stop.clone());
        move || {
            let mut random = Random(11);
            peer.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let before = written.load(Ordering::Relaxed);
                let bytes = numbers(before, 1 + random.below(3) as usize);
                match peer.write(&bytes) {
                    Ok(n) => written.store(before + n as u64, Ordering::Relaxed),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
                // Slower than the receives, so that most of them wait.
                for _ in 0..random.below(12) {
                    random.linger();
                }
            }
            peer
        }
    });
    let mut random = Random(7);
    let (mut outcome, mut received) = (Outcome::default(), 0);
    for _ in 0..rounds(2_000) {
        let size = 1 + random.below(8) as usize;
        let completion = receive(&socket, vec![MARK; size], &mut random);
        if completion.result.is_ok() {
            outcome.won += 1;
        } else {
            outcome.aborted += 1;
        }
        received += check(completion, received, size) as u64;
    }
    stop.store(true, Ordering::Relaxed);
    let peer = writer.join().unwrap();
    // What nobody has received is still there.
    tell(runtime, what, &outcome, received);
    drop(peer);
    let mut rest = socket.into_socket2().unwrap();
    let mut bytes = Vec::new();
    rest.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes, numbers(received, bytes.len()));
    assert_eq!(received + bytes.len() as u64, written.load(Ordering::Relaxed));
}

#[test]
fn a_cancel_against_arriving_data() {
    with_every_runtime(|runtime| {
        against_a_stream(runtime, "cancel", |socket, buffer, random| {
            let (report, received) = mpsc::channel();
            let ender = socket.clone();
            let callback = move |ar| report.send(ender.end_receive(ar)).unwrap();
            let operation = socket.begin_receive(buffer, callback, ());
            random.linger();
            operation.cancel();
            let completion = received.recv().unwrap();
            assert!(received.recv().is_err(), "it completed twice");
            completion
        });
    });
}

#[test]
fn a_deadline_against_arriving_data() {
    with_every_runtime(|runtime| {
        against_a_stream(runtime, "deadline", |socket, buffer, random| {
            let hasty = socket.with_timeout(Duration::from_micros(random.below(60)));
            hasty.receive_async(buffer).wait()
        });
    });
}

/// A stream for each round, of which a duplicate tells what is left in it.
#[test]
fn a_close_against_arriving_data() {
    with_every_runtime(|runtime| {
        let (to_writer, streams) = mpsc::sync_channel::<UnixStream>(0);
        let writer = thread::spawn(move || {
            let mut random = Random(5);
            for mut peer in streams {
                for number in 0..3 {
                    random.linger();
                    // The other end stays open: there is the duplicate.
                    peer.write_all(&numbers(number, 1)).unwrap();
                }
            }
        });
        let mut random = Random(3);
        let (mut outcome, mut received) = (Outcome::default(), 0);
        for _ in 0..rounds(500) {
            let (system, peer) = UnixStream::pair().unwrap();
            let mut duplicate = system.try_clone().unwrap();
            let socket = runtime.associate(system).unwrap();
            let (report, completions) = mpsc::channel();
            let receive = || {
                let (ender, report) = (socket.clone(), report.clone());
                let callback = move |ar| report.send(ender.end_receive(ar)).unwrap();
                socket.begin_receive(vec![MARK; 2], callback, ());
            };
            receive();
            receive();
            to_writer.send(peer).unwrap();
            random.linger();
            random.linger();
            socket.close();
            receive();
            drop(report);
            let mut bytes = Vec::new();
            let mut all: Vec<Received> = completions.iter().collect();
            assert_eq!(all.len(), 3, "completions equal operations");
            // Callbacks may run in any order: those of the bytes tell theirs.
            all.sort_by_key(|completion| match completion.bytes_transferred {
                0 => MARK,
                _ => completion.buffer[0],
            });
            for completion in all {
                if completion.result.is_ok() {
                    outcome.won += 1;
                } else {
                    outcome.aborted += 1;
                }
                let n = completion.bytes_transferred;
                bytes.extend(numbers(bytes.len() as u64, n));
                check(completion, (bytes.len() - n) as u64, 2);
            }
            received += bytes.len() as u64;
            // The writer has gone on, or will.
            let mut rest = vec![0; 3 - bytes.len()];
            duplicate.set_nonblocking(false).unwrap();
            duplicate.read_exact(&mut rest).unwrap();
            assert_eq!(rest, numbers(bytes.len() as u64, rest.len()));
        }
        drop(to_writer);
        writer.join().unwrap();
        tell(runtime, "close", &outcome, received);
    });
}
