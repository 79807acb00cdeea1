//! How a worker that polls is woken, and by whom it has to be.
//!
//! 1. A thread that wakes a worker exchanges `woken` and then looks at `polling`; a worker sets `polling` and
//!    then exchanges `woken`. The later of the two exchanges acquires what the earlier has released: either the
//!    worker finds `woken` and does not block, or the thread finds `polling` and sends the signal.
//! 2. A thread that ends a wait does so (its ticket is over) and then looks at the wait's [`Holder`]; a worker
//!    enters itself there and then looks whether the wait is over. Both have a sequentially consistent fence
//!    in between, so one of the two sees what the other did: either the worker leaves the wait out, or the
//!    thread finds the worker, and that it polls, and wakes it. A holder is never taken out: the worst that an
//!    old entry costs is a wake-up in vain.
//! 3. A worker that enters itself wakes the worker that it replaces, if that one polls. A wait may end and the next
//!    begin before the thread that ended the first looks at the holder, and a worker may come late to a wait that
//!    has ended: either would hide a worker that polls. The woken worker drops the waits that have ended, and enters
//!    itself again for the others; of two workers, only one has a wait that has not ended. As in 2, a fence lies between what either
//!    does (enter, or say that it polls) and where it looks (whether the other polls, or who has entered).

use crate::base::sync::{AtomicBool, AtomicU16, Ordering, fence};
use std::io;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::OwnedFd;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
use std::os::unix::net::UnixStream;

#[cfg(not(unix))]
use std::net::UdpSocket;

/// What a worker that blocks is woken by.
pub(crate) trait Signal {
    /// Ends the worker's blocking, or its next one. Never blocks.
    fn signal(&self);

    /// Makes the worker block again.
    fn clear(&self);
}

/// A worker that can be woken.
#[derive(Debug)]
pub(crate) struct Wakeable<S> {
    /// True from before the worker looks for a wake-up until it has left `poll`.
    polling: AtomicBool,
    /// True once a thread has asked to wake the worker, until it notices.
    woken: AtomicBool,
    pub(crate) signal: S,
}

impl<S: Signal> Wakeable<S> {
    pub(crate) fn new(signal: S) -> Self {
        Self { polling: AtomicBool::new(false), woken: AtomicBool::new(false), signal }
    }

    /// The worker is about to block. Returns true if it must not, since it has been woken.
    pub(crate) fn begin(&self) -> bool {
        self.polling.store(true, Ordering::Relaxed);
        // Invariant 1. What was done before the wake-up is seen after this.
        let woken = self.woken.swap(false, Ordering::AcqRel);
        // Invariants 2 and 3, for a worker that has entered itself before.
        fence(Ordering::SeqCst);
        woken
    }

    /// The worker has found the signal.
    pub(crate) fn notice(&self) {
        self.signal.clear();
        // This wait has ended; the wake-up is not to end the next one too. One that comes now
        // finds `woken` and sends nothing, but what it is about is seen from here on.
        self.woken.swap(false, Ordering::AcqRel);
    }

    /// The worker does not block any more.
    pub(crate) fn end(&self) {
        self.polling.store(false, Ordering::Relaxed);
    }

    pub(crate) fn is_polling(&self) -> bool {
        self.polling.load(Ordering::Relaxed)
    }

    pub(crate) fn wake(&self) {
        if self.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        // Invariant 1.
        if self.polling.load(Ordering::Relaxed) {
            self.signal.signal();
        }
    }
}

/// The worker that has polled last for a direction of a socket, if one has.
#[derive(Debug)]
pub(crate) struct Holder(AtomicU16);

impl Holder {
    const NOBODY: u16 = u16::MAX;

    pub(crate) fn new() -> Self {
        Self(AtomicU16::new(Self::NOBODY))
    }

    /// The worker `me` is about to poll for the direction, and has said so. It looks after this whether the wait is
    /// over. Returns the worker that it replaces, which is to be woken if it polls.
    #[must_use = "the worker that it replaces is to be woken"]
    pub(crate) fn enter(&self, me: usize) -> Option<usize> {
        let me = u16::try_from(me).expect("a pool has fewer workers than that");
        // Written once for many waits: others look at it from other processors.
        if self.0.load(Ordering::Relaxed) == me {
            return None;
        }
        let replaced = self.0.swap(me, Ordering::Relaxed);
        // Invariants 2 and 3.
        fence(Ordering::SeqCst);
        Self::worker(replaced)
    }

    /// The caller has ended waits of the directions that have these holders. Returns those to be woken.
    pub(crate) fn to_wake<const N: usize>(holders: [&Self; N]) -> [Option<usize>; N] {
        // Invariant 2.
        fence(Ordering::SeqCst);
        holders.map(|Self(holder)| Self::worker(holder.load(Ordering::Relaxed)))
    }

    fn worker(holder: u16) -> Option<usize> {
        (holder != Self::NOBODY).then_some(holder.into())
    }
}

/// A descriptor that `poll` can wait for and any thread can make ready.
#[derive(Debug)]
pub(crate) struct Wake {
    /// One descriptor: each thread that waits may have one of these.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    counter: OwnedFd,
    #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
    sender: UnixStream,
    #[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
    receiver: UnixStream,
    /// Connected to itself, so that nobody else can send to it.
    #[cfg(not(unix))]
    receiver: UdpSocket,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { counter: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Wake {
    #[cfg(unix)]
    pub(crate) fn new() -> io::Result<Self> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { sender, receiver })
    }

    #[cfg(not(unix))]
    pub(crate) fn new() -> io::Result<Self> {
        let receiver = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        receiver.connect(receiver.local_addr()?)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { receiver })
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Signal for Wake {
    /// When the counter is full, the descriptor is ready.
    fn signal(&self) {
        let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = rustix::io::read(&self.counter, &mut [0_u8; 8]);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Signal for Wake {
    /// When its buffer is full, the descriptor is ready.
    fn signal(&self) {
        #[cfg(unix)]
        let _ = io::Write::write(&mut &self.sender, &[1]);
        #[cfg(not(unix))]
        let _ = self.receiver.send(&[1]);
    }

    fn clear(&self) {
        let mut bytes = [0; 64];
        #[cfg(unix)]
        while io::Read::read(&mut &self.receiver, &mut bytes).is_ok_and(|n| n == bytes.len()) {}
        #[cfg(not(unix))]
        while self.receiver.recv(&mut bytes).is_ok() {}
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Wake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        return self.counter.as_fd();
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        self.receiver.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Wake {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.receiver.as_socket()
    }
}

#[cfg(all(test, loom))]
mod models;
