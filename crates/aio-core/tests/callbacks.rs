//! I3: callbacks run on workers, never inside begin, never nested. I10: panics stay in them.

mod support;

use aio_core::{AsyncResult, Completion, PanicPolicy, Runtime, Socket, op};
use std::cell::Cell;
use std::io::{Read, Write};
use std::panic;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;
use support::{
    LIMIT, connected, receive, send, sends_are_cut_short, with_every_engine, with_every_runtime,
    within,
};

#[test]
fn callbacks_run_on_workers_and_never_inside_begin() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        let caller = thread::current().id();
        let (report, names) = mpsc::channel();
        for _ in 0..100 {
            let report = report.clone();
            socket.begin_send(
                [1],
                move |_| {
                    assert_ne!(thread::current().id(), caller);
                    report.send(thread::current().name().unwrap().to_owned()).unwrap();
                },
                (),
            );
        }
        drop(report);
        let names: Vec<String> = names.iter().collect();
        assert_eq!(names.len(), 100);
        assert!(names.iter().all(|name| name.starts_with("aio-worker-")), "{names:?}");
    });
}

/// AR-5, AR-11: in the callback the operation is completed and its wait handle set, whether or not
/// begin has returned.
#[test]
fn in_the_callback_the_operation_is_completed() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        let (report, states) = mpsc::channel();
        let handle = socket.begin_send(
            [1],
            move |ar| {
                let set = ar.async_wait_handle().try_wait() && ar.operation().is_completed();
                report.send((ar.is_completed() && set, ar.completed_synchronously())).unwrap();
            },
            (),
        );
        assert_eq!(states.recv().unwrap(), (true, false));
        handle.wait_one();
    });
}

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// CB-9, CB-10: the document's pattern, begin again inside the callback, with operations that
/// complete at once, on small stacks.
#[test]
fn a_hundred_thousand_receives_that_complete_at_once_do_not_nest() {
    // A call that is put off takes its time.
    let receives = if sends_are_cut_short() { 5_000 } else { 100_000 };
    with_every_engine(&[1], move |builder| {
        let runtime = builder.stack_size(256 << 10).build().unwrap();
        let (socket, mut peer) = connected(&runtime);
        let writer = thread::spawn(move || {
            peer.write_all(&vec![5; receives]).unwrap();
            peer
        });
        let (report, done) = mpsc::channel();
        receive_again(&socket, [0; 1], receives, report);
        done.recv().unwrap();
        drop(writer.join().unwrap());
    });

    fn receive_again(socket: &Socket, buffer: [u8; 1], left: usize, report: mpsc::Sender<()>) {
        type State = (Socket, usize, mpsc::Sender<()>);
        socket.begin_receive(
            buffer,
            |ar: AsyncResult<op::Receive<[u8; 1]>, State>| {
                assert_eq!(DEPTH.replace(1), 0, "a callback runs inside another");
                let socket = ar.async_state().0.clone();
                let Completion { result, buffer, state: (_, left, report), .. } =
                    socket.end_receive(ar);
                assert_eq!((result.unwrap(), buffer), (1, [5]));
                if left == 1 {
                    report.send(()).unwrap();
                } else {
                    receive_again(&socket, buffer, left - 1, report);
                }
                DEPTH.set(0);
            },
            (socket.clone(), left, report),
        );
    }
}

/// CB-14 as departed from.
#[test]
fn a_panic_in_a_callback_is_counted_and_everybody_else_goes_on() {
    struct PanicsWhenDropped;
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("on purpose: in the drop of a state");
        }
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        for round in 1..=10 {
            socket.begin_send([1], |_| panic!("on purpose: in a callback"), ());
            let drops = socket.begin_send([1], drop, PanicsWhenDropped);
            drops.wait_one();
            let (report, received) = mpsc::channel();
            receive(&socket, 1, &report);
            peer.write_all(&[round]).unwrap();
            assert_eq!(received.recv().unwrap().buffer, [round]);
        }
        let (report, sent) = mpsc::channel();
        send(&socket, vec![1], &report);
        sent.recv().unwrap().result.unwrap();
        while runtime.metrics().callback_panics < 20 {
            thread::yield_now();
        }
        assert_eq!(runtime.metrics().callback_panics, 20);
    });
}

