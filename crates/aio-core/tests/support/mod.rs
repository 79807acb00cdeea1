//! What the tests share.

#![allow(dead_code, reason = "every test file uses its part")]

#[cfg(target_os = "linux")]
use aio_core::socket2::SockAddr;
use aio_core::socket2::{self, Domain, Type};
use aio_core::{Builder, Completion, Engine, OperationHandle, Runtime, Socket, op};
use std::env;
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::process::Command;
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// No test takes this long, even on a busy machine: one that does hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// How often a race is run: `usual` is enough to see it in every order and few enough for every day;
/// the environment variable `AIO_ROUNDS` asks for more.
pub(crate) fn rounds(usual: usize) -> usize {
    match env::var("AIO_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("AIO_ROUNDS is a number"),
        Err(_) => usual,
    }
}

/// The limit of a test that runs [`rounds`].
pub(crate) fn limit() -> Duration {
    LIMIT + Duration::from_millis(2) * u32::try_from(rounds(0)).unwrap_or(u32::MAX)
}

/// Runs `test` and fails if it does not end in time, instead of hanging.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    what: &str,
    test: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::spawn(move || {
        let outcome = test();
        // Gone only if the limit is over, which has been reported.
        let _ = sender.send(());
        outcome
    });
    match receiver.recv_timeout(limit) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: not over after {limit:?}"),
        _ => thread.join().unwrap_or_else(|_| panic!("{what}: failed, see above")),
    }
}

/// Says why a test has nothing to show on this system.
#[expect(clippy::print_stdout, reason = "who reads the output is to know")]
pub(crate) fn skipped(why: &str) {
    println!("skipped: {why}");
}

/// Runs the test of this name again, in a process of its own, under a limit that the shell's `ulimit` sets.
/// Returns true in that process, which ends in time.
#[cfg(unix)]
#[expect(clippy::print_stdout, reason = "what the test prints is there to be read")]
pub(crate) fn is_alone(limit: &str, test: &str) -> bool {
    const ALONE: &str = "AIO_CORE_TEST_ALONE";
    if env::var_os(ALONE).is_some() {
        // SAFETY: this has no conditions. The signal ends a process that hangs, and what it has printed is shown.
        unsafe { libc::alarm(self::limit().as_secs() as u32) };
        return true;
    }
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).arg(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(ALONE, "1");
    let run = command.output().unwrap();
    let output = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && output.contains("1 passed"), "{}: {output}", run.status);
    println!("{output}");
    false
}

/// The processor time that this process uses while `time` passes.
#[cfg(target_os = "linux")]
pub(crate) fn use_of(time: Duration) -> Duration {
    let used = || {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the time is ours to write.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut used) };
        Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
    };
    let before = used();
    thread::sleep(time);
    used() - before
}

