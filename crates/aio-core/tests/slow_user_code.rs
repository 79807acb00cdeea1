//! I4, for all code of a user's that is no callback: a waker, the map of `post_to`, the drop of a buffer. Wherever
//! a worker runs it and however long it takes, it delays nobody else while a worker is free.

mod support;

use aio_core::{CompletionPort, Engine, IoBuf, Runtime, Socket};
use std::io::Write;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;
use support::{LIMIT, connected, receive, within};

/// "At once", on a machine that does other things, too.
const SOON: Duration = Duration::from_secs(3);

/// Holds the threads that run it until it is dropped.
struct Holder {
    _release: mpsc::Sender<()>,
    hold: Hold,
    holding: mpsc::Receiver<()>,
}

#[derive(Clone)]
struct Hold {
    held: Arc<Mutex<mpsc::Receiver<()>>>,
    report: mpsc::Sender<()>,
}

impl Holder {
    fn new() -> Self {
        let (release, held) = mpsc::channel();
        let (report, holding) = mpsc::channel();
        Self { _release: release, hold: Hold { held: Arc::new(Mutex::new(held)), report }, holding }
    }
}

impl Hold {
    fn run(&self) {
        let _ = self.report.send(());
        // The second thread that is held waits for the first to be released.
        let _ = self.held.lock().unwrap().recv_timeout(LIMIT / 2);
    }
}

impl Wake for Hold {
    fn wake(self: Arc<Self>) {
        self.run();
    }
}

/// A buffer that takes long to drop.
struct SlowToDrop(Vec<u8>, Hold);

// SAFETY: its heap block moves only through a mutable reference.
unsafe impl IoBuf for SlowToDrop {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for SlowToDrop {
    fn drop(&mut self) {
        self.1.run();
    }
}

type Begin = fn(&Socket, Hold) -> Box<dyn Send>;

/// Operations that end at a deadline, each with code of its user's that the worker runs then.
const KINDS: [(&str, Begin); 3] = [
    ("waker", |socket, hold| {
        let mut operation = Box::pin(socket.receive_async([0; 8]));
        let waker = Waker::from(Arc::new(hold));
        assert!(operation.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        Box::new(operation)
    }),
    ("map", |socket, hold| {
        let port = Arc::new(CompletionPort::new(1));
        socket.receive_async([0; 8]).post_to(&port, move |_| hold.run());
        Box::new(port)
    }),
    ("drop of a buffer", |socket, hold| {
        // Nobody waits for it, and the peer does not read.
        drop(socket.send_async(SlowToDrop(vec![0; 32 << 20], hold)));
        Box::new(())
    }),
];

/// What others begin and post is done by the worker that is free.
fn others_are_served(runtime: &Runtime, what: &str) {
    for round in 0..3 {
        let (report, posted) = mpsc::channel();
        runtime.handle().post(move || report.send(()).unwrap());
        posted.recv_timeout(SOON).unwrap_or_else(|_| panic!("{what}, {round}: a post"));
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        receive(&socket, 1, &report);
        peer.write_all(&[1]).unwrap();
        let received = received.recv_timeout(SOON);
        received.unwrap_or_else(|_| panic!("{what}, {round}: a receive")).result.unwrap();
        let (report, late) = mpsc::channel();
        receive(&socket.with_timeout(Duration::from_millis(5)), 1, &report);
        let late = late.recv_timeout(SOON);
        late.unwrap_or_else(|_| panic!("{what}, {round}: a deadline")).result.unwrap_err();
    }
}

/// All workers but one run such code, since the deadlines of what is pending have passed.
#[test]
fn at_a_deadline_it_delays_nobody_while_a_worker_is_free() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [2, 3] {
            for (kind, begin) in KINDS {
                let what = format!("{engine}, {workers} workers, {kind}");
                within(LIMIT, &what.clone(), move || {
                    let runtime = support::builder().engine(engine).workers(workers).build();
                    let runtime = runtime.unwrap();
                    let holder = Holder::new();
                    // Long enough for the workers to come to rest.
                    let late: Vec<_> = (1..workers as u64)
                        .map(|index| {
                            let (socket, peer) = connected(&runtime);
                            let timeout = Duration::from_millis(50 + 50 * index);
                            (
                                begin(&socket.with_timeout(timeout), holder.hold.clone()),
                                socket,
                                peer,
                            )
                        })
                        .collect();
                    for _ in &late {
                        holder.holding.recv_timeout(SOON).expect("the next deadline, too");
                    }
                    others_are_served(&runtime, &what);
                    drop(holder);
                });
            }
        }
    }
}

/// Of many that are due at once, one that takes long delays none of the others.
#[test]
fn one_of_many_deadlines_delays_none_of_the_others() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        for (kind, begin) in KINDS {
            let what = format!("{engine}, {kind}");
            within(LIMIT, &what.clone(), move || {
                let runtime = support::builder().engine(engine).workers(2).build().unwrap();
                let holder = Holder::new();
                let deadline = std::time::Instant::now() + Duration::from_millis(150);
                let (report, over) = mpsc::channel();
                let pairs: Vec<_> = (0..100)
                    .map(|index| {
                        let (socket, peer) = connected(&runtime);
                        let hasty = socket.with_deadline(deadline);
                        let late = if index == 10 {
                            Some(begin(&hasty, holder.hold.clone()))
                        } else {
                            receive(&hasty, 1, &report);
                            None
                        };
                        (socket, peer, late)
                    })
                    .collect();
                for index in 1..pairs.len() {
                    let over = over.recv_timeout(SOON);
                    over.unwrap_or_else(|_| panic!("{what}: {index}")).result.unwrap_err();
                }
                others_are_served(&runtime, &what);
                drop(holder);
            });
        }
    }
}

/// It may be a callback that waits which has come by it, since it keeps I/O moving.
#[test]
fn inside_a_callback_that_waits_it_delays_nobody_while_a_worker_is_free() {
    for engine in [Engine::Blocking, Engine::Readiness] {
        for (kind, begin) in KINDS {
            let what = format!("{engine}, {kind}");
            within(LIMIT, &what.clone(), move || {
                let runtime = support::builder().engine(engine).workers(3).build().unwrap();
                let holder = Holder::new();
                let (waited_for, mut peer) = connected(&runtime);
                let (report, waiting) = mpsc::channel();
                runtime.handle().post(move || {
                    report.send(()).unwrap();
                    waited_for.receive_async([0; 1]).wait().result.unwrap();
                    report.send(()).unwrap();
                });
                waiting.recv().unwrap();
                let (socket, _peer) = connected(&runtime);
                let late =
                    begin(&socket.with_timeout(Duration::from_millis(100)), holder.hold.clone());
                holder.holding.recv_timeout(SOON).expect("the deadline");
                others_are_served(&runtime, &what);
                drop(holder);
                peer.write_all(&[1]).unwrap();
                waiting.recv().unwrap();
                drop(late);
            });
        }
    }
}
