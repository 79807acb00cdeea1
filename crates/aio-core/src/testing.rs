//! Faults for tests: calls that fail, fall short or would block, reports and completions that are late or
//! wrong, and races that are lost, as a seed has it. With the feature `testing` only.
//!
//! A server meets a full descriptor table once a year and a short write once a day, always
//! elsewhere. A [`Runtime`](crate::Runtime) that is built with [`Faults`] meets them when asked to,
//! on top of whichever [`Engine`](crate::Engine) it has, and over real sockets:
//!
//! ```
//! use aio_core::{Runtime, testing::Faults};
//! use std::net::{SocketAddr, TcpStream};
//!
//! let faults = Faults::seeded(42).out_of_descriptors(0.9);
//! let runtime = Runtime::builder().workers(1).faults(faults.clone()).build()?;
//! let listener = runtime.tcp_v4()?;
//! listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
//! listener.listen(1)?;
//! let client = TcpStream::connect(listener.local_addr()?)?;
//!
//! // A server that gives up when it cannot accept once does not see its second client.
//! let mut refused = 0;
//! let accepted = loop {
//!     match listener.accept_async().wait().result {
//!         Ok(socket) => break socket,
//!         Err(_) => refused += 1,
//!     }
//! };
//! assert_eq!(faults.injected().out_of_descriptors, refused);
//! # drop((client, accepted));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is promised all the same
//!
//! Everything: an operation completes exactly once, its buffer comes back, order holds. Short
//! transfers, calls that would block or are interrupted, spurious reports, late cancels and delays are
//! *benign*: they change no result except the sizes of receives, and who wins a race that either side may
//! win. An injected error is the result of the operation it hits, as if the system had
//! said so; the call is not made, so an accept leaves its connection where it was, and a receive its
//! bytes. Unlike a real reset, an injected one leaves the connection standing;
//! [`broken_connections`](Faults::broken_connections) are real.
//!
//! # What a seed reproduces
//!
//! Each decision is a function of the seed, the socket's number in its runtime, the direction
//! (accept and receive, or connect and send), and how many calls were made before in that direction
//! of that socket. A program whose sockets are made in a fixed order, and that makes their calls one
//! after the other, gets the same faults each time. When threads or peers race, a socket may have
//! another number, or a call more that really would block, and the decisions after it fall on other
//! operations. Spurious reports and failed waits are decided by how often operations of that socket and
//! direction had to wait before, late cancels by how many were canceled; the system's and the threads'
//! timing has a part in both. Delays are decided by how many pieces of work were queued before in the
//! runtime, which threads always race for.

use crate::base::kind::Direction;
use crate::state::context::{Report, Work};
use crate::state::in_flight::Owner;
use crate::state::perform::Purpose;
use crate::state::socket::SocketInner;
use std::fmt;
use std::io;
use std::mem;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A call that would always be refused would never be made.
const MOST_PUT_OFF: f64 = 0.9;

/// So many injections are kept for [`Faults::log`].
const LOGGED: usize = 4096;

/// Which faults a runtime injects, and how often: see the [module](self).
///
/// Without further calls none. Each takes a probability, from 0 (never) to 1 (whenever it applies). A
/// clone counts and logs together with the original: keep one to ask what was
/// [injected](Self::injected).
///
/// ```
/// use aio_core::{Runtime, testing::Faults};
/// use std::time::Duration;
///
/// let faults = Faults::seeded(7)
///     .short_transfers(0.3)
///     .would_block(0.2)
///     .delays(0.1, Duration::from_millis(1));
/// let runtime = Runtime::builder().faults(faults.clone()).build()?;
/// # drop(runtime);
/// println!("{}", faults.injected());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a runtime has them once its builder was given them"]
pub struct Faults {
    seed: u64,
    would_block: f64,
    interruptions: f64,
    short_sends: f64,
    short_receives: f64,
    resets: f64,
    timeouts: f64,
    out_of_descriptors: f64,
    no_buffers: f64,
    aborted_connections: f64,
    broken_connections: f64,
    unable_to_wait: f64,
    spurious_reports: f64,
    late_cancels: f64,
    early_deadlines: f64,
    delays: f64,
    longest_delay: Duration,
    record: Arc<Record>,
}

