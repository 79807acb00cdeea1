//! Send a file.

use super::retry;
use super::send::{CALLS_PER_TURN, FLAGS};
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::sigpipe::without_sigpipe;
use crate::base::error::attempted;
use crate::base::kind::{Direction, OperationKind, Purpose};
use crate::base::operation_queue::Blocked;
use crate::state::completion::{Kind, sealed};
use crate::state::in_flight::Call;
use crate::state::perform::{Attempt, Perform};
use std::fs::File;
use std::io;
use std::ops::{Bound, RangeBounds};

/// How much one call sends: the disk may make it wait, and others of the worker with it.
const BYTES_PER_CALL: usize = 256 * 1024;

/// Sends a file, or a part of it: [`Socket::begin_send_file`](crate::Socket::begin_send_file).
#[derive(Debug)]
pub struct SendFile {
    file: File,
    /// What has not been sent yet: from here,
    position: u64,
    /// and so much; to the end of the file if `None`.
    left: Option<u64>,
    ends_first: bool,
    sent: u64,
    finished: bool,
    copy: Copy,
}

impl SendFile {
    pub(crate) fn new(file: File, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => Some(last.saturating_add(1)),
            Bound::Excluded(end) => Some(*end),
            Bound::Unbounded => None,
        };
        Self {
            file,
            position: start,
            left: end.map(|end| end.saturating_sub(start)),
            ends_first: end.is_some_and(|end| end < start),
            sent: 0,
            finished: false,
            copy: Copy::default(),
        }
    }

    /// Sends a part. 0 is the end of the file.
    fn send_some(&mut self, call: Call<'_>) -> io::Result<usize> {
        let most = self.left.map_or(BYTES_PER_CALL, |left| {
            usize::try_from(left).map_or(BYTES_PER_CALL, |left| left.min(BYTES_PER_CALL))
        });
        let most = call.permit(Purpose::Send, most)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if !self.copy.is_under_way {
            let mut position = self.position;
            let send = || rustix::fs::sendfile(call.system, &self.file, Some(&mut position), most);
            match without_sigpipe(send) {
                // Not every file can be sent so: those of /proc, say.
                Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
                result => return call.told(result.map_err(io::Error::from)),
            }
        }
        self.copy.send_some(call, &self.file, self.position, most)
    }
}

/// Sends through a buffer of ours what the system does not send by itself.
#[derive(Debug, Default)]
struct Copy {
    is_under_way: bool,
    /// What was read and has not been sent.
    bytes: Vec<u8>,
}

impl Copy {
    fn send_some(
        &mut self,
        call: Call<'_>,
        file: &File,
        position: u64,
        most: usize,
    ) -> io::Result<usize> {
        self.is_under_way = true;
        if self.bytes.is_empty() {
            let mut bytes = vec![0; most.min(64 * 1024)];
            let read = read_at(file, &mut bytes, position)
                .map_err(|error| attempted("read the file", readable(error)))?;
            bytes.truncate(read);
            self.bytes = bytes;
        }
        if self.bytes.is_empty() {
            return Ok(0);
        }
        let sent = call.told(call.system.send_with_flags(&self.bytes, FLAGS))?;
        self.bytes.drain(..sent);
        Ok(sent)
    }
}

/// Nobody waits for a file: its error must not be taken for one of the socket.
fn readable(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::WouldBlock {
        return error;
    }
    let message = "it has nothing to read at this moment, and a send does not wait for a file";
    io::Error::new(io::ErrorKind::Unsupported, message)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, position)
}

/// Moves the file's own position, too.
#[cfg(windows)]
fn read_at(file: &File, bytes: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, position)
}

impl sealed::Sealed for SendFile {}

impl Kind for SendFile {
    const NAME: &'static str = Self::KIND.name();
    /// How many bytes.
    type Output = u64;
    type Buffer = File;
}

impl Perform for SendFile {
    const KIND: OperationKind = OperationKind::SendFile;
    const DIRECTION: Direction = Direction::Send;
    const IS_SEND: bool = true;
    const MAY_BLOCK: bool = true;

    fn attempt(&mut self, call: Call<'_>) -> Attempt<u64> {
        let failed = |error| Attempt::done(Err(attempted("send a file", error)));
        if !call.socket.is_stream() {
            let message = "a file is sent on a stream; this socket is one of datagrams";
            return failed(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        if self.ends_first {
            let message = "the range of the file ends before it starts";
            return failed(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let before = self.sent;
        for _ in 0..CALLS_PER_TURN {
            if self.left == Some(0) {
                self.finished = true;
                return Attempt::done(Ok(self.sent));
            }
            match retry(|| self.send_some(call)) {
                None if self.sent > before => return Attempt::WouldBlock(Blocked::Advanced),
                None => return Attempt::WouldBlock(Blocked::InVain),
                Some(Err(error)) => return failed(error),
                Some(Ok(0)) => match self.left {
                    None => self.left = Some(0),
                    Some(left) => {
                        let message = format!("the file ends {left} bytes before it was to end");
                        return failed(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                    }
                },
                Some(Ok(sent)) => {
                    self.sent += sent as u64;
                    self.position += sent as u64;
                    self.left = self.left.map(|left| left - sent as u64);
                }
            }
        }
        Attempt::Yielded
    }

    fn bytes_transferred(&self) -> usize {
        self.sent.try_into().unwrap_or(usize::MAX)
    }

    fn is_partly_done(&self) -> bool {
        self.sent > 0 && !self.finished
    }

    fn into_buffer(self) -> File {
        self.file
    }
}
