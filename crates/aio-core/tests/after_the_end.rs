//! I1, I3: what is begun after a runtime has ended completes once, as aborted, and its callback runs on a thread
//! of the process: never inside a call of the user's, never nested in another callback.

mod support;

use aio_core::op::Destination;
use aio_core::{Engine, Runtime, RuntimeHandle, Socket, is_aborted};
use aio_sync::ManualResetEvent;
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;
use support::{LIMIT, connected, listener, within};

/// How a runtime comes to its end.
#[derive(Clone, Copy, Debug)]
enum End {
    Drop,
    Abort,
}

/// A runtime that has ended, as others still have it.
struct Ended {
    handle: RuntimeHandle,
    connected: Socket,
    listener: Socket,
    /// There if it has not been dropped.
    runtime: Option<Runtime>,
}

fn with_every_end(test: fn(&Ended)) {
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [1, 3] {
            for end in [End::Drop, End::Abort] {
                within(LIMIT, &format!("{engine}, {workers} workers, {end:?}"), move || {
                    let runtime =
                        support::builder().engine(engine).workers(workers).build().unwrap();
                    let (connected, _peer) = connected(&runtime);
                    let (listener, _) = listener(&runtime);
                    let handle = runtime.handle();
                    let runtime = match end {
                        End::Drop => {
                            drop(runtime);
                            None
                        }
                        End::Abort => {
                            assert!(runtime.abort().is_complete());
                            Some(runtime)
                        }
                    };
                    test(&Ended { handle, connected, listener, runtime });
                });
            }
        }
    }
}

/// What a callback does that needs a lock which its caller may have.
fn locks(
    lock: &Arc<Mutex<u32>>,
    report: &mpsc::Sender<thread::ThreadId>,
) -> impl FnOnce() + Send + use<> {
    let (lock, report) = (lock.clone(), report.clone());
    move || {
        let mut count: MutexGuard<'_, u32> = lock.lock().unwrap();
        *count += 1;
        drop(count);
        report.send(thread::current().id()).unwrap();
    }
}

/// B7, F1: the program that deadlocked at its shutdown.
#[test]
fn a_callback_does_not_run_where_its_operation_is_begun() {
    with_every_end(|ended: &Ended| {
        let lock = Arc::new(Mutex::new(0));
        let (report, ran) = mpsc::channel();
        let callback = || locks(&lock, &report);
        let locked = lock.lock().unwrap();
        let socket = &ended.connected;
        let mut begun = 0;
        let mut handles = Vec::new();
        for _ in 0..3 {
            let f = callback();
            handles.push(socket.begin_send(*b"late", |_| f(), ()));
            let f = callback();
            handles.push(socket.begin_receive([0; 4], |_| f(), ()));
            let f = callback();
            handles.push(socket.begin_disconnect(|_| f(), ()));
            let f = callback();
            handles.push(ended.listener.begin_accept(|_| f(), ()));
            let f = callback();
            handles.push(ended.listener.begin_accept_receive([0; 4], |_| f(), ()));
            ended.handle.post(callback());
            ended.handle.post_step(callback());
            begun += 7;
        }
        if let Some(runtime) = &ended.runtime {
            for destination in [
                Destination::from(("localhost", 80)),
                Destination::from(("", 80)),
                Destination::from(vec![]),
                Destination::from(SocketAddr::from(([127, 0, 0, 1], 9))),
            ] {
                let f = callback();
                handles.push(runtime.begin_connect_to(destination, |_| f(), ()));
                begun += 1;
            }
        }
        // Nor does it where something else is asked for.
        handles.iter().for_each(|handle| handle.cancel());
        assert!(handles.iter().all(|handle| handle.is_completed()));
        socket.close();
        ended.listener.close();
        let f = callback();
        socket.begin_send(*b"late", |_| f(), ());
        begun += 1;
        drop(handles);
        assert_eq!((*locked, ran.try_recv()), (0, Err(mpsc::TryRecvError::Empty)));
        drop(locked);
        for _ in 0..begun {
            assert_ne!(ran.recv().unwrap(), thread::current().id());
        }
        drop(report);
        assert_eq!(*lock.lock().unwrap(), begun);
        assert_eq!(ran.recv(), Err(mpsc::RecvError), "a callback ran twice");
    });
}

