//! aio: begin a receive, send in its callback, and again.

use super::Service;
use aio_core::{AsyncResult, Completion, Engine, IoBuf, Runtime, Slice, Socket, op};
use std::io;
use std::net::TcpListener;

pub(super) fn start(engine: Engine, listener: TcpListener, service: Service) -> io::Result<()> {
    let runtime = Runtime::builder().engine(engine).workers(service.workers).build()?;
    let listener = runtime.associate(listener)?;
    begin_accept(Acceptor { listener, service });
    // It serves as long as the process lives.
    std::mem::forget(runtime);
    Ok(())
}

struct Acceptor {
    listener: Socket,
    service: Service,
}

fn begin_accept(acceptor: Acceptor) {
    acceptor.listener.clone().begin_accept(accept_callback, acceptor);
}

fn accept_callback(ar: AsyncResult<op::Accept, Acceptor>) {
    let listener = ar.async_state().listener.clone();
    let Completion { result, state: acceptor, .. } = listener.end_accept(ar);
    let service = acceptor.service;
    begin_accept(acceptor);
    if let Ok(socket) = result {
        let _ = socket.with_socket(|socket| socket.set_tcp_nodelay(true));
        Connection { socket, service }.receive(vec![0; service.buffer]);
    }
}

struct Connection {
    socket: Socket,
    service: Service,
}

impl Connection {
    fn receive(self, buffer: Vec<u8>) {
        self.socket.clone().begin_receive(buffer, Self::receive_callback, self);
    }

    fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, Self>) {
        let socket = ar.async_state().socket.clone();
        let Completion { result, buffer, state: connection, .. } = socket.end_receive(ar);
        if let Ok(received @ 1..) = result {
            connection.service.handle(&buffer[..received]);
            socket.begin_send(buffer.slice(..received), Self::send_callback, connection);
        }
    }

    fn send_callback(ar: AsyncResult<op::Send<Slice<Vec<u8>>>, Self>) {
        let socket = ar.async_state().socket.clone();
        let Completion { result, buffer, state: connection, .. } = socket.end_send(ar);
        if result.is_ok() {
            connection.receive(buffer.into_inner());
        }
    }
}
