//! I2: a call that is dropped, canceled or out of time loses nothing. What a receive had taken is what the next
//! one gets, in its place, whenever that happens.
//!
//! `AIO_ROUNDS` is how many receives each test of random moments gives up.

mod support;

use aio_client::{Client, Error, ErrorKind, Framing, LengthPrefix, Operation, OperationHandle, op};
use aio_core::Runtime;
use std::env;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{LIMIT, Random, SHORT, accept, connected, error_of, listener, with_every_runtime};

fn rounds() -> usize {
    match env::var("AIO_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("AIO_ROUNDS is a number"),
        Err(_) => 2_000,
    }
}

fn framings() -> Vec<Framing> {
    use LengthPrefix::{U8, U16Be, U16Le, U32Be, U32Le, U64Be, U64Le};
    let mut framings = vec![
        Framing::Fixed(12),
        Framing::delimiter("\n"),
        Framing::delimiter("<EOF>"),
        // A part of it is in every message.
        Framing::delimiter("00x"),
    ];
    framings.extend([U8, U16Be, U16Le, U32Be, U32Le, U64Be, U64Le].map(Framing::LengthPrefix));
    framings
}

/// A message that tells its number, of 12 bytes if the framing wants that, else of some more, seldom many.
fn message(framing: &Framing, number: usize) -> Vec<u8> {
    let mut message = format!("{number:012}").into_bytes();
    match framing {
        Framing::Fixed(_) => {}
        Framing::LengthPrefix(LengthPrefix::U8) => message.resize(12 + number % 200, b'.'),
        _ if number % 251 == 250 => message.resize(60_000, b'.'),
        _ => message.resize(12 + number % 40, b'.'),
    }
    message
}

/// What the peer sends for a message.
fn frame(framing: &Framing, message: &[u8]) -> Vec<u8> {
    let length = message.len();
    match framing {
        Framing::Delimiter(delimiter) => [message, delimiter].concat(),
        Framing::LengthPrefix(prefix) => {
            let prefix = match prefix {
                LengthPrefix::U8 => vec![length as u8],
                LengthPrefix::U16Be => (length as u16).to_be_bytes().to_vec(),
                LengthPrefix::U16Le => (length as u16).to_le_bytes().to_vec(),
                LengthPrefix::U32Be => (length as u32).to_be_bytes().to_vec(),
                LengthPrefix::U32Le => (length as u32).to_le_bytes().to_vec(),
                LengthPrefix::U64Be => (length as u64).to_be_bytes().to_vec(),
                LengthPrefix::U64Le => (length as u64).to_le_bytes().to_vec(),
                _ => unreachable!("there is no other prefix"),
            };
            [&prefix, message].concat()
        }
        _ => message.to_vec(),
    }
}

/// Either kind of receive.
enum Receive {
    Bytes(Operation<op::Receive>),
    Text(Operation<op::ReceiveText>),
}

impl Receive {
    fn start(client: &Client, is_text: bool) -> Self {
        if is_text {
            Self::Text(client.receive_text_async())
        } else {
            Self::Bytes(client.receive_async())
        }
    }

    fn handle(&self) -> OperationHandle {
        match self {
            Self::Bytes(operation) => operation.handle(),
            Self::Text(operation) => operation.handle(),
        }
    }

    fn cancel(&self) {
        self.handle().cancel();
    }

    fn wait(self) -> Result<Vec<u8>, Error> {
        match self {
            Self::Bytes(operation) => operation.wait(),
            Self::Text(operation) => operation.wait().map(String::into_bytes),
        }
    }

    fn wait_timeout(&mut self, timeout: Duration) -> Option<Result<Vec<u8>, Error>> {
        match self {
            Self::Bytes(operation) => operation.wait_timeout(timeout),
            Self::Text(operation) => {
                operation.wait_timeout(timeout).map(|text| text.map(String::into_bytes))
            }
        }
    }

    /// Polls as an executor does that has other things to do.
    fn poll(&mut self) -> Poll<Result<Vec<u8>, Error>> {
        let mut context = Context::from_waker(Waker::noop());
        match self {
            Self::Bytes(operation) => Pin::new(operation).poll(&mut context),
            Self::Text(operation) => {
                let poll = Pin::new(operation).poll(&mut context);
                poll.map(|text| text.map(String::into_bytes))
            }
        }
    }
}

