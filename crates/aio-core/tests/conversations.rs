//! I1, I2, I5, I7 where races are lost: conversations made up at random, from a seed, with whatever can be
//! canceled canceled at any time, on runtimes that inject faults by the same seed. Each is compared with what
//! must come of it.
//!
//! `AIO_SEEDS` is how many seeds are tried, `AIO_SEED` the first of them.

#![cfg(unix)]

mod support;

use aio_core::testing::Faults;
use aio_core::{
    Completion, CompletionPort, Engine, Operation, OperationHandle, Runtime, Socket, is_aborted, op,
};
use std::collections::HashMap;
use std::env;
use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, listener, within};

/// Runs `test` with each seed.
fn with_seeds(usual: u64, test: fn(u64)) {
    let number = |name, usual| match env::var(name) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => usual,
    };
    let first = number("AIO_SEED", 0);
    for seed in first..first + number("AIO_SEEDS", usual) {
        within(LIMIT, &format!("AIO_SEED={seed} AIO_SEEDS=1"), move || test(seed));
    }
}

/// Numbers that depend on nothing but a seed.
#[derive(Clone)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut number = self.0;
        number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        number ^ number >> 31
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Another source, for another thread.
    fn split(&mut self) -> Self {
        Self(self.next())
    }

    /// Mostly small, sometimes large.
    fn size(&mut self) -> usize {
        match self.below(20) {
            0 => self.below(400_000),
            1..=5 => self.below(20_000),
            _ => self.below(300),
        }
    }
}

/// The number that the system gave an error, if it is the system's.
fn number_of(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let source = error.get_ref()?.source()?;
        source.downcast_ref::<io::Error>()?.raw_os_error()
    })
}

fn runtime(seed: u64, faults: Faults) -> Runtime {
    let engine = if seed % 2 == 0 { Engine::Readiness } else { Engine::Blocking };
    let workers = if seed / 2 % 2 == 0 { 1 } else { 3 };
    Runtime::builder().engine(engine).workers(workers).faults(faults).build().unwrap()
}

/// How an operation that was started is brought to its end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Wait,
    CancelAtOnce,
    CancelLater(u64),
}

impl Ending {
    fn chosen_by(chance: &mut Chance) -> Self {
        match chance.below(8) {
            0 => Self::CancelAtOnce,
            1 | 2 => Self::CancelLater(chance.next() % 300),
            _ => Self::Wait,
        }
    }

    /// Cancels the operations, each as it is to be.
    fn cancel(operations: Vec<(OperationHandle, Self)>) {
        let mut later = Vec::new();
        for (handle, ending) in operations {
            match ending {
                Self::Wait => {}
                Self::CancelAtOnce => handle.cancel(),
                Self::CancelLater(micros) => later.push((micros, handle)),
            }
        }
        later.sort_by_key(|(micros, _)| *micros);
        let mut now = 0;
        for (micros, handle) in later {
            thread::sleep(Duration::from_micros(micros - now));
            now = micros;
            handle.cancel();
        }
    }
}

/// An operation that was begun, in one face or another.
struct Begun<K: op::Kind> {
    handle: OperationHandle,
    completion: Box<dyn FnOnce() -> Completion<K>>,
}

impl<K: op::Kind> Begun<K> {
    fn started(operation: Operation<K>, chance: &mut Chance) -> Self {
        let handle = operation.handle();
        if chance.one_in(3) {
            let port = Arc::new(CompletionPort::new(1));
            operation.post_to(&port, |completion| completion);
            return Self { handle, completion: Box::new(move || port.wait().unwrap()) };
        }
        Self { handle, completion: Box::new(|| operation.wait()) }
    }

    fn end(self) -> Completion<K> {
        (self.completion)()
    }
}

/// Ends a transfer: its result, how many bytes it says it has transferred, and its buffer.
type Ends = Box<dyn FnOnce() -> (io::Result<usize>, usize, Vec<u8>)>;

/// A handle to the socket, some of which have little time.
fn limited(socket: &Socket, chance: &mut Chance) -> (Socket, bool) {
    match chance.below(8) {
        0 => (socket.with_timeout(Duration::from_micros(chance.next() % 500)), true),
        1 => (socket.with_timeout(LIMIT), true),
        _ => (socket.clone(), false),
    }
}

/// What one side has sent, and all it said about it.
#[derive(Default)]
struct Sent {
    stream: Vec<u8>,
    /// True once a send has ended halfway.
    is_broken: bool,
    errors: Vec<io::Error>,
}

