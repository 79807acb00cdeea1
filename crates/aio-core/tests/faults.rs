//! What holds when calls fail, fall short and would block, and callbacks are late: random programs, each
//! with a seed, whose every byte and completion is accounted for.
//!
//! `AIO_SEEDS` is how many programs are run, `AIO_SEED` the first of them: a failure names its seed.

#![cfg(unix)]

mod support;

use aio_core::socket2::{Domain, Type};
use aio_core::testing::{Fault, Faults, Injection};
use aio_core::{Completion, Engine, Operation, OperationHandle, Runtime, Socket, is_aborted, op};
use std::collections::HashMap;
use std::env;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{LIMIT, listener, within};

/// Splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Mostly few, sometimes many.
    fn size(&mut self) -> usize {
        match self.below(16) {
            0 => self.below(200_000),
            1..8 => self.below(10),
            _ => self.below(3_000),
        }
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend(self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

fn number(name: &str, usual: u64) -> u64 {
    match env::var(name) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => usual,
    }
}

/// The system's number of what an operation failed with.
fn code(error: &io::Error) -> Option<i32> {
    let source = error.get_ref().and_then(|inner| inner.source());
    let system = source.and_then(|source| source.downcast_ref::<io::Error>());
    system.unwrap_or(error).raw_os_error()
}

fn is_injectable(error: &io::Error) -> bool {
    let injectable =
        [libc::ECONNRESET, libc::ETIMEDOUT, libc::EMFILE, libc::ENOBUFS, libc::ECONNABORTED];
    code(error).is_some_and(|code| injectable.contains(&code))
}

/// A program and what it has seen.
struct World {
    faults: Faults,
    /// The runtime may end before everything is done.
    ends_early: bool,
    has_ended: AtomicBool,
    /// Operations that have failed with an error that may have been injected.
    errors: AtomicU64,
}

impl World {
    /// `error` is what a completion may have. `excused`: there is a reason for it to be aborted.
    fn allows(&self, error: &io::Error, excused: bool) {
        if is_aborted(error) {
            assert!(excused || self.has_ended.load(Ordering::SeqCst), "nobody aborted it: {error}");
        } else {
            // The runtime's end resets connections in earnest.
            let is_real = self.has_ended.load(Ordering::SeqCst)
                && code(error).is_some_and(|code| [libc::ECONNRESET, libc::EPIPE].contains(&code));
            assert!(is_injectable(error) || is_real, "{error:?}");
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a transfer came to; buffers that are several are joined.
struct Done {
    result: io::Result<usize>,
    transferred: usize,
    buffer: Vec<u8>,
}

trait Joined {
    fn joined(self) -> Vec<u8>;
}

impl Joined for Vec<u8> {
    fn joined(self) -> Vec<u8> {
        self
    }
}

impl Joined for Vec<Vec<u8>> {
    fn joined(self) -> Vec<u8> {
        self.concat()
    }
}

impl<K: op::Kind<Output = usize, Buffer: Joined>> From<Completion<K>> for Done {
    fn from(completion: Completion<K>) -> Self {
        Self {
            result: completion.result,
            transferred: completion.bytes_transferred,
            buffer: completion.buffer.joined(),
        }
    }
}

/// A transfer that was begun.
struct Begun {
    handle: OperationHandle,
    end: Box<dyn FnOnce() -> Done>,
    /// It may be canceled, or has a deadline.
    excused: bool,
}

impl Begun {
    fn started<K>(operation: Operation<K>) -> Self
    where
        K: op::Kind<Output = usize, Buffer: Joined>,
    {
        let handle = operation.handle();
        Self { handle, end: Box::new(move || operation.wait().into()), excused: false }
    }

    fn called_back(begin: impl FnOnce(mpsc::Sender<Done>) -> OperationHandle) -> Self {
        let (report, completed) = mpsc::channel();
        let end = move || {
            let done = completed.recv().expect("its callback runs");
            assert!(completed.recv().is_err(), "its callback runs once");
            done
        };
        Self { handle: begin(report), end: Box::new(end), excused: false }
    }

    fn send(socket: &Socket, bytes: Vec<u8>, random: &mut Random) -> Self {
        match random.below(3) {
            0 => Self::started(socket.send_async(bytes)),
            1 => Self::called_back(|report| {
                let ender = socket.clone();
                let callback = move |ar| drop(report.send(ender.end_send(ar).into()));
                socket.begin_send(bytes, callback, ())
            }),
            _ => Self::started(socket.send_list_async(in_parts(&bytes, random))),
        }
    }

    fn receive(socket: &Socket, bytes: Vec<u8>, random: &mut Random) -> Self {
        match random.below(3) {
            0 => Self::started(socket.receive_async(bytes)),
            1 => Self::called_back(|report| {
                let ender = socket.clone();
                let callback = move |ar| drop(report.send(ender.end_receive(ar).into()));
                socket.begin_receive(bytes, callback, ())
            }),
            _ => Self::started(socket.receive_list_async(in_parts(&bytes, random))),
        }
    }
}

fn in_parts(bytes: &[u8], random: &mut Random) -> Vec<Vec<u8>> {
    let (first, rest) = bytes.split_at(random.below(bytes.len() + 1));
    let (second, third) = rest.split_at(random.below(rest.len() + 1));
    [first, second, third].map(<[u8]>::to_vec).into()
}

/// A handle to the socket, whose operations may have little time.
fn maybe_hasty(socket: &Socket, random: &mut Random) -> (Socket, bool) {
    if random.one_in(8) {
        let timeout = Duration::from_micros(random.below(500) as u64);
        return (socket.with_timeout(timeout), true);
    }
    (socket.clone(), false)
}

fn cancel_some(begun: &mut [Begun], random: &mut Random) {
    for begun in begun {
        if random.one_in(8) {
            (0..random.below(20)).for_each(|_| thread::yield_now());
            begun.excused = true;
            begun.handle.cancel();
        }
    }
}

/// Sends, and ends the stream. Returns what the peer is to receive.
fn sends(world: &World, socket: &Socket, random: &mut Random) -> Vec<u8> {
    let (mut sent, mut broken) = (Vec::new(), false);
    for _ in 0..=random.below(6) {
        let mut buffers = Vec::new();
        let mut begun: Vec<_> = (0..=random.below(5))
            .map(|_| {
                let size = random.size();
                let bytes = random.bytes(size);
                buffers.push(bytes.clone());
                let (socket, excused) = maybe_hasty(socket, random);
                Begun { excused, ..Begun::send(&socket, bytes, random) }
            })
            .collect();
        cancel_some(&mut begun, random);
        for (begun, bytes) in begun.into_iter().zip(buffers) {
            let done = (begun.end)();
            assert!(begun.handle.is_completed());
            assert!(done.buffer == bytes, "the buffer comes back");
            match done.result {
                Ok(all) => {
                    assert_eq!((all, done.transferred), (bytes.len(), bytes.len()));
                    assert!(all == 0 || !broken, "a send after the gap went out");
                }
                Err(error) => {
                    world.allows(&error, begun.excused || broken);
                    assert!(done.transferred < bytes.len() || bytes.is_empty());
                    assert!(done.transferred == 0 || !broken, "a send after the gap went out");
                    broken |= done.transferred > 0;
                }
            }
            sent.extend_from_slice(&bytes[..done.transferred]);
        }
    }
    let ended = socket.shutdown(Shutdown::Write);
    assert!(ended.is_ok() || world.ends_early, "{ended:?}");
    sent
}

/// Receives to the end of the stream, or of the runtime.
fn receives(world: &World, socket: &Socket, random: &mut Random) -> Vec<u8> {
    let (mut received, mut ended, mut over) = (Vec::new(), false, false);
    while !ended && !over {
        let mut begun: Vec<_> = (0..=random.below(3))
            .map(|_| {
                let size = random.size();
                let (socket, excused) = maybe_hasty(socket, random);
                let begun = Begun::receive(&socket, vec![0; size], random);
                (Begun { excused, ..begun }, size)
            })
            .collect();
        for (begun, _) in &mut begun {
            cancel_some(std::slice::from_mut(begun), random);
        }
        for (begun, size) in begun {
            let done = (begun.end)();
            assert!(begun.handle.is_completed());
            assert_eq!(done.buffer.len(), size, "the buffer comes back");
            match done.result {
                Ok(count) => {
                    assert_eq!(count, done.transferred);
                    assert!(count == 0 || !ended, "bytes after the end of the stream");
                    ended |= count == 0 && size > 0;
                    received.extend_from_slice(&done.buffer[..count]);
                }
                Err(error) => {
                    assert_eq!(done.transferred, 0);
                    world.allows(&error, begun.excused);
                    over |= world.has_ended.load(Ordering::SeqCst);
                }
            }
        }
    }
    received
}

/// Connects so many sockets of the runtime to as many, which come from its listener.
fn connections(
    world: &World,
    runtime: &Runtime,
    count: usize,
    random: &mut Random,
) -> (Socket, Vec<[Socket; 2]>) {
    let (listener, address) = listener(runtime);
    let mut waiting = HashMap::new();
    while waiting.len() < count {
        let client = runtime.tcp_v4().unwrap();
        match client.connect_async(address).wait().result {
            Ok(()) => drop(waiting.insert(client.local_addr().unwrap(), client)),
            Err(error) => world.allows(&error, false),
        }
    }
    let mut connected = Vec::new();
    while !waiting.is_empty() {
        let (listener, mut excused) = maybe_hasty(&listener, random);
        let accept = listener.accept_async();
        if random.one_in(8) {
            excused = true;
            accept.cancel();
        }
        match accept.wait().result {
            // One that is not waited for is of a connect that was made to fail on its way.
            Ok(server) => {
                if let Some(client) = waiting.remove(&server.peer_addr().unwrap()) {
                    connected.push([client, server]);
                }
            }
            Err(error) => world.allows(&error, excused),
        }
    }
    (listener, connected)
}

fn faults(seed: u64, random: &mut Random) -> Faults {
    let mut some = |most: f64| match random.below(4) {
        0 => 0.0,
        share => most * share as f64 / 3.0,
    };
    let faults = Faults::seeded(seed)
        .short_sends(some(0.6))
        .short_receives(some(0.6))
        .would_block(some(0.6))
        .delays(some(0.5), Duration::from_micros(300));
    if some(1.0) < 0.5 {
        return faults;
    }
    faults
        .resets(some(0.03))
        .timeouts(some(0.03))
        .no_buffers(some(0.05))
        .out_of_descriptors(some(0.5))
        .aborted_connections(some(0.3))
}

fn program(seed: u64) {
    let mut random = Random(seed);
    let world = World {
        faults: faults(seed, &mut random),
        ends_early: random.one_in(8),
        has_ended: AtomicBool::new(false),
        errors: AtomicU64::new(0),
    };
    let engine = [Engine::Blocking, Engine::Readiness][random.below(2)];
    let workers = [1, 3][random.below(2)];
    let faults = world.faults.clone();
    let runtime =
        Runtime::builder().engine(engine).workers(workers).faults(faults).build().unwrap();
    let count = 1 + random.below(3);
    let (listener, connected) = connections(&world, &runtime, count, &mut random);
    let patience = random.below(2_000);
    let mut runtime = Some(runtime);
    thread::scope(|scope| {
        let world = &world;
        let mut pairs = Vec::new();
        for [client, server] in &connected {
            for (from, to) in [(client, server), (server, client)] {
                let [mut one, mut other] = [Random(random.next()), Random(random.next())];
                let sender = scope.spawn(move || sends(world, from, &mut one));
                let receiver = scope.spawn(move || receives(world, to, &mut other));
                pairs.push((sender, receiver));
            }
        }
        if world.ends_early {
            (0..patience).for_each(|_| thread::yield_now());
            world.has_ended.store(true, Ordering::SeqCst);
            runtime = None;
        }
        for (sender, receiver) in pairs {
            let (sent, received) = (sender.join().unwrap(), receiver.join().unwrap());
            if world.ends_early {
                assert!(sent.starts_with(&received), "the peer received what was not sent");
            } else {
                assert_eq!(sent.len(), received.len(), "of so many bytes so many arrived");
                assert!(sent == received, "bytes were mixed up");
            }
        }
    });
    if !world.ends_early {
        assert_eq!(world.errors.load(Ordering::Relaxed), world.faults.injected().errors());
    }
    if let Some(runtime) = runtime {
        ends(&world, runtime, &listener);
    }
}

/// What waits when the runtime is dropped completes, once.
fn ends(world: &World, runtime: Runtime, listener: &Socket) {
    let datagrams = runtime.socket(Domain::IPV4, Type::DGRAM, None).unwrap();
    datagrams.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let (report, completed) = mpsc::channel();
    for _ in 0..3 {
        let (ender, accepted) = (listener.clone(), report.clone());
        let callback = move |ar| drop(accepted.send(ender.end_accept(ar).result.map(drop)));
        listener.begin_accept(callback, ());
        let (ender, received) = (datagrams.clone(), report.clone());
        let callback = move |ar| drop(received.send(ender.end_receive_from(ar).result.map(drop)));
        datagrams.begin_receive_from(vec![0; 10], callback, ());
    }
    drop(report);
    world.has_ended.store(true, Ordering::SeqCst);
    drop(runtime);
    let outcomes: Vec<_> = completed.iter().collect();
    assert_eq!(outcomes.len(), 6);
    for outcome in outcomes {
        // There may be a connection left of a connect that was made to fail.
        let _ = outcome.map_err(|error| world.allows(&error, true));
    }
}

#[test]
fn random_programs_lose_nothing() {
    let first = number("AIO_SEED", 0);
    for seed in first..first + number("AIO_SEEDS", 50) {
        within(LIMIT, &format!("AIO_SEED={seed} AIO_SEEDS=1"), move || program(seed));
    }
}

/// One socket, whose calls are made one after the other and none of which really would block.
fn sequential(engine: Engine, seed: u64) -> (Vec<Injection>, Vec<Result<usize, Option<i32>>>) {
    let faults = Faults::seeded(seed).would_block(0.3).short_transfers(0.3).no_buffers(0.02);
    let runtime =
        Runtime::builder().engine(engine).workers(1).faults(faults.clone()).build().unwrap();
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(peer.local_addr().unwrap()).unwrap();
    let socket = runtime.associate(stream).unwrap();
    let sends = (0..50).map(|_| socket.send_async([1; 100]).wait().result);
    let results = sends.map(|result| result.map_err(|error| code(&error))).collect();
    (faults.log(), results)
}

#[test]
fn a_seed_reproduces_what_is_decided() {
    for seed in 0..20 {
        let reference = sequential(Engine::Readiness, seed);
        assert!(!reference.0.is_empty());
        for engine in [Engine::Readiness, Engine::Blocking] {
            assert_eq!(sequential(engine, seed), reference, "{engine}, seed {seed}");
        }
    }
}

#[test]
fn everything_is_injected_and_counted() {
    let faults = Faults::seeded(1).out_of_descriptors(0.4).aborted_connections(0.4);
    let runtime = Runtime::builder().workers(1).faults(faults.clone()).build().unwrap();
    let (listener, address) = listener(&runtime);
    let mut seen = Vec::new();
    for _ in 0..20 {
        let _client = TcpStream::connect(address).unwrap();
        // The listener survives all this, and so does the connection.
        while let Err(error) = listener.accept_async().wait().result {
            seen.push(code(&error).unwrap());
        }
    }
    let count = |code| seen.iter().filter(|seen| **seen == code).count() as u64;
    let injected = faults.injected();
    assert_eq!(injected.out_of_descriptors, count(libc::EMFILE));
    assert_eq!(injected.aborted_connections, count(libc::ECONNABORTED));
    assert_eq!(injected.errors(), seen.len() as u64);
    assert!(injected.out_of_descriptors > 0 && injected.aborted_connections > 0);
    let logged = faults.log();
    assert_eq!(logged.len(), seen.len());
    let is_accept = |one: &Injection| one.socket == 0 && one.purpose == "accept";
    assert!(logged.iter().all(|one| is_accept(one) && !matches!(one.fault, Fault::WouldBlock)));
}

/// A socket of a runtime with these faults, and its peer.
fn faulty(faults: &Faults) -> (Runtime, Socket, TcpStream) {
    let runtime = Runtime::builder().workers(1).faults(faults.clone()).build().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let socket = runtime.associate(stream).unwrap();
    (runtime, socket, listener.accept().unwrap().0)
}

#[test]
fn what_is_certain_comes_to_pass() {
    within(LIMIT, "certain faults", || {
        let faults = Faults::seeded(1).short_transfers(1.0);
        let (_runtime, socket, mut peer) = faulty(&faults);
        peer.write_all(&[1; 100]).unwrap();
        assert!((1..100).contains(&socket.receive(&mut [0; 100]).unwrap()));
        assert_eq!(socket.send(&[1; 100]).unwrap(), 100);
        assert!(faults.injected().short_transfers > 1);

        let faults = Faults::seeded(1).broken_connections(1.0);
        let (_runtime, socket, mut peer) = faulty(&faults);
        assert_eq!(code(&socket.send(&[1]).unwrap_err()), Some(libc::ECONNRESET));
        assert!(socket.send(&[1]).is_err() && socket.receive(&mut [0; 1]).is_err());
        assert_eq!(peer.read(&mut [0; 1]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(faults.injected().broken_connections, 1);

        let faults = Faults::seeded(1).early_deadlines(1.0);
        let (_runtime, socket, mut peer) = faulty(&faults);
        let receive = socket.with_timeout(10 * LIMIT).receive_async([0; 1]);
        peer.write_all(&[1]).unwrap();
        let (result, injected) = (receive.wait().result, faults.injected());
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(injected.early_deadlines > 0, "{injected}");
        assert_eq!(socket.receive(&mut [0; 1]).unwrap(), 1);

        let faults = Faults::seeded(1).late_cancels(1.0);
        let (_runtime, socket, _peer) = faulty(&faults);
        let receive = socket.receive_async([0; 1]);
        receive.cancel();
        assert!(is_aborted(&receive.wait().result.unwrap_err()));
        assert_eq!(faults.injected().late_cancels, 1);
    });
}

/// A receive or an accept that is put off is not taken for one that has come to the end.
#[cfg(target_os = "linux")]
#[test]
fn what_is_put_off_is_not_the_end() {
    const ROOM: [u8; 8] = [0; 8];
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            let faults = Faults::seeded(1).would_block(0.9);
            let runtime = Runtime::builder()
                .engine(engine)
                .workers(1)
                .faults(faults.clone())
                .build()
                .unwrap();
            for _ in 0..20 {
                let (socket, peer) =
                    socket2::Socket::pair(Domain::UNIX, Type::DGRAM, None).unwrap();
                let socket = runtime.associate(socket).unwrap();
                for _ in 0..5 {
                    peer.send(b"before").unwrap();
                }
                assert_eq!(socket.receive_async(ROOM).wait().result.unwrap(), 6);
                socket.shutdown(Shutdown::Read).unwrap();
                assert_eq!(socket.receive_async(ROOM).wait().result.unwrap(), 6);
                assert_eq!(socket.receive_list_async(vec![ROOM]).wait().result.unwrap(), 6);
                assert_eq!(socket.receive_from_async(ROOM).wait().result.unwrap().0, 6);
                let message = socket.receive_message_from_async(ROOM).wait().result.unwrap();
                assert_eq!(message.length, 6);
                assert_eq!(socket.receive_async(ROOM).wait().result.unwrap(), 0);

                let system = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
                // The system finds a name.
                system.bind(&socket2::SockAddr::unix("").unwrap()).unwrap();
                system.listen(1).unwrap();
                let client = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
                client.connect(&system.local_addr().unwrap()).unwrap();
                let listener = runtime.associate(system).unwrap();
                listener.shutdown(Shutdown::Read).unwrap();
                listener.accept_async().wait().result.unwrap();
                assert!(listener.accept_async().wait().result.is_err());
            }
            assert!(faults.injected().would_block > 0);
        });
    }
}