/// Without a callback nobody needs another thread: the operation is over when it has been started.
#[test]
fn what_is_waited_for_is_over_at_once() {
    with_every_end(|ended: &Ended| {
        let send = ended.connected.send_async([1]);
        assert!(send.is_completed());
        assert!(is_aborted(&send.wait().result.unwrap_err()));
        assert!(ended.listener.accept_async().is_completed());
        assert!(is_aborted(&ended.connected.receive(&mut [0]).unwrap_err()));
        let lookup = ended.handle.look_up_async("localhost", 80);
        assert!(lookup.is_completed());
        assert!(is_aborted(&lookup.wait().result.unwrap_err()));
    });
}

#[test]
fn a_wait_that_is_registered_has_ended_and_its_callback_is_dropped() {
    with_every_end(|ended: &Ended| {
        let event = Arc::new(ManualResetEvent::new(true));
        let (report, ran) = mpsc::channel();
        let soon = Some(Duration::ZERO);
        let wait = ended.handle.register_wait(event, soon, true, move |_| report.send(()).unwrap());
        assert!(wait.has_ended());
        assert_eq!(ran.recv(), Err(mpsc::RecvError));
    });
}

#[test]
fn ten_thousand_callbacks_run_once_each() {
    with_every_end(|ended: &Ended| {
        let (report, ran) = mpsc::channel();
        let lock = Arc::new(Mutex::new(()));
        let locked = lock.lock().unwrap();
        for number in 0..10_000 {
            let (report, lock) = (report.clone(), lock.clone());
            ended.connected.begin_send(
                [1],
                move |sent| {
                    // The first one waits, for longer than anybody looks on.
                    if number == 0 {
                        drop(lock.lock().unwrap());
                    }
                    assert!(is_aborted(sent.error().unwrap()));
                    report.send(number).unwrap();
                },
                (),
            );
        }
        drop(report);
        // All but the first, which does not hold them up.
        let mut others: Vec<u32> = ran.iter().take(9_999).collect();
        others.sort_unstable();
        assert!(others.into_iter().eq(1..10_000));
        drop(locked);
        assert_eq!((ran.recv(), ran.recv()), (Ok(0), Err(mpsc::RecvError)));
    });
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Each begins the next: there is no stack for twenty thousand of them.
#[test]
fn callbacks_that_begin_the_next_operation_do_not_nest() {
    fn again(socket: &Socket, left: usize, report: mpsc::Sender<()>) {
        let next = socket.clone();
        let callback = move |_| {
            assert_eq!(DEPTH.replace(1), 0, "a callback runs inside another");
            if left == 0 {
                report.send(()).unwrap();
            } else {
                again(&next, left - 1, report);
            }
            DEPTH.set(0);
        };
        socket.begin_send([1], callback, ());
    }
    with_every_end(|ended: &Ended| {
        let (report, over) = mpsc::channel();
        again(&ended.connected, 20_000, report);
        over.recv().unwrap();
        // The callback may be that of a runtime which goes on.
        let alive = support::builder().workers(1).build().unwrap();
        let (report, over) = mpsc::channel();
        let socket = ended.connected.clone();
        alive.handle().post(move || again(&socket, 1000, report));
        over.recv().unwrap();
    });
}

/// I4: as many as there are threads for such things in any program.
#[test]
fn callbacks_that_block_do_not_hold_up_others() {
    with_every_end(|ended: &Ended| {
        let gate = Arc::new(Barrier::new(21));
        for _ in 0..20 {
            let gate = gate.clone();
            ended.handle.post(move || {
                gate.wait();
            });
        }
        let (report, ran) = mpsc::channel();
        ended.handle.post(move || report.send(()).unwrap());
        ran.recv().unwrap();
        gate.wait();
    });
}

/// More of them than there will ever be threads: the others run when these return.
#[test]
fn no_callback_is_lost_behind_too_many_that_block() {
    with_every_end(|ended: &Ended| {
        let lock = Arc::new(Mutex::new(0));
        let (report, ran) = mpsc::channel();
        let locked = lock.lock().unwrap();
        for _ in 0..500 {
            ended.handle.post(locks(&lock, &report));
        }
        drop((locked, report));
        assert_eq!(ran.iter().count(), 500);
        assert_eq!(*lock.lock().unwrap(), 500);
    });
}

/// I10.
#[test]
fn a_panic_is_counted_and_the_next_callback_runs() {
    with_every_end(|ended: &Ended| {
        for _ in 0..3 {
            ended.handle.post(|| panic!("on purpose: in a callback after the end"));
        }
        let (report, ran) = mpsc::channel();
        ended.handle.post(move || report.send(()).unwrap());
        ran.recv().unwrap();
        if let Some(runtime) = &ended.runtime {
            while runtime.metrics().callback_panics < 3 {
                thread::yield_now();
            }
        }
    });
}
