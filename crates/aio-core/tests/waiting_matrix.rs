//! I4, I7: waiting costs nothing, and it ends. Whatever has become of a socket, a pending operation uses no
//! processor time, and it is over when a blocking call would be.

#![cfg(target_os = "linux")]

mod support;

use aio_core::socket2::{self, Domain, Protocol, SockAddr, Type};
use aio_core::{Engine, OperationHandle, Runtime, Socket};
use std::fmt;
use std::io::{self, ErrorKind};
use std::mem::{self, MaybeUninit};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{ENGINES, is_alone, limit_descriptors, local_name, rounds, use_of};

fn set_option(socket: &socket2::Socket, level: i32, name: i32, value: i32) {
    let length = size_of_val(&value) as libc::socklen_t;
    // SAFETY: the value is ours, and of that length.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) };
}

fn loopback() -> SockAddr {
    SocketAddr::from(([127, 0, 0, 1], 0)).into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    UdpConnected,
    UdpUnconnected,
    LocalStream,
    LocalDatagram,
    LocalDatagramUnconnected,
    LocalSequenced,
    TcpListener,
    LocalListener,
    Netlink,
    TcpConnecting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Receive,
    ReceiveFrom,
    Send,
    SendTo,
    Accept,
    Connect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    ShutDownRead,
    ShutDownWrite,
    ShutDownBoth,
    /// For receiving, by a call that is not ours.
    ShutDownUnseen,
    Disconnect,
    PeerCloses,
    PeerResets,
    ErrorIsQueued,
    Urgent,
    PeerIsFull,
    ErrorIsRead,
    LimitIsLowered,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Tcp,
        Self::UdpConnected,
        Self::UdpUnconnected,
        Self::LocalStream,
        Self::LocalDatagram,
        Self::LocalDatagramUnconnected,
        Self::LocalSequenced,
        Self::TcpListener,
        Self::LocalListener,
        Self::Netlink,
        Self::TcpConnecting,
    ];

    fn calls(self) -> &'static [Call] {
        match self {
            Self::Tcp | Self::LocalStream | Self::LocalSequenced => &[Call::Receive, Call::Send],
            // A datagram socket of the internet has nobody to wait for when it sends.
            Self::UdpConnected | Self::UdpUnconnected => &[Call::Receive, Call::ReceiveFrom],
            Self::LocalDatagram => &[Call::Receive, Call::ReceiveFrom, Call::Send],
            Self::LocalDatagramUnconnected => &[Call::Receive, Call::ReceiveFrom, Call::SendTo],
            Self::TcpListener | Self::LocalListener => &[Call::Accept],
            Self::Netlink => &[Call::Receive],
            Self::TcpConnecting => &[Call::Connect],
        }
    }

    fn events(self) -> Vec<Event> {
        use Event::{
            Disconnect, ErrorIsQueued, ErrorIsRead, LimitIsLowered, PeerCloses, PeerIsFull,
            PeerResets, ShutDownBoth, ShutDownRead, ShutDownUnseen, ShutDownWrite, Urgent,
        };
        let mut events = vec![
            ShutDownRead,
            ShutDownWrite,
            ShutDownBoth,
            ShutDownUnseen,
            Disconnect,
            ErrorIsRead,
            LimitIsLowered,
        ];
        events.extend(match self {
            Self::Tcp => {
                vec![PeerCloses, PeerResets, ErrorIsQueued, Urgent, PeerIsFull]
            }
            Self::LocalStream => vec![PeerCloses, PeerResets, Urgent, PeerIsFull],
            Self::UdpConnected => vec![PeerCloses, PeerResets, ErrorIsQueued],
            Self::UdpUnconnected => vec![ErrorIsQueued],
            Self::LocalDatagram | Self::LocalSequenced => vec![PeerCloses, PeerResets, PeerIsFull],
            Self::LocalDatagramUnconnected => vec![PeerCloses, PeerIsFull],
            Self::TcpListener | Self::LocalListener | Self::Netlink => vec![],
            Self::TcpConnecting => vec![PeerCloses],
        });
        events
    }
}

