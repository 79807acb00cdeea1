//! Random conversations with a blocking server of std that echoes bytes: calls in every face, which are given up in
//! every way. Each call ends, each message comes once, and in its order.
//!
//! `AIO_SEEDS` is how many conversations there are, `AIO_SEED` the first of them.

mod support;

use aio_client::{Client, Error, ErrorKind, Framing, LengthPrefix, Operation, op};
use aio_core::Engine;
use std::collections::{HashSet, VecDeque};
use std::env;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;
use support::{LIMIT, Random, builder, within};

const STEPS: usize = 150;

fn number(name: &str, usual: u64) -> u64 {
    match env::var(name) {
        Ok(number) => number.parse().unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => usual,
    }
}

/// Echoes what comes, in other pieces and at other times, until a connection comes when the talk is over.
fn echo(listener: &TcpListener, is_over: &AtomicBool, seed: u64) {
    thread::scope(|scope| {
        for connection in 0.. {
            let (peer, _) = listener.accept().unwrap();
            if is_over.load(Ordering::SeqCst) {
                return;
            }
            scope.spawn(move || echo_one(peer, &mut Random::new(seed + connection)));
        }
    });
}

fn echo_one(mut peer: TcpStream, random: &mut Random) {
    let mut buffer = vec![0; 1 + random.below(5_000)];
    // A client that has gone is an error or an end.
    while let Ok(count @ 1..) = peer.read(&mut buffer) {
        if random.below(20) == 0 {
            thread::sleep(Duration::from_micros(random.below(1_000) as u64));
        }
        let (first, second) = buffer[..count].split_at(random.below(count + 1));
        if peer.write_all(first).and_then(|()| peer.write_all(second)).is_err() {
            break;
        }
    }
    let _ = peer.shutdown(Shutdown::Both);
}

/// A receive that is pending.
enum Pending {
    Callback(mpsc::Receiver<Result<Vec<u8>, Error>>),
    Bytes(Operation<op::Receive>),
    Text(Operation<op::ReceiveText>),
}

impl Pending {
    fn begin(client: &Client, random: &mut Random) -> Self {
        match random.below(4) {
            0 => {
                let (results, result) = mpsc::channel();
                let ender = client.clone();
                client.begin_receive(
                    move |ar| results.send(ender.end_receive(ar).result).unwrap(),
                    (),
                );
                Self::Callback(result)
            }
            1 => {
                let (results, result) = mpsc::channel();
                let ender = client.clone();
                client.begin_receive_text(
                    move |ar| {
                        let text = ender.end_receive_text(ar).result;
                        results.send(text.map(String::into_bytes)).unwrap();
                    },
                    (),
                );
                Self::Callback(result)
            }
            2 => Self::Bytes(client.receive_async()),
            _ => Self::Text(client.receive_text_async()),
        }
    }

    fn wait(self, random: &mut Random) -> Result<Vec<u8>, Error> {
        let is_awaited = random.below(2) == 0;
        match self {
            Self::Callback(result) => {
                let outcome = result.recv().unwrap();
                assert!(result.recv().is_err(), "a callback runs once");
                outcome
            }
            Self::Bytes(operation) if is_awaited => block_on(operation),
            Self::Bytes(operation) => operation.wait(),
            Self::Text(operation) if is_awaited => block_on(operation).map(String::into_bytes),
            Self::Text(operation) => operation.wait().map(String::into_bytes),
        }
    }

    fn cancel(&self) {
        match self {
            Self::Callback(_) => {}
            Self::Bytes(operation) => operation.cancel(),
            Self::Text(operation) => operation.cancel(),
        }
    }

    fn poll(&mut self) -> Poll<Result<Vec<u8>, Error>> {
        let mut context = Context::from_waker(Waker::noop());
        match self {
            Self::Callback(_) => Poll::Pending,
            Self::Bytes(operation) => Pin::new(operation).poll(&mut context),
            Self::Text(operation) => {
                Pin::new(operation).poll(&mut context).map(|text| text.map(String::into_bytes))
            }
        }
    }

    fn can_be_dropped(&self) -> bool {
        !matches!(self, Self::Callback(_))
    }
}

/// An executor that is impatient.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    loop {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(output) = Pin::new(&mut future).poll(&mut context) {
            return output;
        }
        thread::sleep(Duration::from_micros(20));
    }
}

