//! What the handles and the operations of a socket share.

use crate::base::descriptor::Descriptor;
use crate::base::kind::Direction;
use crate::base::number::SocketNumber;
use crate::base::table::Table;
use crate::base::unread::{Order, Origin, Piece, Store};
use crate::base::wake::Holder;
use crate::state::context::RuntimeInner;
#[cfg(feature = "testing")]
use crate::state::context::{Report, Work};
use crate::state::in_flight::OperationQueue;
#[cfg(feature = "testing")]
use crate::testing::SocketFaults;
use socket2::{Domain, Protocol, SockAddr, Type};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::{Duration, Instant};

/// A socket whose operations are begun and ended.
///
/// A clone is another handle to the same socket. The socket is closed by [`close`](Self::close), or
/// when its last handle has been dropped and its last operation is over: a pending operation keeps
/// its socket open.
///
/// Each `begin_*` takes what the operation needs, a callback, and a state for the callback, and
/// returns at once. The operation is tried right away; if it would have to wait, it waits in the
/// runtime's [`Engine`](crate::Engine). When it is over, a worker runs the callback, which gets an
/// [`AsyncResult`](crate::AsyncResult) and gives it to the `end_*` of its kind. Operations of one direction (connect and
/// send, accept and receive) take effect in the order in which they were begun; the two directions
/// are independent. Callbacks of one socket may run at the same time and in any order.
///
/// [`connect`](Self::connect), [`send`](Self::send), [`receive`](Self::receive) and their like block
/// until it is over. Each `*_async` starts the same operation without a callback and returns an [`Operation`](crate::Operation), to be
/// waited for with or without a limit, to be awaited, or to be canceled.
///
/// ```
/// use aio_core::{AsyncResult, Completion, Socket, op};
///
/// struct StateObject {
///     work_socket: Socket,
///     text: String,
/// }
///
/// fn receive(client: &Socket) {
///     let state = StateObject { work_socket: client.clone(), text: String::new() };
///     client.begin_receive(vec![0; 256], receive_callback, state);
/// }
///
/// fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, StateObject>) {
///     let client = ar.async_state().work_socket.clone();
///     let Completion { result, buffer, mut state, .. } = client.end_receive(ar);
///     match result {
///         Ok(0) => println!("{}", state.text),
///         Ok(n) => {
///             state.text.push_str(&String::from_utf8_lossy(&buffer[..n]));
///             client.begin_receive(buffer, receive_callback, state);
///         }
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # receive(&Socket::tcp_v4()?);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Socket {
    pub(crate) inner: Arc<SocketInner>,
    /// For the operations that are begun with this handle.
    pub(crate) limit: TimeLimit,
}

/// How long an operation may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TimeLimit {
    Never,
    /// From its begin.
    After(Duration),
    At(Instant),
}

impl TimeLimit {
    /// The deadline of an operation that is begun now, none if it is further away than the clock goes; and whether it
    /// has passed.
    #[inline]
    pub(crate) fn deadline(self) -> (Option<Instant>, bool) {
        match self {
            Self::Never => (None, false),
            Self::After(timeout) => (Instant::now().checked_add(timeout), timeout.is_zero()),
            Self::At(deadline) => (Some(deadline), deadline <= Instant::now()),
        }
    }
}

