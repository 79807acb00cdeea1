//! What the tests share.

#![allow(dead_code, reason = "every test file uses its part")]

use aio_client::{Client, Error, ErrorKind};
use aio_core::{Builder, Engine, Runtime};
use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// No test takes this long, even on a busy machine: one that does hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Long enough for a peer on this machine to be told to do something and to have done it.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

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

/// What the tests build their runtimes with. With the feature `testing`, the environment variable
/// `AIO_FAULTS` is the seed of faults that no user of a client may notice.
pub(crate) fn builder() -> Builder {
    #[cfg(feature = "testing")]
    if let Ok(seed) = std::env::var("AIO_FAULTS") {
        let seed = seed.parse().expect("AIO_FAULTS is a number");
        return Runtime::builder().faults(aio_core::testing::Faults::benign(seed));
    }
    Runtime::builder()
}

/// Runs `test` with every engine, and with one and several workers.
pub(crate) fn with_every_runtime(test: fn(&Runtime)) {
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [1, 3] {
            within(LIMIT, &format!("{engine}, {workers} workers"), move || {
                let runtime = builder().engine(engine).workers(workers).build().unwrap();
                test(&runtime);
            });
        }
    }
}

/// A listener and the address that it has been given.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// An address where nobody listens.
pub(crate) fn refusing_address() -> SocketAddr {
    listener().1
}

/// A client and the stream at its other end.
pub(crate) fn connected(runtime: &Runtime) -> (Client, TcpStream) {
    let (listener, address) = listener();
    let client = Client::builder().runtime(runtime).timeout(LIMIT).connect(address).unwrap();
    (client, accept(&listener))
}

pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer.set_nodelay(true).unwrap();
    peer
}

/// Runs `serve` on a thread of its own with the stream of the one client that connects.
pub(crate) fn serve(
    serve: impl FnOnce(TcpStream) + Send + 'static,
) -> (SocketAddr, JoinHandle<()>) {
    let (listener, address) = listener();
    (address, thread::spawn(move || serve(accept(&listener))))
}

/// Closes a stream so that its peer sees a reset.
pub(crate) fn reset(stream: TcpStream) {
    let stream = aio_core::socket2::Socket::from(stream);
    stream.set_linger(Some(Duration::ZERO)).unwrap();
}

/// Returns the error of `result`, which is of `kind`.
pub(crate) fn error_of<T: fmt::Debug>(result: Result<T, Error>, kind: ErrorKind) -> Error {
    let error = result.expect_err("this must fail");
    assert_eq!(error.kind(), kind, "{error}");
    error
}

/// Returns when another thread waits in a receive on the client.
pub(crate) fn until_somebody_receives(client: &Client) {
    let hasty = client.with_timeout(Duration::ZERO);
    while !hasty.receive().expect_err("there is nothing").to_string().contains("another receive") {
        thread::yield_now();
    }
}

/// Numbers that look random, and are the same for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}