/// A call is pending from before the first event, from between the two, or is begun after both.
#[derive(Clone, Copy, Debug)]
struct Combination {
    kind: Kind,
    call: Call,
    events: [Event; 2],
    begun_after: usize,
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, call, events: [first, second], begun_after } = self;
        write!(f, "{kind:?}: {first:?}, {second:?}, with a {call:?} begun after {begun_after}")
    }
}

impl Combination {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            for &call in kind.calls() {
                for first in kind.events() {
                    for second in kind.events() {
                        for begun_after in 0..3 {
                            let one = Self { kind, call, events: [first, second], begun_after };
                            if !one.has_to_wait_for_itself() && !one.cannot_be_asked() {
                                all.push(one);
                            }
                        }
                    }
                }
            }
        }
        all
    }

    /// A disconnect has its turn after what was begun before it in the same direction (I5).
    fn has_to_wait_for_itself(&self) -> bool {
        matches!(self.call, Call::Send | Call::SendTo | Call::Connect)
            && self.events[self.begun_after..].contains(&Event::Disconnect)
    }

    /// The few that are about a connect are in a batch of their own, which takes a second.
    fn takes_long(&self) -> bool {
        self.kind == Kind::TcpConnecting && self.events.contains(&Event::LimitIsLowered)
    }

    /// Combinations of one batch lower the limit at the same time, if they do.
    fn batch(&self) -> (bool, bool, bool) {
        let [first, second] = self.events.map(|event| event == Event::LimitIsLowered);
        (self.kind == Kind::TcpConnecting, first, second)
    }

    /// What has been shut down by a call that is not ours is asked of `poll`, which takes no entry then.
    fn cannot_be_asked(&self) -> bool {
        self.events.contains(&Event::ShutDownUnseen) && self.events.contains(&Event::LimitIsLowered)
    }

    fn is_right(&self, ours: Outcome, system: Outcome) -> bool {
        ours == system || self.departs(ours, system)
    }

    /// Where we depart from what the system does, and why.
    fn departs(&self, ours: Outcome, system: Outcome) -> bool {
        let shuts_down = |event: &Event| {
            !matches!(event, Event::ErrorIsQueued | Event::ErrorIsRead | Event::LimitIsLowered)
        };
        // On a socket of the internet without a peer the call fails. Linux does half of it all the same.
        let has_failed = self.kind == Kind::UdpUnconnected && self.events.iter().any(shuts_down);
        // A blocking accept has its descriptor from the begin.
        let has_none = self.call == Call::Accept && self.events.contains(&Event::LimitIsLowered);
        // A blocking send to a local stream that is waiting when its peer resets the stream is told so. One that
        // is begun later is told of a broken pipe, and ours is always made anew.
        let has_waited = (self.kind, self.call) == (Kind::LocalStream, Call::Send)
            && system == Outcome::Failed(ErrorKind::ConnectionReset);
        // RF-1: nobody can send anything to one of a pair that has lost the other.
        let closes = |event: &Event| matches!(event, Event::PeerCloses | Event::PeerResets);
        let is_lost = self.kind == Kind::LocalDatagram && self.events.iter().any(closes);
        has_failed && system == Outcome::Done(0)
            || is_lost && ours == Outcome::Failed(ErrorKind::InvalidInput)
            || has_waited && ours == Outcome::Failed(ErrorKind::BrokenPipe)
            || has_none && ours == Outcome::Failed(no_descriptors())
    }
}

fn no_descriptors() -> ErrorKind {
    io::Error::from_raw_os_error(libc::EMFILE).kind()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Done(usize),
    Failed(ErrorKind),
}

impl Outcome {
    fn of(result: io::Result<usize>) -> Self {
        match result {
            Ok(n) => Self::Done(n),
            // A blocking call that was told to end.
            Err(error) if error.kind() == ErrorKind::Interrupted => Self::Pending,
            Err(error) => Self::Failed(error.kind()),
        }
    }
}

/// A socket in some state, and what is at its other end.
struct Scene {
    combination: Combination,
    peer: Option<socket2::Socket>,
    /// Keeps what must stay open.
    others: Vec<socket2::Socket>,
    /// Where it sends to or connects to.
    to: Option<SockAddr>,
    /// Where nobody is.
    gone: Option<SockAddr>,
}

