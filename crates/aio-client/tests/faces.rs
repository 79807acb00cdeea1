//! A call comes to the same in each of its faces: blocking, with a callback, waited for, awaited.

mod support;

use aio_client::{AsyncResult, Client, Completion, Error, ErrorKind, Framing, LengthPrefix, op};
use aio_sync::{ManualResetEvent, wait_any};
use std::future::Future;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::panic;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use support::{
    LIMIT, SHORT, connected, error_of, listener, refusing_address, reset, until_somebody_receives,
    with_every_runtime,
};

#[derive(Clone, Copy, Debug)]
enum Face {
    Blocking,
    Callback,
    Waited,
    Awaited,
}

const FACES: [Face; 4] = [Face::Blocking, Face::Callback, Face::Waited, Face::Awaited];

/// An executor for one future.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(LIMIT),
        }
    }
}

fn receive(client: &Client, face: Face) -> Result<Vec<u8>, Error> {
    match face {
        Face::Blocking => client.receive(),
        Face::Callback => {
            let (sender, receiver) = mpsc::channel();
            client.begin_receive(
                |ar: AsyncResult<op::Receive, (Client, mpsc::Sender<_>)>| {
                    let client = ar.async_state().0.clone();
                    assert!(ar.is_completed() && ar.operation().is_completed());
                    let Completion { result, state: (_, sender), .. } = client.end_receive(ar);
                    sender.send(result).unwrap();
                },
                (client.clone(), sender),
            );
            receiver.recv().unwrap()
        }
        Face::Waited => client.receive_async().wait(),
        Face::Awaited => block_on(client.receive_async()),
    }
}

fn send(client: &Client, message: Vec<u8>, face: Face) -> Result<(), Error> {
    match face {
        Face::Blocking => client.send(message),
        Face::Callback => {
            let (sender, receiver) = mpsc::channel();
            let ender = client.clone();
            client.begin_send(
                message,
                move |ar| sender.send(ender.end_send(ar).result).unwrap(),
                (),
            );
            receiver.recv().unwrap()
        }
        Face::Waited => client.send_async(message).wait(),
        Face::Awaited => block_on(client.send_async(message)),
    }
}

#[test]
fn a_message_is_the_same_in_every_face() {
    with_every_runtime(|runtime| {
        for face in FACES {
            let (client, mut peer) = connected(runtime);
            let client = client.with_framing(Framing::LengthPrefix(LengthPrefix::U16Be));
            send(&client, b"question".to_vec(), face).unwrap();
            let mut question = [0; 10];
            peer.read_exact(&mut question).unwrap();
            assert_eq!(&question, b"\x00\x08question", "{face:?}");
            peer.write_all(b"\x00\x06ans").unwrap();
            let rest = thread::spawn(move || {
                thread::sleep(Duration::from_millis(5));
                peer.write_all(b"wer").unwrap();
                peer
            });
            assert_eq!(receive(&client, face).unwrap(), b"answer", "{face:?}");
            drop(rest.join().unwrap());
        }
    });
}

#[test]
fn an_error_is_the_same_in_every_face() {
    // Provokes an error of a receive, and returns the client that is to run into it.
    type Provoke = fn(Client, TcpStream) -> (Client, Option<TcpStream>);
    let provoke: [(ErrorKind, Provoke); 7] = [
        (ErrorKind::TimedOut, |client, peer| (client.with_timeout(SHORT), Some(peer))),
        (ErrorKind::TimedOut, |client, peer| (client.with_idle_timeout(SHORT), Some(peer))),
        (ErrorKind::TooLong, |client, mut peer| {
            peer.write_all(b"abcd").unwrap();
            (client.with_max_response(3), Some(peer))
        }),
        (ErrorKind::Incomplete, |client, mut peer| {
            peer.write_all(b"abcd").unwrap();
            (client.with_framing(Framing::Fixed(5)), None)
        }),
        (ErrorKind::Closed, |client, peer| {
            client.close();
            (client, Some(peer))
        }),
        (ErrorKind::Receive, |client, peer| {
            reset(peer);
            (client, None)
        }),
        (ErrorKind::InvalidInput, |client, peer| {
            (client.with_framing(Framing::delimiter("")), Some(peer))
        }),
    ];
    with_every_runtime_and(provoke, |runtime, provoke| {
        for (kind, provoke) in provoke {
            let texts = FACES.map(|face| {
                let (client, peer) = connected(runtime);
                let address = client.peer_addr().to_string();
                let (client, _peer) = provoke(client, peer);
                let error = error_of(receive(&client, face), kind);
                assert_eq!(error.peer(), address, "{face:?}");
                error.to_string().replace(&address, "PEER")
            });
            assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        }
    });
}

