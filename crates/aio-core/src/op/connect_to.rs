//! Connect to one of several addresses, or to a host by its name.

use super::connect::Connect;
use crate::base::error::{Aborted, attempted, came_to, is_aborted};
use crate::base::kind::{Direction, OperationKind};
use crate::base::operation_queue::Blocked;
use crate::base::unread::Order;
use crate::state::body::{self, Continuation};
use crate::state::completion::{Completion, Kind, sealed};
use crate::state::context::RuntimeInner;
use crate::state::in_flight::{Call, Owner};
use crate::state::perform::{Attempt, Perform};
use crate::state::socket::{Socket, SocketInner};
use socket2::{Domain, Protocol, Type};
use std::collections::VecDeque;
use std::fmt::Write;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a [`ConnectTo`] connects to: an address, several that are tried in turn, or a host and a port.
///
/// ```
/// use aio_core::op::Destination;
/// use std::net::SocketAddr;
/// use std::time::Duration;
///
/// let by_name = Destination::from(("localhost", 80)).timeout(Duration::from_secs(5));
/// let in_turn = Destination::from(vec![
///     SocketAddr::from(([192, 0, 2, 1], 80)),
///     SocketAddr::from(([192, 0, 2, 2], 80)),
/// ]);
/// # drop((by_name, in_turn));
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to one of Runtime's connect_to"]
pub struct Destination {
    target: Target,
    timeout: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(crate) enum Target {
    Addresses(Vec<SocketAddr>),
    Host {
        name: String,
        port: u16,
    },
    /// No host, as text.
    Malformed(String),
}

impl Target {
    /// A host name, or an address as text, which may stand in brackets if it is one of IPv6.
    pub(crate) fn of(host: &str, port: u16) -> Self {
        // CN-9: an address needs no looking up.
        if let Ok(address) = host.parse::<IpAddr>() {
            return Self::Addresses(vec![SocketAddr::new(address, port)]);
        }
        let unbracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let name = unbracketed.unwrap_or(host);
        // With the number of its interface, perhaps.
        if let Ok(address) = format!("[{name}]:{port}").parse::<SocketAddrV6>() {
            return Self::Addresses(vec![address.into()]);
        }
        // With the name of its interface it is the system's to read.
        let address = name.split_once('%').map_or(name, |(address, _)| address);
        let is_address = address.parse::<Ipv6Addr>().is_ok();
        if host.contains(['[', ']']) && !(is_address && unbracketed.is_some()) {
            return Self::Malformed(format!("{host}:{port}"));
        }
        Self::Host { name: name.to_owned(), port }
    }

    /// The error of what is malformed.
    pub(crate) fn error() -> io::Error {
        let message = "what stands in brackets is an address of IPv6, and this is none";
        io::Error::new(io::ErrorKind::InvalidInput, message)
    }
}

impl Destination {
    /// Limits the time for all of it: looking the name up, and every attempt. Default: no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The deadline of a connect that is begun now; none if it is further away than the clock goes.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.timeout?)
    }

    /// The name that has to be looked up, and the port.
    pub(crate) fn name(&self) -> Option<(&str, u16)> {
        match &self.target {
            Target::Addresses(_) | Target::Malformed(_) => None,
            Target::Host { name, port } => Some((name, *port)),
        }
    }
}

impl From<Target> for Destination {
    fn from(target: Target) -> Self {
        Self { target, timeout: None }
    }
}

impl From<SocketAddr> for Destination {
    fn from(address: SocketAddr) -> Self {
        Target::Addresses(vec![address]).into()
    }
}

impl From<Vec<SocketAddr>> for Destination {
    fn from(addresses: Vec<SocketAddr>) -> Self {
        Target::Addresses(addresses).into()
    }
}

/// A host name, or an address as text, and a port. An address of IPv6 may stand in brackets and have a zone, as in
/// `fe80::1%eth0`. What is no host is an error at the end.
impl From<(&str, u16)> for Destination {
    fn from((host, port): (&str, u16)) -> Self {
        Target::of(host, port).into()
    }
}