/// Sends what chance makes up, several sends at a time.
fn send_all(socket: &Socket, chance: &mut Chance) -> Sent {
    let mut sent = Sent::default();
    for _ in 0..chance.below(12) {
        let mut begun = Vec::new();
        for _ in 0..=chance.below(3) {
            let bytes: Vec<u8> = {
                let (size, mut of) = (chance.size(), chance.split());
                (0..size.div_ceil(8)).flat_map(|_| of.next().to_le_bytes()).take(size).collect()
            };
            let (socket, is_limited) = limited(socket, chance);
            let ending = Ending::chosen_by(chance);
            let expected = bytes.clone();
            let (handle, end): (_, Ends) = match chance.below(3) {
                0 => {
                    let (report, completion) = mpsc::channel();
                    let handle = support::send(&socket, bytes, &report);
                    let end = move || {
                        let completion = completion.recv().unwrap();
                        (completion.result, completion.bytes_transferred, completion.buffer)
                    };
                    (handle, Box::new(end))
                }
                1 => {
                    let parts = bytes.chunks(1 + chance.below(5_000)).map(<[u8]>::to_vec);
                    let operation = socket.send_list_async(parts.collect());
                    let begun = Begun::started(operation, chance);
                    let handle = begun.handle.clone();
                    let end = move || {
                        let Completion { result, bytes_transferred, buffer, .. } = begun.end();
                        (result, bytes_transferred, buffer.concat())
                    };
                    (handle, Box::new(end))
                }
                _ => {
                    let begun = Begun::started(socket.send_async(bytes), chance);
                    let handle = begun.handle.clone();
                    let end = move || {
                        let Completion { result, bytes_transferred, buffer, .. } = begun.end();
                        (result, bytes_transferred, buffer)
                    };
                    (handle, Box::new(end))
                }
            };
            begun.push((handle, ending, is_limited, expected, end));
        }
        Ending::cancel(
            begun.iter().map(|(handle, ending, ..)| (handle.clone(), *ending)).collect(),
        );
        for (_, ending, is_limited, expected, end) in begun {
            let (result, transferred, buffer) = end();
            assert!(buffer == expected, "the buffer comes back as it was");
            assert!(transferred <= expected.len());
            assert!(
                !sent.is_broken || transferred == 0,
                "nothing follows what was sent by halves: {result:?} {:?}",
                sent.errors
            );
            sent.stream.extend_from_slice(&expected[..transferred]);
            match result {
                Ok(all) => assert_eq!((all, all), (expected.len(), transferred)),
                Err(error) => {
                    sent.is_broken |= transferred > 0 && transferred < expected.len();
                    let is_wanted = matches!(ending, Ending::Wait) && !is_limited;
                    if is_aborted(&error) {
                        assert!(!is_wanted || sent.is_broken, "nobody wanted it aborted: {error}");
                    } else {
                        sent.errors.push(error);
                    }
                }
            }
        }
    }
    socket.shutdown(Shutdown::Write).unwrap();
    sent
}

/// What one side has received.
#[derive(Default)]
struct Received {
    stream: Vec<u8>,
    is_reset: bool,
    errors: Vec<io::Error>,
}

/// Receives until the end, several receives at a time.
fn receive_all(socket: &Socket, chance: &mut Chance) -> Received {
    let mut received = Received::default();
    loop {
        let mut begun = Vec::new();
        for _ in 0..=chance.below(3) {
            let size = if chance.one_in(20) { 0 } else { 1 + chance.size() };
            let (socket, is_limited) = limited(socket, chance);
            let ending = Ending::chosen_by(chance);
            let (handle, end): (_, Ends) = match chance.below(5) {
                0 | 1 => {
                    let (report, completion) = mpsc::channel();
                    let handle = support::receive(&socket, size, &report);
                    let end = move || {
                        let completion = completion.recv().unwrap();
                        (completion.result, completion.bytes_transferred, completion.buffer)
                    };
                    (handle, Box::new(end))
                }
                2 => {
                    let (front, back) = (size / 3, size - size / 3);
                    let operation = socket.receive_list_async(vec![vec![0; front], vec![0; back]]);
                    let begun = Begun::started(operation, chance);
                    let handle = begun.handle.clone();
                    let end = move || {
                        let Completion { result, bytes_transferred, buffer, .. } = begun.end();
                        (result, bytes_transferred, buffer.concat())
                    };
                    (handle, Box::new(end))
                }
                3 => {
                    let operation = socket.receive_from_async(vec![0; size]);
                    let begun = Begun::started(operation, chance);
                    let handle = begun.handle.clone();
                    let end = move || {
                        let Completion { result, bytes_transferred, buffer, .. } = begun.end();
                        (result.map(|(length, _)| length), bytes_transferred, buffer)
                    };
                    (handle, Box::new(end))
                }
                _ => {
                    let begun = Begun::started(socket.receive_async(vec![0; size]), chance);
                    let handle = begun.handle.clone();
                    let end = move || {
                        let Completion { result, bytes_transferred, buffer, .. } = begun.end();
                        (result, bytes_transferred, buffer)
                    };
                    (handle, Box::new(end))
                }
            };
            begun.push((handle, ending, is_limited, size, end));
        }
        Ending::cancel(
            begun.iter().map(|(handle, ending, ..)| (handle.clone(), *ending)).collect(),
        );
        let mut is_over = false;
        for (_, ending, is_limited, size, end) in begun {
            let (result, transferred, buffer) = end();
            assert_eq!(buffer.len(), size, "the buffer comes back as long as it was");
            received.stream.extend_from_slice(&buffer[..transferred]);
            match result {
                Ok(length) => {
                    assert_eq!(length, transferred);
                    is_over |= length == 0 && size > 0;
                    assert!(!is_over || length == 0, "nothing comes after the end");
                }
                Err(error) => {
                    assert_eq!(transferred, 0, "{error}");
                    if is_aborted(&error) {
                        let is_wanted = matches!(ending, Ending::Wait) && !is_limited;
                        assert!(!is_wanted, "nobody wanted it aborted: {error}");
                    } else {
                        received.is_reset |= is_of_a_reset(&error);
                        is_over |= is_of_a_reset(&error);
                        received.errors.push(error);
                    }
                }
            }
        }
        if is_over {
            return received;
        }
    }
}