impl Faults {
    /// Returns none yet, to be decided on by `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self {
            seed,
            would_block: 0.0,
            interruptions: 0.0,
            short_sends: 0.0,
            short_receives: 0.0,
            resets: 0.0,
            timeouts: 0.0,
            out_of_descriptors: 0.0,
            no_buffers: 0.0,
            aborted_connections: 0.0,
            broken_connections: 0.0,
            unable_to_wait: 0.0,
            spurious_reports: 0.0,
            late_cancels: 0.0,
            early_deadlines: 0.0,
            delays: 0.0,
            longest_delay: Duration::ZERO,
            record: Arc::default(),
        }
    }

    /// Returns everything that is benign, to be decided on by `seed`: no operation fails for it, and no
    /// program may notice. A suite of tests can be run with these.
    pub fn benign(seed: u64) -> Self {
        Self::seeded(seed)
            .would_block(0.3)
            .interruptions(0.1)
            .short_transfers(0.3)
            .spurious_reports(0.2)
            .late_cancels(0.5)
            .delays(0.1, Duration::from_micros(500))
    }

    /// A call that could make progress is put off as if it would block. The operation waits, is
    /// reported ready, and is tried again. More than 0.9 is taken for 0.9. Nothing is put off once a socket is
    /// known to be shut down for receiving: there, a receive or an accept that would block has come to the end.
    ///
    /// # Panics
    ///
    /// If it is no probability; so do all these.
    pub fn would_block(mut self, probability: f64) -> Self {
        self.would_block = checked(probability).min(MOST_PUT_OFF);
        self
    }

    /// A call other than connect is interrupted by a signal, and is made again. More than 0.9 is taken
    /// for 0.9.
    pub fn interruptions(mut self, probability: f64) -> Self {
        self.interruptions = checked(probability).min(MOST_PUT_OFF);
        self
    }

    /// A call on a stream sends or receives less than it could, but at least one byte.
    pub fn short_transfers(self, probability: f64) -> Self {
        self.short_sends(probability).short_receives(probability)
    }

    /// The sending half of [`short_transfers`](Self::short_transfers): no completion shows it.
    pub fn short_sends(mut self, probability: f64) -> Self {
        self.short_sends = checked(probability);
        self
    }

    /// The receiving half of [`short_transfers`](Self::short_transfers).
    pub fn short_receives(mut self, probability: f64) -> Self {
        self.short_receives = checked(probability);
        self
    }

    /// A send, a receive or a connect on a stream fails with `ECONNRESET`.
    pub fn resets(mut self, probability: f64) -> Self {
        self.resets = checked(probability);
        self
    }

    /// A send, a receive or a connect on a stream fails with `ETIMEDOUT`.
    pub fn timeouts(mut self, probability: f64) -> Self {
        self.timeouts = checked(probability);
        self
    }

    /// An accept fails with `EMFILE`.
    pub fn out_of_descriptors(mut self, probability: f64) -> Self {
        self.out_of_descriptors = checked(probability);
        self
    }

    /// A call of any kind fails with `ENOBUFS`.
    pub fn no_buffers(mut self, probability: f64) -> Self {
        self.no_buffers = checked(probability);
        self
    }

    /// An accept fails with `ECONNABORTED`.
    pub fn aborted_connections(mut self, probability: f64) -> Self {
        self.aborted_connections = checked(probability);
        self
    }

    /// A TCP connection is reset in earnest when a call sends or receives: that call and every later one
    /// fails, and so do the peer's.
    pub fn broken_connections(mut self, probability: f64) -> Self {
        self.broken_connections = checked(probability);
        self
    }

    /// The engine cannot wait for a socket on which an operation has to: what waits there fails with
    /// `ENOMEM`.
    pub fn unable_to_wait(mut self, probability: f64) -> Self {
        self.unable_to_wait = checked(probability);
        self
    }

    /// An operation that has just begun to wait is reported ready, which it need not be. More than 0.9
    /// is taken for 0.9.
    pub fn spurious_reports(mut self, probability: f64) -> Self {
        self.spurious_reports = checked(probability).min(MOST_PUT_OFF);
        self
    }

    /// A cancel, or a deadline, comes when the operation is being attempted once more: it has lost if there
    /// is something to do by then.
    pub fn late_cancels(mut self, probability: f64) -> Self {
        self.late_cancels = checked(probability);
        self
    }

    /// The deadline of an operation that has one passes while the operation is being attempted.
    pub fn early_deadlines(mut self, probability: f64) -> Self {
        self.early_deadlines = checked(probability);
        self
    }

    /// An operation that a worker has got done and that is about to complete, a completed operation's
    /// callback, a turn of a socket or a report that it is ready is kept back
    /// until later work has overtaken it, or `longest` at most has passed (longer if no worker is
    /// free). Reports that the system makes at one time are shuffled.
    pub fn delays(mut self, probability: f64, longest: Duration) -> Self {
        (self.delays, self.longest_delay) = (checked(probability), longest);
        self
    }

    /// Returns how often each fault was injected so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        let count = |fault: usize| self.record.counts[fault].load(Ordering::Relaxed);
        Injected {
            would_block: count(Fault::WOULD_BLOCK),
            short_transfers: count(Fault::SHORT),
            resets: count(Fault::RESET),
            timeouts: count(Fault::TIMED_OUT),
            out_of_descriptors: count(Fault::OUT_OF_DESCRIPTORS),
            no_buffers: count(Fault::NO_BUFFERS),
            aborted_connections: count(Fault::ABORTED),
            interruptions: count(Fault::INTERRUPTED),
            broken_connections: count(Fault::BROKEN),
            unable_to_wait: count(Fault::UNABLE_TO_WAIT),
            spurious_reports: count(Fault::SPURIOUS_REPORT),
            late_cancels: count(Fault::LATE_CANCEL),
            early_deadlines: count(Fault::EARLY_DEADLINE),
            delays: count(DELAYED),
        }
    }

    /// Returns the injections so far but for delays, and but for those after the first few thousands.
    #[must_use]
    pub fn log(&self) -> Vec<Injection> {
        self.record.log().clone()
    }

    /// What becomes of that call of a socket.
    fn decide(
        &self,
        socket: u64,
        call: u64,
        purpose: Purpose,
        bytes: usize,
        is_stream: bool,
    ) -> Option<Fault> {
        use Purpose::{Accept, Connect, Receive, Send};
        let direction = u64::from(purpose.direction() == Direction::Send);
        let mut dice = Dice::new([self.seed, socket, direction, call]);
        // Thrown for each in turn, applicable or not, so that what one fault's probability is set to
        // leaves the others where they are.
        let short = if purpose == Send { self.short_sends } else { self.short_receives };
        let moves = matches!(purpose, Receive | Send);
        let faults = [
            (self.would_block, true, Fault::WouldBlock),
            (self.resets, is_stream && purpose != Accept, Fault::Reset),
            (self.timeouts, is_stream && purpose != Accept, Fault::TimedOut),
            (self.out_of_descriptors, purpose == Accept, Fault::OutOfDescriptors),
            (self.no_buffers, true, Fault::NoBuffers),
            (self.aborted_connections, purpose == Accept, Fault::Aborted),
            (short, is_stream && moves && bytes > 1, Fault::Short(dice.short_of(bytes))),
            (self.interruptions, purpose != Connect, Fault::Interrupted),
            (self.broken_connections, is_stream && moves, Fault::Broken),
        ];
        let mut decided = None;
        for (probability, applies, fault) in faults {
            if dice.says(probability) && applies && decided.is_none() {
                decided = Some(fault);
            }
        }
        decided
    }
}

