//! What does one operation cost that can finish at once, beyond its system call (P8)?
//!
//! A message of 64 bytes goes into one end of a pair of Unix sockets and is taken out at the other: two
//! operations, neither of which has to wait. Throughput counts operations. The system calls alone are
//! the floor, what is beyond them is the library's:
//!
//! * *callbacks*: each begun in the callback of the one before, on the one worker;
//! * *synchronous*: `send` and `receive`, in the calling thread;
//! * *tokio*: `write_all` and `read` in a task of its current-thread runtime.
//!
//! Before that, the allocations of each are counted.
#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use aio_core::{AsyncResult, Completion, Engine, Runtime, Socket, op};
use aio_sync::ManualResetEvent;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MESSAGE: usize = 64;
const OPERATIONS: u64 = 2;

/// Every thread's allocations.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sends and receives so many messages; returns how long that took.
type Contender = (&'static str, Box<dyn FnMut(u64) -> Duration>);

fn contenders() -> io::Result<Vec<Contender>> {
    Ok(vec![
        ("system calls", Box::new(system_calls()?)),
        ("callbacks, readiness", Box::new(callbacks(Engine::Readiness)?)),
        ("callbacks, blocking", Box::new(callbacks(Engine::Blocking)?)),
        ("synchronous, readiness", Box::new(synchronous(Engine::Readiness)?)),
        ("synchronous, blocking", Box::new(synchronous(Engine::Blocking)?)),
        ("tokio", Box::new(tokio_task()?)),
    ])
}

fn operations(criterion: &mut Criterion) {
    let mut contenders = contenders().expect("sockets");
    println!("allocations per operation");
    for (name, run) in &mut contenders {
        const MESSAGES: u64 = 10_000;
        run(MESSAGES);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        run(MESSAGES);
        let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
        println!("  {name:<24} {:.3}", allocations as f64 / (MESSAGES * OPERATIONS) as f64);
    }
    let mut group = criterion.benchmark_group("send and receive 64 B at once");
    group.throughput(Throughput::Elements(OPERATIONS));
    for (name, run) in &mut contenders {
        group.bench_function(*name, |bencher| bencher.iter_custom(&mut *run));
    }
    group.finish();
}

criterion_group!(benches, operations);
criterion_main!(benches);

fn system_calls() -> io::Result<impl FnMut(u64) -> Duration> {
    let (mut here, mut there) = UnixStream::pair()?;
    here.set_nonblocking(true)?;
    there.set_nonblocking(true)?;
    let mut buffer = [7; MESSAGE];
    Ok(move |messages| {
        let begun = Instant::now();
        for _ in 0..messages {
            here.write_all(&buffer).expect("it fits");
            assert_eq!(there.read(&mut buffer).expect("it is there"), MESSAGE);
        }
        begun.elapsed()
    })
}

fn synchronous(engine: Engine) -> io::Result<impl FnMut(u64) -> Duration> {
    let (runtime, here, there) = pair(engine)?;
    let mut buffer = [7; MESSAGE];
    Ok(move |messages| {
        let _runtime = &runtime;
        let begun = Instant::now();
        for _ in 0..messages {
            here.send(&buffer).expect("it fits");
            assert_eq!(there.receive(&mut buffer).expect("it is there"), MESSAGE);
        }
        begun.elapsed()
    })
}

fn callbacks(engine: Engine) -> io::Result<impl FnMut(u64) -> Duration> {
    let (runtime, here, there) = pair(engine)?;
    let done = Arc::new(ManualResetEvent::new(false));
    let mut buffer = vec![7; MESSAGE];
    buffer.shrink_to_fit();
    Ok(move |messages| {
        let _runtime = &runtime;
        let (here, there, done) = (here.clone(), there.clone(), done.clone());
        done.reset();
        let begun = Instant::now();
        Chain { here, there, left: messages, done: done.clone() }.send(buffer.clone());
        done.wait_one();
        begun.elapsed()
    })
}

/// What travels with the one operation at a time.
struct Chain {
    here: Socket,
    there: Socket,
    left: u64,
    done: Arc<ManualResetEvent>,
}

impl Chain {
    fn send(self, buffer: Vec<u8>) {
        self.here.clone().begin_send(buffer, Self::send_callback, self);
    }

    fn send_callback(ar: AsyncResult<op::Send<Vec<u8>>, Self>) {
        let here = ar.async_state().here.clone();
        let Completion { result, buffer, state: chain, .. } = here.end_send(ar);
        result.expect("it fits");
        chain.there.clone().begin_receive(buffer, Self::receive_callback, chain);
    }

    fn receive_callback(ar: AsyncResult<op::Receive<Vec<u8>>, Self>) {
        let there = ar.async_state().there.clone();
        let Completion { result, buffer, state: mut chain, .. } = there.end_receive(ar);
        assert_eq!(result.expect("it is there"), MESSAGE);
        chain.left -= 1;
        if chain.left > 0 {
            chain.send(buffer);
        } else {
            chain.done.set();
        }
    }
}

fn pair(engine: Engine) -> io::Result<(Runtime, Socket, Socket)> {
    let runtime = Runtime::builder().engine(engine).workers(1).build()?;
    let (here, there) = UnixStream::pair()?;
    let (here, there) = (runtime.associate(here)?, runtime.associate(there)?);
    Ok((runtime, here, there))
}

fn tokio_task() -> io::Result<impl FnMut(u64) -> Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let guard = runtime.enter();
    let (mut here, mut there) = tokio::net::UnixStream::pair()?;
    drop(guard);
    let mut buffer = [7; MESSAGE];
    Ok(move |messages| {
        runtime.block_on(async {
            let begun = Instant::now();
            for _ in 0..messages {
                here.write_all(&buffer).await.expect("it fits");
                assert_eq!(there.read(&mut buffer).await.expect("it is there"), MESSAGE);
            }
            begun.elapsed()
        })
    })
}
