//! A descriptor that `poll` can wait for and any thread can make ready.

use std::io;

#[cfg(unix)]
use std::os::unix::net::UnixStream;

#[cfg(not(unix))]
use std::net::UdpSocket;

#[derive(Debug)]
pub(super) struct Wake {
    #[cfg(unix)]
    sender: UnixStream,
    #[cfg(unix)]
    receiver: UnixStream,
    /// Connected to itself, so that nobody else can send to it.
    #[cfg(not(unix))]
    receiver: UdpSocket,
}

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
        self.receiver.as_fd()
    }
}

#[cfg(windows)]
impl std::os::windows::io::AsSocket for Wake {
    fn as_socket(&self) -> std::os::windows::io::BorrowedSocket<'_> {
        self.receiver.as_socket()
    }
}