fn checked(probability: f64) -> f64 {
    assert!((0.0..=1.0).contains(&probability), "{probability} is no probability");
    probability
}

/// How often a runtime's [`Faults`] were injected: see [`Faults::injected`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is named like what asks for it in `Faults`")]
pub struct Injected {
    pub would_block: u64,
    pub short_transfers: u64,
    pub resets: u64,
    pub timeouts: u64,
    pub out_of_descriptors: u64,
    pub no_buffers: u64,
    pub aborted_connections: u64,
    pub interruptions: u64,
    pub broken_connections: u64,
    pub unable_to_wait: u64,
    pub spurious_reports: u64,
    pub late_cancels: u64,
    pub early_deadlines: u64,
    pub delays: u64,
}

impl Injected {
    /// Returns how many calls and waits were made to fail. After a broken connection, every call fails.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.resets
            + self.timeouts
            + self.out_of_descriptors
            + self.no_buffers
            + self.aborted_connections
            + self.broken_connections
            + self.unable_to_wait
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} would block, {} short, {} reset, {} timed out, {} out of descriptors, {} without \
             buffers, {} aborted, {} interrupted, {} broken, {} unable to wait, {} spurious reports, \
             {} late cancels, {} early deadlines, {} delayed",
            self.would_block,
            self.short_transfers,
            self.resets,
            self.timeouts,
            self.out_of_descriptors,
            self.no_buffers,
            self.aborted_connections,
            self.interruptions,
            self.broken_connections,
            self.unable_to_wait,
            self.spurious_reports,
            self.late_cancels,
            self.early_deadlines,
            self.delays,
        )
    }
}

