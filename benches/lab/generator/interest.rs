//! An edge-triggered epoll set, and timeouts to the microsecond.

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::time::Duration;

/// Few, so that what is read last of a batch has not waited long.
const BATCH: usize = 64;

pub(super) struct Interest {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Interest {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(BATCH) })
    }

    pub(super) fn add(&self, source: impl AsFd, index: usize) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(index as u64), flags)?)
    }

    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Which sources have something to report.
    pub(super) fn events(&self) -> impl Iterator<Item = usize> {
        self.events.iter().map(|event| event.data.u64() as usize)
    }
}