/// What the client has said, and has heard of it.
struct Talk {
    seed: u64,
    random: Random,
    client: Client,
    /// What the connection is to bring, in its order.
    expected: VecDeque<Vec<u8>>,
    /// What it has brought before something that was expected earlier: only where receives are dropped in
    /// any order.
    early: HashSet<Vec<u8>>,
    pending: VecDeque<Pending>,
    is_ordered: bool,
    count: usize,
}

impl Talk {
    fn message(&mut self) -> Vec<u8> {
        self.count += 1;
        let mut message = format!("{:012}", self.count).into_bytes();
        let length = match self.random.below(30) {
            // All that is under way has room, so that no send waits for a receive.
            0 => self.random.below(20_000),
            1..4 => self.random.below(3_000),
            _ => self.random.below(60),
        };
        if !matches!(self.framing(), Framing::Fixed(_)) {
            message.resize(12 + length, b'.');
        }
        message
    }

    fn framing(&self) -> Framing {
        framing(self.seed)
    }

    fn heard(&mut self, message: Vec<u8>) {
        if self.is_ordered {
            let expected = self.expected.pop_front().expect("this was said");
            assert!(message == expected, "{} not {}", shown(&message), shown(&expected));
            return;
        }
        assert!(self.expected.contains(&message), "{} was not said", shown(&message));
        assert!(self.early.insert(message), "a message came twice");
        while self.expected.front().is_some_and(|first| self.early.remove(first)) {
            self.expected.pop_front();
        }
    }

    fn outcome(&mut self, outcome: Result<Vec<u8>, Error>) {
        match outcome {
            Ok(message) => self.heard(message),
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Canceled),
                "{error}"
            ),
        }
    }

    /// Sends, and gives up on some of it. Returns false if the stream is broken then.
    fn send(&mut self) -> bool {
        let message = self.message();
        let is_hasty = self.random.below(6) == 0;
        let timeout = Duration::from_micros(self.random.below(300) as u64);
        let client = if is_hasty { self.client.with_timeout(timeout) } else { self.client.clone() };
        let result = match self.random.below(5) {
            0 => client.send(message.clone()),
            1 => {
                let (results, result) = mpsc::channel();
                let ender = client.clone();
                client.begin_send(
                    message.clone(),
                    move |ar| results.send(ender.end_send(ar).result).unwrap(),
                    (),
                );
                result.recv().unwrap()
            }
            2 if !is_hasty => {
                drop(client.send_async(message.clone()));
                Ok(())
            }
            3 => {
                let send = client.send_async(message.clone());
                send.cancel();
                send.wait()
            }
            _ => {
                let mut send = client.send_async(message.clone());
                let outcome = send.wait_timeout(Duration::from_micros(50));
                outcome.unwrap_or_else(|| block_on(send))
            }
        };
        match result {
            Ok(()) => self.expected.push_back(message),
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Canceled),
                    "{error}"
                );
                return error.to_string().contains(": 0 of ");
            }
        }
        true
    }

    fn receive(&mut self) {
        let client = match self.random.below(4) {
            0 => self.client.with_timeout(Duration::from_micros(self.random.below(300) as u64)),
            _ => self.client.clone(),
        };
        // Without a limit only as many as there will be messages.
        let is_certain = self.pending.len() + self.early.len() < self.expected.len();
        let client = if is_certain {
            client
        } else {
            client.with_timeout(Duration::from_micros(self.random.below(2_000) as u64))
        };
        let mut receive = Pending::begin(&client, &mut self.random);
        for _ in 0..self.random.below(3) {
            if let Poll::Ready(outcome) = receive.poll() {
                // Those before it have won, too, or given up.
                self.settle();
                return self.outcome(outcome);
            }
        }
        self.pending.push_back(receive);
    }

    /// Waits for all that is pending.
    fn settle(&mut self) {
        while let Some(receive) = self.pending.pop_front() {
            let outcome = receive.wait(&mut self.random);
            self.outcome(outcome);
        }
    }

    fn give_up(&mut self) {
        let index = match self.random.below(self.pending.len() + 1) {
            _ if self.pending.is_empty() => return,
            _ if self.is_ordered => self.pending.len() - 1,
            index => index.min(self.pending.len() - 1),
        };
        if self.random.below(3) == 0 {
            self.pending[index].cancel();
        } else if self.pending[index].can_be_dropped() {
            drop(self.pending.remove(index));
        }
    }

    /// Nothing of this connection is lost but by its end.
    fn end_connection(&mut self, is_broken: bool) {
        if !is_broken && self.random.below(2) == 0 {
            self.settle();
            while let Some(first) = self.expected.front() {
                assert!(!self.early.contains(first));
                let message = self.client.receive().unwrap();
                self.heard(message);
            }
        }
        match self.random.below(3) {
            0 => self.client.close(),
            1 => {
                let closer = self.client.clone();
                let closing = thread::spawn(move || closer.close());
                while let Some(receive) = self.pending.pop_front() {
                    self.last_outcome(receive);
                }
                closing.join().unwrap();
            }
            _ => {}
        }
        let again = match self.random.below(3) {
            0 => self.client.reconnect(),
            1 => {
                let (results, result) = mpsc::channel();
                self.client.begin_reconnect(
                    move |ar| results.send(Client::end_connect(ar).result).unwrap(),
                    (),
                );
                result.recv().unwrap()
            }
            _ => {
                drop(self.client.reconnect_async());
                let reconnect = self.client.reconnect_async();
                reconnect.handle().wait_one();
                reconnect.wait()
            }
        };
        while let Some(receive) = self.pending.pop_front() {
            self.last_outcome(receive);
        }
        // What had arrived may be there.
        let closed = loop {
            match self.client.receive() {
                Ok(message) => self.heard(message),
                Err(error) => break error,
            }
        };
        assert_eq!(closed.kind(), ErrorKind::Closed, "{closed}");
        self.client = again.unwrap();
        self.expected.clear();
        self.early.clear();
    }

    /// Of a receive on a connection that is being closed.
    fn last_outcome(&mut self, receive: Pending) {
        match receive.wait(&mut self.random) {
            Ok(message) => self.heard(message),
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::TimedOut | ErrorKind::Canceled | ErrorKind::Closed
                ),
                "{error}"
            ),
        }
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => self.end_connection(false),
            1..15 if self.expected.len() < 8 => {
                if !self.send() {
                    self.end_connection(true);
                }
            }
            1..25 => self.receive(),
            25..32 => self.give_up(),
            32..34 => self.settle(),
            _ => {
                if let Some(receive) = self.pending.pop_front() {
                    let outcome = receive.wait(&mut self.random);
                    self.outcome(outcome);
                }
            }
        }
    }
}

