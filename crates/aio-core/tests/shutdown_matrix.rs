//! I1, I2, I7: every way to end a runtime, in every state, from every place: everything that was begun
//! completes, once, with its buffer, and no thread is left.
//!
//! `cargo test -p aio-core --test shutdown_matrix -- --nocapture` prints how long each takes.

mod support;

use aio_core::{
    AsyncResult, Completion, Engine, OperationReport, Runtime, ShutdownReport, Socket, is_aborted,
    op,
};
use aio_sync::ManualResetEvent;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, connected, listener, within};

/// For so long a drain whose deadline has passed lets a callback run.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// With a deadline that is not far.
    Drain,
    /// With one that has passed.
    DrainNow,
    Abort,
    Drop,
}

const MODES: [Mode; 4] = [Mode::Drain, Mode::DrainNow, Mode::Abort, Mode::Drop];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    /// An accept, receives and a send that the peer does not read.
    Pending,
    /// A callback that waits for a receive.
    WaitingInside,
    /// Callbacks that take a while, and more behind them.
    Busy,
    /// A callback that does not return, and more behind it.
    Held,
}

const STATES: [State; 5] =
    [State::Idle, State::Pending, State::WaitingInside, State::Busy, State::Held];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Outside,
    Callback,
    Twice,
    TwoThreads,
}

const CALLERS: [Caller; 4] = [Caller::Outside, Caller::Callback, Caller::Twice, Caller::TwoThreads];

/// What was begun, and what has come back of it.
#[derive(Clone)]
struct Tally {
    begun: Arc<AtomicUsize>,
    report: mpsc::Sender<Completion<op::Receive<Vec<u8>>>>,
    report_others: mpsc::Sender<()>,
}

impl Tally {
    fn receive(&self, socket: &Socket) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let (ender, report) = (socket.clone(), self.report.clone());
        socket.begin_receive(
            vec![7; 16],
            move |ar| report.send(ender.end_receive(ar)).unwrap(),
            (),
        );
    }

    /// A callback that calls `run`.
    fn call(&self, socket: &Socket, run: impl FnOnce() + Send + 'static) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let report = self.report_others.clone();
        let callback = move |_: AsyncResult<_, ()>| {
            run();
            report.send(()).unwrap();
        };
        socket.begin_send([1], callback, ());
    }
}

fn shut_down(runtime: &Runtime, mode: Mode) -> Option<ShutdownReport> {
    match mode {
        Mode::Drain => Some(runtime.drain(Instant::now() + Duration::from_millis(30))),
        Mode::DrainNow => Some(runtime.drain(Instant::now())),
        Mode::Abort => Some(runtime.abort()),
        Mode::Drop => None,
    }
}

