//! A server under test, as the lab sees it: a child process that is ended and reaped when dropped.

use crate::control::Started;
use crate::cost::Cost;
use crate::{contender::Contender, pinning::Pinning};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::de::DeserializeOwned;
use servers::Service;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

/// How long a server may take to start, or to say what it has used.
const ANSWER_LIMIT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// The system adds up a thread's time when it goes to sleep, or at its next tick.
const REST: Duration = Duration::from_millis(5);

pub(crate) struct ServerProcess {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

/// Why there is no server.
pub(crate) enum StartError {
    /// It says itself why it cannot run here.
    Unavailable(String),
    Io(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl ServerProcess {
    pub(crate) fn start(
        contender: Contender,
        service: Service,
        pinning: Option<Pinning>,
    ) -> Result<Self, StartError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("serve").arg(contender.server.name());
        command.args(["--port", &service.port.to_string()]);
        command.args(["--workers", &contender.workers.to_string()]);
        command.args(["--buffer", &service.buffer.to_string()]);
        command.args(["--slow-us", &service.slow.as_micros().to_string()]);
        if let Some(pinning) = pinning {
            command.args(["--cpu", &pinning.server_cpu().to_string()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let requests = child.stdin.take().expect("standard input is a pipe");
        let answers = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
        // From here on, dropping it ends the process.
        let mut server = Self { child, requests, answers, address: unspecified };
        match server.answer()? {
            Started::Listening(address) => server.address = address,
            Started::Unavailable(reason) => return Err(StartError::Unavailable(reason)),
        }
        Ok(server)
    }

    /// What the server has used so far, once it has come to rest.
    pub(crate) fn cost(&mut self) -> io::Result<Cost> {
        thread::sleep(REST);
        self.requests.write_all(b"\n")?;
        self.answer()
    }

    fn answer<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        let mut readable = [PollFd::new(self.answers.get_ref(), PollFlags::IN)];
        if poll(&mut readable, Some(&ANSWER_LIMIT))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
        }
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server has ended"));
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