/// A fault that was injected: see [`Faults::log`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Injection {
    /// The socket's number: they are counted from 0 in the order in which the runtime has made them.
    pub socket: u64,
    /// What the call was for: `accept`, `connect`, `receive` or `send`; or `cancel` or `wait`, which no
    /// operation calls but those who cancel it and who have it wait.
    pub purpose: &'static str,
    /// How many calls, or cancels, or waits, there were before, of the socket and direction.
    pub call: u64,
    /// What was made of the call.
    pub fault: Fault,
}

/// What is made of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It would block.
    WouldBlock,
    /// It moves no more than so many bytes.
    Short(usize),
    /// `ECONNRESET`.
    Reset,
    /// `ETIMEDOUT`.
    TimedOut,
    /// `EMFILE`.
    OutOfDescriptors,
    /// `ENOBUFS`.
    NoBuffers,
    /// `ECONNABORTED`.
    Aborted,
    /// `EINTR`.
    Interrupted,
    /// The connection is reset.
    Broken,
    /// `ENOMEM`, for what waits.
    UnableToWait,
    /// What waits is reported ready.
    SpuriousReport,
    /// What is canceled is attempted before.
    LateCancel,
    /// The operation's deadline passes just before the call.
    EarlyDeadline,
}

/// Counted beside the faults of calls.
const DELAYED: usize = 13;

impl Fault {
    const WOULD_BLOCK: usize = 0;
    const SHORT: usize = 1;
    const RESET: usize = 2;
    const TIMED_OUT: usize = 3;
    const OUT_OF_DESCRIPTORS: usize = 4;
    const NO_BUFFERS: usize = 5;
    const ABORTED: usize = 6;
    const INTERRUPTED: usize = 7;
    const BROKEN: usize = 8;
    const UNABLE_TO_WAIT: usize = 9;
    const SPURIOUS_REPORT: usize = 10;
    const LATE_CANCEL: usize = 11;
    const EARLY_DEADLINE: usize = 12;

    /// Where it is counted.
    fn index(self) -> usize {
        match self {
            Self::WouldBlock => Self::WOULD_BLOCK,
            Self::Short(_) => Self::SHORT,
            Self::Reset => Self::RESET,
            Self::TimedOut => Self::TIMED_OUT,
            Self::OutOfDescriptors => Self::OUT_OF_DESCRIPTORS,
            Self::NoBuffers => Self::NO_BUFFERS,
            Self::Aborted => Self::ABORTED,
            Self::Interrupted => Self::INTERRUPTED,
            Self::Broken => Self::BROKEN,
            Self::UnableToWait => Self::UNABLE_TO_WAIT,
            Self::SpuriousReport => Self::SPURIOUS_REPORT,
            Self::LateCancel => Self::LATE_CANCEL,
            Self::EarlyDeadline => Self::EARLY_DEADLINE,
        }
    }

