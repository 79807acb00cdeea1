//! A producer, three workers and a quit event.
//!
//! ```console
//! cargo run --release --example events
//! ```
//!
//! An auto-reset event gives each job to one worker, a manual-reset event tells all of them to go home.

mod outcome;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use aio_sync::{AutoResetEvent, ManualResetEvent, wait_any};

static JOBS: Mutex<Vec<u32>> = Mutex::new(Vec::new());
static JOB_ADDED: AutoResetEvent = AutoResetEvent::new(false);
static JOB_TAKEN: AutoResetEvent = AutoResetEvent::new(false);
static QUIT: ManualResetEvent = ManualResetEvent::new(false);

fn take_job() -> Option<u32> {
    JOBS.lock().expect("no worker panics with the jobs in hand").pop()
}

fn work() -> u32 {
    let mut sum = 0;
    while wait_any(&[&JOB_ADDED, &QUIT]) == 0 {
        sum += take_job().unwrap_or_default();
        JOB_TAKEN.set();
    }
    sum
}

fn main() -> ExitCode {
    outcome::exit_of("events", produce)
}

fn produce() -> io::Result<()> {
    let workers: Vec<_> = (0..3).map(|_| thread::spawn(work)).collect();
    for job in 1..=100 {
        JOBS.lock().expect("no worker panics with the jobs in hand").push(job);
        JOB_ADDED.signal_and_wait(&JOB_TAKEN);
    }
    QUIT.set();
    let sums = workers.into_iter().map(|worker| worker.join().expect("a worker that went home"));
    writeln!(io::stdout(), "1 + 2 + … + 100 = {}", sums.sum::<u32>())
}
