//! The floor: one thread, one loop over mio, no allocation, no hand-over, one buffer for all.

use super::{Service, on_a_thread};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

const LISTENER: Token = Token(usize::MAX);

pub(super) fn start(listener: std::net::TcpListener, service: Service) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let prepare = move || {
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Loop { poll, listener, connections: Vec::new(), vacant: Vec::new(), service })
    };
    on_a_thread(prepare, |mut server| {
        if let Err(error) = server.run() {
            super::failed("raw mio", &error);
        }
    })
}

struct Loop {
    poll: Poll,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    vacant: Vec<usize>,
    service: Service,
}

struct Connection {
    stream: TcpStream,
    /// What could not be sent yet. True while it is not empty: nothing is received.
    unsent: VecDeque<u8>,
}

impl Loop {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; self.service.buffer];
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(index) => {
                        let Some(connection) = &mut self.connections[index] else { continue };
                        if !connection.echo(&mut buffer, self.service).unwrap_or(false) {
                            self.connections[index] = None;
                            self.vacant.push(index);
                        }
                    }
                }
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        while let Some((mut stream, _)) = unless_blocked(self.listener.accept())? {
            stream.set_nodelay(true)?;
            let index = self.vacant.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(index), interest)?;
            self.connections[index] = Some(Connection { stream, unsent: VecDeque::new() });
        }
        Ok(())
    }
}

impl Connection {
    /// Echoes until nothing is left to do now; false at the end of the stream.
    fn echo(&mut self, buffer: &mut [u8], service: Service) -> io::Result<bool> {
        while self.flush()? {
            let Some(received) = unless_blocked(self.stream.read(buffer))? else { break };
            if received == 0 {
                return Ok(false);
            }
            service.handle(&buffer[..received]);
            let sent = unless_blocked(self.stream.write(&buffer[..received]))?.unwrap_or(0);
            if sent < received {
                self.unsent.extend(&buffer[sent..received]);
            } else if received < buffer.len() {
                // A short read has emptied the stream.
                break;
            }
        }
        Ok(true)
    }

    /// Whether everything is sent.
    fn flush(&mut self) -> io::Result<bool> {
        while !self.unsent.is_empty() {
            let Some(sent) = unless_blocked(self.stream.write(self.unsent.as_slices().0))? else {
                return Ok(false);
            };
            self.unsent.drain(..sent);
        }
        Ok(true)
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
