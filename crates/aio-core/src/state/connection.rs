//! What is known of a socket's connection: whether it may connect, how it has ended, and what closing it does.

use crate::base::kind::Direction;
use crate::state::socket::{SocketInner, connection, linger};
use socket2::Type;
use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl SocketInner {
    /// False if nobody can send anything to the socket, since it has no address. Asks the system until
    /// that has said so: it binds a socket that sends or connects.
    pub(crate) fn is_bound(&self, system: &socket2::Socket) -> bool {
        let is_unbound = || {
            let has_none = system.local_addr().is_ok_and(|address| match address.as_socket() {
                Some(address) => address.port() == 0,
                // The two of a pair need no names.
                #[cfg(unix)]
                None => address.is_unnamed() && system.peer_addr().is_err(),
                #[cfg(not(unix))]
                None => false,
            });
            has_none && system.r#type().is_ok_and(|r#type| r#type == Type::DGRAM)
        };
        if self.bound.load(Ordering::Relaxed) {
            return true;
        }
        let is_bound = !is_unbound();
        self.bound.store(is_bound, Ordering::Relaxed);
        is_bound
    }

    /// Gives the chance back after an attempt that left the socket as it was.
    pub(crate) fn may_connect_again(&self) {
        self.connection.store(connection::NOT_ASKED, Ordering::Relaxed);
    }

    /// True for what is connected to one peer: it has an end, and can break.
    pub(crate) fn is_connection(&self) -> bool {
        self.nature.is_connection
    }

    /// True if a receive that gets less than it has room for has emptied the stream. Others stop
    /// short for other reasons: a Unix socket where descriptors were passed, SCTP after a message.
    pub(crate) fn is_tcp(&self) -> bool {
        self.nature.is_tcp
    }

    /// Takes the socket's one chance to connect. A datagram socket may change its peer at will.
    pub(crate) fn may_connect(&self) -> bool {
        let claim = |from| {
            let order = Ordering::Relaxed;
            self.connection.compare_exchange(from, connection::ASKED, order, order)
        };
        !self.nature.is_stream || claim(connection::NOT_ASKED).is_ok()
    }

    /// The socket is connected: it has been, or it came to us so.
    pub(crate) fn has_connected(&self) {
        self.connection.store(connection::CONNECTED, Ordering::Relaxed);
    }

    /// A send has ended unfinished. The peer must not take half a message for a whole one: closing is to
    /// reset the connection, unless the user has ended the stream.
    pub(crate) fn reset_when_closed(&self, system: &socket2::Socket) {
        let is_ended = || self.ended_by_user.load(Ordering::SeqCst);
        if is_ended() {
            return;
        }
        let before = match system.linger() {
            Ok(Some(time)) => i32::try_from(time.as_secs()).unwrap_or(i32::MAX),
            Ok(None) | Err(_) => linger::OFF,
        };
        let order = Ordering::SeqCst;
        // The first to replace it has found the user's.
        let _ = self.linger.compare_exchange(linger::NOT_REPLACED, before, order, order);
        // The worst that a failure leaves is an ordinary close.
        let _ = system.set_linger(Some(Duration::ZERO));
        // `shutdown` may have come between, before the queue said that it is broken.
        if is_ended() {
            let _ = self.restore_linger(system);
        }
    }

    /// Closing is to be what the user has asked for, and no reset.
    pub(crate) fn restore_linger(&self, system: &socket2::Socket) -> io::Result<()> {
        match self.linger.load(Ordering::SeqCst) {
            linger::NOT_REPLACED => Ok(()),
            linger::OFF => system.set_linger(None),
            seconds => system.set_linger(Some(Duration::from_secs(seconds as u64))),
        }
    }

    /// Ends one or both directions of the connection.
    pub(crate) fn shut_down(
        self: &Arc<Self>,
        system: &socket2::Socket,
        how: Shutdown,
    ) -> io::Result<()> {
        // The system tells an accept at once that a TCP listener was shut down; this tells it in words.
        let tells = how != Shutdown::Write && self.nature.is_tcp && self.is_listener();
        if tells {
            self.receives_no_more.store(true, Ordering::Release);
        }
        let result = match system.shutdown(how) {
            // SH-4: the peer has ended, or reset, what we have ended too; then it is as was asked for.
            Err(error)
                if error.kind() == io::ErrorKind::NotConnected
                    && self.connection.load(Ordering::Relaxed) == connection::CONNECTED =>
            {
                Ok(())
            }
            result => result,
        };
        match result {
            Ok(()) if !self.nature.is_tcp => self.has_shut_down(how),
            Err(_) if tells => self.receives_no_more.store(false, Ordering::Relaxed),
            _ => {}
        }
        result
    }

    /// The socket has been shut down. The system may not report that to what is pending.
    fn has_shut_down(self: &Arc<Self>, how: Shutdown) {
        if how != Shutdown::Write {
            self.receives_no_more.store(true, Ordering::Release);
            self.runtime.driver.look_again(self, Direction::Receive);
        }
        if how != Shutdown::Read {
            self.runtime.driver.look_again(self, Direction::Send);
        }
    }

    /// True once the socket is known to be shut down for receiving. A call that follows is made after the shutdown.
    pub(crate) fn receives_no_more(&self) -> bool {
        self.receives_no_more.load(Ordering::Acquire)
    }

    /// Asks the system whether the socket has been shut down for receiving, by a call that is not ours. Returns
    /// true if that is news.
    pub(crate) fn has_ended_receiving(&self, system: &socket2::Socket) -> bool {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::event::{PollFd, PollFlags, Timespec, poll};
            if self.nature.is_tcp || self.receives_no_more() {
                return false;
            }
            let mut asked = [PollFd::new(system, PollFlags::RDHUP)];
            let answered = poll(&mut asked, Some(&Timespec::default())).is_ok();
            // Linux says so as well of a socket of the internet that has no peer. There the call has failed, and
            // what has failed changes nothing.
            let has_ended = answered && asked[0].revents().contains(PollFlags::RDHUP);
            if !has_ended || !(self.is_local(system) || system.peer_addr().is_ok()) {
                return false;
            }
            self.receives_no_more.store(true, Ordering::Release);
            true
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = system;
            false
        }
    }

    /// True if the socket is one of the machine's own, with paths or names for addresses.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn is_local(&self, system: &socket2::Socket) -> bool {
        system.local_addr().is_ok_and(|address| address.is_unix())
    }

    /// The system has told `error`. If it is how the connection broke, the system does not tell it again, and
    /// from now on reports the end of the stream.
    pub(crate) fn note_failure(&self, error: &io::Error) {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut,
        };
        let has_broken = matches!(
            error.kind(),
            ConnectionAborted | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut
        );
        if let Some(code) = error.raw_os_error().filter(|_| has_broken && self.nature.is_connection)
        {
            self.failure.store(code, Ordering::Relaxed);
        }
    }

    /// The error by which the connection has broken, if an operation has noted one.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        let code = self.failure.load(Ordering::Relaxed);
        (code != 0).then(|| io::Error::from_raw_os_error(code))
    }

    /// True from the time when the system is asked to connect until that has succeeded.
    pub(crate) fn lacks_connection(&self) -> bool {
        self.connection.load(Ordering::Relaxed) == connection::ASKED
    }
}
