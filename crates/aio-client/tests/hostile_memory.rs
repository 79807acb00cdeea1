//! What a hostile server costs: each ends in an error within its limit, and memory stays bounded. Prints
//! the figures: `cargo test -p aio-client --test hostile_memory -- --nocapture`.
//!
//! One test, since it counts what the whole process allocates.

#![expect(clippy::print_stdout, reason = "prints the figures")]

mod support;

use aio_client::{Client, ErrorKind, Framing, LengthPrefix};
use aio_core::Runtime;
use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use support::{LIMIT, error_of, reset, serve, within};

/// How many bytes a message may have.
const MAX: usize = 1 << 20;

/// The receive buffer, the call, the error, what the server itself allocates: little.
const CONSTANT: usize = 256 << 10;

/// Bytes allocated now, and at most since the last look.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: the contract of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the contract of this function.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

struct Hostile {
    what: &'static str,
    framing: Framing,
    /// What the server does.
    serve: fn(TcpStream),
    kind: ErrorKind,
    /// How many times the limit may be allocated: once for what has arrived, twice more while the room for
    /// it grows.
    times: usize,
}

fn forever(bytes: &'static [u8], pause: Duration) -> impl Fn(TcpStream) {
    move |mut peer| {
        while peer.write_all(bytes).is_ok() {
            thread::sleep(pause);
        }
    }
}

fn flood(bytes: &[u8], mut peer: TcpStream) {
    let chunk = bytes.repeat(65_536 / bytes.len());
    while peer.write_all(&chunk).is_ok() {}
}

/// Sends these and then nothing, until the client goes.
fn stall(bytes: &[u8], mut peer: TcpStream) {
    peer.write_all(bytes).unwrap();
    let _ = peer.read(&mut [0]);
}

fn hostile() -> Vec<Hostile> {
    vec![
        Hostile {
            what: "endless data",
            framing: Framing::UntilClose,
            serve: |peer| flood(b"data", peer),
            kind: ErrorKind::TooLong,
            times: 3,
        },
        Hostile {
            what: "no delimiter",
            framing: Framing::delimiter("<EOF>"),
            serve: |peer| flood(b"<EOX", peer),
            kind: ErrorKind::TooLong,
            times: 3,
        },
        Hostile {
            what: "a byte each 20 ms",
            framing: Framing::delimiter("\n"),
            serve: |peer| forever(b"x", Duration::from_millis(20))(peer),
            kind: ErrorKind::TimedOut,
            times: 0,
        },
        Hostile {
            what: "half a character at the end",
            framing: Framing::UntilClose,
            serve: |mut peer| peer.write_all(b"5 \xE2\x82").unwrap(),
            kind: ErrorKind::Encoding,
            times: 0,
        },
        Hostile {
            what: "a length of 2^63",
            framing: Framing::LengthPrefix(LengthPrefix::U64Be),
            serve: |peer| stall(&(1_u64 << 63).to_be_bytes(), peer),
            kind: ErrorKind::TooLong,
            times: 0,
        },
        Hostile {
            what: "the longest length and no data",
            framing: Framing::LengthPrefix(LengthPrefix::U32Be),
            serve: |peer| stall(&(1_u32 << 20).to_be_bytes(), peer),
            kind: ErrorKind::TimedOut,
            times: 0,
        },
        Hostile {
            what: "a reset in the middle",
            framing: Framing::Fixed(MAX),
            serve: |mut peer| {
                // Not before the client is there.
                assert_eq!(peer.read(&mut [0]).unwrap(), 0);
                peer.write_all(&[0; 1000]).unwrap();
                reset(peer);
            },
            kind: ErrorKind::Receive,
            times: 0,
        },
    ]
}

#[test]
fn a_hostile_server_costs_a_bounded_amount_of_memory() {
    within(LIMIT, "all of them", || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        for Hostile { what, framing, serve: behave, kind, times } in hostile() {
            let (address, server) = serve(behave);
            let before = LIVE.load(Ordering::Relaxed);
            PEAK.store(before, Ordering::Relaxed);
            let start = Instant::now();
            let client = Client::builder()
                .runtime(&runtime)
                .timeout(LIMIT)
                .framing(framing)
                .max_response(MAX)
                .connect(address)
                .unwrap();
            if kind == ErrorKind::Receive {
                client.shutdown_send().unwrap();
            }
            let timeout =
                if kind == ErrorKind::TimedOut { Duration::from_millis(300) } else { LIMIT };
            let error = error_of(client.with_timeout(timeout).receive_text(), kind);
            let peak = PEAK.load(Ordering::Relaxed) - before;
            println!("{what}: {peak} bytes at most, {:?}: {error}", start.elapsed());
            assert!(peak <= times * MAX + CONSTANT, "{what}: {peak} bytes");
            drop(client);
            server.join().unwrap();
        }

        // While nobody receives, nothing is received: the system holds the server up.
        let (address, server) = serve(|peer| flood(b"line\n", peer));
        let before = LIVE.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let lines = Client::builder().runtime(&runtime).framing(Framing::delimiter("\n"));
        let lines = lines.connect(address).unwrap();
        for _ in 0..100 {
            assert_eq!(lines.receive().unwrap(), b"line");
        }
        thread::sleep(Duration::from_millis(100));
        let peak = PEAK.load(Ordering::Relaxed) - before;
        println!("more messages than are wanted: {peak} bytes at most");
        assert!(peak <= CONSTANT, "{peak} bytes");
        drop(lines);
        server.join().unwrap();
        #[cfg(target_os = "linux")]
        {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
            println!("the whole process: {peak}");
        }
    });
}
