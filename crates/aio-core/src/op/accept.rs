//! Accept, and accept into the first data.

use super::receive::Receive;
use super::retry;
use crate::base::buffer::IoBufMut;
use crate::base::error::{Aborted, attempted};
use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::{Blocked, CancelReason};
use crate::base::unread::{Envelope, Order, Piece};
use crate::state::body::{self, Continuation};
use crate::state::completion::{Completion, Kind, sealed};
use crate::state::context::RuntimeInner;
use crate::state::in_flight::{Call, Owner};
use crate::state::perform::{Attempt, GivenBack, Perform};
use crate::state::socket::{Socket, SocketInner};
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

/// Accepts a connection on a listening socket: [`Socket::begin_accept`](crate::Socket::begin_accept).
#[derive(Debug)]
pub struct Accept(());

impl Accept {
    pub(crate) fn new() -> Self {
        Self(())
    }
}

impl sealed::Sealed for Accept {}

impl Kind for Accept {
    const NAME: &'static str = Self::KIND.name();
    type Output = Socket;
    type Buffer = ();
}

impl Perform for Accept {
    const KIND: OperationKind = OperationKind::Accept;
    const DIRECTION: Direction = Direction::Receive;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<Socket> {
        accept(call).map_or(Attempt::WouldBlock(Blocked::InVain), Attempt::done)
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        if let Ok(connection) = completion.result {
            to.socket.give_back(to.order, Piece::Connection(connection));
        }
    }

    fn into_buffer(self) {}
}

fn accept(call: Call<'_>) -> Option<io::Result<Socket>> {
    if let Some(connection) = call.socket.unread.connection() {
        return Some(Ok(connection));
    }
    // Asked before the call: a connection may come between the call and the end.
    let has_ended = call.socket.receives_no_more();
    let accepted = retry(|| {
        call.permit(Purpose::Accept, 0)?;
        accept_nonblocking(call.system)
    });
    Some(match accepted {
        Some(Ok(socket)) => Socket::accepted(call.socket, socket),
        // A local listener has connections until they have been accepted. Then its accept fails if it may
        // block; if it may not, it says that it would.
        None if has_ended => Err(is_shut_down(invalid())),
        None => return None,
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(if call.socket.receives_no_more() {
                is_shut_down(error)
            } else {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "accept on a socket that is not listening; bind it and call listen first",
                )
            })
        }
        Some(Err(error)) => Err(attempted("accept", error)),
    })
}

fn is_shut_down(error: io::Error) -> io::Error {
    attempted("accept on a listener that was shut down", error)
}

/// What the system says of an accept on a listener that was shut down.
fn invalid() -> io::Error {
    #[cfg(unix)]
    {
        io::Error::from_raw_os_error(libc::EINVAL)
    }
    #[cfg(not(unix))]
    {
        io::ErrorKind::InvalidInput.into()
    }
}

fn accept_nonblocking(listener: &socket2::Socket) -> io::Result<socket2::Socket> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        listener.accept4(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).map(|(socket, _)| socket)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let (socket, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }
}

/// Accepts a connection and receives its first bytes:
/// [`Socket::begin_accept_receive`](crate::Socket::begin_accept_receive).
///
/// It has two parts: an accept at the listener, and a receive at the accepted socket. When the accept is over, the
/// listener's next accept has its turn.
#[derive(Debug)]
pub struct AcceptReceive<B> {
    /// `None` while the receive has it.
    buffer: Option<B>,
    received: usize,
    /// There once the accept is over.
    accepted: Option<Accepted>,
}

/// A connection, and where it stands among those of its listener.
#[derive(Debug)]
struct Accepted {
    connection: Socket,
    order: Order,
}

impl<B: IoBufMut> AcceptReceive<B> {
    pub(crate) fn new(buffer: B) -> Self {
        Self { buffer: Some(buffer), received: 0, accepted: None }
    }
}

impl<B: IoBufMut> sealed::Sealed for AcceptReceive<B> {}

impl<B: IoBufMut> Kind for AcceptReceive<B> {
    const NAME: &'static str = Self::KIND.name();
    /// The accepted socket, and how many bytes it has received.
    type Output = (Socket, usize);
    type Buffer = B;
}

impl<B: IoBufMut> Perform for AcceptReceive<B> {
    const KIND: OperationKind = OperationKind::AcceptReceive;
    const DIRECTION: Direction = Direction::Receive;

    const IS_COMPOSITE: bool = true;

    fn start(listener: &Arc<SocketInner>, whole: Owner) {
        let handle = whole.handle();
        let then = Accepting::<B> {
            whole,
            listener: listener.clone(),
            outcome: Ok(None),
            buffer: PhantomData,
        };
        let accept = body::begin_part(&handle, listener, Accept::new(), then);
        listener.runtime.driver.start(listener, accept);
    }