/// Connects a new socket to the first address that accepts:
/// [`Runtime::begin_connect_to`](crate::RuntimeHandle::begin_connect_to).
///
/// Its parts are the lookup of the name, if there is one, and a connect for each address that is tried.
#[derive(Debug)]
pub struct ConnectTo {
    /// What was asked for, in words.
    to: String,
    ahead: VecDeque<SocketAddr>,
    /// The one that is being tried.
    current: Option<SocketAddr>,
    failures: Vec<(Option<SocketAddr>, io::Error)>,
}

impl ConnectTo {
    pub(crate) fn new(destination: &Destination) -> Self {
        let mut failures = Vec::new();
        let (to, ahead) = match &destination.target {
            Target::Host { name, port } if name.contains(':') => {
                (format!("[{name}]:{port}"), VecDeque::new())
            }
            Target::Host { name, port } => (format!("{name}:{port}"), VecDeque::new()),
            Target::Malformed(text) => {
                failures.push((None, Target::error()));
                (text.clone(), VecDeque::new())
            }
            Target::Addresses(addresses) => {
                let to = match &**addresses {
                    [address] => address.to_string(),
                    _ => format!("one of {} addresses", addresses.len()),
                };
                (to, addresses.iter().copied().collect())
            }
        };
        Self { to, ahead, current: None, failures }
    }

    /// The name has been looked up: begins to connect.
    pub(crate) fn found(
        runtime: &Arc<RuntimeInner>,
        mut whole: Owner,
        addresses: io::Result<Vec<SocketAddr>>,
    ) {
        let work = whole.work::<Self>();
        match addresses {
            Ok(addresses) => work.ahead.extend(addresses),
            Err(error) => work.failures.push((None, error)),
        }
        Self::begin_connecting(runtime, whole);
    }

    /// Begins to connect to the first address.
    pub(crate) fn begin_connecting(runtime: &Arc<RuntimeInner>, whole: Owner) {
        let start = |socket: &Arc<SocketInner>, connect| runtime.driver.start(socket, connect);
        runtime.post_completed(Self::next(runtime, whole, start));
    }

    /// Begins to connect to the next address, by `start`; if there is none, the operation has failed. Returns as
    /// [`Continuation::go_on`].
    fn next(
        runtime: &Arc<RuntimeInner>,
        mut whole: Owner,
        start: impl FnOnce(&Arc<SocketInner>, Owner),
    ) -> Option<Owner> {
        let work = whole.work::<Self>();
        let Some((address, socket)) = work.socket_for_next(runtime) else {
            let error = work.error();
            whole.leave_part();
            return whole.end_here(runtime, error);
        };
        let handle = whole.handle();
        let then = Connecting { whole, error: None };
        let connect = ConnectOne(Connect::new(address.into()));
        start(&socket, body::begin_part(&handle, &socket, connect, then));
        None
    }

    /// Makes the socket for the next address for which there can be one; each attempt has its own.
    fn socket_for_next(
        &mut self,
        runtime: &Arc<RuntimeInner>,
    ) -> Option<(SocketAddr, Arc<SocketInner>)> {
        loop {
            let address = self.ahead.pop_front()?;
            let domain = Domain::for_address(address);
            let socket = Socket::create(runtime, domain, Type::STREAM, Some(Protocol::TCP));
            match socket {
                Ok(socket) => {
                    self.current = Some(address);
                    return Some((address, socket.into_inner()));
                }
                Err(error) => self.failures.push((Some(address), error)),
            }
        }
    }

    /// The operation's error, when there is nowhere left to go: what came of each address.
    fn error(&mut self) -> io::Error {
        let Some((_, last)) = self.failures.last() else {
            let message = format!("connect to {}: there is no address to connect to", self.to);
            return io::Error::new(io::ErrorKind::InvalidInput, message);
        };
        io::Error::new(last.kind(), format!("connect to {}: {}", self.to, self.outcomes()))
    }