/// Returns how long the calls took.
fn cell(runtime: Runtime, mode: Mode, state: State, caller: Caller, thread_name: &str) -> Duration {
    let context = format!(
        "{}, {} workers: {mode:?}, {state:?}, {caller:?}",
        runtime.engine(),
        runtime.workers()
    );
    let workers = runtime.workers();
    let (report, received) = mpsc::channel();
    let (report_others, others) = mpsc::channel();
    let tally = Tally { begun: Arc::default(), report, report_others };
    let release = Arc::new(ManualResetEvent::new(false));
    let (listener, _) = listener(&runtime);
    let pairs: Vec<_> = (0..3).map(|_| connected(&runtime)).collect();
    let (report_running, running) = mpsc::channel();
    let callbacks = |count: usize, run: Arc<dyn Fn() + Send + Sync>| {
        for _ in 0..count {
            let (report_running, run) = (report_running.clone(), run.clone());
            tally.call(&pairs[0].0, move || {
                report_running.send(()).unwrap();
                run();
            });
        }
    };
    match state {
        State::Idle => {}
        State::Pending => {
            pairs.iter().for_each(|(socket, _)| tally.receive(socket));
            for (socket, size) in [(&pairs[1].0, 16 << 20), (&listener, 0)] {
                tally.begun.fetch_add(1, Ordering::Relaxed);
                let report = tally.report_others.clone();
                if size > 0 {
                    socket.begin_send(vec![1; size], move |_| report.send(()).unwrap(), ());
                } else {
                    socket.begin_accept(move |_| report.send(()).unwrap(), ());
                }
            }
        }
        State::WaitingInside => {
            let socket = pairs[2].0.clone();
            callbacks(1, Arc::new(move || drop(socket.receive(&mut [0; 1]))));
            running.recv().unwrap();
        }
        State::Busy => {
            callbacks(10, Arc::new(|| thread::sleep(Duration::from_millis(2))));
        }
        State::Held => {
            let release = release.clone();
            callbacks(1, Arc::new(move || release.wait_one()));
            running.recv().unwrap();
            pairs.iter().for_each(|(socket, _)| tally.receive(socket));
        }
    }
    let begun = Instant::now();
    let mut reports = Vec::new();
    let runtime = Arc::new(runtime);
    match caller {
        Caller::Outside => reports.extend(shut_down(&runtime, mode)),
        Caller::Twice => {
            reports.extend(shut_down(&runtime, mode));
            reports.extend(shut_down(&runtime, mode));
        }
        Caller::TwoThreads => thread::scope(|scope| {
            let threads = [(); 2].map(|()| scope.spawn(|| shut_down(&runtime, mode)));
            reports.extend(threads.into_iter().filter_map(|thread| thread.join().unwrap()));
        }),
        Caller::Callback => {
            // It comes to run when a worker is free.
            if workers == 1 {
                release.set();
                (&pairs[2].1).write_all(&[1]).unwrap();
            }
            let (report, from_callback) = mpsc::channel();
            let theirs = runtime.clone();
            tally.call(&pairs[0].0, move || {
                report.send(shut_down(&theirs, mode)).unwrap();
                drop(theirs);
            });
            reports.extend(from_callback.recv().unwrap());
        }
    }
    // In a callback, too, the last handle is dropped.
    drop(runtime);
    let took = begun.elapsed();
    for report in &reports {
        let by_callback = caller == Caller::Callback;
        let is_held = state == State::Held && !(by_callback && workers == 1);
        let has_running = !report.running.is_empty();
        assert!(has_running || !is_held, "{context}: {report:?}");
        assert!(!has_running || state != State::Idle, "{context}: {report:?}");
        // Those of the others that a busy machine has kept from running for so long are given up, too.
        let is_given_up = |callback: &OperationReport| callback.age >= PATIENCE;
        assert!(report.running.iter().all(is_given_up), "{context}: {report:?}");
        if state == State::Pending && (!by_callback || workers > 1) {
            assert!(report.is_complete() || has_running, "{context}: {report:?}");
            // An accept is ended by a drain as soon as that begins.
            assert!((3..=5).contains(&report.interrupted.len()), "{context}: {report:?}");
        }
    }
    release.set();
    let Tally { begun, report, report_others } = tally;
    drop((report, report_others, report_running));
    let mut completed = others.iter().count();
    for completion in received.iter() {
        completed += 1;
        assert_eq!(completion.buffer[1..], [7; 15], "{context}");
        if let Err(error) = completion.result {
            assert!(is_aborted(&error), "{context}: {error}");
        } else {
            assert!(caller == Caller::Callback && workers == 1, "{context}");
        }
    }
    assert_eq!(completed, begun.load(Ordering::Relaxed), "{context}");
    until_no_thread(thread_name);
    took
}

#[cfg(target_os = "linux")]
fn until_no_thread(thread_name: &str) {
    let has_any = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let mut names = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.any(|name| {
            name.trim_end().rsplit_once('-').is_some_and(|(name, _)| name == thread_name)
        })
    };
    while has_any() {
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(not(target_os = "linux"))]
fn until_no_thread(_thread_name: &str) {}

#[test]
#[expect(clippy::print_stdout, reason = "the table is there to be read")]
fn every_way_to_end_a_runtime_in_every_state_from_every_place() {
    let mut cells = Vec::new();
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [1, 3] {
            for mode in MODES {
                for state in STATES {
                    for caller in CALLERS {
                        cells.push((engine, workers, mode, state, caller));
                    }
                }
            }
        }
    }
    let run = |(index, (engine, workers, mode, state, caller))| {
        let what = format!("{engine}, {workers} workers: {mode:?}, {state:?}, {caller:?}");
        let took = within(LIMIT, &what, move || {
            let name = format!("matrix{index}");
            let builder = support::builder().engine(engine).workers(workers);
            let runtime = builder.thread_name(&*name).build().unwrap();
            cell(runtime, mode, state, caller, &name)
        });
        format!("{what}: {took:.1?}")
    };
    let (held, others): (Vec<_>, Vec<_>) =
        cells.into_iter().enumerate().partition(|(_, (.., state, _))| *state == State::Held);
    let mut table = String::new();
    thread::scope(|scope| {
        // Some of these take the five seconds that a shutdown waits: they do it together.
        let threads: Vec<_> = held.into_iter().map(|cell| scope.spawn(move || run(cell))).collect();
        for cell in others {
            writeln!(table, "{}", run(cell)).unwrap();
        }
        for thread in threads {
            writeln!(table, "{}", thread.join().unwrap()).unwrap();
        }
    });
    println!("{table}");
}