fn with_every_runtime_and<T: Copy + Send + 'static>(what: T, test: fn(&aio_core::Runtime, T)) {
    for engine in [aio_core::Engine::Blocking, aio_core::Engine::Readiness] {
        for workers in [1, 3] {
            support::within(LIMIT, &format!("{engine}, {workers} workers"), move || {
                let runtime = support::builder().engine(engine).workers(workers).build().unwrap();
                test(&runtime, what);
            });
        }
    }
}

#[test]
fn a_connect_is_the_same_in_every_face() {
    with_every_runtime(|runtime| {
        let connect = |address, face| match face {
            Face::Blocking => Client::builder().runtime(runtime).connect(address),
            Face::Callback => {
                let (sender, receiver) = mpsc::channel();
                Client::builder().runtime(runtime).begin_connect(
                    address,
                    move |ar| sender.send(Client::end_connect(ar).result).unwrap(),
                    (),
                );
                receiver.recv().unwrap()
            }
            Face::Waited => Client::builder().runtime(runtime).connect_async(address).wait(),
            Face::Awaited => block_on(Client::builder().runtime(runtime).connect_async(address)),
        };
        for face in FACES {
            let (listener, address) = listener();
            let client = connect(address, face).unwrap();
            assert_eq!(client.local_addr().unwrap(), listener.accept().unwrap().1);
            let refusing = refusing_address();
            let error = error_of(connect(refusing, face), ErrorKind::Connect);
            assert_eq!(error.to_string(), format!("connect to {refusing}: connection refused"));
        }
    });
}

/// I3.
#[test]
fn a_callback_runs_on_a_worker_and_never_inside_begin() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        peer.write_all(b"1\n2\n3\n").unwrap();
        assert_eq!(lines.receive().unwrap(), b"1");
        // The next one has arrived with it, so that this begin finds it.
        let (sender, receiver) = mpsc::channel();
        let ender = lines.clone();
        lines.begin_receive(
            move |ar| {
                assert_eq!(ender.end_receive(ar).result.unwrap(), b"2");
                let (depth, ran) = (Arc::new(AtomicUsize::new(1)), sender.clone());
                let inner = depth.clone();
                ender.begin_receive(
                    move |ar: AsyncResult<op::Receive>| {
                        assert!(ar.error().is_none());
                        ran.send((thread::current().name().map(str::to_owned), inner)).unwrap();
                    },
                    (),
                );
                depth.store(0, Ordering::SeqCst);
                drop(sender);
            },
            (),
        );
        let (name, depth) = receiver.recv().unwrap();
        assert!(name.unwrap().starts_with("aio-worker"));
        if runtime.workers() == 1 {
            assert_eq!(depth.load(Ordering::SeqCst), 0, "the outer callback had returned");
        }
    });
}

#[test]
fn receives_get_the_messages_in_the_order_in_which_they_were_begun() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let receives: Vec<_> = (0..100).map(|_| lines.receive_text_async()).collect();
        for number in 0..100 {
            peer.write_all(format!("{number}\n").as_bytes()).unwrap();
        }
        for (number, receive) in receives.into_iter().enumerate() {
            assert_eq!(receive.wait().unwrap(), number.to_string());
        }
    });
}

#[test]
fn a_receive_that_is_begun_in_the_callback_of_the_last_one_gets_the_next() {
    fn callback(ar: AsyncResult<op::ReceiveText, (Client, u32, mpsc::Sender<u32>)>) {
        let client = ar.async_state().0.clone();
        let Completion { result, state: (_, number, sender), .. } = client.end_receive_text(ar);
        match result {
            Ok(line) => {
                assert_eq!(line, number.to_string());
                client.begin_receive_text(callback, (client.clone(), number + 1, sender));
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                sender.send(number).unwrap();
            }
        }
    }
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let (sender, receiver) = mpsc::channel();
        lines.begin_receive_text(callback, (lines.clone(), 0, sender));
        let all: String = (0..5000).map(|number| format!("{number}\n")).collect();
        peer.write_all(all.as_bytes()).unwrap();
        drop(peer);
        assert_eq!(receiver.recv().unwrap(), 5000);
    });
}

/// I2.
#[test]
fn a_receive_that_is_canceled_loses_nothing() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        for round in 0..200 {
            let (half, rest) = (format!("{round} and "), format!("{round}\n"));
            let first = lines.receive_async();
            peer.write_all(half.as_bytes()).unwrap();
            let second = lines.receive_async();
            first.cancel();
            error_of(first.wait(), ErrorKind::Canceled);
            peer.write_all(rest.as_bytes()).unwrap();
            assert_eq!(second.wait().unwrap(), format!("{half}{round}").as_bytes());
        }
    });
}