    /// The operation's error, when it ends with `error` on its way: also what is not known of the rest.
    fn interrupted(&self, error: io::Error) -> io::Error {
        let what = format!("connect to {}", self.to);
        let Some(reason) = Aborted::reason(&error) else { return attempted(what, error) };
        let begins = self.current.is_none() && self.failures.is_empty();
        if begins && !self.ahead.is_empty() {
            return attempted(what, error);
        }
        let mut outcomes = self.outcomes();
        let mut add = |address: Option<SocketAddr>, outcome: &str| {
            let separator = if outcomes.is_empty() { "" } else { "; " };
            let _ = write!(outcomes, "{separator}{}{outcome}", self.prefix(address));
        };
        match self.current {
            None if begins => add(None, &format!("its name was not found {}", reason.until())),
            current => add(current, &format!("no answer {}", reason.until())),
        }
        for address in &self.ahead {
            add(Some(*address), "not tried");
        }
        came_to(what, outcomes, error)
    }

    /// What came of each address.
    fn outcomes(&self) -> String {
        let outcomes = self.failures.iter();
        let outcomes = outcomes.map(|(address, error)| format!("{}{error}", self.prefix(*address)));
        outcomes.collect::<Vec<_>>().join("; ")
    }

    /// Names an address, unless it is all that was asked for.
    fn prefix(&self, address: Option<SocketAddr>) -> String {
        match address.map(|address| address.to_string()) {
            Some(address) if address != self.to => format!("{address}: "),
            _ => String::new(),
        }
    }
}

impl sealed::Sealed for ConnectTo {}

impl Kind for ConnectTo {
    const NAME: &'static str = Self::KIND.name();
    type Output = Socket;
    type Buffer = ();
}

impl Perform for ConnectTo {
    const KIND: OperationKind = OperationKind::ConnectTo;
    const DIRECTION: Direction = Direction::Send;

    const IS_COMPOSITE: bool = true;

    fn attempt(&mut self, _call: Call<'_>) -> Attempt<Socket> {
        unreachable!("its parts are attempted");
    }

    fn explain(&self, error: io::Error) -> io::Error {
        self.interrupted(error)
    }

    fn into_buffer(self) {}
}

/// A connect to one of the addresses, on a socket of its own. Its error is as the system tells it: the [`ConnectTo`]
/// says what it was.
struct ConnectOne(Connect);

impl sealed::Sealed for ConnectOne {}

impl Kind for ConnectOne {
    const NAME: &'static str = ConnectTo::NAME;
    type Output = Socket;
    type Buffer = ();
}

impl Perform for ConnectOne {
    const KIND: OperationKind = OperationKind::ConnectTo;
    const DIRECTION: Direction = Direction::Send;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<Socket> {
        match self.0.ask_or_answer(call) {
            None => Attempt::WouldBlock(Blocked::InVain),
            Some(result) => Attempt::done(result.map(|()| Socket::of(call.socket))),
        }
    }

    fn is_partly_done(&self) -> bool {
        self.0.is_partly_done()
    }

    fn into_buffer(self) {}
}

/// A [`ConnectTo`] while it connects to an address.
struct Connecting {
    whole: Owner,
    /// There once that has failed.
    error: Option<io::Error>,
}

impl Continuation<ConnectOne> for Connecting {
    type Whole = ConnectTo;

    fn settle(
        &mut self,
        runtime: &RuntimeInner,
        connect: Completion<ConnectOne>,
        order: Option<Order>,
    ) {
        match connect.result {
            Ok(socket) => self.whole.stands::<ConnectTo>(runtime, Ok(socket), order),
            Err(error) => self.error = Some(error),
        }
    }

    fn go_on(self, runtime: &RuntimeInner) -> Option<Owner> {
        let Self { mut whole, error } = self;
        match error {
            Some(error) if !is_aborted(&error) => {
                let work = whole.work::<ConnectTo>();
                work.failures.push((work.current, error));
                let runtime = runtime.me.upgrade();
                let runtime = runtime.expect("a runtime exists while its operations complete");
                ConnectTo::next(&runtime, whole, |socket, connect| {
                    socket.runtime.driver.start_later(socket, connect);
                })
            }
            outcome => whole.end_whole(runtime, outcome),
        }
    }
}
