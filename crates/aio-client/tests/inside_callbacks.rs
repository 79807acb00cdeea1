//! A blocking call in a callback gets on, and so does what nobody waits for, though the callback holds the only
//! worker; and nobody's callback runs inside it.

mod support;

use aio_client::{AsyncResult, Client, ErrorKind, Framing, op};
use aio_core::{Engine, Runtime};
use aio_sync::{ManualResetEvent, WaitHandle};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use support::{LIMIT, SHORT, builder, connected, error_of, refusing_address, within};

/// Runs `test` with every engine, each with a single worker.
fn with_one_worker(test: fn(Runtime)) {
    for engine in [Engine::Blocking, Engine::Readiness] {
        within(LIMIT, &engine.to_string(), move || {
            test(builder().engine(engine).workers(1).build().unwrap());
        });
    }
}

/// Has `callback` run on a worker, and returns where its outcome will be.
fn in_callback<T: Send + 'static>(
    runtime: &Runtime,
    callback: impl FnOnce() -> T + Send + 'static,
) -> mpsc::Receiver<T> {
    let (outcomes, outcome) = mpsc::channel();
    // Nobody wants the outcome if the test has failed.
    runtime.handle().post(move || drop(outcomes.send(callback())));
    outcome
}

/// Returns when the only worker is in a callback that blocks in a call on a connection of its own, together
/// with what ends that.
fn hold_in_a_call(runtime: &Runtime) -> impl FnOnce() {
    let (client, mut peer) = connected(runtime);
    let (entering, entered) = mpsc::channel();
    let outcome = in_callback(runtime, move || {
        entering.send(()).unwrap();
        client.with_framing(Framing::Fixed(1)).with_timeout(Duration::MAX).receive()
    });
    entered.recv().unwrap();
    move || {
        peer.write_all(b"x").unwrap();
        assert_eq!(outcome.recv().unwrap().unwrap(), b"x");
    }
}

fn lines(client: &Client) -> Client {
    client.with_framing(Framing::delimiter("\n")).with_timeout(Duration::MAX)
}

#[test]
fn a_receive_gets_on_behind_one_that_nobody_waits_for() {
    with_one_worker(|runtime| {
        for is_early in [true, false] {
            let (client, mut peer) = connected(&runtime);
            let lines = lines(&client);
            let left_alone = lines.receive_async();
            if is_early {
                peer.write_all(b"first\nsecond\n").unwrap();
            }
            let (entering, entered) = mpsc::channel();
            let outcome = in_callback(&runtime, move || {
                entering.send(()).unwrap();
                lines.receive()
            });
            entered.recv().unwrap();
            if !is_early {
                peer.write_all(b"first\nsecond\n").unwrap();
            }
            assert_eq!(outcome.recv().unwrap().unwrap(), b"second");
            assert_eq!(left_alone.wait().unwrap(), b"first");
        }
    });
}

#[test]
fn a_receive_gets_on_behind_many() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let lines = lines(&client);
        let left_alone: Vec<_> = (0..100).map(|_| lines.receive_text_async()).collect();
        let outcome = in_callback(&runtime, move || lines.receive_text());
        for number in 0..=100 {
            peer.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        assert_eq!(outcome.recv().unwrap().unwrap(), "100");
        for (number, receive) in left_alone.into_iter().enumerate() {
            assert_eq!(receive.wait().unwrap(), number.to_string());
        }
    });
}

/// I3.
#[test]
fn a_receive_gets_on_behind_one_whose_callback_runs_after_this_one() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let lines = lines(&client);
        let is_inside = Arc::new(AtomicBool::new(false));
        let (firsts, first) = mpsc::channel();
        let (seen, ender) = (is_inside.clone(), lines.clone());
        lines.begin_receive(
            move |ar: AsyncResult<op::Receive>| {
                let result = ender.end_receive(ar).result;
                firsts.send((result, seen.load(Ordering::SeqCst))).unwrap();
            },
            (),
        );
        let outcome = in_callback(&runtime, move || {
            is_inside.store(true, Ordering::SeqCst);
            let second = lines.receive();
            // Enough for the first one's callback to run, if anything let it.
            let third = lines.with_timeout(SHORT).receive();
            is_inside.store(false, Ordering::SeqCst);
            (second, third)
        });
        peer.write_all(b"first\nsecond\n").unwrap();
        let (second, third) = outcome.recv().unwrap();
        assert_eq!(second.unwrap(), b"second");
        error_of(third, ErrorKind::TimedOut);
        let (first, is_nested) = first.recv().unwrap();
        assert_eq!(first.unwrap(), b"first");
        assert!(!is_nested, "it ran inside another callback");
    });
}

