//! Operations that go on at another socket: connects to one of several addresses, accepts that receive.

mod support;

use aio_core::op::Destination;
use aio_core::{Completion, Runtime, Socket, is_aborted};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{LIMIT, full_listener, listener, refusing_address, with_every_runtime, within};

/// CN-8: in turn, to the first that accepts.
#[test]
fn connects_to_the_first_address_that_accepts() {
    with_every_runtime(|runtime: &Runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut addresses = vec![refusing_address(); 300];
        addresses.extend([address, refusing_address()]);
        let (sender, receiver) = mpsc::channel();
        runtime.begin_connect_to(
            addresses.clone(),
            move |connected| sender.send(Socket::end_connect_to(connected)).unwrap(),
            (),
        );
        let begun = receiver.recv_timeout(LIMIT).unwrap().result.unwrap();
        let started = runtime.connect_to_async(addresses).wait().result.unwrap();
        let called = runtime.connect_to(address).unwrap();
        for socket in [begun, started, called] {
            let (mut peer, from) = listener.accept().unwrap();
            assert_eq!(
                (socket.peer_addr().unwrap(), socket.local_addr().unwrap()),
                (address, from)
            );
            peer.write_all(b"hello").unwrap();
            assert_eq!(socket.receive_async([0; 5]).wait().buffer, *b"hello");
        }
    });
}

/// CN-8: all that failed is told.
#[test]
fn no_address_accepts() {
    with_every_runtime(|runtime: &Runtime| {
        let (first, second) = (refusing_address(), refusing_address());
        let error = runtime.connect_to(vec![first, second]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let message = error.to_string();
        assert!(message.starts_with("connect to one of 2 addresses: "), "{message}");
        assert!(message.contains(&format!("{first}: Connection refused")), "{message}");
        assert!(message.contains(&format!("{second}: Connection refused")), "{message}");
        let error = runtime.connect_to(first).unwrap_err();
        assert!(error.to_string().starts_with(&format!("connect to {first}: Connection refused")));
        let error = runtime.connect_to(Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

/// CN-9.
#[test]
fn connects_to_a_host_by_its_name() {
    with_every_runtime(|runtime: &Runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1"] {
            let socket = runtime.connect_to((host, port)).unwrap();
            assert_eq!(socket.peer_addr().unwrap().port(), port);
            listener.accept().unwrap();
        }
        // No name at all, so that nobody has to be asked.
        let error = runtime.connect_to(("not a name", port)).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with(&format!("connect to not a name:{port}: look up the name: ")),
            "{message}"
        );
    });
}

#[test]
fn a_missing_host_is_named_and_not_looked_up() {
    with_every_runtime(|runtime: &Runtime| {
        let error = runtime.connect_to(("", 80)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "connect to :80: the host is missing");
        let (sender, receiver) = mpsc::channel();
        let told = move |connected| sender.send(Socket::end_connect_to(connected)).unwrap();
        runtime.begin_connect_to(("", 80), told, ());
        let error = receiver.recv_timeout(LIMIT).unwrap().result.unwrap_err();
        assert_eq!(error.to_string(), "connect to :80: the host is missing");
        let error = runtime.handle().look_up_async("", 80).wait().result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), "the host is missing");
    });
}

/// I1: looking up cannot be stopped, but its operation can, and is over at once.
#[test]
fn canceled_or_shut_down_while_the_name_is_looked_up() {
    within(LIMIT, "canceled while looking up", || {
        for round in 0..200 {
            let runtime = support::builder().workers(1).build().unwrap();
            let destination = Destination::from(("localhost", 1));
            let hasty = destination.clone().timeout(Duration::from_micros(round));
            let operations = [
                runtime.connect_to_async(hasty),
                runtime.connect_to_async(destination.clone()),
                runtime.connect_to_async(destination.clone()),
            ];
            operations[1].cancel();
            drop(runtime);
            for operation in operations {
                let error = operation.wait().result.unwrap_err();
                assert!(
                    is_aborted(&error) || error.kind() == ErrorKind::ConnectionRefused,
                    "{error}"
                );
            }
        }
    });
}

/// I2 for a deadline that covers the whole of it.
#[test]
fn a_connect_to_has_one_deadline() {
    with_every_runtime(|runtime: &Runtime| {
        let Some((_listener, address, _connections)) = full_listener(runtime) else { return };
        let destination = Destination::from(vec![address; 100]).timeout(Duration::from_millis(20));
        let error = runtime.connect_to(destination).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    });
}