    #[cfg(unix)]
    fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::WouldBlock
            | Self::Short(_)
            | Self::SpuriousReport
            | Self::LateCancel
            | Self::EarlyDeadline => libc::EAGAIN,
            Self::Interrupted => libc::EINTR,
            Self::UnableToWait => libc::ENOMEM,
            Self::Reset | Self::Broken => libc::ECONNRESET,
            Self::TimedOut => libc::ETIMEDOUT,
            Self::OutOfDescriptors => libc::EMFILE,
            Self::NoBuffers => libc::ENOBUFS,
            Self::Aborted => libc::ECONNABORTED,
        })
    }

    #[cfg(not(unix))]
    fn error(self) -> io::Error {
        match self {
            Self::WouldBlock
            | Self::Short(_)
            | Self::SpuriousReport
            | Self::LateCancel
            | Self::EarlyDeadline => io::ErrorKind::WouldBlock.into(),
            Self::Interrupted => io::ErrorKind::Interrupted.into(),
            Self::Reset | Self::Broken => io::ErrorKind::ConnectionReset.into(),
            Self::TimedOut => io::ErrorKind::TimedOut.into(),
            Self::OutOfDescriptors => io::Error::other("too many open sockets"),
            Self::NoBuffers | Self::UnableToWait => io::ErrorKind::OutOfMemory.into(),
            Self::Aborted => io::ErrorKind::ConnectionAborted.into(),
        }
    }
}

#[derive(Debug, Default)]
struct Record {
    counts: [AtomicU64; DELAYED + 1],
    log: Mutex<Vec<Injection>>,
}

impl Record {
    fn log(&self) -> MutexGuard<'_, Vec<Injection>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, fault: usize) {
        self.counts[fault].fetch_add(1, Ordering::Relaxed);
    }

    fn add(&self, injection: Injection) {
        self.count(injection.fault.index());
        let mut log = self.log();
        if log.len() < LOGGED {
            log.push(injection);
        }
    }
}

/// Where a direction is in a place that is another's.
const WAITS: u64 = 2;
const CANCELS: u64 = 3;
const DEADLINES: u64 = 4;

/// What a seed and a place say (splitmix64).
struct Dice(u64);