#[test]
fn a_cancel_that_comes_too_late_changes_nothing() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        peer.write_all(b"here\n").unwrap();
        let receive = lines.receive_async();
        receive.handle().wait_one();
        receive.cancel();
        assert_eq!(receive.wait().unwrap(), b"here");
    });
}

#[test]
fn a_receive_that_is_dropped_is_canceled_and_a_send_goes_on() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        drop(lines.receive_async());
        drop(lines.send_async(vec![b'x'; 8 << 20]));
        let mut sent = vec![0; (8 << 20) + 1];
        peer.read_exact(&mut sent).unwrap();
        peer.write_all(b"for the next\n").unwrap();
        assert_eq!(lines.receive().unwrap(), b"for the next");
    });
}

#[test]
fn a_send_that_is_canceled_says_how_much_was_sent() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let send = client.send_async(vec![0; 64 << 20]);
        peer.read_exact(&mut [0]).unwrap();
        send.cancel();
        let error = error_of(send.wait(), ErrorKind::Canceled);
        assert!(error.to_string().ends_with("of 67108864 bytes sent"), "{error}");
    });
}

#[test]
fn a_timed_wait_does_not_cancel() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let mut receive = client.with_framing(Framing::Fixed(3)).receive_async();
        assert!(receive.wait_timeout(Duration::ZERO).is_none());
        assert!(receive.wait_timeout(SHORT).is_none());
        peer.write_all(b"abc").unwrap();
        assert_eq!(receive.wait_timeout(LIMIT).unwrap().unwrap(), b"abc");
    });
}

#[test]
fn a_call_is_waited_for_beside_an_event() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let quit = Arc::new(ManualResetEvent::new(false));
        let receive = client.with_framing(Framing::Fixed(3)).receive_async();
        let setter = quit.clone();
        let setter = thread::spawn(move || setter.set());
        assert_eq!(wait_any(&[&receive, &quit]), 1);
        setter.join().unwrap();
        quit.reset();
        peer.write_all(b"abc").unwrap();
        assert_eq!(wait_any(&[&receive, &quit]), 0);
        assert_eq!(receive.wait().unwrap(), b"abc");
    });
}

#[test]
fn many_threads_wait_for_one_call() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let receive = client.with_framing(Framing::Fixed(100)).receive_async();
        let waiters: Vec<_> = (0..8)
            .map(|number| {
                let handle = receive.handle();
                thread::spawn(move || match number % 2 {
                    0 => handle.wait_one(),
                    _ => while !handle.wait_timeout(Duration::from_micros(100 * number)) {},
                })
            })
            .collect();
        for _ in 0..100 {
            peer.write_all(b"x").unwrap();
            thread::sleep(Duration::from_micros(100));
        }
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(receive.wait().unwrap(), [b'x'; 100]);
    });
}

#[test]
fn a_callback_may_wait_for_a_call_even_if_it_holds_the_only_worker() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let early = lines.receive_async();
        let (results, outcome) = mpsc::channel();
        client.begin_send(
            "x",
            move |_| {
                let first = early.wait();
                let second = block_in_time(&lines);
                results.send((first, second)).unwrap();
            },
            (),
        );
        peer.read_exact(&mut [0]).unwrap();
        peer.write_all(b"first\nsecond\n").unwrap();
        let (first, second) = outcome.recv().unwrap();
        assert_eq!((first.unwrap(), second.unwrap()), (b"first".to_vec(), b"second".to_vec()));
    });

    fn block_in_time(lines: &Client) -> Result<Vec<u8>, Error> {
        lines.receive()
    }
}

/// Nobody goes through the call that is first, and the worker that would is held by who waits for it.
#[test]
fn a_receive_in_a_callback_gets_on_behind_one_that_is_left_alone() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let left_alone = lines.receive_async();
        let (begun, has_begun) = mpsc::channel();
        let (results, outcome) = mpsc::channel();
        runtime.handle().post(move || {
            begun.send(()).unwrap();
            results.send(lines.receive()).unwrap();
        });
        has_begun.recv().unwrap();
        peer.write_all(b"first\nsecond\n").unwrap();
        assert_eq!(outcome.recv().unwrap().unwrap(), b"second");
        assert_eq!(left_alone.wait().unwrap(), b"first");
    });
}

#[test]
fn a_receive_in_a_callback_gets_on_behind_one_whose_time_is_over() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let left_alone = lines.with_timeout(SHORT).receive_async();
        let (results, outcome) = mpsc::channel();
        runtime.handle().post(move || results.send(lines.receive()).unwrap());
        assert!(left_alone.handle().wait_timeout(LIMIT));
        peer.write_all(b"line\n").unwrap();
        assert_eq!(outcome.recv().unwrap().unwrap(), b"line");
        error_of(left_alone.wait(), ErrorKind::TimedOut);
    });
}