impl Scene {
    fn new(combination: Combination) -> (socket2::Socket, Self) {
        let mut scene = Self { combination, peer: None, others: Vec::new(), to: None, gone: None };
        let socket = scene.make().unwrap_or_else(|error| panic!("{combination}: {error}"));
        if matches!(combination.call, Call::Send | Call::SendTo) {
            scene.fill(&socket);
        }
        (socket, scene)
    }

    fn make(&mut self) -> io::Result<socket2::Socket> {
        let kind = self.combination.kind;
        let pair = |r#type| socket2::Socket::pair(Domain::UNIX, r#type, None);
        Ok(match kind {
            Kind::Tcp => {
                let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
                listener.bind(&loopback())?;
                listener.listen(1)?;
                let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
                socket.set_send_buffer_size(4096)?;
                socket.connect(&listener.local_addr()?)?;
                self.peer = Some(listener.accept()?.0);
                socket
            }
            Kind::UdpConnected | Kind::UdpUnconnected => {
                let [socket, peer, gone] =
                    [(); 3].map(|()| socket2::Socket::new(Domain::IPV4, Type::DGRAM, None));
                let (socket, peer, gone) = (socket?, peer?, gone?);
                for socket in [&socket, &peer, &gone] {
                    socket.bind(&loopback())?;
                }
                self.gone = Some(gone.local_addr()?);
                if kind == Kind::UdpConnected {
                    socket.connect(&peer.local_addr()?)?;
                    peer.connect(&socket.local_addr()?)?;
                    self.peer = Some(peer);
                }
                socket
            }
            Kind::LocalStream | Kind::LocalDatagram | Kind::LocalSequenced => {
                let (socket, peer) = pair(match kind {
                    Kind::LocalStream => Type::STREAM,
                    Kind::LocalDatagram => Type::DGRAM,
                    _ => Type::SEQPACKET,
                })?;
                self.peer = Some(peer);
                socket
            }
            Kind::LocalDatagramUnconnected => {
                let [socket, peer] =
                    [(); 2].map(|()| socket2::Socket::new(Domain::UNIX, Type::DGRAM, None));
                let (socket, peer, to) = (socket?, peer?, local_name());
                socket.bind(&local_name())?;
                peer.bind(&to)?;
                (self.peer, self.to) = (Some(peer), Some(to));
                socket
            }
            Kind::TcpListener | Kind::LocalListener => {
                let is_tcp = kind == Kind::TcpListener;
                let domain = if is_tcp { Domain::IPV4 } else { Domain::UNIX };
                let socket = socket2::Socket::new(domain, Type::STREAM, None)?;
                socket.bind(&if is_tcp { loopback() } else { local_name() })?;
                socket.listen(1)?;
                socket
            }
            Kind::Netlink => {
                let domain = Domain::from(libc::AF_NETLINK);
                socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::from(0)))?
            }
            Kind::TcpConnecting => {
                // Its backlog is full: what connects now is answered when it asks again, after a second.
                let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
                listener.bind(&loopback())?;
                listener.listen(0)?;
                let first = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
                first.connect(&listener.local_addr()?)?;
                self.others.push(first);
                self.to = Some(listener.local_addr()?);
                self.peer = Some(listener);
                socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?
            }
        })
    }

    /// Sends until there is no room.
    fn fill(&self, socket: &socket2::Socket) {
        const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // The system makes room for a while where it takes bytes away from here to there.
        for size in [1 << 14, 1] {
            while match &self.to {
                Some(to) => socket.send_to_with_flags(&vec![0; size], to, NOW).is_ok(),
                None => socket.send_with_flags(&vec![0; size], NOW).is_ok(),
            } {}
        }
    }

    /// Lets `event` happen. `shut_down` does so with the call that the socket's owner would use.
    fn happen(&mut self, event: Event, socket: &socket2::Socket, shut_down: impl FnOnce(Event)) {
        const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match event {
            Event::ShutDownRead
            | Event::ShutDownWrite
            | Event::ShutDownBoth
            | Event::Disconnect => shut_down(event),
            Event::ShutDownUnseen => drop(socket.shutdown(Shutdown::Read)),
            Event::PeerCloses => self.peer = None,
            Event::PeerResets => self.reset(socket),
            Event::ErrorIsQueued if self.combination.kind == Kind::Tcp => {
                // The time when a segment was sent, for example.
                set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPING, 1 << 1 | 1 << 4);
                let _ = socket.send_with_flags(b"x", NOW);
            }
            Event::ErrorIsQueued => {
                set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1);
                let gone = self.gone.as_ref().expect("there is one for those");
                let _ = socket.send_to_with_flags(b"x", gone, NOW);
            }
            Event::Urgent => {
                if let Some(peer) = &self.peer {
                    let _ = peer.send_with_flags(b"!", NOW | libc::MSG_OOB);
                }
            }
            Event::PeerIsFull => self.fill(socket),
            Event::ErrorIsRead => drop(socket.take_error()),
            Event::LimitIsLowered => limit_descriptors(0),
        }
    }

    fn reset(&mut self, socket: &socket2::Socket) {
        const NOW: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let Some(peer) = self.peer.take() else { return };
        match self.combination.kind {
            Kind::Tcp => drop(peer.set_linger(Some(Duration::ZERO))),
            // A peer that closes with something unread resets the connection.
            Kind::LocalStream | Kind::LocalSequenced => {
                let _ = socket.send_with_flags(b"x", NOW);
            }
            Kind::LocalDatagram => {
                // One that finds another peer tells the old one.
                let _ = peer.connect(&peer.local_addr().unwrap());
                drop(peer);
            }
            _ => {
                drop(peer);
                let _ = socket.send_with_flags(b"x", NOW);
            }
        }
    }
}