impl Dice {
    fn new<const N: usize>(place: [u64; N]) -> Self {
        let mut dice = Self(0);
        for number in place {
            dice.0 = dice.next() ^ number;
        }
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn says(&mut self, probability: f64) -> bool {
        // 53 bits are what a float holds.
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < probability
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// How many of `all` bytes a short transfer moves: as often a few as any number.
    fn short_of(&mut self, all: usize) -> usize {
        let most = all.saturating_sub(1).max(1);
        let most = if self.says(0.5) { most.min(8) } else { most };
        1 + self.below(most as u64) as usize
    }
}

impl Purpose {
    fn direction(self) -> Direction {
        match self {
            Self::Accept | Self::Receive => Direction::Receive,
            Self::Connect | Self::Send => Direction::Send,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Connect => "connect",
            Self::Receive => "receive",
            Self::Send => "send",
        }
    }
}

/// Injects the faults of one runtime.
#[derive(Debug)]
pub(crate) struct Injector {
    faults: Faults,
    /// How many sockets the runtime has made.
    sockets: AtomicU64,
    /// How many decisions on delays and on order there were.
    decisions: AtomicU64,
    kept_back: Mutex<Vec<Work>>,
}

/// What an [`Injector`] knows of a socket.
#[derive(Debug)]
pub(crate) struct Injections {
    socket: u64,
    received: AtomicU64,
    sent: AtomicU64,
    waits: AtomicU64,
    cancels: AtomicU64,
    /// True once the connection has been reset.
    is_broken: AtomicBool,
}

impl Injections {
    /// How many calls there were in that direction.
    fn calls(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Receive => &self.received,
            Direction::Send => &self.sent,
        }
    }

    /// Resets the connection, if there is one; its descriptor stays open.
    fn break_connection(&self, system: &socket2::Socket) -> bool {
        if system.peer_addr().is_err() {
            return false;
        }
        self.is_broken.store(true, Ordering::Relaxed);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if rustix::net::connect_unspec(system).is_ok() {
            return true;
        }
        // Elsewhere the peer sees it when the socket is closed, and the end of the stream until then.
        let _ = system.set_linger(Some(Duration::ZERO));
        let _ = system.shutdown(Shutdown::Both);
        true
    }
}

impl Injector {
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            faults,
            sockets: AtomicU64::new(0),
            decisions: AtomicU64::new(0),
            kept_back: Mutex::default(),
        }
    }

    pub(crate) fn next_socket(&self) -> Injections {
        Injections {
            socket: self.sockets.fetch_add(1, Ordering::Relaxed),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            cancels: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
        }
    }

    /// Decides what becomes of a call that is to move so many bytes.
    pub(crate) fn permit(
        &self,
        socket: &Arc<SocketInner>,
        purpose: Purpose,
        bytes: usize,
    ) -> io::Result<usize> {
        let Some(injections) = &socket.injections else { return Ok(bytes) };
        let direction = purpose.direction();
        // One thread at a time is here for a socket and direction.
        let call = injections.calls(direction).fetch_add(1, Ordering::Relaxed);
        if injections.is_broken.load(Ordering::Relaxed) {
            return Err(match purpose {
                Purpose::Send => io::ErrorKind::BrokenPipe.into(),
                _ => Fault::Broken.error(),
            });
        }
        let number = injections.socket;
        let decided = self.faults.decide(number, call, purpose, bytes, socket.is_stream());
        let Some(fault) = decided else { return Ok(bytes) };
        if fault == Fault::WouldBlock
            && direction == Direction::Receive
            && socket.receives_no_more()
        {
            return Ok(bytes);
        }
        if fault == Fault::Broken {
            let system = socket.descriptor.pin().filter(|_| socket.is_tcp());
            if !system.is_some_and(|system| injections.break_connection(&system)) {
                return Ok(bytes);
            }
        }
        self.faults.record.add(Injection { socket: number, purpose: purpose.name(), call, fault });
        match fault {
            Fault::Short(most) => return Ok(most),
            Fault::WouldBlock => {
                // The system has nothing to report, so this does. Even if it comes before the operation
                // is back in its queue, it is not lost (`operation_queue.rs`, invariant 2).
                report(socket, direction);
            }
            _ => {}
        }
        Err(fault.error())
    }

    /// An operation has to wait: refuses that, or reports it ready.
    pub(crate) fn waits(&self, socket: &Arc<SocketInner>, direction: Direction) -> io::Result<()> {
        let Some(injections) = &socket.injections else { return Ok(()) };
        let wait = injections.waits.fetch_add(1, Ordering::Relaxed);
        let mut dice = Dice::new([self.faults.seed, injections.socket, WAITS, wait]);
        let (unable, spurious) =
            (dice.says(self.faults.unable_to_wait), dice.says(self.faults.spurious_reports));
        let fault = match (unable, spurious) {
            (true, _) => Fault::UnableToWait,
            (_, true) => Fault::SpuriousReport,
            _ => return Ok(()),
        };
        let socket_number = injections.socket;
        self.faults.record.add(Injection {
            socket: socket_number,
            purpose: "wait",
            call: wait,
            fault,
        });
        if unable {
            return Err(fault.error());
        }
        report(socket, direction);
        Ok(())
    }

    /// True if an operation of the socket that is canceled is to be attempted before.
    pub(crate) fn cancels_late(&self, socket: &SocketInner) -> bool {
        let Some(injections) = &socket.injections else { return false };
        let call = injections.cancels.fetch_add(1, Ordering::Relaxed);
        let says = Dice::new([self.faults.seed, injections.socket, CANCELS, call])
            .says(self.faults.late_cancels);
        if says {
            let (socket, fault) = (injections.socket, Fault::LateCancel);
            self.faults.record.add(Injection { socket, purpose: "cancel", call, fault });
        }
        says
    }

    /// True if the deadline of an operation that is about to be attempted passes now.
    pub(crate) fn deadline_passes(&self, socket: &SocketInner, operation: &Owner) -> bool {
        let Some(injections) = &socket.injections else { return false };
        if operation.deadline().is_none() || operation.wish().is_some() {
            return false;
        }
        let direction = operation.direction();
        let call = injections.calls(direction).load(Ordering::Relaxed);
        let place = [self.faults.seed, injections.socket, DEADLINES + direction as u64, call];
        let says = Dice::new(place).says(self.faults.early_deadlines);
        if says {
            let (socket, fault) = (injections.socket, Fault::EarlyDeadline);
            self.faults.record.add(Injection { socket, purpose: "wait", call, fault });
        }
        says
    }

    fn dice(&self) -> Dice {
        let decision = self.decisions.fetch_add(1, Ordering::Relaxed);
        Dice::new([self.faults.seed, u64::MAX, decision])
    }

    fn kept_back(&self) -> MutexGuard<'_, Vec<Work>> {
        self.kept_back.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `work` back, and returns for how long at most; or returns it. What is kept back when
    /// `is_over` becomes true is still [taken](Self::take_back) after that.
    pub(crate) fn keep_back(
        &self,
        work: Work,
        is_over: impl FnOnce() -> bool,
    ) -> Result<Instant, Work> {
        let may_be_late = matches!(
            work,
            Work::Done(_) | Work::Completed(_) | Work::Ready { .. } | Work::Turn { .. }
        );
        if !may_be_late {
            return Err(work);
        }
        let mut dice = self.dice();
        if !dice.says(self.faults.delays) {
            return Err(work);
        }
        let mut kept_back = self.kept_back();
        if is_over() {
            return Err(work);
        }
        kept_back.push(work);
        drop(kept_back);
        self.faults.record.count(DELAYED);
        let longest = u64::try_from(self.faults.longest_delay.as_nanos()).unwrap_or(u64::MAX);
        Ok(Instant::now() + Duration::from_nanos(dice.below(longest)))
    }

    /// True if what is kept back has been overtaken and is to be [taken](Self::take_back) now.
    pub(crate) fn has_been_overtaken(&self) -> bool {
        self.faults.delays > 0.0 && self.dice().says(0.5)
    }

    /// Returns what was kept back, in no order.
    pub(crate) fn take_back(&self) -> Vec<Work> {
        let mut taken = mem::take(&mut *self.kept_back());
        self.shuffle(&mut taken);
        taken
    }

    /// Brings what the system has reported at one time into another order.
    pub(crate) fn reorder(&self, found: &mut [Work]) {
        if self.faults.delays > 0.0 {
            self.shuffle(found);
        }
    }

    fn shuffle(&self, work: &mut [Work]) {
        let mut dice = self.dice();
        for end in (2..=work.len()).rev() {
            work.swap(end - 1, dice.below(end as u64) as usize);
        }
    }
}