fn is_of_a_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::NotConnected
    )
}

/// Everything that went wrong has been injected.
fn check_errors<'a>(errors: impl IntoIterator<Item = &'a io::Error>, faults: &Faults) {
    let injected = faults.injected();
    for error in errors {
        let is_injected = match number_of(error) {
            Some(libc::EMFILE) => injected.out_of_descriptors > 0,
            Some(libc::ECONNABORTED) => injected.aborted_connections > 0,
            Some(libc::ENOBUFS) => injected.no_buffers > 0,
            Some(libc::ENOMEM) => injected.unable_to_wait > 0,
            _ => is_of_a_reset(error) && injected.broken_connections > 0,
        };
        assert!(is_injected, "this was not injected: {error:?}; {injected}");
    }
}

/// Connects that many clients; accepts them.
fn connect(
    runtime: &Runtime,
    faults: &Faults,
    count: usize,
    chance: &mut Chance,
) -> Vec<(Socket, Socket)> {
    let (listener, address) = listener(runtime);
    let mut acceptor = chance.split();
    let accepting = listener.clone();
    let (report, accepted) = mpsc::channel();
    let injected = faults.clone();
    // The listener survives whatever comes.
    let accepts = thread::spawn(move || {
        loop {
            let chance = &mut acceptor;
            let (socket, _) = limited(&accepting, chance);
            let begun: Vec<_> = (0..=chance.below(2))
                .map(|_| (Begun::started(socket.accept_async(), chance), Ending::chosen_by(chance)))
                .collect();
            let cancels = begun.iter().map(|(begun, ending)| (begun.handle.clone(), *ending));
            Ending::cancel(cancels.collect());
            for (begun, _) in begun {
                match begun.end().result {
                    Ok(server) => {
                        let peer = server.peer_addr();
                        drop(report.send((peer, server)));
                    }
                    Err(error) if is_aborted(&error) => {
                        if accepting.local_addr().is_err() {
                            return;
                        }
                    }
                    Err(error) => check_errors([&error], &injected),
                }
            }
        }
    });
    let mut clients: HashMap<SocketAddr, Socket> = HashMap::new();
    while clients.len() < count {
        let client = runtime.tcp_v4().unwrap();
        let (limited, is_limited) = limited(&client, chance);
        let connect = Begun::started(limited.connect_async(address), chance);
        let ending = Ending::chosen_by(chance);
        Ending::cancel(vec![(connect.handle.clone(), ending)]);
        match connect.end().result {
            Ok(()) => {
                clients.insert(client.local_addr().unwrap(), client);
            }
            Err(error) if is_aborted(&error) => {
                assert!(is_limited || !matches!(ending, Ending::Wait), "{error}");
            }
            Err(error) => check_errors([&error], faults),
        }
    }
    let mut pairs = Vec::new();
    while !clients.is_empty() {
        // Those whose connect was given up are accepted, too.
        let (peer, server) = accepted.recv_timeout(LIMIT).expect("every connection is accepted");
        if let Some(client) = peer.ok().and_then(|peer| clients.remove(&peer)) {
            pairs.push((client, server));
        }
    }
    listener.close();
    accepts.join().unwrap();
    pairs
}

