//! I4: whatever is pending, an operation that can make progress is run, and a callback that blocks
//! holds up nobody else while a worker is free.

mod support;

use aio_core::{AsyncResult, Completion, Engine, Runtime, Socket, op};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use support::{
    LIMIT, accept, connected, listener, receive, send, with_every_engine, with_every_runtime,
    within,
};

/// Many more pending receives and accepts than workers, then a send and its echo.
#[test]
fn idle_operations_never_stop_a_send() {
    with_every_runtime(|runtime: &Runtime| {
        let (report, idle) = mpsc::channel();
        let pairs: Vec<(Socket, TcpStream)> = (0..100).map(|_| connected(runtime)).collect();
        for (socket, _) in &pairs {
            receive(socket, 1, &report);
        }
        let (listener, _) = listener(runtime);
        let (report_accepted, _accepted) = mpsc::channel();
        for _ in 0..10 {
            accept(&listener, &report_accepted);
        }
        let (socket, mut peer) = connected(runtime);
        let (report, echoed) = mpsc::channel();
        receive(&socket, 1, &report);
        let (report, _sent) = mpsc::channel();
        send(&socket, vec![9], &report);
        let mut bytes = [0; 1];
        peer.read_exact(&mut bytes).unwrap();
        peer.write_all(&bytes).unwrap();
        assert_eq!(echoed.recv().unwrap().buffer, [9]);
        assert!(idle.try_recv().is_err());
    });
}

#[test]
fn whichever_of_many_pending_receives_becomes_ready_is_served() {
    with_every_runtime(|runtime: &Runtime| {
        let mut pairs: Vec<_> = (0..50).map(|_| connected(runtime)).collect();
        let (report, received) = mpsc::channel();
        for (socket, _) in &pairs {
            receive(socket, 1, &report);
        }
        let mut choice = 7_usize;
        for round in 0..1_000 {
            choice = (choice * 25 + 13) % pairs.len();
            let (socket, peer) = &mut pairs[choice];
            peer.write_all(&[round as u8]).unwrap();
            assert_eq!(received.recv().unwrap().buffer, [round as u8]);
            receive(socket, 1, &report);
        }
    });
}

/// All workers but one are held by callbacks; what was queued behind them, what they would have
/// waited for, and what is posted meanwhile is done by the one that is left.
#[test]
fn blocked_callbacks_hold_up_nobody_while_a_worker_is_free() {
    with_every_engine(&[3], |builder| {
        let runtime = builder.build().unwrap();
        for _ in 0..30 {
            let release = Arc::new(Barrier::new(3));
            let mut pairs: Vec<_> = (0..20).map(|_| connected(&runtime)).collect();
            let (report, received) = mpsc::channel();
            let (report_blocked, blocked) = mpsc::channel();
            for (index, (socket, _)) in pairs.iter().enumerate() {
                if index < 2 {
                    let (report, release) = (report_blocked.clone(), release.clone());
                    let callback = move |_: AsyncResult<_, ()>| {
                        report.send(()).unwrap();
                        release.wait();
                    };
                    socket.begin_receive([0; 1], callback, ());
                } else {
                    receive(socket, 1, &report);
                }
            }
            // In one go, so that some land in a batch behind those that block.
            for (_, peer) in &mut pairs {
                peer.write_all(&[1]).unwrap();
            }
            for _ in 0..18 {
                assert_eq!(received.recv().unwrap().buffer, [1]);
            }
            (0..2).for_each(|_| blocked.recv().unwrap());
            // And now from this thread, with two workers stuck.
            for (socket, peer) in &mut pairs[2..] {
                receive(socket, 1, &report);
                peer.write_all(&[2]).unwrap();
                assert_eq!(received.recv().unwrap().buffer, [2]);
            }
            release.wait();
        }
    });
}

/// What a callback begins before it blocks is completed by others too.
#[test]
fn what_a_blocked_callback_began_goes_on_without_it() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        for _ in 0..50 {
            let (socket, mut peer) = connected(&runtime);
            let (report, waited) = mpsc::channel();
            let state = (socket.clone(), report);
            type State = (Socket, mpsc::Sender<Vec<u8>>);
            socket.begin_send(
                [1],
                |ar: AsyncResult<op::Send<[u8; 1]>, State>| {
                    let (socket, report) = ar.async_state().clone();
                    let (sender, receiver) = mpsc::channel();
                    receive(&socket, 1, &sender);
                    // One that completes at once, and one that has to wait for the peer.
                    let (report_sent, sent) = mpsc::channel();
                    send(&socket, vec![2], &report_sent);
                    sent.recv().unwrap().result.unwrap();
                    let Completion { buffer, .. } = receiver.recv().unwrap();
                    report.send(buffer).unwrap();
                },
                state,
            );
            let mut bytes = [0; 2];
            peer.read_exact(&mut bytes).unwrap();
            peer.write_all(&[3]).unwrap();
            assert_eq!((bytes, waited.recv().unwrap()), ([1, 2], vec![3]));
        }
    });
}

