//! I1, I2: connects, sends, receives, cancels, deadlines and closes at random, on both sides of loopback: as
//! many completions as operations, and neither memory, descriptors nor threads that grow.
//!
//! `AIO_SOAK_SECONDS=3600 cargo test --release -p aio-core --test soak -- --nocapture` goes on for an hour
//! with each engine; without it a second must do.

mod support;

use aio_core::{AsyncResult, Engine, Runtime, Socket, op};
use std::env;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, within};

fn seconds() -> u64 {
    match env::var("AIO_SOAK_SECONDS") {
        Ok(seconds) => seconds.parse().expect("AIO_SOAK_SECONDS is a number"),
        Err(_) => 1,
    }
}

const CONNECTIONS: usize = 64;

struct Soak {
    runtime: Runtime,
    address: SocketAddr,
    stop: AtomicBool,
    random: AtomicU64,
    /// Operations with a callback.
    begun: AtomicUsize,
    over: AtomicUsize,
    /// Bytes that each side has sent to the other, of connections that ended well.
    mismatched: AtomicUsize,
    connections: Mutex<Vec<Socket>>,
}

impl Soak {
    fn random(&self, below: u64) -> u64 {
        let mut x = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ x >> 31) % below
    }

    fn begins(self: &Arc<Self>) -> Arc<Self> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.clone()
    }

    fn is_over(&self) {
        self.over.fetch_add(1, Ordering::Relaxed);
    }

    /// The server's side: accepts, and sends back what comes.
    fn accept(self: &Arc<Self>, listener: &Socket) {
        let soak = self.begins();
        listener.begin_accept(
            move |ar: AsyncResult<op::Accept, Socket>| {
                soak.is_over();
                let listener = ar.async_state().clone();
                match listener.end_accept(ar).result {
                    Ok(socket) => soak.echo(&socket, vec![0; 2048]),
                    Err(_) if soak.stop.load(Ordering::Relaxed) => return,
                    Err(error) => panic!("{error}"),
                }
                soak.accept(&listener);
            },
            listener.clone(),
        );
    }

    fn echo(self: &Arc<Self>, socket: &Socket, buffer: Vec<u8>) {
        let soak = self.begins();
        let callback = move |ar: AsyncResult<op::Receive<Vec<u8>>, Socket>| {
            soak.is_over();
            let socket = ar.async_state().clone();
            let completion = socket.end_receive(ar);
            let Ok(n @ 1..) = completion.result else { return };
            let (inner, sender) = (soak.begins(), socket.clone());
            let bytes = completion.buffer[..n].to_vec();
            socket.begin_send(
                bytes,
                move |sent| {
                    inner.is_over();
                    if sender.end_send(sent).result.is_ok() {
                        inner.echo(&sender, completion.buffer);
                    }
                },
                (),
            );
        };
        socket.begin_receive(buffer, callback, socket.clone());
    }

    /// The client's side: one step on a connection, then the next from its callback.
    fn step(self: &Arc<Self>, socket: Socket, sent: u64, received: u64) {
        if self.stop.load(Ordering::Relaxed) || self.random(200) == 0 {
            // Sometimes with something pending.
            if self.random(2) == 0 {
                let soak = self.begins();
                socket.begin_receive([0; 8], move |_| soak.is_over(), ());
            }
            socket.close();
            return self.connect();
        }
        match self.random(10) {
            0..4 => {
                let size = 1 + self.random(1500);
                let bytes = (sent..sent + size).map(|n| n as u8).collect::<Vec<u8>>();
                let (soak, ender) = (self.begins(), socket.clone());
                socket.begin_send(
                    bytes,
                    move |ar| {
                        soak.is_over();
                        match ender.end_send(ar).result {
                            Ok(n) => soak.step(ender, sent + n as u64, received),
                            Err(_) => soak.connect(),
                        }
                    },
                    (),
                );
            }
            kind => {
                // Canceled, too late, or neither: what has been received is never lost.
                let limit = Duration::from_micros(1 + self.random(500));
                let limited = socket.with_timeout(limit);
                let (soak, ender) = (self.begins(), socket.clone());
                let operation = limited.begin_receive(
                    vec![0; 1 + self.random(4000) as usize],
                    move |ar| {
                        soak.is_over();
                        let completion = ender.end_receive(ar);
                        let n = completion.bytes_transferred;
                        let right = (received..).map(|n| n as u8);
                        if !completion.buffer[..n].iter().copied().eq(right.take(n)) {
                            soak.mismatched.fetch_add(1, Ordering::Relaxed);
                        }
                        match completion.result {
                            Ok(0) => soak.connect(),
                            Err(error) if !aio_core::is_aborted(&error) => soak.connect(),
                            _ => soak.step(ender, sent, received + n as u64),
                        }
                    },
                    (),
                );
                if kind == 4 {
                    operation.cancel();
                }
            }
        }
    }

    fn connect(self: &Arc<Self>) {
        if self.stop.load(Ordering::Relaxed) {
            return;
        }
        let socket = self.runtime.tcp_v4().unwrap();
        // Ports that linger would run out.
        socket.with_socket(|socket| socket.set_linger(Some(Duration::ZERO))).unwrap().unwrap();
        let mut connections = self.connections.lock().unwrap();
        let place = self.random(CONNECTIONS as u64) as usize;
        if connections.len() < CONNECTIONS {
            connections.push(socket.clone());
        } else if self.random(4) == 0 {
            // Somebody else's connection ends, whatever it is doing.
            let other = std::mem::replace(&mut connections[place], socket.clone());
            drop(connections);
            other.close();
        } else {
            drop(connections);
        }
        let soak = self.begins();
        socket.begin_connect(
            self.address,
            move |ar: AsyncResult<op::Connect, Socket>| {
                soak.is_over();
                let socket = ar.async_state().clone();
                match socket.end_connect(ar).result {
                    Ok(()) => soak.step(socket, 0, 0),
                    Err(_) => soak.connect(),
                }
            },
            socket.clone(),
        );
    }
}