/// I1, I2, I5: in every conversation.
fn converse(seed: u64, faults: Faults) {
    let mut chance = Chance(seed);
    let runtime = runtime(seed, faults.clone());
    let count = 1 + chance.below(3);
    let pairs = connect(&runtime, &faults, count, &mut chance);
    thread::scope(|scope| {
        for (client, server) in &pairs {
            let faults = &faults;
            let mut chances: [Chance; 4] = std::array::from_fn(|_| chance.split());
            scope.spawn(move || {
                let [up, up_end, down, down_end] = &mut chances;
                thread::scope(|scope| {
                    let up = scope.spawn(|| send_all(client, up));
                    let up_end = scope.spawn(|| receive_all(server, up_end));
                    let down = scope.spawn(|| send_all(server, down));
                    let down_end = scope.spawn(|| receive_all(client, down_end));
                    let flows = [
                        (up.join().unwrap(), up_end.join().unwrap()),
                        (down.join().unwrap(), down_end.join().unwrap()),
                    ];

                    // The error is told once, to a call of either direction.
                    let is_reset = flows.iter().any(|(sent, received)| {
                        received.is_reset || sent.errors.iter().any(is_of_a_reset)
                    });
                    for (sent, received) in flows {
                        check_errors(&sent.errors, faults);
                        check_errors(&received.errors, faults);
                        if is_reset {
                            assert!(sent.stream.starts_with(&received.stream));
                        } else {
                            assert_eq!(sent.stream.len(), received.stream.len());
                            assert!(sent.stream == received.stream);
                        }
                    }
                });
            });
        }
    });
    let metrics = runtime.metrics();
    assert_eq!(metrics.pending(), 0, "{metrics:?}");
    finish(runtime, &mut chance);
}

/// I7: the runtime ends, whatever is pending.
fn finish(runtime: Runtime, chance: &mut Chance) {
    let (listener, address) = listener(&runtime);
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let accept = Begun::started(listener.accept_async(), chance);
    let connects = [address, peer.local_addr().unwrap()].map(|address| {
        let socket = runtime.tcp_v4().unwrap();
        (Begun::started(socket.connect_async(address), chance), socket)
    });
    let mut receives = Vec::new();
    for (connect, socket) in connects {
        let result = connect.end().result;
        receives.push((Begun::started(socket.receive_async([0; 8]), chance), result.is_ok()));
    }
    match chance.below(3) {
        0 => drop(runtime),
        1 => assert!(runtime.abort().is_complete()),
        _ => {
            let report =
                runtime.drain(Instant::now() + Duration::from_micros(chance.next() % 3_000));
            assert!(report.is_complete(), "{report}");
        }
    }
    // Whatever became of them, they are over.
    drop(accept.end());
    for (receive, is_connected) in receives {
        let error = receive.end().result.unwrap_err();
        assert!(!is_connected || is_aborted(&error) || number_of(&error).is_some(), "{error}");
    }
}

const MOMENT: Duration = Duration::from_micros(300);

#[test]
fn conversations_do_not_notice_benign_faults() {
    with_seeds(60, |seed| converse(seed, Faults::benign(seed)));
}

#[test]
fn conversations_survive_hostile_faults() {
    with_seeds(60, |seed| {
        let faults = Faults::benign(seed)
            .early_deadlines(0.1)
            .out_of_descriptors(0.1)
            .aborted_connections(0.1)
            .no_buffers(0.01)
            .broken_connections(0.01)
            .unable_to_wait(0.01);
        converse(seed, faults);
    });
}

#[test]
fn conversations_survive_much_of_one_fault() {
    with_seeds(60, |seed| {
        let faults = Faults::seeded(seed);
        let faults = match seed / 4 % 12 {
            0 => faults.short_transfers(1.0),
            1 => faults.would_block(1.0),
            2 => faults.interruptions(1.0),
            3 => faults.spurious_reports(1.0),
            4 => faults.late_cancels(1.0),
            5 => faults.delays(1.0, MOMENT),
            6 => faults.early_deadlines(1.0),
            7 => faults.out_of_descriptors(0.9),
            8 => faults.aborted_connections(0.9),
            9 => faults.no_buffers(0.2),
            10 => faults.broken_connections(0.1),
            _ => faults.unable_to_wait(0.2),
        };
        converse(seed, faults);
    });
}

/// I2: the part that was sent is told, and nothing follows it.
#[test]
fn a_send_that_cannot_wait_halfway_breaks_the_stream_there() {
    within(LIMIT, "a send that cannot wait", || {
        for seed in 0..4 {
            let runtime = runtime(seed, Faults::seeded(seed).unable_to_wait(1.0));
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let stream = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            let mut peer = server.accept().unwrap().0;
            let socket = runtime.associate(stream).unwrap();
            let first = socket.send_async(vec![1; 64 << 20]).wait();
            assert_eq!(number_of(&first.result.unwrap_err()), Some(libc::ENOMEM));
            assert!(first.bytes_transferred > 0);
            let second = socket.send_async([2; 3]).wait();
            assert_eq!(second.bytes_transferred, 0);
            assert!(is_aborted(&second.result.unwrap_err()));
            socket.close();
            let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}