/// A socket with endless data and a callback that always receives again leaves turns to others.
#[test]
fn endless_data_on_one_socket_does_not_stop_another() {
    with_every_runtime(|runtime: &Runtime| {
        let (busy, mut firehose) = connected(runtime);
        let writer = thread::spawn(move || while firehose.write_all(&[0; 4096]).is_ok() {});
        fn again(socket: &Socket) {
            socket.begin_receive(
                [0; 16],
                |ar: AsyncResult<op::Receive<[u8; 16]>, Socket>| {
                    if ar.error().is_none() {
                        again(ar.async_state());
                    }
                },
                socket.clone(),
            );
        }
        again(&busy);
        let (socket, mut peer) = connected(runtime);
        let (report, received) = mpsc::channel();
        for round in 0..100 {
            receive(&socket, 1, &report);
            peer.write_all(&[round]).unwrap();
            assert_eq!(received.recv().unwrap().buffer, [round]);
        }
        busy.close();
        writer.join().unwrap();
    });
}

/// Sends a byte again and again from its own callback, which takes `time`, until that fails.
fn send_again(socket: &Socket, time: Duration) {
    let callback = move |ar: AsyncResult<op::Send<[u8; 1]>, Socket>| {
        if !time.is_zero() {
            thread::sleep(time);
        }
        if ar.error().is_none() {
            send_again(ar.async_state(), time);
        }
    };
    socket.begin_send([0; 1], callback, socket.clone());
}

/// A socket that sends without end, and the thread that reads it until it is closed.
fn sender_without_end(runtime: &Runtime, time: Duration) -> (Socket, thread::JoinHandle<()>) {
    let (socket, mut peer) = connected(runtime);
    let reader = thread::spawn(move || {
        let mut bytes = vec![0; 1 << 16];
        while peer.read(&mut bytes).is_ok_and(|n| n > 0) {}
    });
    send_again(&socket, time);
    (socket, reader)
}

/// One worker is held by a callback, the other always has work of its own: nobody is idle, so
/// nobody watches, and still what the first has queued and waits for is done.
#[test]
fn a_busy_worker_does_what_a_blocked_one_cannot() {
    with_every_engine(&[2], |builder| {
        let runtime = Arc::new(builder.build().unwrap());
        let (socket, mut peer) = connected(&runtime);
        let (report, outcome) = mpsc::channel();
        let (blocked, other) = (socket.clone(), runtime.clone());
        let callback = move |_: AsyncResult<_, ()>| {
            let (report_received, received) = mpsc::channel();
            receive(&blocked, 1, &report_received);
            // Begun by a thread that is no worker, so that the other worker runs it.
            let begin = move || sender_without_end(&other, Duration::ZERO);
            let busy = thread::spawn(begin).join().unwrap();
            thread::sleep(Duration::from_millis(20));
            let (report_sent, sent) = mpsc::channel();
            send(&blocked, vec![2], &report_sent);
            let sent = sent.recv_timeout(LIMIT / 4).is_ok();
            let received = received.recv_timeout(LIMIT / 4).is_ok();
            report.send((sent, received, busy)).unwrap();
        };
        socket.begin_send([1], callback, ());
        peer.read_exact(&mut [0; 2]).unwrap();
        peer.write_all(&[3]).unwrap();
        let (sent, received, (busy, reader)) = outcome.recv().unwrap();
        busy.close();
        reader.join().unwrap();
        assert!(sent && received, "sent: {sent}, received: {received}");
    });
}

/// A worker whose callbacks each return soon but never end is not stuck; that must not keep a free
/// worker from what becomes ready meanwhile.
#[test]
fn many_short_callbacks_hold_up_nobody_while_a_worker_is_free() {
    with_every_engine(&[2], |builder| {
        let runtime = builder.build().unwrap();
        let (busy, reader) = sender_without_end(&runtime, Duration::from_micros(400));
        let (socket, mut peer) = connected(&runtime);
        let (report, received) = mpsc::channel();
        let mut delays: Vec<Duration> = (0..40)
            .map(|round| {
                receive(&socket, 1, &report);
                thread::sleep(Duration::from_millis(3 + round % 7));
                let begun = Instant::now();
                peer.write_all(&[1]).unwrap();
                received.recv().unwrap();
                begun.elapsed()
            })
            .collect();
        busy.close();
        reader.join().unwrap();
        delays.sort();
        // The median, since other programs run here too; 64 callbacks take 25 ms.
        assert!(delays[20] < Duration::from_millis(5), "{delays:?}");
    });
}

