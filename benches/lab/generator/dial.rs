//! Connecting, from as many loopback addresses as it takes.

use socket2::{Domain, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// An address has some 28,000 ports, and a closed connection keeps its own for a minute.
const SOURCES: usize = 250;

/// A connected stream with `TCP_NODELAY`; the number chooses the source address.
///
/// On the loopback interface the connection is made within the call, unless the server's backlog is full.
pub(super) fn connect(number: usize, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::new(127, 0, 1, (1 + number % SOURCES) as u8);
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&server.into())?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}
