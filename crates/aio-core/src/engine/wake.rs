//! A descriptor that `poll` can wait for and any thread can make ready.

use std::io;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::event::{EventfdFlags, eventfd};
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::fd::OwnedFd;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
use std::os::unix::net::UnixStream;

#[cfg(not(unix))]
use std::net::UdpSocket;

#[derive(Debug)]
pub(super) struct Wake {
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
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { counter: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    /// Makes the descriptor ready. Never blocks: when the counter is full, it is ready.
    pub(super) fn signal(&self) {
        let _ = rustix::io::write(&self.counter, &1_u64.to_ne_bytes());
    }

    /// Makes the descriptor not ready.
    pub(super) fn clear(&self) {
        let _ = rustix::io::read(&self.counter, &mut [0_u8; 8]);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Wake {
    #[cfg(unix)]
    pub(super) fn new() -> io::Result<Self> {
        let (sender, receiver) = UnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { sender, receiver })
    }

    #[cfg(not(unix))]
    pub(super) fn new() -> io::Result<Self> {
        let receiver = UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        receiver.connect(receiver.local_addr()?)?;
        receiver.set_nonblocking(true)?;
        Ok(Self { receiver })
    }

    /// Makes the descriptor ready. Never blocks: when its buffer is full, it is ready.
    pub(super) fn signal(&self) {
        #[cfg(unix)]
        let _ = io::Write::write(&mut &self.sender, &[1]);
        #[cfg(not(unix))]
        let _ = self.receiver.send(&[1]);
    }

    /// Makes the descriptor not ready.
    pub(super) fn clear(&self) {
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