/// What other threads post has its turn beside work that never ends.
#[test]
fn a_busy_worker_runs_what_others_post() {
    with_every_runtime(|runtime: &Runtime| {
        let busy: Vec<_> =
            (0..runtime.workers()).map(|_| sender_without_end(runtime, Duration::ZERO)).collect();
        let (socket, _peer) = connected(runtime);
        let (report, sent) = mpsc::channel();
        for _ in 0..20 {
            send(&socket, vec![1], &report);
            sent.recv().unwrap().result.unwrap();
        }
        for (socket, reader) in busy {
            socket.close();
            reader.join().unwrap();
        }
    });
}

/// I4: what watches for blocked callbacks costs nothing when there is nothing to watch, be everybody
/// idle or somebody blocked for long.
#[cfg(target_os = "linux")]
#[test]
fn nobody_wakes_up_when_there_is_nothing_to_do() {
    fn wake_ups() -> u64 {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let of_task = |task: std::path::PathBuf| {
            let name = std::fs::read_to_string(task.join("comm")).ok()?;
            let status = std::fs::read_to_string(task.join("status")).ok()?;
            let line = status.lines().find(|line| line.starts_with("voluntary"))?;
            let count = line.split_whitespace().last()?.parse::<u64>().ok()?;
            name.starts_with("quiet-test").then_some(count)
        };
        tasks.filter_map(|task| of_task(task.unwrap().path())).sum()
    }
    with_every_engine(&[3], |builder| {
        let builder = builder.thread_name("quiet-test");
        let runtime = builder.build().unwrap();
        let (socket, _peer) = connected(&runtime);
        let (report, _received) = mpsc::channel();
        receive(&socket, 1, &report);
        let (release, held) = mpsc::channel::<()>();
        let mut held = Some(held);
        for blocked in [false, true] {
            if blocked {
                let held = held.take().unwrap();
                socket.begin_send([1], move |_| assert!(held.recv().is_err()), ());
            }
            thread::sleep(Duration::from_millis(100));
            let before = wake_ups();
            thread::sleep(Duration::from_millis(200));
            let count = wake_ups() - before;
            assert!(count < 20, "blocked: {blocked}, {count} wake-ups");
        }
        drop(release);
    });
}

/// A socket of the runtime that sends back whatever it receives, and the std stream at its other end.
fn echo(runtime: &Runtime) -> TcpStream {
    fn receive(socket: Socket) {
        let ender = socket.clone();
        let callback = move |received: AsyncResult<op::Receive<Vec<u8>>>| {
            let Completion { result, mut buffer, .. } = ender.end_receive(received);
            if let Ok(n @ 1..) = result {
                buffer.truncate(n);
                let next = ender.clone();
                ender.begin_send(buffer, move |_| receive(next), ());
            }
        };
        socket.begin_receive(vec![0; 64], callback, ());
    }
    let (socket, peer) = connected(runtime);
    receive(socket);
    peer
}

fn exchange(peer: &mut TcpStream) {
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0; 1]).unwrap();
}

/// The waits of the free workers end before a tick has passed, since they have traffic: the watcher among them ticks
/// all the same. Neither the sockets of a worker that is held nor what rayon asks of a worker waits for the traffic to end.
#[test]
fn steady_traffic_keeps_no_watcher_from_its_ticks() {
    for (engine, workers) in [(Engine::Blocking, 2), (Engine::Blocking, 3), (Engine::Readiness, 2)]
    {
        within(LIMIT, &format!("{engine}, {workers} workers"), move || {
            let runtime = support::builder().engine(engine).workers(workers).build().unwrap();
            let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
            let traffic: Vec<_> = (0..3)
                .map(|_| {
                    let (mut peer, stop) = (echo(&runtime), stop.clone());
                    thread::spawn(move || {
                        while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                            exchange(&mut peer);
                        }
                    })
                })
                .collect();
            let mut others: Vec<_> = (0..4).map(|_| echo(&runtime)).collect();
            others.iter_mut().for_each(exchange);
            let mut slow = 0;
            for _ in 0..4 {
                let (held, is_held) = mpsc::channel();
                let (release, released) = mpsc::channel::<()>();
                runtime.handle().post(move || {
                    held.send(()).unwrap();
                    let _ = released.recv();
                });
                is_held.recv().unwrap();
                let begun = Instant::now();
                others.iter_mut().for_each(exchange);
                slow += usize::from(begun.elapsed() > Duration::from_secs(1));
                drop(release);
                let (report, done) = mpsc::channel();
                runtime.handle().post(move || report.send(rayon::broadcast(|_| 1).len()).unwrap());
                assert_eq!(done.recv_timeout(Duration::from_secs(5)), Ok(workers));
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            traffic.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(slow, 0);
        });
    }
}