const ROOM: usize = 64;

/// What is sent is more than there is room for, on a stream.
fn to_be_sent(kind: Kind) -> Vec<u8> {
    vec![0; if matches!(kind, Kind::Tcp | Kind::LocalStream) { 1 << 24 } else { 1 }]
}

/// Lets a signal end blocking calls, and nothing else.
fn let_a_signal_end_calls() {
    extern "C" fn ignore(_signal: i32) {}
    // SAFETY: all zeros are an action without flags, so that no call is begun again.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = ignore as *const () as usize;
    // SAFETY: the action is ours, and its handler does nothing.
    unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) };
}

/// A blocking call, until it is interrupted.
fn call(combination: Combination, socket: &socket2::Socket, to: Option<&SockAddr>) -> Outcome {
    let mut room = [MaybeUninit::uninit(); ROOM];
    Outcome::of(match combination.call {
        Call::Receive => socket.recv(&mut room),
        Call::ReceiveFrom => socket.recv_from(&mut room).map(|(n, _)| n),
        Call::Accept => socket.accept().map(|_| 0),
        Call::Connect => socket.connect(to.unwrap()).map(|()| 0),
        Call::Send | Call::SendTo => {
            let bytes = to_be_sent(combination.kind);
            let mut sent = 0;
            loop {
                let rest = &bytes[sent..];
                let more = match to {
                    Some(to) => socket.send_to_with_flags(rest, to, libc::MSG_NOSIGNAL),
                    None => socket.send_with_flags(rest, libc::MSG_NOSIGNAL),
                };
                match more {
                    Ok(n) if sent + n < bytes.len() => sent += n,
                    Ok(n) => break Ok(sent + n),
                    Err(error) => break Err(error),
                }
            }
        }
    })
}

/// The same by an operation.
fn begin(
    combination: Combination,
    socket: &Socket,
    to: Option<&SockAddr>,
    report: mpsc::Sender<Outcome>,
) -> OperationHandle {
    let done = move |result: io::Result<usize>| {
        let _ = report.send(Outcome::of(result));
    };
    let ender = socket.clone();
    match combination.call {
        Call::Receive => {
            socket.begin_receive([0; ROOM], move |ar| done(ender.end_receive(ar).result), ())
        }
        Call::ReceiveFrom => socket.begin_receive_from(
            [0; ROOM],
            move |ar| done(ender.end_receive_from(ar).result.map(|(n, _)| n)),
            (),
        ),
        Call::Accept => {
            socket.begin_accept(move |ar| done(ender.end_accept(ar).result.map(|_| 0)), ())
        }
        Call::Connect => socket.begin_connect(
            to.unwrap().clone(),
            move |ar| done(ender.end_connect(ar).result.map(|()| 0)),
            (),
        ),
        Call::Send => socket.begin_send(
            to_be_sent(combination.kind),
            move |ar| done(ender.end_send(ar).result),
            (),
        ),
        Call::SendTo => socket.begin_send_to(
            to_be_sent(combination.kind),
            to.unwrap().clone(),
            move |ar| done(ender.end_send_to(ar).result),
            (),
        ),
    }
}

