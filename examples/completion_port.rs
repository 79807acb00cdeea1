//! One thread, a port, and a thousand sockets.
//!
//! ```console
//! cargo run --release --example completion_port
//! ```
//!
//! The two ends of five hundred connections throw a ball to each other. Whatever happens to any of them
//! is posted to one completion port as a packet that says to whom; one thread takes the packets, one
//! after the other, so what it works on needs no lock.

mod outcome;

use aio_core::{Completion, CompletionPort, Runtime, Socket, op};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

const CONNECTIONS: usize = 500;
const THROWS: u8 = 20;

/// Which socket has received, and what.
type Packet = (usize, Completion<op::Receive<Vec<u8>>>);

fn main() -> ExitCode {
    outcome::exit_of("completion_port", play)
}

fn play() -> io::Result<()> {
    let runtime = Runtime::builder().workers(1).build()?;
    let sockets = connect(&runtime)?;
    let port = Arc::new(CompletionPort::new(1));
    for index in 0..sockets.len() {
        receive(&sockets, index, vec![0; 1], &port);
    }
    // A ball is a byte: how often it is still to be thrown.
    for socket in sockets.iter().step_by(2) {
        socket.send(&[THROWS - 1])?;
    }

    let mut catches = vec![0_u64; sockets.len()];
    let mut in_the_air = CONNECTIONS;
    while in_the_air > 0 {
        let (index, Completion { result, buffer, .. }) = port.wait().expect("an open port");
        if result? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        catches[index] += 1;
        match buffer[0] {
            0 => in_the_air -= 1,
            // A send that is dropped goes on; if it fails, the ball does not come back either.
            left => drop(sockets[index].send_async(vec![left - 1])),
        }
        receive(&sockets, index, buffer, &port);
    }
    let packets: u64 = catches.iter().sum();
    writeln!(io::stdout(), "{} sockets, 1 thread, {packets} packets", sockets.len())
}

fn receive(sockets: &[Socket], index: usize, buffer: Vec<u8>, port: &Arc<CompletionPort<Packet>>) {
    sockets[index].receive_async(buffer).post_to(port, move |completion| (index, completion));
}

/// The two ends of each connection, one after the other.
fn connect(runtime: &Runtime) -> io::Result<Vec<Socket>> {
    let listener = runtime.tcp_v4()?;
    listener.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    listener.listen(100)?;
    let address = listener.local_addr()?;
    let mut sockets = Vec::new();
    for _ in 0..CONNECTIONS {
        sockets.push(runtime.connect_to(address)?);
        sockets.push(listener.accept()?);
    }
    Ok(sockets)
}