/// Resident memory in KiB, descriptors, threads.
#[cfg(target_os = "linux")]
fn usage() -> [usize; 3] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    let memory = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    let count = |directory| std::fs::read_dir(directory).unwrap().count();
    [memory, count("/proc/self/fd"), count("/proc/self/task")]
}

#[cfg(not(target_os = "linux"))]
fn usage() -> [usize; 3] {
    [0; 3]
}

#[expect(clippy::print_stdout, reason = "figures of a long run are there to be read")]
fn soak(engine: Engine) {
    let runtime = Runtime::builder().engine(engine).workers(2).build().unwrap();
    let listener = runtime.tcp_v4().unwrap();
    listener.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.listen(128).unwrap();
    let soak = Arc::new(Soak {
        address: listener.local_addr().unwrap(),
        runtime,
        stop: AtomicBool::new(false),
        random: AtomicU64::new(1),
        begun: AtomicUsize::new(0),
        over: AtomicUsize::new(0),
        mismatched: AtomicUsize::new(0),
        connections: Mutex::new(Vec::new()),
    });
    soak.accept(&listener);
    (0..CONNECTIONS).for_each(|_| soak.connect());
    let end = Instant::now() + Duration::from_secs(seconds());
    let pause = Duration::from_millis(250).max(Duration::from_secs(seconds()) / 20);
    let mut first = None;
    let mut last = usage();
    while Instant::now() < end {
        thread::sleep(pause.min(end.saturating_duration_since(Instant::now())));
        last = usage();
        first.get_or_insert(last);
        let [memory, descriptors, threads] = last;
        println!(
            "{engine}: {} operations, {memory} KiB, {descriptors} descriptors, {threads} threads",
            soak.over.load(Ordering::Relaxed)
        );
    }
    soak.stop.store(true, Ordering::Relaxed);
    let report = soak.runtime.drain(Instant::now() + Duration::from_secs(2));
    assert!(report.is_complete(), "{report}");
    let (begun, over) = (soak.begun.load(Ordering::Relaxed), soak.over.load(Ordering::Relaxed));
    println!("{engine}: {begun} begun, {over} completed");
    assert_eq!(begun, over);
    assert_eq!(soak.mismatched.load(Ordering::Relaxed), 0);
    let metrics = soak.runtime.metrics();
    assert_eq!((metrics.pending(), metrics.undelivered(), metrics.callback_panics), (0, 0, 0));
    // What a run uses goes up and down.
    let slack = [first.unwrap_or(last)[0] / 2 + 4096, 64, 2];
    for ((first, last), slack) in first.unwrap_or(last).iter().zip(last).zip(slack) {
        assert!(last <= first + slack, "from {first} to {last}");
    }
}

#[test]
fn a_random_load_leaves_nothing_behind() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        let limit = LIMIT + Duration::from_secs(2 * seconds());
        within(limit, &engine.to_string(), move || soak(engine));
    }
}