/// The deadline of a receive that is not even its turn is kept though no worker can see to it.
#[test]
fn a_deadline_is_kept_by_who_waits_if_all_workers_are_held() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let held: Vec<_> = (0..runtime.workers()).map(|_| mpsc::channel::<()>()).collect();
        let (holding, held_now) = mpsc::channel();
        let _release: Vec<_> = held
            .into_iter()
            .map(|(release, released)| {
                let holding = holding.clone();
                runtime.handle().post(move || {
                    holding.send(()).unwrap();
                    let _ = released.recv();
                });
                release
            })
            .collect();
        (0..runtime.workers()).for_each(|_| held_now.recv().unwrap());
        let first = client.receive_async();
        let start = Instant::now();
        error_of(client.with_timeout(SHORT).receive(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        assert!(!first.is_completed());
    });
}

#[test]
fn the_deadline_of_a_call_that_nobody_waits_for_is_kept() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let first = client.receive_async();
        let (sender, receiver) = mpsc::channel();
        let hasty = client.with_timeout(SHORT);
        for _ in 0..3 {
            let (sender, ender) = (sender.clone(), hasty.clone());
            hasty.begin_receive(move |ar| sender.send(ender.end_receive(ar).result).unwrap(), ());
        }
        for _ in 0..3 {
            let error = error_of(receiver.recv().unwrap(), ErrorKind::TimedOut);
            assert!(error.to_string().contains("another receive was not over"), "{error}");
        }
        assert!(!first.is_completed());
    });
}

#[test]
fn a_call_without_any_time_ends_though_nobody_waits_for_it() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let hasty = client.with_framing(Framing::Fixed(1)).with_timeout(Duration::ZERO);
        let (sender, receiver) = mpsc::channel();
        let begin = || {
            let (sender, ender) = (sender.clone(), hasty.clone());
            hasty.begin_receive(move |ar| sender.send(ender.end_receive(ar).result).unwrap(), ());
            receiver.recv().unwrap()
        };
        error_of(begin(), ErrorKind::TimedOut);
        // It takes what has arrived, when that is known.
        peer.write_all(b"x").unwrap();
        while begin().is_err() {
            thread::yield_now();
        }
    });
}

#[test]
fn close_ends_what_is_pending_in_every_face() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let receives: Vec<_> = (0..3).map(|_| client.receive_async()).collect();
        let (sender, receiver) = mpsc::channel();
        let ender = client.clone();
        client.begin_receive(move |ar| sender.send(ender.end_receive(ar).result).unwrap(), ());
        until_somebody_receives(&client);
        client.close();
        for receive in receives {
            error_of(receive.wait(), ErrorKind::Closed);
        }
        error_of(receiver.recv().unwrap(), ErrorKind::Closed);
    });
}

/// I1.
#[test]
fn the_end_of_the_runtime_ends_what_is_pending_and_runs_its_callbacks() {
    for engine in [aio_core::Engine::Blocking, aio_core::Engine::Readiness] {
        support::within(LIMIT, &engine.to_string(), move || {
            let runtime = support::builder().engine(engine).workers(1).build().unwrap();
            let (client, _peer) = connected(&runtime);
            let (sender, receiver) = mpsc::channel();
            for _ in 0..10 {
                let (sender, ender) = (sender.clone(), client.clone());
                client.begin_receive(
                    move |ar| sender.send(ender.end_receive(ar).result).unwrap(),
                    (),
                );
            }
            let receive = client.receive_async();
            drop((runtime, sender));
            assert!(receive.wait().is_err());
            for _ in 0..10 {
                assert!(receiver.recv().unwrap().is_err());
            }
            assert!(receiver.recv().is_err(), "each ran once");
        });
    }
}

#[test]
fn a_progress_callback_that_panics_ends_the_receive() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let client = client.with_progress(|_, _| panic!("this is meant to be printed"));
        for face in FACES {
            let error = error_of(receive(&client, face), ErrorKind::InvalidInput);
            assert!(error.to_string().contains("panicked"), "{error}");
        }
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("this is meant to be printed");
    }
}

#[test]
fn a_progress_callback_that_panics_with_something_that_panics_ends_the_receive() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let client = client.with_progress(|_, _| panic::panic_any(Bomb));
        for face in FACES {
            error_of(receive(&client, face), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn a_progress_callback_that_panics_when_it_is_dropped_does_not_hold_up_the_receive() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let bomb = Bomb;
        let client = client.with_framing(Framing::Fixed(1)).with_progress(move |_, _| {
            let _ = &bomb;
        });
        let receive = client.receive_async();
        // Now the receive has the last handle of the callback.
        drop(client);
        peer.write_all(b"x").unwrap();
        assert_eq!(receive.wait().unwrap(), b"x");
    });
}