/// Lets this process have so many descriptors from now on, and no more than at its start. Those that are open stay
/// so.
#[cfg(target_os = "linux")]
pub(crate) fn limit_descriptors(most: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is ours to write.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur = most.min(limit.rlim_max);
    // SAFETY: the limit is ours, and is only read.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// What the tests build their runtimes with.
///
/// With the feature `testing`, the environment variable `AIO_FAULTS` is the seed of faults that no test may
/// notice. Receives are not cut short, since many a test sends little at once and asks for all of it in
/// one receive; that is left to `faults.rs`.
pub(crate) fn builder() -> Builder {
    #[cfg(feature = "testing")]
    if let Ok(seed) = env::var("AIO_FAULTS") {
        let seed = seed.parse().expect("AIO_FAULTS is a number");
        let faults = aio_core::testing::Faults::benign(seed).short_receives(0.0);
        return Runtime::builder().faults(faults);
    }
    Runtime::builder()
}

/// True if sends may be put off and cut short: a test that asks for all that was sent in one receive, or
/// for a send that is over when it has begun, has nothing to show then.
pub(crate) fn sends_are_cut_short() -> bool {
    cfg!(feature = "testing") && env::var_os("AIO_FAULTS").is_some()
}

/// Every engine.
pub(crate) const ENGINES: [Engine; 2] = [Engine::Blocking, Engine::Readiness];

/// Runs `test` with a builder for every engine and each of these numbers of workers.
pub(crate) fn with_every_engine(workers: &[usize], test: impl Fn(Builder) + Copy + Send + 'static) {
    for engine in ENGINES {
        for &workers in workers {
            within(limit(), &format!("{engine}, {workers} workers"), move || {
                test(builder().engine(engine).workers(workers));
            });
        }
    }
}

/// Runs `test` with every engine, and with one and several workers.
pub(crate) fn with_every_runtime(test: impl Fn(&Runtime) + Copy + Send + 'static) {
    with_every_owned_runtime(move |runtime| test(&runtime));
}

/// The same for a test that ends the runtime itself.
pub(crate) fn with_every_owned_runtime(test: impl Fn(Runtime) + Copy + Send + 'static) {
    with_every_engine(&[1, 3], move |builder| test(builder.build().unwrap()));
}

/// A listening socket on a port of the system's choice.
pub(crate) fn listener(runtime: &Runtime) -> (Socket, SocketAddr) {
    let listener = runtime.tcp_v4().unwrap();
    listener.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listener.listen(128).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A listener whose backlog is full, so that further connects wait, and the connections that fill it. `None` on a
/// system whose backlogs do not fill.
pub(crate) fn full_listener(runtime: &Runtime) -> Option<(Socket, SocketAddr, Vec<TcpStream>)> {
    let (listener, address) = listener(runtime);
    listener.listen(0).unwrap();
    let mut connections = vec![TcpStream::connect(address).unwrap()];
    // On Linux, one connection fills a backlog of 0.
    while cfg!(not(target_os = "linux")) {
        match TcpStream::connect_timeout(&address, Duration::from_millis(50)) {
            Ok(connection) if connections.len() < 100 => connections.push(connection),
            Ok(_) => return None,
            Err(_) => break,
        }
    }
    Some((listener, address, connections))
}

/// An address where no socket listens. It stays bound, so that no other socket of this process gets it.
pub(crate) fn refusing_address() -> SocketAddr {
    static BOUND: Mutex<Vec<socket2::Socket>> = Mutex::new(Vec::new());
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    BOUND.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
    address
}

/// Keeps the port of a listener that has just been closed, so that who connects late does not come to a listener
/// of another test. It may be too late for that.
pub(crate) fn hold(address: SocketAddr) -> io::Result<socket2::Socket> {
    let holder = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    holder.set_reuse_address(true)?;
    holder.bind(&address.into())?;
    Ok(holder)
}

/// A name of the local domain that no other socket has.
#[cfg(target_os = "linux")]
pub(crate) fn local_name() -> SockAddr {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    let name = NAMES.fetch_add(1, Ordering::Relaxed);
    SockAddr::unix(format!("\0aio-test-{}-{name}", std::process::id())).unwrap()
}

/// The system's error behind ours.
pub(crate) fn system_error(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| {
        let source = error.get_ref().and_then(Error::source)?;
        source.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)
    })
}

/// A socket of the runtime and the std stream at its other end.
pub(crate) fn connected(runtime: &Runtime) -> (Socket, TcpStream) {
    /// One for all: the system takes long to find a free port once thousands of connections to as
    /// many ports linger.
    static LISTENER: OnceLock<Mutex<TcpListener>> = OnceLock::new();
    let listener = LISTENER.get_or_init(|| Mutex::new(TcpListener::bind("127.0.0.1:0").unwrap()));
    let listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
    let socket = runtime.tcp_v4().unwrap();
    // Without a callback, which might still have to run.
    socket.connect(listener.local_addr().unwrap()).unwrap();
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer.set_nodelay(true).unwrap();
    (socket, peer)
}

pub(crate) type Received = Completion<op::Receive<Vec<u8>>>;
pub(crate) type Sent = Completion<op::Send<Vec<u8>>>;

/// Begins a receive of at most `size` bytes; its completion comes through `report`.
pub(crate) fn receive(
    socket: &Socket,
    size: usize,
    report: &mpsc::Sender<Received>,
) -> OperationHandle {
    let (ender, report) = (socket.clone(), report.clone());
    socket.begin_receive(vec![0; size], move |ar| drop(report.send(ender.end_receive(ar))), ())
}

/// Begins a send; its completion comes through `report`.
pub(crate) fn send(
    socket: &Socket,
    bytes: Vec<u8>,
    report: &mpsc::Sender<Sent>,
) -> OperationHandle {
    let (ender, report) = (socket.clone(), report.clone());
    socket.begin_send(bytes, move |ar| drop(report.send(ender.end_send(ar))), ())
}

/// Begins an accept; its completion comes through `report`.
pub(crate) fn accept(
    listener: &Socket,
    report: &mpsc::Sender<Completion<op::Accept>>,
) -> OperationHandle {
    let (ender, report) = (listener.clone(), report.clone());
    listener.begin_accept(move |ar| drop(report.send(ender.end_accept(ar))), ())
}