/// Has a peer send numbered messages, until it is stopped, in pieces that cut them anywhere; at times it pauses.
/// Runs `receive` beside it with a client that goes by the framing.
fn with_numbered_messages(
    runtime: &Runtime,
    framing: &Framing,
    seed: u64,
    receive: impl FnOnce(&Client, &mut Random),
) {
    let (client, mut peer) = connected(runtime);
    let client = client.with_framing(framing.clone());
    let sender = thread::spawn({
        let framing = framing.clone();
        let mut random = Random::new(seed);
        move || {
            let mut number = 0;
            loop {
                let mut burst = Vec::new();
                for _ in 0..1 + random.below(20) {
                    burst.extend(frame(&framing, &message(&framing, number)));
                    number += 1;
                }
                let (first, second) = burst.split_at(random.below(burst.len()));
                for part in [first, second] {
                    // The client has gone when the test is over.
                    if peer.write_all(part).is_err() {
                        return;
                    }
                    if random.below(4) == 0 {
                        thread::sleep(Duration::from_micros(random.below(200) as u64));
                    }
                }
            }
        }
    });
    receive(&client, &mut Random::new(seed ^ 1));
    client.close();
    sender.join().unwrap();
}

/// Checks that each message comes once, in its order.
struct Expected<'a> {
    framing: &'a Framing,
    number: usize,
}

impl Expected<'_> {
    fn check(&mut self, received: &[u8]) {
        let expected = message(self.framing, self.number);
        assert!(
            received == expected,
            "{:?}: {} instead of {}",
            self.framing,
            String::from_utf8_lossy(&received[..received.len().min(40)]),
            String::from_utf8_lossy(&expected[..expected.len().min(40)]),
        );
        self.number += 1;
    }
}