fn report(socket: &Arc<SocketInner>, direction: Direction) {
    let report = Report {
        receive: direction == Direction::Receive,
        send: direction == Direction::Send,
        stays_ready: false,
        ticket: None,
    };
    socket.runtime.post(Work::Ready { socket: socket.clone(), report });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(faults: &Faults) -> Vec<Option<Fault>> {
        (0..1000).map(|call| faults.decide(3, call, Purpose::Send, 100, true)).collect()
    }

    #[test]
    fn the_seed_decides() {
        let faults = |seed| Faults::seeded(seed).would_block(0.2).short_transfers(0.3).resets(0.1);
        assert_eq!(decided(&faults(1)), decided(&faults(1)));
        assert_ne!(decided(&faults(1)), decided(&faults(2)));
        let other_socket = faults(1).decide(4, 0, Purpose::Send, 100, true);
        let all: Vec<_> =
            (0..64).map(|socket| faults(1).decide(socket, 0, Purpose::Send, 100, true)).collect();
        assert!(all.iter().any(|one| *one != other_socket));
    }

    #[test]
    fn a_probability_is_kept() {
        let decided = decided(&Faults::seeded(5).short_transfers(0.3));
        let shorts = decided.iter().filter(|fault| fault.is_some()).count();
        assert!((200..400).contains(&shorts), "{shorts} of 1000");
        for fault in decided.into_iter().flatten() {
            assert!(matches!(fault, Fault::Short(1..100)), "{fault:?}");
        }
    }

    #[test]
    fn what_one_fault_is_set_to_leaves_the_others_where_they_are() {
        let resets = |decided: Vec<Option<Fault>>| -> Vec<_> {
            decided.into_iter().map(|fault| fault == Some(Fault::Reset)).collect()
        };
        let faults = Faults::seeded(9).resets(0.1);
        assert_eq!(resets(decided(&faults)), resets(decided(&faults.clone().short_sends(0.5))));
    }

    #[test]
    #[should_panic(expected = "no probability")]
    fn more_than_certain_is_refused() {
        let _ = Faults::seeded(0).resets(1.5);
    }
}