/// A combination twice: with an operation of ours, and with a blocking call.
struct Trial {
    combination: Combination,
    ours: Socket,
    our_scene: Scene,
    our_report: (mpsc::Sender<Outcome>, mpsc::Receiver<Outcome>),
    system: socket2::Socket,
    system_scene: Scene,
    system_call: Option<thread::JoinHandle<Outcome>>,
}

impl Trial {
    fn new(runtime: &Runtime, combination: Combination) -> Self {
        let (ours, our_scene) = Scene::new(combination);
        let (system, system_scene) = Scene::new(combination);
        Self {
            combination,
            ours: runtime.associate(ours).unwrap(),
            our_scene,
            our_report: mpsc::channel(),
            system,
            system_scene,
            system_call: None,
        }
    }

    fn begin(&mut self) {
        begin(self.combination, &self.ours, self.our_scene.to.as_ref(), self.our_report.0.clone());
        let (combination, to) = (self.combination, self.system_scene.to.clone());
        let socket = self.system.as_raw_fd();
        let run = move || {
            // SAFETY: the trial keeps the descriptor open until this has ended, and this does not close it.
            let socket = unsafe { socket2::Socket::from_raw_fd(socket) };
            call(combination, &mem::ManuallyDrop::new(socket), to.as_ref())
        };
        self.system_call = Some(thread::Builder::new().stack_size(1 << 17).spawn(run).unwrap());
    }

    /// Ends what is pending, and returns what has come of both.
    fn end(self) -> [Outcome; 2] {
        let ours = self.our_report.1.try_recv().unwrap_or(Outcome::Pending);
        let system_call = self.system_call.expect("it has begun");
        while !system_call.is_finished() {
            // SAFETY: the thread has not been joined.
            unsafe { libc::pthread_kill(system_call.as_pthread_t(), libc::SIGUSR1) };
            thread::yield_now();
        }
        [ours, system_call.join().unwrap()]
    }

    fn happen(&mut self, event: Event) {
        let ours = &self.ours;
        let scene = &mut self.our_scene;
        let shut_down = |event| {
            let _ = match event {
                Event::ShutDownRead => ours.shutdown(Shutdown::Read),
                Event::ShutDownWrite => ours.shutdown(Shutdown::Write),
                Event::ShutDownBoth => ours.shutdown(Shutdown::Both),
                _ => {
                    // Behind a send that waits it would wait, too.
                    drop(ours.begin_disconnect(|_| {}, ()));
                    Ok(())
                }
            };
        };
        ours.with_socket(|socket| scene.happen(event, socket, shut_down)).unwrap();
        let system = &self.system;
        self.system_scene.happen(event, system, |event| {
            let _ = system.shutdown(match event {
                Event::ShutDownRead => Shutdown::Read,
                Event::ShutDownWrite => Shutdown::Write,
                _ => Shutdown::Both,
            });
        });
    }
}

#[derive(Clone, Copy)]
struct Times {
    /// From one step to the next.
    step: Duration,
    /// For how long the processor time is measured.
    window: Duration,
}

/// Runs `combinations` at the same time. Returns what came of each, ours and the system's, and the processor time.
fn run(
    engine: Engine,
    combinations: &[Combination],
    times: &Times,
) -> (Vec<[Outcome; 2]>, Duration) {
    let runtime = Runtime::builder().engine(engine).workers(1).build().unwrap();
    let connects = combinations.iter().any(|one| one.kind == Kind::TcpConnecting);
    // A connect is answered when it is asked for the second time.
    let answer = Duration::from_millis(if connects { 1_300 } else { 0 });
    let mut trials: Vec<_> = combinations.iter().map(|one| Trial::new(&runtime, *one)).collect();
    for step in 0..3 {
        for trial in &mut trials {
            if trial.combination.begun_after == step {
                trial.begin();
            }
        }
        thread::sleep(times.step);
        if step < 2 {
            for trial in &mut trials {
                trial.happen(trial.combination.events[step]);
            }
            thread::sleep(times.step / 2);
        }
    }
    let used = use_of(times.window);
    thread::sleep(answer);
    let outcomes = trials.into_iter().map(Trial::end).collect();
    limit_descriptors(u64::MAX);
    (outcomes, used)
}

