//! I8: what an executor does when its waker is cloned, woken or dropped runs under no lock of the client.

mod support;

use aio_client::{Framing, OperationHandle};
use std::future::Future;
use std::io::Write;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};
use std::thread;
use std::time::Duration;
use support::{connected, with_every_runtime};

/// An executor that looks at its calls whenever its waker is cloned, woken or dropped, which takes their locks.
#[derive(Default)]
struct Executor {
    calls: Mutex<Vec<OperationHandle>>,
    clones: AtomicUsize,
    wakes: AtomicUsize,
    drops: AtomicUsize,
}

impl Executor {
    /// From another thread, as an executor may: one lock for all threads is enough for a deadlock.
    fn look(&self) {
        let calls = self.calls.lock().unwrap().clone();
        let looking = thread::spawn(move || {
            for call in calls {
                let _ = call.wait_timeout(Duration::ZERO);
                call.cancel();
            }
        });
        looking.join().unwrap();
    }

    fn waker(self: &Arc<Self>) -> Waker {
        // SAFETY: the functions of the table keep the contract of `RawWaker`: each waker has a reference of
        // the executor, which may be used by any thread.
        unsafe { Waker::from_raw(Self::raw(self.clone())) }
    }

    fn raw(executor: Arc<Self>) -> RawWaker {
        RawWaker::new(Arc::into_raw(executor).cast(), &TABLE)
    }
}

const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn borrowed(data: *const ()) -> Arc<Executor> {
    // SAFETY: the waker has a reference, so that there is one to add to.
    unsafe { Arc::increment_strong_count(data.cast::<Executor>()) };
    owned(data)
}

fn owned(data: *const ()) -> Arc<Executor> {
    // SAFETY: `raw` made the pointer of an `Arc`, and the caller has its reference to give away.
    unsafe { Arc::from_raw(data.cast()) }
}

fn clone(data: *const ()) -> RawWaker {
    let executor = borrowed(data);
    executor.clones.fetch_add(1, Ordering::SeqCst);
    executor.look();
    Executor::raw(executor)
}

fn wake(data: *const ()) {
    let executor = owned(data);
    executor.wakes.fetch_add(1, Ordering::SeqCst);
    executor.look();
}

fn wake_by_ref(data: *const ()) {
    wake(Arc::into_raw(borrowed(data)).cast());
}

fn drop_waker(data: *const ()) {
    let executor = owned(data);
    executor.drops.fetch_add(1, Ordering::SeqCst);
    executor.look();
}

fn poll<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn a_waker_that_looks_at_its_call_is_cloned_woken_and_dropped_outside_its_lock() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let lines = client.with_framing(Framing::delimiter("\n"));
        let executors = [Arc::new(Executor::default()), Arc::new(Executor::default())];
        let wakers = executors.each_ref().map(Executor::waker);
        let mut receive = lines.receive_async();
        executors.iter().for_each(|executor| executor.calls.lock().unwrap().push(receive.handle()));
        // The first look cancels the call, and so wakes the one that polled last.
        (0..20).find(|round| poll(&mut receive, &wakers[round / 3 % 2]).is_ready());
        receive.handle().wait_one();
        // One that is dropped while it keeps a waker.
        let mut receive = lines.receive_async();
        executors[0].calls.lock().unwrap().push(receive.handle());
        let _ = poll(&mut receive, &wakers[0]);
        drop(receive);
        peer.write_all(b"a line\n").unwrap();
        assert_eq!(lines.receive().unwrap(), b"a line");
        for executor in &executors {
            executor.calls.lock().unwrap().clear();
        }
        let count =
            |which: fn(&Executor) -> &AtomicUsize| which(&executors[0]).load(Ordering::SeqCst);
        assert!(count(|executor| &executor.clones) > 0);
        assert!(count(|executor| &executor.drops) > 0);
    });
}

#[test]
fn a_waker_that_would_wake_the_same_task_is_not_cloned_again() {
    with_every_runtime(|runtime| {
        let (client, mut peer) = connected(runtime);
        let mut receive = client.with_framing(Framing::delimiter("\n")).receive_async();
        let executors = [Arc::new(Executor::default()), Arc::new(Executor::default())];
        let wakers = executors.each_ref().map(Executor::waker);
        let clones = || executors.each_ref().map(|executor| executor.clones.load(Ordering::SeqCst));
        for _ in 0..1_000 {
            assert!(poll(&mut receive, &wakers[0]).is_pending());
        }
        assert_eq!(clones(), [1, 0]);
        for _ in 0..1_000 {
            assert!(poll(&mut receive, &wakers[1]).is_pending());
        }
        assert_eq!(clones(), [1, 1], "the task that polls last is the one to wake");
        peer.write_all(b"line\n").unwrap();
        receive.handle().wait_one();
        while executors[1].wakes.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(executors[0].wakes.load(Ordering::SeqCst), 0);
        assert!(matches!(poll(&mut receive, &wakers[1]), Poll::Ready(Ok(line)) if line == b"line"));
    });
}

#[test]
fn a_call_that_is_dropped_keeps_no_waker() {
    with_every_runtime(|runtime| {
        let (client, _peer) = connected(runtime);
        let mut send = client.send_async(vec![0; 64 << 20]);
        let executor = Arc::new(Executor::default());
        let waker = executor.waker();
        assert!(poll(&mut send, &waker).is_pending());
        let handle = send.handle();
        drop((send, waker));
        assert!(!handle.is_completed(), "it goes on");
        assert_eq!(Arc::strong_count(&executor), 1);
        handle.cancel();
    });
}