fn with_every_framing(
    runtime: &Runtime,
    receive: impl Fn(&Client, &mut Random, &mut Expected<'_>, usize),
) {
    let framings = framings();
    let rounds = rounds() / framings.len();
    for (seed, framing) in framings.iter().enumerate() {
        with_numbered_messages(runtime, framing, seed as u64, |client, random| {
            receive(client, random, &mut Expected { framing, number: 0 }, rounds);
        });
    }
}

#[test]
fn receives_that_won_and_were_dropped_lose_nothing() {
    with_every_runtime(|runtime| {
        with_every_framing(runtime, |client, random, expected, rounds| {
            // The handles of calls that are over keep nothing.
            let mut handles = Vec::new();
            for _ in 0..rounds {
                let receive = Receive::start(client, random.below(2) == 0);
                let handle = receive.handle();
                handle.wait_one();
                if random.below(3) == 0 {
                    expected.check(&receive.wait().unwrap());
                }
                handles.push(handle);
            }
            expected.check(&client.receive().unwrap());
        });
    });
}

/// As `select!` does it.
#[test]
fn receives_that_are_polled_and_dropped_lose_nothing() {
    with_every_runtime(|runtime| {
        with_every_framing(runtime, |client, random, expected, rounds| {
            for _ in 0..rounds {
                let mut receive = Receive::start(client, random.below(2) == 0);
                for _ in 0..random.below(4) {
                    if let Poll::Ready(received) = receive.poll() {
                        expected.check(&received.unwrap());
                        break;
                    }
                    match random.below(4) {
                        0 => thread::sleep(Duration::from_micros(random.below(100) as u64)),
                        _ => thread::yield_now(),
                    }
                }
            }
            expected.check(&client.receive().unwrap());
        });
    });
}

#[test]
fn receives_that_are_waited_for_and_dropped_canceled_or_out_of_time_lose_nothing() {
    with_every_runtime(|runtime| {
        with_every_framing(runtime, |client, random, expected, rounds| {
            for _ in 0..rounds {
                let moment = Duration::from_micros(random.below(100) as u64);
                let is_hasty = random.below(3) == 0;
                let client = if is_hasty { client.with_timeout(moment) } else { client.clone() };
                let mut receive = Receive::start(&client, random.below(2) == 0);
                let received = match random.below(4) {
                    0 => receive.wait_timeout(moment),
                    1 => {
                        let handle = receive.handle();
                        let cancel = thread::spawn(move || handle.cancel());
                        let received = receive.wait_timeout(LIMIT);
                        cancel.join().unwrap();
                        received
                    }
                    2 => {
                        receive.cancel();
                        Some(receive.wait())
                    }
                    _ if is_hasty => Some(receive.wait()),
                    _ => None,
                };
                match received {
                    Some(Ok(received)) => expected.check(&received),
                    Some(Err(error)) => assert!(
                        matches!(error.kind(), ErrorKind::Canceled | ErrorKind::TimedOut),
                        "{error}"
                    ),
                    None => {}
                }
            }
            expected.check(&client.receive().unwrap());
        });
    });
}

/// Of several that are pending, the first few are waited for and the others dropped, in any order.
#[test]
fn receives_that_are_dropped_in_any_order_give_back_in_the_order_of_the_stream() {
    with_every_runtime(|runtime| {
        with_every_framing(runtime, |client, random, expected, rounds| {
            for _ in 0..rounds / 4 {
                let mut receives: Vec<_> =
                    (0..4).map(|_| Receive::start(client, random.below(2) == 0)).collect();
                if random.below(2) == 0 {
                    receives[random.below(4)].handle().wait_one();
                }
                let waited_for = random.below(5);
                for receive in receives.drain(..waited_for) {
                    expected.check(&receive.wait().unwrap());
                }
                while !receives.is_empty() {
                    drop(receives.swap_remove(random.below(receives.len())));
                }
            }
            expected.check(&client.receive().unwrap());
        });
    });
}

#[test]
fn receives_of_several_threads_that_are_dropped_lose_nothing() {
    with_every_runtime(|runtime| {
        let framing = Framing::delimiter("\n");
        with_numbered_messages(runtime, &framing, 5, |client, random| {
            let receive_some = |mut random: Random| {
                let mut received = Vec::new();
                for _ in 0..rounds() / 4 {
                    let mut receive = Receive::start(client, random.below(2) == 0);
                    let moment = Duration::from_micros(random.below(50) as u64);
                    match random.below(4) {
                        0 => received.extend(receive.wait_timeout(moment)),
                        1 => received.push(receive.wait()),
                        2 => receive.cancel(),
                        _ => received.extend(match receive.poll() {
                            Poll::Ready(outcome) => Some(outcome),
                            Poll::Pending => None,
                        }),
                    }
                }
                received
            };
            let mut received: Vec<_> = thread::scope(|scope| {
                let receivers: Vec<_> = (0..4)
                    .map(|_| Random::new(random.below(1 << 30) as u64))
                    .map(|random| scope.spawn(move || receive_some(random)))
                    .collect();
                let received = receivers.into_iter().flat_map(|receiver| receiver.join().unwrap());
                received.map(Result::unwrap).collect()
            });
            // The rest of what they have left behind may be out of its order, too.
            received.extend((0..20).map(|_| client.receive().unwrap()));
            received.sort();
            for (number, message) in received.iter().enumerate() {
                assert!(*message == self::message(&framing, number), "{number} is not there once");
            }
        });
    });
}

/// Whatever the next receive takes for a message.
#[test]
fn what_is_given_back_is_bytes_of_the_stream_whatever_framing_comes_next() {
    const LENGTH: usize = 200_000;
    fn stream() -> Vec<u8> {
        // Lengths of a few bytes, and delimiters, are everywhere.
        let mut random = Random::new(7);
        (0..LENGTH).map(|_| random.below(6) as u8).collect()
    }
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let sender = thread::spawn(move || {
            let mut random = Random::new(8);
            let mut rest = &stream()[..];
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(rest.len().min(1 + random.below(3_000)));
                peer.write_all(part).unwrap();
                rest = behind;
                thread::yield_now();
            }
        });
        let framings = [
            Framing::Fixed(1),
            Framing::Fixed(17),
            Framing::Fixed(1_500),
            Framing::delimiter([3, 3]),
            Framing::delimiter([1]),
            Framing::LengthPrefix(LengthPrefix::U8),
        ]
        .map(|framing| (framing.clone(), client.with_framing(framing)));
        let mut random = Random::new(9);
        let (mut received, mut dropped) = (Vec::new(), Vec::new());
        while received.len() < LENGTH - 20_000 {
            let (framing, client) = &framings[random.below(framings.len())];
            let receive = client.receive_async();
            let handle = receive.handle();
            match random.below(8) {
                // Whatever moment it is in.
                0 => drop(receive),
                1..4 => {
                    handle.wait_one();
                    drop(receive);
                }
                4 => {
                    drop(receive);
                    handle.wait_one();
                    dropped.clear();
                    let message = client.receive().unwrap();
                    received.extend(frame(framing, &message));
                }
                _ => dropped.push(receive),
            }
            // While one comes back, no other framing may make a message of it and of what is behind the next.
            handle.wait_one();
            if dropped.len() > 5 {
                while !dropped.is_empty() {
                    drop(dropped.swap_remove(random.below(dropped.len())));
                }
            }
        }
        drop(dropped);
        received.extend(client.receive().unwrap());
        sender.join().unwrap();
        assert!(received == stream(), "a byte was lost, said twice, or out of its place");
    });
}

