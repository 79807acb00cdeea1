//! A client whose system calls fail, fall short and would block: every message is whole, or an error.
//!
//! `AIO_SEEDS` is how many seeds are tried, `AIO_SEED` the first of them.

mod support;

use aio_client::{Client, Framing};
use aio_core::{Engine, Runtime, testing::Faults};
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use support::{LIMIT, within};

const MESSAGES: usize = 10;

fn number(name: &str, usual: u64) -> u64 {
    match env::var(name) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => usual,
    }
}

fn message(seed: u64, number: usize) -> String {
    let letter = char::from(b'a' + (number % 26) as u8);
    let length = (seed as usize * 977 + number * 7919) % 5_000;
    format!("{number} {}", letter.to_string().repeat(length))
}

/// Answers each line with itself, to any number of clients, one after the other, until one says so.
fn echo(listener: &TcpListener) {
    loop {
        let (mut peer, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(peer.try_clone().unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            if line == b"end\n" {
                return;
            }
            // The client may have given up.
            let _ = peer.write_all(&line);
            line.clear();
        }
    }
}

/// Says and hears everything, or returns how many messages it was sure of when something failed.
fn talk(runtime: &Runtime, address: SocketAddr, seed: u64) -> Result<(), (usize, String)> {
    let connect = Client::builder()
        .runtime(runtime)
        .timeout(LIMIT)
        .framing(Framing::delimiter("\n"))
        .connect(address);
    let client = connect.map_err(|error| (0, error.to_string()))?;
    for number in 0..MESSAGES {
        let message = message(seed, number);
        let failed = |error: aio_client::Error| (number, error.to_string());
        client.send(&*message).map_err(failed)?;
        let answer = client.receive_text().map_err(failed)?;
        assert!(answer == message, "{} of {} bytes", answer.len(), message.len());
    }
    Ok(())
}

fn with_seeds(faults: fn(u64) -> Faults, check: fn(&Runtime, &Faults, SocketAddr, u64)) {
    let first = number("AIO_SEED", 0);
    for seed in first..first + number("AIO_SEEDS", 20) {
        within(LIMIT, &format!("AIO_SEED={seed} AIO_SEEDS=1"), move || {
            let engine = [Engine::Blocking, Engine::Readiness][seed as usize % 2];
            let workers = [1, 3][seed as usize / 2 % 2];
            let faults = faults(seed);
            let builder = Runtime::builder().engine(engine).workers(workers);
            let runtime = builder.faults(faults.clone()).build().unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::scope(|scope| {
                scope.spawn(|| echo(&listener));
                check(&runtime, &faults, address, seed);
                let mut last = std::net::TcpStream::connect(address).unwrap();
                last.write_all(b"end\n").unwrap();
            });
        });
    }
}

#[test]
fn benign_faults_go_unnoticed() {
    with_seeds(Faults::benign, |runtime, _, address, seed| {
        talk(runtime, address, seed).unwrap();
    });
}

#[test]
fn an_error_is_an_error_and_another_client_gets_on() {
    with_seeds(
        |seed| {
            Faults::benign(seed)
                .resets(0.01)
                .timeouts(0.01)
                .no_buffers(0.01)
                .broken_connections(0.005)
                .unable_to_wait(0.01)
        },
        |runtime, faults, address, seed| {
            let injected = || faults.injected().errors();
            loop {
                let errors = injected();
                match talk(runtime, address, seed) {
                    Ok(()) => break,
                    Err((number, error)) => {
                        assert!(
                            injected() > errors,
                            "after {number} messages, for no reason: {error}"
                        );
                    }
                }
            }
        },
    );
}