    fn attempt(&mut self, _call: Call<'_>) -> Attempt<(Socket, usize)> {
        unreachable!("its parts are attempted");
    }

    fn envelope(&mut self) -> Option<Box<Envelope>> {
        let Accepted { order, .. } = self.accepted.take()?;
        Some(Box::new(Envelope::Connection(order)))
    }

    fn give_back(completion: Completion<Self>, to: GivenBack<'_>) {
        let (Ok((connection, received)), Some(Envelope::Connection(order))) =
            (completion.result, to.envelope.map(|envelope| *envelope))
        else {
            return;
        };
        if received > 0 {
            let bytes = completion.buffer.as_slice()[..received].to_vec();
            connection.shared().give_back(to.order, Piece::Bytes(bytes));
        }
        to.socket.give_back(order, Piece::Connection(connection));
    }

    fn give_up(&mut self, listener: &Arc<SocketInner>) {
        if let Some(Accepted { connection, order }) = self.accepted.take() {
            listener.give_back(order, Piece::Connection(connection));
        }
    }

    fn bytes_transferred(&self) -> usize {
        self.received
    }

    fn into_buffer(self) -> B {
        self.buffer.expect("no part is under way")
    }
}

/// An [`AcceptReceive`] while its accept is under way.
struct Accepting<B> {
    whole: Owner,
    listener: Arc<SocketInner>,
    /// Once the accept's result stands: the socket at which to receive, if the whole is not over with that.
    outcome: io::Result<Option<Arc<SocketInner>>>,
    buffer: PhantomData<fn(B)>,
}

impl<B: IoBufMut> Continuation<Accept> for Accepting<B> {
    type Whole = AcceptReceive<B>;

    fn settle(&mut self, runtime: &RuntimeInner, accept: Completion<Accept>, order: Option<Order>) {
        let (connection, order) = match (accept.result, order) {
            (Ok(connection), Some(order)) => (connection, order),
            (Ok(_), None) => unreachable!("a connection is taken in an attempt, and has an order"),
            (Err(error), _) => {
                self.outcome = Err(error);
                return;
            }
        };
        let work = self.whole.work::<AcceptReceive<B>>();
        let socket = connection.shared().clone();
        work.accepted = Some(Accepted { connection, order });
        // AC-4: an operation without room for a byte does not wait for one.
        let has_no_room = work.buffer.as_ref().is_some_and(|buffer| buffer.as_slice().is_empty());
        if has_no_room {
            let result = Ok((Socket::of(&socket), 0));
            self.whole.stands::<AcceptReceive<B>>(runtime, result, Some(order));
        } else {
            self.outcome = Ok(Some(socket));
        }
    }

    fn go_on(self, runtime: &RuntimeInner) -> Option<Owner> {
        let Self { mut whole, listener, outcome, .. } = self;
        let socket = match outcome {
            Ok(Some(socket)) => socket,
            Ok(None) => return whole.end_whole(runtime, None),
            Err(error) => return whole.end_whole(runtime, Some(error)),
        };
        let handle = whole.handle();
        runtime.listeners.enter_waiting(listener.number, handle.identity(), handle.clone());
        if matches!(listener.receive.stopped(), Some(Aborted::Closed | Aborted::Released)) {
            // The close may have looked before: `listeners.rs`, invariant 3.
            handle.cancel(CancelReason::Closed);
        }
        let buffer = whole.work::<AcceptReceive<B>>().buffer.take();
        let receive = Receive::new(buffer.expect("no part has had it"));
        let then = Receiving { whole, listener, error: None };
        let receive = body::begin_part(&handle, &socket, receive, then);
        socket.runtime.driver.start_later(&socket, receive);
        None
    }
}

/// An [`AcceptReceive`] while its receive is under way.
struct Receiving {
    whole: Owner,
    listener: Arc<SocketInner>,
    /// There once the receive has failed.
    error: Option<io::Error>,
}

impl<B: IoBufMut> Continuation<Receive<B>> for Receiving {
    type Whole = AcceptReceive<B>;

    fn settle(
        &mut self,
        runtime: &RuntimeInner,
        receive: Completion<Receive<B>>,
        order: Option<Order>,
    ) {
        let work = self.whole.work::<AcceptReceive<B>>();
        work.buffer = Some(receive.buffer);
        work.received = receive.bytes_transferred;
        match (receive.result, &work.accepted) {
            (Ok(received), Some(accepted)) => {
                let result = Ok((accepted.connection.clone(), received));
                self.whole.stands::<AcceptReceive<B>>(runtime, result, order);
            }
            (Ok(_), None) => unreachable!("it receives from a connection"),
            (Err(error), _) => self.error = Some(error),
        }
    }

    fn go_on(self, runtime: &RuntimeInner) -> Option<Owner> {
        let Self { whole, listener, error } = self;
        runtime.listeners.remove_waiting(listener.number, whole.identity());
        whole.end_whole(runtime, error)
    }
}