/// A combination that may be at fault.
struct Suspect {
    combination: Combination,
    /// Ours, and the system's.
    outcomes: [Outcome; 2],
    /// By the batch that it was in.
    used: Duration,
    has_spun: bool,
}

impl Suspect {
    fn is_right(&self) -> bool {
        let [ours, system] = self.outcomes;
        self.combination.is_right(ours, system)
    }
}

/// So many faults are enough to see what is wrong: to be sure of one takes a second.
const ENOUGH: usize = 8;

/// Runs `combinations` in batches of the size that the first of `passes` has. A slow machine makes a combination
/// suspect, or all of a batch: those run again, in smaller batches, as the next of `passes` has it. What is suspect
/// in each is at fault.
fn find_faults(
    engine: Engine,
    mut combinations: Vec<Combination>,
    passes: &[(usize, &Times)],
    faults: &mut Vec<Suspect>,
) {
    let [(size, times), others @ ..] = passes else { return };
    while let Some(first) = combinations.first().copied() {
        if faults.len() >= ENOUGH {
            return;
        }
        let (mut batch, rest): (Vec<_>, Vec<_>) =
            combinations.into_iter().partition(|one| one.batch() == first.batch());
        combinations = batch.split_off(batch.len().min(*size));
        combinations.extend(rest);
        let (outcomes, used) = run(engine, &batch, times);
        // A few of many may cost a little each.
        let has_spun = used > times.window / if *size > 64 { 2 } else { 10 };
        let suspects = batch
            .into_iter()
            .zip(outcomes)
            .map(|(combination, outcomes)| Suspect { combination, outcomes, used, has_spun })
            .filter(|one| one.has_spun || !one.is_right());
        if others.is_empty() {
            faults.extend(suspects);
        } else {
            let suspects = suspects.map(|one| one.combination).collect();
            find_faults(engine, suspects, others, faults);
        }
    }
}

/// Prints the figures.
#[expect(clippy::print_stdout, reason = "the figures are what a person wants to read")]
#[test]
fn whatever_has_become_of_a_socket_waiting_costs_nothing_and_ends_when_a_blocking_call_would() {
    const NAME: &str = "whatever_has_become_of_a_socket_waiting_costs_nothing_and_ends_when_a_\
                        blocking_call_would";
    if !is_alone("-n 4096", NAME) {
        return;
    }
    let_a_signal_end_calls();
    let is_full = rounds(0) > 0;
    let all: Vec<_> = Combination::all()
        .into_iter()
        .enumerate()
        // Every day each sequence has one of the three places for its call, and not all take a second.
        .filter(|(index, one)| is_full || index / 3 % 3 == one.begun_after && !one.takes_long())
        .map(|(_, one)| one)
        .collect();
    let often = Times { step: Duration::from_millis(10), window: Duration::from_millis(50) };
    let alone = Times { step: Duration::from_millis(15), window: Duration::from_millis(300) };
    let passes: &[_] = if is_full {
        &[(64, &alone), (8, &alone), (1, &alone), (1, &alone), (1, &alone)]
    } else {
        &[(256, &often), (32, &alone), (4, &alone), (1, &alone), (1, &alone), (1, &alone)]
    };
    let mut said = Vec::new();
    for engine in ENGINES {
        let mut faults = Vec::new();
        find_faults(engine, all.clone(), passes, &mut faults);
        let is_pending = |one: &&Suspect| one.outcomes[0] == Outcome::Pending;
        let spun = faults.iter().filter(|one| one.has_spun).count();
        let differed = faults.iter().filter(|one| !one.is_right()).count();
        let hung = faults.iter().filter(|one| !one.is_right()).filter(is_pending).count();
        println!(
            "{engine}: {} combinations, {spun} spun, {differed} had another result, of which {hung} \
             hung",
            all.len()
        );
        said.extend(faults.iter().map(|Suspect { combination, outcomes: [ours, system], used, .. }| {
            format!(
                "{engine}: {combination}: {ours:?}, the system {system:?}; {used:?} of processor time"
            )
        }));
    }
    assert!(said.is_empty(), "{}\n{} faults", said.join("\n"), said.len());
}