#[test]
fn a_receive_behind_one_that_is_canceled_or_out_of_time_gets_on() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let lines = lines(&client);
        let canceled = lines.receive_async();
        let late = lines.with_timeout(SHORT).receive_async();
        let (entering, entered) = mpsc::channel();
        let outcome = in_callback(&runtime, {
            let lines = lines.clone();
            move || {
                entering.send(()).unwrap();
                lines.receive()
            }
        });
        entered.recv().unwrap();
        // In its turn it has bytes, and behind another one it has to be told of the time.
        assert!(late.event().wait_timeout(LIMIT), "the deadline of a receive that is not its turn");
        canceled.cancel();
        assert!(canceled.event().wait_timeout(LIMIT), "a cancel");
        peer.write_all(b"only\n").unwrap();
        assert_eq!(outcome.recv().unwrap().unwrap(), b"only");
        error_of(late.wait(), ErrorKind::TimedOut);
        error_of(canceled.wait(), ErrorKind::Canceled);
    });
}

#[test]
fn a_send_gets_on_behind_one_that_nobody_waits_for() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let long = client.send_async(vec![b'x'; 8 << 20]);
        let (entering, entered) = mpsc::channel();
        let outcome = in_callback(&runtime, move || {
            entering.send(()).unwrap();
            client.with_timeout(Duration::MAX).send("y")
        });
        entered.recv().unwrap();
        let mut received = vec![0; (8 << 20) + 1];
        peer.read_exact(&mut received).unwrap();
        assert_eq!(received.last(), Some(&b'y'));
        outcome.recv().unwrap().unwrap();
        long.wait().unwrap();
    });
}

#[test]
fn what_nobody_waits_for_gets_on_while_a_callback_blocks_on_another_connection() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let lines = lines(&client);
        let release = hold_in_a_call(&runtime);
        let receives = [lines.receive_async(), lines.receive_async()];
        let send = lines.send_async("question");
        let mut question = [0; 9];
        peer.read_exact(&mut question).unwrap();
        peer.write_all(b"answer\nanswer\n").unwrap();
        // The thread that waits for no more than the event drives nothing.
        assert!(send.event().wait_timeout(LIMIT));
        for receive in receives {
            assert!(receive.event().wait_timeout(LIMIT));
            assert_eq!(receive.wait().unwrap(), b"answer");
        }
        let connect = Client::builder().runtime(&runtime).connect_async(refusing_address());
        assert!(connect.event().wait_timeout(LIMIT));
        error_of(connect.wait(), ErrorKind::Connect);
        release();
    });
}

#[test]
fn an_answer_that_is_awaited_elsewhere_arrives_while_a_callback_blocks() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let release = hold_in_a_call(&runtime);
        let receive = lines(&client).receive_async();
        let over = Arc::new(ManualResetEvent::new(false));
        let waiter = std::thread::spawn({
            let over = over.clone();
            move || {
                let line = receive.wait();
                over.set();
                line
            }
        });
        peer.write_all(b"line\n").unwrap();
        assert!(over.wait_timeout(LIMIT));
        assert_eq!(waiter.join().unwrap().unwrap(), b"line");
        release();
    });
}

/// I3: what is told the progress is a callback, too.
#[test]
fn a_progress_callback_of_a_receive_that_nobody_waits_for_does_not_run_inside_another_callback() {
    with_one_worker(|runtime| {
        let (client, mut peer) = connected(&runtime);
        let (telling, told) = mpsc::channel();
        let client = client.with_framing(Framing::Fixed(3));
        let receive = client
            .with_progress(move |received, _| {
                let _ = telling.send(received);
            })
            .receive_async();
        assert_eq!(told.recv().unwrap(), 0, "told by the worker, which is free");
        let release = hold_in_a_call(&runtime);
        peer.write_all(b"a").unwrap();
        assert!(told.recv_timeout(SHORT).is_err(), "told inside another callback");
        release();
        assert_eq!(told.recv().unwrap(), 1);
        peer.write_all(b"bc").unwrap();
        assert_eq!(receive.wait().unwrap(), b"abc");
    });
}

/// I7.
#[test]
fn the_end_of_the_runtime_ends_a_receive_behind_another() {
    with_one_worker(|runtime| {
        let (client, _peer) = connected(&runtime);
        let lines = lines(&client);
        let left_alone = lines.receive_async();
        let (entering, entered) = mpsc::channel();
        let outcome = in_callback(&runtime, move || {
            entering.send(()).unwrap();
            lines.receive()
        });
        entered.recv().unwrap();
        let start = Instant::now();
        drop(runtime);
        assert!(start.elapsed() < LIMIT / 2);
        assert!(outcome.recv().unwrap().is_err());
        assert!(left_alone.wait().is_err());
    });
}

#[test]
fn close_ends_a_receive_behind_another() {
    with_one_worker(|runtime| {
        let (client, _peer) = connected(&runtime);
        let lines = lines(&client);
        let left_alone = lines.receive_async();
        let outcome = in_callback(&runtime, move || lines.receive());
        client.close();
        error_of(outcome.recv().unwrap(), ErrorKind::Closed);
        error_of(left_alone.wait(), ErrorKind::Closed);
    });
}