#[test]
fn a_receive_that_is_pending_gets_what_an_earlier_one_gives_back() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        peer.write_all(b"first\n").unwrap();
        let first = lines.receive_async();
        first.handle().wait_one();
        let rest: Vec<_> = (0..3).map(|_| lines.receive_async()).collect();
        peer.write_all(b"more than a half").unwrap();
        // One that has begun to wait for the rest of the line, and one that may not have.
        thread::sleep(SHORT);
        drop(first);
        let mut rest = rest.into_iter();
        assert_eq!(rest.next().unwrap().wait().unwrap(), b"first");
        peer.write_all(b" and half\nthird\n").unwrap();
        assert_eq!(rest.next().unwrap().wait().unwrap(), b"more than a half and half");
        assert_eq!(rest.next().unwrap().wait().unwrap(), b"third");
    });
}

#[test]
fn the_last_message_and_the_end_come_again() {
    with_every_runtime(|runtime| {
        for last in ["the rest", ""] {
            let (client, mut peer) = connected(runtime);
            peer.write_all(last.as_bytes()).unwrap();
            drop(peer);
            for is_text in [true, false, true] {
                let receive = Receive::start(&client, is_text);
                receive.handle().wait_one();
                drop(receive);
            }
            assert_eq!(client.receive().unwrap(), last.as_bytes());
            for _ in 0..2 {
                let end = client.receive_async();
                end.handle().wait_one();
                drop(end);
            }
            error_of(client.receive(), ErrorKind::Closed);
        }
    });
}

/// A text is lossy; what is given back is what had arrived.
#[test]
fn a_text_that_is_given_back_is_its_bytes() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        peer.write_all(b"\xC3\xA9\n").unwrap();
        let receive = lines.with_encoding(aio_client::Encoding::Ascii).receive_text_async();
        receive.handle().wait_one();
        drop(receive);
        assert_eq!(lines.receive_text().unwrap(), "é");
    });
}

#[test]
fn an_outcome_that_nobody_has_taken_does_not_keep_the_connection_open() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        peer.write_all(b"a line\n").unwrap();
        let receive = lines.receive_async();
        let handle = receive.handle();
        handle.wait_one();
        drop((client, lines));
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
        assert_eq!(receive.wait().unwrap(), b"a line");
    });
}

/// Whoever has a handle of the call, and whenever it is dropped.
#[test]
fn a_connection_that_is_dropped_is_closed() {
    with_every_runtime(|runtime| {
        let (listener, address) = listener();
        for round in 0..100 {
            let connect = Client::builder().runtime(runtime).connect_async(address);
            let handle = connect.handle();
            let is_certain = round % 2 == 0;
            if is_certain {
                handle.wait_one();
            }
            drop(connect);
            // One that was canceled may not have come here, and may end in a reset.
            if is_certain {
                assert_eq!(accept(&listener).read(&mut [0]).unwrap_or(0), 0);
            }
            handle.wait_one();
        }
    });
}

#[test]
fn a_send_that_is_dropped_goes_on() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let reader = thread::spawn(move || {
            let mut received = Vec::new();
            peer.read_to_end(&mut received).unwrap();
            received
        });
        let mut expected = Vec::new();
        for number in 0..200 {
            let message = message(&Framing::delimiter("\n"), number * 50);
            expected.extend(frame(&Framing::delimiter("\n"), &message));
            let mut send = lines.send_async(message);
            for _ in 0..number % 3 {
                if Pin::new(&mut send).poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    break;
                }
            }
        }
        lines.send("last").unwrap();
        expected.extend(b"last\n");
        lines.shutdown_send().unwrap();
        assert!(reader.join().unwrap() == expected);
    });
}
