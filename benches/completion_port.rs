//! What does a completion port cost beside the queues that programs use in its place?
//!
//! * *post and take*: one thread does both, so nobody sleeps: what the queue and the counting cost;
//! * *there and back*: a packet to a thread that waits, and its answer. The port and the channel look
//!   a few times before they sleep, the textbook sleeps at once;
//! * *one drains*: a thread takes what another posts, 1,024 packets a round;
//! * *a crowd drains*: the same with eight times as many takers as processors, for each of which a
//!   packet is some work. A port lets as many run as there are processors; the others let everybody.
//!
//! Beside the port stand crossbeam's channel, the textbook's queue under a mutex with a condition
//! variable, and, where nobody sleeps, the bare queue that the port is built on. Wall time, on few
//! processors: nothing about scaling.

use aio_core::CompletionPort;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crossbeam::channel::{self, Receiver, Sender};
use crossbeam::queue::SegQueue;
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PACKETS: u64 = 1024;
/// The packet that ends the thread that takes it.
const QUIT: u64 = u64::MAX;

/// What packets go through. None of them is ever closed, nor does anybody panic.
trait Queue: Sync {
    fn post(&self, packet: u64);
    fn take(&self) -> u64;
}

impl Queue for CompletionPort<u64> {
    fn post(&self, packet: u64) {
        self.post(packet).expect("an open port");
    }

    fn take(&self) -> u64 {
        self.wait().expect("an open port")
    }
}

impl Queue for (Sender<u64>, Receiver<u64>) {
    fn post(&self, packet: u64) {
        self.0.send(packet).expect("a receiver");
    }

    fn take(&self) -> u64 {
        self.1.recv().expect("a sender")
    }
}

#[derive(Default)]
struct Textbook {
    packets: Mutex<VecDeque<u64>>,
    is_filled: Condvar,
}

impl Queue for Textbook {
    fn post(&self, packet: u64) {
        self.packets.lock().expect("no panic").push_back(packet);
        self.is_filled.notify_one();
    }

    fn take(&self) -> u64 {
        let packets = self.packets.lock().expect("no panic");
        let mut packets = self.is_filled.wait_while(packets, |packets| packets.is_empty());
        packets.as_mut().expect("no panic").pop_front().expect("a packet")
    }
}

/// Never waited for.
impl Queue for SegQueue<u64> {
    fn post(&self, packet: u64) {
        self.push(packet);
    }

    fn take(&self) -> u64 {
        self.pop().expect("a packet")
    }
}

fn completion_port(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("post and take");
    group.throughput(Throughput::Elements(1));
    let mut bench = |name, queue: &dyn Queue| {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                queue.post(black_box(1));
                queue.take()
            });
        });
    };
    bench("port", &CompletionPort::new(0));
    bench("channel", &channel::unbounded());
    bench("textbook", &Textbook::default());
    bench("bare queue", &SegQueue::new());
    group.finish();

    let processors = thread::available_parallelism().map_or(1, usize::from);
    compare(criterion, "there and back", 1, |queues, rounds| there_and_back(queues, rounds));
    compare(criterion, "one drains", PACKETS, |[queue, _], rounds| drain(queue, 1, 0, rounds));
    compare(criterion, "a crowd drains", PACKETS, |[queue, _], rounds| {
        drain(queue, 8 * processors, 1000, rounds)
    });
}

criterion_group!(benches, completion_port);
criterion_main!(benches);

/// Measures `rounds` with each of the queues that can be waited for; two of a kind, for who needs two.
fn compare(
    criterion: &mut Criterion,
    name: &str,
    packets: u64,
    rounds: impl Fn([&dyn Queue; 2], u64) -> Duration,
) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(packets));
    let mut bench = |name, queues: [&dyn Queue; 2]| {
        group.bench_function(name, |bencher| bencher.iter_custom(|count| rounds(queues, count)));
    };
    bench("port", [&CompletionPort::new(0), &CompletionPort::new(0)]);
    bench("channel", [&channel::unbounded(), &channel::unbounded()]);
    bench("textbook", [&Textbook::default(), &Textbook::default()]);
    group.finish();
}

fn there_and_back([there, back]: [&dyn Queue; 2], rounds: u64) -> Duration {
    thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let packet = there.take();
                if packet == QUIT {
                    break;
                }
                back.post(packet);
            }
        });
        let begun = Instant::now();
        for packet in 0..rounds {
            there.post(packet);
            assert_eq!(back.take(), packet);
        }
        let elapsed = begun.elapsed();
        there.post(QUIT);
        elapsed
    })
}

/// So many threads take what this one posts; each packet is so many steps of work.
fn drain(queue: &dyn Queue, takers: usize, work: u64, rounds: u64) -> Duration {
    let left = AtomicU64::new(0);
    let poster = thread::current();
    thread::scope(|scope| {
        for _ in 0..takers {
            scope.spawn(|| {
                loop {
                    let packet = queue.take();
                    if packet == QUIT {
                        break;
                    }
                    for step in 0..work {
                        black_box(step ^ packet);
                    }
                    if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                        poster.unpark();
                    }
                }
            });
        }
        let begun = Instant::now();
        for _ in 0..rounds {
            left.store(PACKETS, Ordering::Release);
            (0..PACKETS).for_each(|packet| queue.post(packet));
            while left.load(Ordering::Acquire) > 0 {
                thread::park();
            }
        }
        let elapsed = begun.elapsed();
        (0..takers).for_each(|_| queue.post(QUIT));
        elapsed
    })
}