/// AC-4.
#[test]
fn accepts_and_receives_the_first_bytes() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let (sender, receiver) = mpsc::channel();
        let ender = listener.clone();
        listener.begin_accept_receive(
            vec![0; 16],
            move |accepted| sender.send(ender.end_accept_receive(accepted)).unwrap(),
            (),
        );
        let mut silent = TcpStream::connect(address).unwrap();
        // The silent one keeps nobody else waiting.
        let second = listener.accept_receive_async([0; 16]);
        let mut talking = TcpStream::connect(address).unwrap();
        talking.write_all(b"hello").unwrap();
        let Completion { result, bytes_transferred, buffer, .. } = second.wait();
        let (socket, received) = result.unwrap();
        assert_eq!((received, bytes_transferred, &buffer[..5]), (5, 5, &b"hello"[..]));
        assert_eq!(socket.peer_addr().unwrap(), talking.local_addr().unwrap());
        assert!(receiver.try_recv().is_err());
        silent.write_all(b"now").unwrap();
        let completion = receiver.recv_timeout(LIMIT).unwrap();
        let (socket, received) = completion.result.unwrap();
        assert_eq!(&completion.buffer[..received], b"now");
        socket.send(b"back").unwrap();
        let mut bytes = [0; 4];
        silent.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"back");

        // Who says nothing and goes; and who is not asked to say anything.
        drop(TcpStream::connect(address).unwrap());
        assert_eq!(listener.accept_receive(&mut [0; 16]).unwrap().1, 0);
        let _peer = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept_receive(&mut []).unwrap().1, 0);
    });
}

/// I1, I2: the buffer comes back; before it accepts nothing has happened, afterwards the connection ends.
#[test]
fn an_accept_that_receives_is_canceled_or_closed() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let before = listener.accept_receive_async([7; 4]);
        before.cancel();
        let completion = before.wait();
        assert!(is_aborted(&completion.result.unwrap_err()));
        assert_eq!(completion.buffer, [7; 4]);

        for _ in 0..20 {
            let between = listener.accept_receive_async([7; 4]);
            let mut peer = TcpStream::connect(address).unwrap();
            between.cancel();
            let completion = between.wait();
            assert!(is_aborted(&completion.result.unwrap_err()));
            assert_eq!(completion.buffer, [7; 4]);
            // It was accepted, and closed; or it was not, and is the next one's.
            let next = listener.accept_receive_async([0; 4]);
            let _ = peer.write_all(b"x");
            peer.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let accepted = match peer.read(&mut [0; 1]) {
                Ok(_) => true,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            if accepted {
                next.cancel();
            } else {
                let (_, received) = next.wait().result.unwrap();
                assert_eq!(received, 1);
            }
        }

        let hasty = listener.with_timeout(Duration::from_millis(5));
        let pending = hasty.accept_receive_async([7; 4]);
        let _silent = TcpStream::connect(address).unwrap();
        assert_eq!(pending.wait().result.unwrap_err().kind(), ErrorKind::TimedOut);

        let pending = listener.accept_receive_async([7; 4]);
        listener.close();
        assert!(is_aborted(&pending.wait().result.unwrap_err()));
    });
}

/// I7.
#[test]
fn a_runtime_ends_while_operations_are_on_their_way() {
    within(LIMIT, "ends on the way", || {
        let refusing = refusing_address();
        for _ in 0..50 {
            let runtime = support::builder().workers(2).build().unwrap();
            let (listener, address) = listener(&runtime);
            let accepts: Vec<_> = (0..4).map(|_| listener.accept_receive_async([0; 4])).collect();
            let connects: Vec<_> = (0..4)
                .map(|_| runtime.connect_to_async(vec![refusing, refusing, address]))
                .collect();
            drop(runtime);
            for accept in accepts {
                assert!(is_aborted(&accept.wait().result.unwrap_err()));
            }
            for connect in connects {
                if let Err(error) = connect.wait().result {
                    assert!(is_aborted(&error), "{error}");
                }
            }
        }
    });
}

/// A cancel that meets an operation on its way from one socket to the next is not lost.
#[test]
fn a_cancel_races_with_going_on() {
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        for round in 0..200_u32 {
            let operation = listener.accept_receive_async([0; 1]);
            let handle = operation.handle();
            let canceler = thread::spawn(move || {
                for _ in 0..round * 20 {
                    std::hint::spin_loop();
                }
                handle.cancel();
            });
            let _silent = TcpStream::connect(address).unwrap();
            match operation.wait().result {
                Err(error) => assert!(is_aborted(&error), "{error}"),
                // One of an earlier round that had not been accepted, and has gone.
                Ok((_, received)) => assert_eq!(received, 0),
            }
            canceler.join().unwrap();
        }
    });
}