impl Socket {
    /// Makes a socket of the system's, too. What it was asked for is not asked of the system again.
    pub(crate) fn create(
        runtime: &Arc<RuntimeInner>,
        domain: Domain,
        r#type: Type,
        protocol: Option<Protocol>,
    ) -> io::Result<Self> {
        let is_of_internet = domain == Domain::IPV4 || domain == Domain::IPV6;
        let is_tcp = is_of_internet && r#type == Type::STREAM && protocol == Some(Protocol::TCP);
        if !is_tcp {
            return Self::associate(runtime, socket2::Socket::new(domain, r#type, protocol)?);
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let system = socket2::Socket::new(domain, r#type.nonblocking(), protocol)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let system = {
            let system = socket2::Socket::new(domain, r#type, protocol)?;
            system.set_nonblocking(true)?;
            system
        };
        let nature = Nature { is_stream: true, is_connection: true, is_tcp };
        Self::of_system(runtime, system, nature)
    }

    pub(crate) fn associate(
        runtime: &Arc<RuntimeInner>,
        socket: socket2::Socket,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let r#type = socket.r#type()?;
        let is_stream = r#type == Type::STREAM;
        let is_connection = is_stream || is_sequence_of_packets(r#type);
        let nature = Nature { is_stream, is_connection, is_tcp: is_stream && is_tcp(&socket) };
        Self::of_system(runtime, socket, nature)
    }

    pub(crate) fn associate_connected(
        runtime: &Arc<RuntimeInner>,
        socket: socket2::Socket,
    ) -> io::Result<Self> {
        let socket = Self::associate(runtime, socket)?;
        socket.inner.has_connected();
        Ok(socket)
    }

    /// Makes a socket of one that a listener has accepted, and that does not block: it is what the listener is.
    pub(crate) fn accepted(listener: &SocketInner, system: socket2::Socket) -> io::Result<Self> {
        let socket = Self::of_system(&listener.runtime, system, listener.nature)?;
        socket.inner.has_connected();
        Ok(socket)
    }

    /// `system` does not block.
    pub(crate) fn of_system(
        runtime: &Arc<RuntimeInner>,
        system: socket2::Socket,
        nature: Nature,
    ) -> io::Result<Self> {
        let number = reserve()?;
        Ok(Self {
            inner: Arc::new_cyclic(|me| SocketInner {
                number: enter(number, me.clone()),
                runtime: runtime.clone(),
                receive: OperationQueue::new(),
                send: OperationQueue::new(),
                #[cfg(unix)]
                registration: AtomicU8::new(0),
                holders: [Holder::new(), Holder::new()],
                connection: AtomicU8::new(connection::NOT_ASKED),
                ended_by_user: AtomicBool::new(false),
                bound: AtomicBool::new(false),
                receives_no_more: AtomicBool::new(false),
                unread: Store::new(),
                accepts: AtomicBool::new(false),
                failure: AtomicI32::new(0),
                linger: AtomicI32::new(linger::NOT_REPLACED),
                #[cfg(feature = "testing")]
                faults: (runtime.injector.as_ref())
                    .map(|injector| injector.next_socket(nature.is_stream, nature.is_tcp)),
                nature,
                descriptor: Descriptor::new(system),
            }),
            limit: TimeLimit::Never,
        })
    }

    /// The same socket anew, of a duplicate of its descriptor.
    pub(crate) fn again(&self, system: socket2::Socket) -> io::Result<Self> {
        let before = &self.inner;
        let socket = Self::of_system(&before.runtime, system, before.nature)?;
        let after = &socket.inner;
        let order = Ordering::SeqCst;
        after.connection.store(before.connection.load(order), order);
        after.ended_by_user.store(before.ended_by_user.load(order), order);
        after.failure.store(before.failure.load(order), order);
        after.linger.store(before.linger.load(order), order);
        after.unread.take_over(&before.unread);
        Ok(socket)
    }

    /// A handle to the socket of an operation.
    pub(crate) fn of(inner: &Arc<SocketInner>) -> Self {
        Self { inner: inner.clone(), limit: TimeLimit::Never }
    }

    pub(crate) fn runtime_inner(&self) -> &Arc<RuntimeInner> {
        &self.inner.runtime
    }

    pub(crate) fn into_inner(self) -> Arc<SocketInner> {
        self.inner
    }

    pub(crate) fn shared(&self) -> &Arc<SocketInner> {
        &self.inner
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn inner(&self) -> &Arc<SocketInner> {
        &self.inner
    }
}

/// The values of [`SocketInner::connection`].
pub(super) mod connection {
    /// It may be connected all the same, if it came to us so.
    pub(crate) const NOT_ASKED: u8 = 0;
    pub(crate) const ASKED: u8 = 1;
    pub(crate) const CONNECTED: u8 = 2;
}

/// The values of [`SocketInner::linger`] that are no seconds.
pub(super) mod linger {
    pub(crate) const NOT_REPLACED: i32 = -1;
    /// It was off.
    pub(crate) const OFF: i32 = -2;
}

/// What a dropped operation had taken from a socket: see [`Socket::take_unread`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Unread {
    /// The next bytes of a stream.
    Bytes(Vec<u8>),
    /// A datagram.
    #[non_exhaustive]
    Datagram {
        /// Its bytes, or those that fitted into the operation's buffer.
        bytes: Vec<u8>,
        /// The sender.
        from: SockAddr,
        /// True if it had more bytes; they are lost.
        truncated: bool,
    },
    /// A connection that was accepted.
    Connection(Socket),
}

impl From<Piece<Socket>> for Unread {
    fn from(piece: Piece<Socket>) -> Self {
        match piece {
            Piece::Bytes(bytes) => Self::Bytes(bytes),
            Piece::Datagram(bytes, Origin { from, truncated, .. }) => {
                Self::Datagram { bytes, from, truncated }
            }
            Piece::Connection(connection) => Self::Connection(connection),
        }
    }
}

/// What the handles and the operations of a socket share.
#[derive(Debug)]
pub(crate) struct SocketInner {
    pub(crate) number: SocketNumber,
    pub(crate) runtime: Arc<RuntimeInner>,
    pub(crate) descriptor: Descriptor,
    pub(crate) receive: OperationQueue,
    pub(crate) send: OperationQueue,
    /// For the engine that waits for readiness; 0 until it knows the socket.
    #[cfg(unix)]
    pub(crate) registration: AtomicU8,
    /// For the engine that blocks, by direction: see [`Holder`].
    pub(crate) holders: [Holder; 2],
    /// How far a stream socket has come with its one chance to connect.
    pub(super) connection: AtomicU8,
    /// True once a user has ended the stream in so many words: what was sent is to be read then, even
    /// if a send is unfinished.
    pub(crate) ended_by_user: AtomicBool,
    /// True once the socket is known to have an address.
    pub(super) bound: AtomicBool,
    /// What dropped operations had taken here.
    pub(crate) unread: Store<Socket>,
    /// True once the socket has been shut down for receiving. Nothing is received then but what was there before,
    /// though the system may go on to say that a call would have to wait.
    pub(crate) receives_no_more: AtomicBool,
    /// True once an accept has been begun here, and the runtime knows.
    pub(super) accepts: AtomicBool,
    /// The system's error by which the connection of a stream has broken, once an operation was told; else 0.
    pub(super) failure: AtomicI32,
    /// The user's SO_LINGER, in seconds, while a reset has replaced it: a [`linger`].
    pub(super) linger: AtomicI32,
    /// `Some` if the runtime has faults.
    #[cfg(feature = "testing")]
    pub(crate) faults: Option<SocketFaults>,
    pub(crate) nature: Nature,
}

/// Of ten thousand connections nearly all are idle, with a receive pending: this and the operation's header are
/// what each of them costs.
#[cfg(all(target_pointer_width = "64", target_os = "linux", not(any(feature = "testing", loom))))]
const _: () = assert!(size_of::<SocketInner>() <= 160);

/// What a socket is, for good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nature {
    pub(crate) is_stream: bool,
    pub(super) is_connection: bool,
    pub(crate) is_tcp: bool,
}

impl SocketInner {
    /// True if an accept has been begun here.
    pub(crate) fn is_listener(&self) -> bool {
        self.accepts.load(Ordering::Relaxed)
    }

    /// An accept is about to be queued: a drain must find it.
    pub(crate) fn is_about_to_accept(self: &Arc<Self>) {
        if !self.accepts.load(Ordering::Relaxed) && !self.accepts.swap(true, Ordering::Relaxed) {
            self.runtime.listeners.enter(self.number);
        }
    }

    pub(crate) fn queue(&self, direction: Direction) -> &OperationQueue {
        match direction {
            Direction::Receive => &self.receive,
            Direction::Send => &self.send,
        }
    }

    /// Reports `direction` ready, whether or not the system would.
    #[cfg(feature = "testing")]
    pub(crate) fn report_ready(self: &Arc<Self>, direction: Direction) {
        let report = Report {
            receive: direction == Direction::Receive,
            send: direction == Direction::Send,
            stays_ready: false,
            ticket: None,
        };
        self.runtime.post(Work::Ready { socket: self.clone(), report });
    }

    pub(crate) fn is_stream(&self) -> bool {
        self.nature.is_stream
    }

    /// The order of what an attempt has just taken, if it may have taken something.
    #[inline]
    pub(crate) fn order_of_taken(&self, direction: Direction) -> Option<Order> {
        (direction == Direction::Receive).then(|| self.unread.order())
    }
}

impl SocketInner {
    /// Gives back what an operation had taken that was dropped. The next operation gets it.
    pub(crate) fn give_back(self: &Arc<Self>, order: Order, piece: Piece<Socket>) {
        self.unread.put(order, piece);
        self.runtime.driver.given_back(self);
    }
}

/// The sockets of the process, by number, for those that must be able to find a socket and must not keep it open: the
/// poller, whose events name sockets; handles of operations, which may outlive their sockets; reports of what workers
/// run; and a shutdown.
///
/// A socket's number is reserved, and the socket entered, when it is made; its drop takes both out. The lock is held
/// for a lookup or a change. No socket is dropped under it, since the drop takes the lock.
static TABLE: RwLock<Table<SocketInner>> = RwLock::new(Table::new());

/// Returns the number for a socket that is about to be made: the caller is to [`enter`] it.
///
/// # Errors
///
/// `QuotaExceeded` if there is no number left.
pub(crate) fn reserve() -> io::Result<SocketNumber> {
    write().reserve().ok_or_else(|| {
        let message = "the process has as many sockets as it has numbers for";
        io::Error::new(io::ErrorKind::QuotaExceeded, message)
    })
}

/// Enters a socket that is being made, under the number that was reserved for it.
pub(crate) fn enter(number: SocketNumber, socket: Weak<SocketInner>) -> SocketNumber {
    write().enter(number, socket);
    number
}

/// Takes out a socket that is being dropped.
pub(crate) fn remove(number: SocketNumber) {
    // Dropped when the lock is free.
    let _socket = write().remove(number);
}

pub(crate) fn find(number: SocketNumber) -> Option<Arc<SocketInner>> {
    read().get(number)
}

/// Finds one socket after the other under one lock. None of them is to be dropped meanwhile.
#[cfg(unix)]
pub(crate) struct Finder(RwLockReadGuard<'static, Table<SocketInner>>);

#[cfg(unix)]
pub(crate) fn finder() -> Finder {
    Finder(read())
}

#[cfg(unix)]
impl Finder {
    pub(crate) fn find(&self, number: SocketNumber) -> Option<Arc<SocketInner>> {
        self.0.get(number)
    }
}

/// All sockets of a runtime.
pub(crate) fn sockets_of(runtime: &RuntimeInner) -> Vec<Arc<SocketInner>> {
    sockets_that(|socket| std::ptr::eq(&*socket.runtime, runtime))
}

/// All sockets of the process that are meant.
pub(crate) fn sockets_that(are_meant: impl Fn(&SocketInner) -> bool) -> Vec<Arc<SocketInner>> {
    let mut sockets: Vec<_> = read().iter().collect();
    sockets.retain(|socket| are_meant(socket));
    sockets
}

fn read() -> RwLockReadGuard<'static, Table<SocketInner>> {
    TABLE.read().unwrap_or_else(PoisonError::into_inner)
}

fn write() -> RwLockWriteGuard<'static, Table<SocketInner>> {
    TABLE.write().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for SocketInner {
    fn drop(&mut self) {
        self.runtime.driver.forget(self);
        if self.is_listener() {
            self.runtime.listeners.remove(self.number);
        }
        remove(self.number);
    }
}

/// True for sockets that send datagrams to the peer that they are connected to.
fn is_sequence_of_packets(r#type: Type) -> bool {
    #[cfg(unix)]
    {
        r#type == Type::SEQPACKET
    }
    #[cfg(not(unix))]
    {
        let _ = r#type;
        false
    }
}

/// True if that stream socket is known to be one of TCP.
fn is_tcp(socket: &socket2::Socket) -> bool {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        socket.protocol().is_ok_and(|protocol| protocol == Some(Protocol::TCP))
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        socket.local_addr().is_ok_and(|address| address.as_socket().is_some())
    }
}
