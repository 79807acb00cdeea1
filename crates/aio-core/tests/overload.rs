//! A runtime that is given a limit keeps no more operations than that, and refuses the rest with their buffers.

mod support;

use aio_core::socket2::SockRef;
use aio_core::{AsyncResult, Completion, OperationHandle, Runtime, Socket, is_aborted, op};
use std::io::{ErrorKind, Read, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use support::{connected, receive, with_every_engine};

fn with_every_limited_runtime(most: usize, test: fn(&Runtime)) {
    with_every_engine(&[1, 3], move |builder| test(&builder.max_pending(most).build().unwrap()));
}

/// Until the places of what has just completed are free.
fn until_free(runtime: &Runtime) {
    while runtime.metrics().pending() + runtime.metrics().undelivered() > 0 {
        thread::yield_now();
    }
}

/// I1, I2, I3.
#[test]
fn over_the_limit_an_operation_is_refused_with_its_buffer_and_a_callback_on_a_worker() {
    with_every_limited_runtime(4, |runtime| {
        let (socket, mut peer) = connected(runtime);
        until_free(runtime);
        let (report, received) = mpsc::channel();
        (0..4).for_each(|_| drop(receive(&socket, 1, &report)));
        let caller = thread::current().id();
        let (report_refused, refused) = mpsc::channel();
        for round in 0..10_u8 {
            let (report, ender) = (report_refused.clone(), socket.clone());
            let callback = move |ar: AsyncResult<op::Send<Vec<u8>>>| {
                assert_ne!(thread::current().id(), caller);
                report.send(ender.end_send(ar)).unwrap();
            };
            socket.begin_send(vec![round; 3], callback, ());
        }
        for round in 0..10 {
            let completion = refused.recv().unwrap();
            let error = completion.result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ResourceBusy);
            assert!(error.to_string().contains("max_pending is 4"), "{error}");
            assert!(!is_aborted(&error));
            assert_eq!((completion.bytes_transferred, completion.buffer.len()), (0, 3));
            assert!(completion.buffer[0] < 10, "{round}");
        }
        // Those that were there first are not disturbed, and make room.
        peer.write_all(&[1, 2, 3, 4]).unwrap();
        let mut bytes: Vec<u8> = (0..4).map(|_| received.recv().unwrap().buffer[0]).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, [1, 2, 3, 4]);
        until_free(runtime);
        assert_eq!(socket.send(b"room again").unwrap(), 10);
    });
}