fn shown(message: &[u8]) -> String {
    let length = message.len();
    format!("{}… of {length} bytes", String::from_utf8_lossy(&message[..length.min(16)]))
}

fn framing(seed: u64) -> Framing {
    match seed / 8 % 5 {
        0 => Framing::delimiter("\n"),
        1 => Framing::delimiter("..\r\n"),
        2 => Framing::LengthPrefix(LengthPrefix::U32Be),
        3 => Framing::LengthPrefix(LengthPrefix::U64Le),
        _ => Framing::Fixed(12),
    }
}

#[test]
fn in_random_conversations_every_call_ends_and_every_message_comes_once() {
    let first = number("AIO_SEED", 0);
    for seed in first..first + number("AIO_SEEDS", 20) {
        within(LIMIT, &format!("AIO_SEED={seed} AIO_SEEDS=1"), move || {
            let engine = [Engine::Blocking, Engine::Readiness][seed as usize % 2];
            let workers = [1, 2][seed as usize / 2 % 2];
            let runtime = builder().engine(engine).workers(workers).build().unwrap();
            let (listener, address) = support::listener();
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| echo(&listener, &is_over, seed));
                let client = Client::builder()
                    .runtime(&runtime)
                    .timeout(LIMIT)
                    .framing(framing(seed))
                    .connect(address)
                    .unwrap();
                let mut talk = Talk {
                    seed,
                    random: Random::new(seed),
                    client,
                    expected: VecDeque::new(),
                    early: HashSet::new(),
                    pending: VecDeque::new(),
                    is_ordered: seed / 4 % 2 == 0,
                    count: 0,
                };
                (0..STEPS).for_each(|_| talk.step());
                talk.settle();
                while talk.expected.len() > talk.early.len() {
                    let message = talk.client.receive().unwrap();
                    talk.heard(message);
                }
                talk.client.close();
                is_over.store(true, Ordering::SeqCst);
                TcpStream::connect(address).unwrap();
            });
        });
    }
}