/// What a panic leaves may panic when it is dropped, with something that does: all of it is dropped.
#[test]
fn a_panic_that_leaves_something_that_panics_leaks_nothing() {
    struct Bomb(Option<Arc<()>>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if let Some(alive) = self.0.take() {
                panic::panic_any(alive);
            }
        }
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        let alive = Arc::new(());
        let bomb = Bomb(Some(alive.clone()));
        socket.begin_send([1], |_| panic::panic_any(bomb), ());
        while runtime.metrics().callback_panics == 0 || Arc::strong_count(&alive) > 1 {
            thread::yield_now();
        }
        socket.send_async([1]).wait().result.unwrap();
    });
}

/// RC-13, UX-12: with one worker, a callback waits for operations that need one.
#[test]
fn a_callback_can_wait_for_operations_of_its_own_runtime() {
    with_every_runtime(|runtime: &Runtime| {
        for _ in 0..20 {
            let (socket, mut peer) = connected(runtime);
            let (other, mut other_peer) = connected(runtime);
            let (report_other, other_received) = mpsc::channel();
            receive(&other, 1, &report_other);
            let (report, waited) = mpsc::channel();
            socket.begin_send(
                [1],
                move |ar: AsyncResult<op::Send<[u8; 1]>, Socket>| {
                    let socket = ar.async_state();
                    // One that completes at once, one that has to wait, one that is too late, and one
                    // that takes the peer many reads.
                    socket.send_async([2]).wait().result.unwrap();
                    let received = socket.receive_async([0; 1]).wait().buffer;
                    let mut late = socket.receive_async([0; 1]);
                    assert!(late.wait_timeout(Duration::from_millis(1)).is_none());
                    drop(late);
                    let hasty = socket.with_timeout(Duration::from_millis(1));
                    assert!(hasty.receive_async([0; 1]).wait().result.is_err());
                    let sent = socket.send_async(vec![4; 4 << 20]).wait();
                    report.send((received, sent.result.unwrap())).unwrap();
                },
                socket.clone(),
            );
            let mut bytes = [0; 2];
            peer.read_exact(&mut bytes).unwrap();
            // Somebody else's completion meanwhile: delivered, if not now then later.
            other_peer.write_all(&[7]).unwrap();
            peer.write_all(&[3]).unwrap();
            let mut rest = vec![0; 4 << 20];
            peer.read_exact(&mut rest).unwrap();
            assert_eq!((bytes, waited.recv().unwrap()), ([1, 2], ([3], 4 << 20)));
            assert_eq!(other_received.recv().unwrap().buffer, [7]);
        }
    });
}

/// Every worker waits inside a callback, for what the others' callbacks do not do.
#[test]
fn callbacks_on_all_workers_can_wait_at_once() {
    with_every_runtime(|runtime: &Runtime| {
        let mut pairs: Vec<_> = (0..8).map(|_| connected(runtime)).collect();
        let (report, waited) = mpsc::channel();
        for (socket, _) in &pairs {
            let report = report.clone();
            socket.begin_send(
                [1],
                move |ar: AsyncResult<op::Send<[u8; 1]>, Socket>| {
                    let received = ar.async_state().receive_async([0; 1]).wait();
                    report.send(received.buffer[0]).unwrap();
                },
                socket.clone(),
            );
        }
        for (index, (_, peer)) in (0..8).zip(&mut pairs) {
            peer.write_all(&[index]).unwrap();
        }
        let mut bytes: Vec<u8> = (0..8).map(|_| waited.recv().unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7]);
    });
}

/// I10, the other choice: the process ends.
#[cfg(unix)]
#[test]
fn a_panic_ends_the_process_if_that_is_the_policy() {
    use std::env;
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;
    const NAME: &str = "a_panic_ends_the_process_if_that_is_the_policy";
    const CHILD: &str = "AIO_CORE_TEST_PANICS";
    if env::var_os(CHILD).is_some() {
        let runtime = Runtime::builder().on_panic(PanicPolicy::Abort).workers(1).build().unwrap();
        let (socket, _peer) = connected(&runtime);
        socket.begin_send([1], |_| panic!("on purpose: in a callback"), ());
        thread::sleep(LIMIT);
        return;
    }
    let status = within(LIMIT, NAME, || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", NAME]).env(CHILD, "1").output().unwrap().status
    });
    assert_eq!(status.signal(), Some(6), "{status}");
}