#[test]
fn every_face_and_every_end_of_an_operation_gives_its_place_back() {
    with_every_limited_runtime(1, |runtime| {
        let (socket, mut peer) = connected(runtime);
        until_free(runtime);
        for round in 0..20 {
            // Canceled; too late; with a panic in the callback; refused ones take no place.
            let canceled = socket.receive_async([0; 1]);
            assert_eq!(socket.send(&[1]).unwrap_err().kind(), ErrorKind::ResourceBusy);
            canceled.cancel();
            assert!(is_aborted(&canceled.wait().result.unwrap_err()));
            let hasty = socket.with_timeout(Duration::from_millis(1));
            let error = hasty.receive(&mut [0; 1]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            socket.begin_send([round], |_| panic!("on purpose: in a callback"), ());
            until_free(runtime);
            assert_eq!(
                runtime.handle().look_up_async("127.0.0.1", 1).wait().result.unwrap().len(),
                1
            );
            let dropped = socket.receive_async([0; 1]);
            drop(dropped);
            until_free(runtime);
            peer.read_exact(&mut [0; 1]).unwrap();
        }
        socket.close();
        assert!(is_aborted(&socket.send(&[1]).unwrap_err()));
        until_free(runtime);
    });
}

/// A place is taken until the callback has returned.
#[test]
fn a_callback_holds_its_place_until_it_returns() {
    with_every_limited_runtime(2, |runtime| {
        let (socket, _peer) = connected(runtime);
        until_free(runtime);
        let (report, outcomes) = mpsc::channel();
        socket.begin_send(
            [1],
            move |ar: AsyncResult<op::Send<[u8; 1]>, Socket>| {
                let socket = ar.async_state();
                let first = socket.receive_async([0; 1]);
                let second = socket.receive_async([0; 1]).wait().result.unwrap_err().kind();
                drop(first);
                report.send(second).unwrap();
            },
            socket.clone(),
        );
        assert_eq!(outcomes.recv().unwrap(), ErrorKind::ResourceBusy);
    });
}

/// Many threads at once: never more than the limit, and all places are free in the end.
#[test]
fn the_limit_holds_against_many_threads() {
    with_every_limited_runtime(50, |runtime| {
        let pairs: Vec<_> = (0..4).map(|_| connected(runtime)).collect();
        until_free(runtime);
        let accepted: usize = thread::scope(|scope| {
            let threads: Vec<_> = pairs
                .iter()
                .map(|(socket, _)| {
                    scope.spawn(|| {
                        let begin = |_| socket.begin_receive([0; 1], |_| {}, ());
                        let handles: Vec<OperationHandle> = (0..100).map(begin).collect();
                        handles
                    })
                })
                .collect();
            let handles: Vec<_> =
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            handles.iter().filter(|handle| !handle.is_completed()).count()
        });
        assert_eq!(accepted, 50);
        pairs.iter().for_each(|(socket, _)| socket.close());
        until_free(runtime);
        let (socket, mut peer) = connected(runtime);
        peer.write_all(&[1]).unwrap();
        assert_eq!(socket.receive(&mut [0; 1]).unwrap(), 1);
    });
}

#[test]
fn a_runtime_without_room_is_refused() {
    let error = support::builder().workers(1).max_pending(0).build().unwrap_err();
    assert!(error.to_string().contains("max_pending 0"), "{error}");
}

/// A slow-reader attack: connections that never read. What the runtime keeps is bounded by the limit, and what
/// lies in the system by its buffers.
#[test]
fn peers_that_never_read_cost_no_more_than_the_limit() {
    const MESSAGE: usize = 64 << 10;
    with_every_limited_runtime(100, |runtime| {
        let pairs: Vec<_> = (0..50).map(|_| connected(runtime)).collect();
        until_free(runtime);
        for (socket, peer) in &pairs {
            socket.with_socket(|socket| socket.set_send_buffer_size(MESSAGE)).unwrap().unwrap();
            SockRef::from(peer).set_recv_buffer_size(MESSAGE).unwrap();
        }
        let pending = || runtime.metrics().operation("send").unwrap().pending;
        let mut refused = 0;
        // Until the system's buffers are full.
        while refused < 200 || pending() < 100 {
            for (socket, _) in &pairs {
                // A send goes on when it is dropped.
                let mut send = socket.send_async(vec![0; MESSAGE]);
                match send.wait_timeout(Duration::ZERO).map(|completion| completion.result) {
                    None => {}
                    Some(Ok(sent)) => assert_eq!(sent, MESSAGE),
                    Some(Err(error)) => {
                        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
                        refused += 1;
                    }
                }
                assert!(runtime.metrics().pending() <= 100);
            }
        }
        pairs.iter().for_each(|(socket, _)| socket.close());
        until_free(runtime);
    });
}

/// A slow-reader attack in earnest: what lies in this process is bounded, whether the limit bounds it or a server
/// that begins its next send when the last is over. `--nocapture` prints the figures.
#[cfg(target_os = "linux")]
mod a_thousand_peers_that_never_read {
    use super::*;
    use std::net::TcpStream;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PEERS: usize = 1_000;
    /// Two for each peer, and a few.
    const DESCRIPTORS: usize = 2_200;
    const MESSAGE: usize = 32 << 10;
    /// What an operation, a socket and all else may take, beside the messages.
    const BESIDE: usize = 16 << 20;
    /// What the system keeps of a connection, so that 1,000 of them take little of the machine.
    const KERNEL_BUFFER: usize = 8 << 10;

    /// True in a process that may have so many descriptors, and where nothing else is measured.
    fn is_alone(test: &str) -> bool {
        let most = Command::new("sh").args(["-c", "ulimit -Hn"]).output().unwrap();
        let most = String::from_utf8_lossy(&most.stdout).trim().to_owned();
        if most.parse().is_ok_and(|most: usize| most < DESCRIPTORS) {
            support::skipped(&format!(
                "it needs {DESCRIPTORS} descriptors, and the hard limit is {most}"
            ));
            return false;
        }
        let test = format!("a_thousand_peers_that_never_read::{test}");
        support::is_alone(&format!("-n {DESCRIPTORS}"), &test)
    }

    /// The memory of this process that is resident, in bytes.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    /// Of the server, what is bounded and by what is to be watched.
    struct Watch {
        before: usize,
        most: usize,
    }

    impl Watch {
        fn begin() -> Self {
            let before = resident();
            Self { before, most: before }
        }

        fn look(&mut self) {
            self.most = self.most.max(resident());
        }

        /// Fails if more than `messages` and what is beside them was there at any time.
        #[expect(clippy::print_stdout, reason = "the figures are there to be read")]
        fn end(mut self, what: &str, offered: usize, messages: usize) {
            self.look();
            let (grown, allowed) = (self.most - self.before, messages * MESSAGE + BESIDE);
            let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
            println!(
                "{what}: {offered} answers of {} KiB, {:.1} MiB; grown by {:.1} MiB from {:.1}, {:.1} allowed",
                MESSAGE >> 10,
                mib(offered * MESSAGE),
                mib(grown),
                mib(self.before),
                mib(allowed),
            );
            assert!(grown < allowed, "{what}: {grown} bytes");
        }
    }

    fn name(runtime: &Runtime) -> String {
        format!("{}, {} workers", runtime.engine(), runtime.workers())
    }

    fn connections(runtime: &Runtime) -> Vec<(Socket, TcpStream)> {
        let pairs: Vec<_> = (0..PEERS)
            .map(|_| {
                let (socket, peer) = connected(runtime);
                let set = socket.with_socket(|socket| socket.set_send_buffer_size(KERNEL_BUFFER));
                set.unwrap().unwrap();
                SockRef::from(&peer).set_recv_buffer_size(KERNEL_BUFFER).unwrap();
                (socket, peer)
            })
            .collect();
        until_free(runtime);
        pairs
    }

    /// A server that goes on sending to whoever asks, whatever has become of what it has sent.
    #[test]
    fn cost_no_more_than_the_limit() {
        const MOST: usize = 500;
        if !is_alone("cost_no_more_than_the_limit") {
            return;
        }
        with_every_limited_runtime(MOST, |runtime| {
            let pairs = connections(runtime);
            let mut watch = Watch::begin();
            let refused = Arc::new(AtomicUsize::new(0));
            let mut begun = 0;
            let pending = || runtime.metrics().operation("send").unwrap().pending;
            while refused.load(Ordering::Relaxed) < 10 * PEERS || pending() < MOST as u64 {
                for (socket, _) in &pairs {
                    let refused = refused.clone();
                    let callback = move |ar: AsyncResult<op::Send<Vec<u8>>>| {
                        let is_refused =
                            ar.error().is_some_and(|error| error.kind() == ErrorKind::ResourceBusy);
                        refused.fetch_add(usize::from(is_refused), Ordering::Relaxed);
                    };
                    socket.begin_send(vec![1; MESSAGE], callback, ());
                    begun += 1;
                }
                watch.look();
                assert!(runtime.metrics().pending() <= MOST as u64);
                // What is refused lies in the queue of the workers until its callback has run.
                while runtime.metrics().undelivered() > 0 {
                    thread::yield_now();
                }
            }
            watch.end(&format!("max_pending {MOST}, {}", name(runtime)), begun, MOST + PEERS);
            pairs.iter().for_each(|(socket, _)| socket.close());
            until_free(runtime);
        });
    }

    /// Sends the message, and again when it is sent.
    fn send_for_ever(socket: &Socket, message: Vec<u8>, sent: &Arc<AtomicUsize>) {
        let (ender, sent) = (socket.clone(), sent.clone());
        let callback = move |ar| {
            let Completion { result, buffer, .. } = ender.end_send(ar);
            if result.is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
                send_for_ever(&ender, buffer, &sent);
            }
        };
        socket.begin_send(message, callback, ());
    }

    /// A server without a limit that has one send pending for each peer. Who reads is served meanwhile.
    #[test]
    fn cost_a_message_each_of_a_server_that_sends_one_at_a_time() {
        if !is_alone("cost_a_message_each_of_a_server_that_sends_one_at_a_time") {
            return;
        }
        with_every_limited_runtime(usize::MAX, |runtime| {
            let pairs = connections(runtime);
            let (socket, mut reader) = connected(runtime);
            let mut watch = Watch::begin();
            let sent = Arc::new(AtomicUsize::new(0));
            pairs.iter().for_each(|(peer, _)| send_for_ever(peer, vec![1; MESSAGE], &sent));
            let answers = Arc::new(AtomicUsize::new(0));
            send_for_ever(&socket, vec![1; MESSAGE], &answers);
            let mut bytes = vec![0; MESSAGE];
            for _ in 0..1_000 {
                reader.read_exact(&mut bytes).unwrap();
                watch.look();
            }
            assert!(answers.load(Ordering::Relaxed) >= 900);
            // In the end nothing can be sent but to who reads.
            while runtime.metrics().operation("send").unwrap().pending < PEERS as u64 {
                thread::yield_now();
            }
            let begun = PEERS + sent.load(Ordering::Relaxed) + answers.load(Ordering::Relaxed);
            watch.end(&format!("one at a time, {}", name(runtime)), begun, PEERS + 1);
            pairs.iter().for_each(|(socket, _)| socket.close());
            socket.close();
            until_free(runtime);
        });
    }
}
