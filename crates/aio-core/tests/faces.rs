//! The faces of an operation: the same connect, accept, send and receive, waited for, awaited, or with
//! a callback, complete alike.

mod support;

use aio_core::{
    Completion, CompletionPort, IoBuf, Operation, OperationHandle, Runtime, is_aborted, op,
};
use aio_sync::{ManualResetEvent, wait_all, wait_any, wait_any_timeout};
use std::future::Future;
use std::io::{ErrorKind, Read, Write};
use std::mem;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;
use support::{connected, listener, sends_are_cut_short, with_every_runtime};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn waited_for() {
    if sends_are_cut_short() {
        return;
    }
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let accept = listener.accept_async();
        let client = runtime.tcp_v4().unwrap();
        client.connect_async(address).wait().result.unwrap();
        let server = accept.wait().result.unwrap();
        for round in 0..100 {
            let mut receive = server.receive_async([0; 8]);
            if round % 10 == 0 {
                assert!(receive.wait_timeout(Duration::from_micros(100)).is_none());
            }
            assert_eq!(client.send_async([round; 3]).wait().result.unwrap(), 3);
            let Completion { result, bytes_transferred, buffer, .. } = receive.wait();
            assert_eq!((result.unwrap(), bytes_transferred), (3, 3));
            assert_eq!(buffer, [round, round, round, 0, 0, 0, 0, 0]);
        }
    });
}

#[test]
fn awaited() {
    if sends_are_cut_short() {
        return;
    }
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let client = runtime.tcp_v4().unwrap();
        block_on(async {
            let accept = listener.accept_async();
            client.connect_async(address).await.result.unwrap();
            let server = accept.await.result.unwrap();
            for round in 0..100 {
                let receive = server.receive_async([0; 8]);
                assert_eq!(client.send_async([round; 3]).await.result.unwrap(), 3);
                assert_eq!(receive.await.buffer[..3], [round; 3]);
            }
        });
    });
}

/// The task that waits may change, and the waker of the last poll is the one that is woken.
#[test]
fn awaited_by_one_task_and_then_by_another() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let mut receive = Box::pin(socket.receive_async([0; 1]));
        let mut context = Context::from_waker(Waker::noop());
        assert!(receive.as_mut().poll(&mut context).is_pending());
        assert!(receive.as_mut().poll(&mut context).is_pending());
        let thread = thread::spawn(move || block_on(receive));
        thread::sleep(Duration::from_millis(1));
        peer.write_all(&[9]).unwrap();
        assert_eq!(thread.join().unwrap().buffer, [9]);
    });
}

#[test]
fn waited_for_beside_events_and_other_operations() {
    with_every_runtime(|runtime: &Runtime| {
        let (first, mut first_peer) = connected(runtime);
        let (second, mut second_peer) = connected(runtime);
        let quit = ManualResetEvent::new(false);
        let operations = [first.receive_async([0; 1]), second.receive_async([0; 1])];
        let [one, two] = &operations;
        assert_eq!(wait_any_timeout(&[one, two, &quit], Duration::from_millis(1)), None);
        second_peer.write_all(&[2]).unwrap();
        assert_eq!(wait_any(&[one, &quit, two]), 2);
        first_peer.write_all(&[1]).unwrap();
        wait_all(&[one, two]);
        let bytes = operations.map(|operation| operation.wait().buffer[0]);
        assert_eq!(bytes, [1, 2]);
    });
}

/// I2: a timeout does not cancel; a cancel that wins takes nothing.
#[test]
fn canceled_and_the_bytes_are_still_there() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let mut operation = socket.receive_async([0; 4]);
        assert!(operation.wait_timeout(Duration::from_millis(1)).is_none());
        assert!(!operation.is_completed());
        operation.handle().cancel();
        assert!(is_aborted(&operation.wait().result.unwrap_err()));
        peer.write_all(&[7]).unwrap();
        assert_eq!(socket.receive_async([0; 4]).wait().buffer, [7, 0, 0, 0]);
    });
}

#[test]
fn dropping_a_pending_receive_cancels_it() {
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let operation = socket.receive_async([0; 4]);
        let handle = operation.handle();
        let polled = socket.receive_async([0; 4]);
        let polled_handle = polled.handle();
        {
            let mut polled = pin!(polled);
            let mut context = Context::from_waker(Waker::noop());
            assert!(polled.as_mut().poll(&mut context).is_pending());
        }
        // With injected faults a worker may be attempting it at this moment, and completes it then.
        let has_completed = |handle: &OperationHandle| {
            if sends_are_cut_short() {
                handle.wait_one();
            }
            handle.is_completed()
        };
        assert!(!handle.is_completed() && has_completed(&polled_handle));
        drop(operation);
        assert!(has_completed(&handle));
        peer.write_all(&[7]).unwrap();
        assert_eq!(socket.receive_async([0; 4]).wait().buffer, [7, 0, 0, 0]);
    });
}

/// Nobody is there any more to be woken, and who drops it may hold what its waker needs.
#[test]
fn dropping_an_awaited_operation_wakes_nobody() {
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, _peer) = connected(runtime);
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let mut receive = Box::pin(socket.receive_async([0; 1]));
        let handle = receive.handle();
        let waker = Waker::from(count.clone());
        assert!(receive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        drop(receive);
        handle.wait_one();
        assert_eq!(count.0.load(Ordering::Relaxed), 0);
    });
}

/// I10, for whatever else of a user's a worker may run.
#[test]
fn a_panic_in_a_waker_or_in_the_drop_of_a_buffer_is_counted_and_everybody_else_goes_on() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("on purpose: in a waker");
        }
    }
    struct PanicsWhenDropped(Vec<u8>);
    // SAFETY: its heap block moves only through a mutable reference.
    unsafe impl IoBuf for PanicsWhenDropped {
        fn as_slice(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for PanicsWhenDropped {
        fn drop(&mut self) {
            panic!("on purpose: in the drop of a buffer");
        }
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let waker = Waker::from(Arc::new(Panics));
        let mut receive = Box::pin(socket.receive_async([0; 1]));
        assert!(receive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        peer.write_all(&[1]).unwrap();
        receive.handle().wait_one();
        // In the thread that cancels, too: it is not to blame.
        let mut canceled = Box::pin(socket.receive_async([0; 1]));
        assert!(canceled.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        canceled.cancel();
        const SIZE: usize = 8 << 20;
        drop(socket.send_async(PanicsWhenDropped(vec![3; SIZE])));
        let mut bytes = vec![0; SIZE];
        peer.read_exact(&mut bytes).unwrap();
        socket.send_async([1]).wait().result.unwrap();
        while runtime.metrics().callback_panics < 3 {
            thread::yield_now();
        }
        assert_eq!(runtime.metrics().callback_panics, 3);
    });
}

#[test]
fn dropping_a_pending_send_lets_it_finish() {
    with_every_runtime(|runtime: &Runtime| {
        const SIZE: usize = 8 << 20;
        let (socket, mut peer) = connected(runtime);
        drop(socket.send_async(vec![3; SIZE]));
        drop(socket);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() == SIZE && bytes.iter().all(|byte| *byte == 3));
    });
}

/// AR-9 for the buffer, and nothing else moves: the operation is sent to another thread.
#[test]
fn waited_for_by_another_thread() {
    fn assert_send<T: Send>(value: T) -> T {
        value
    }
    with_every_runtime(|runtime: &Runtime| {
        let (socket, mut peer) = connected(runtime);
        let operation: Operation<op::Receive<Vec<u8>>> =
            assert_send(socket.receive_async(vec![0; 1]));
        let thread = thread::spawn(move || operation.wait());
        peer.write_all(&[5]).unwrap();
        assert_eq!(thread.join().unwrap().buffer, [5]);
    });
}

#[test]
fn synchronous() {
    if sends_are_cut_short() {
        return;
    }
    with_every_runtime(|runtime: &Runtime| {
        let (listener, address) = listener(runtime);
        let client = runtime.tcp_v4().unwrap();
        client.connect(address).unwrap();
        let server = listener.accept().unwrap();
        let mut bytes = [0; 8];
        for round in 0..100 {
            assert_eq!(client.send(&[round; 3]).unwrap(), 3);
            assert_eq!(server.receive(&mut bytes).unwrap(), 3);
            assert_eq!(bytes[..3], [round; 3]);
        }
        let hasty = server.with_timeout(Duration::from_millis(1));
        assert_eq!(hasty.receive(&mut bytes).unwrap_err().kind(), ErrorKind::TimedOut);
        let sender = client.clone();
        let thread = thread::spawn(move || sender.send(&vec![8; 4 << 20]).unwrap());
        let mut received = 0;
        let mut bytes = vec![0; 65_536];
        while received < 4 << 20 {
            received += server.receive(&mut bytes).unwrap();
        }
        assert_eq!(thread.join().unwrap(), received);
        client.disconnect().unwrap();
        assert_eq!(server.receive(&mut bytes).unwrap(), 0);
        assert!(client.send(&[1]).is_err());
    });
}

#[test]
fn posted_to_a_port() {
    with_every_runtime(|runtime: &Runtime| {
        const SOCKETS: usize = 8;
        let port = Arc::new(CompletionPort::new(1));
        let mut pairs: Vec<_> = (0..SOCKETS).map(|_| connected(runtime)).collect();
        for round in 0..50 {
            for (i, (socket, _)) in pairs.iter().enumerate() {
                socket.receive_async([0; 8]).post_to(&port, move |completion| (i, completion));
            }
            for (i, (_, peer)) in pairs.iter_mut().enumerate() {
                peer.write_all(&[round, i as u8]).unwrap();
            }
            let mut seen = [false; SOCKETS];
            for _ in 0..SOCKETS {
                let (i, Completion { result, buffer, .. }) = port.wait().unwrap();
                assert_eq!(buffer[..result.unwrap()], [round, i as u8]);
                assert!(!mem::replace(&mut seen[i], true));
            }
        }
        assert!(port.is_empty());
    });
}

/// I1, I2: whatever ends it, there is one packet and it has the buffer; and nothing is left behind.
#[test]
fn posted_to_a_port_when_it_is_over_canceled_or_closed() {
    with_every_runtime(|runtime: &Runtime| {
        let port = Arc::new(CompletionPort::new(1));
        let (socket, mut peer) = connected(runtime);
        let kept = Arc::new(());
        let post = |operation: Operation<op::Receive<[u8; 3]>>| {
            let kept = kept.clone();
            operation.post_to(&port, move |completion| (completion, kept))
        };
        post(socket.receive_async([1; 3])).cancel();
        let (canceled, _) = port.wait().unwrap();
        assert!(is_aborted(&canceled.result.unwrap_err()));
        assert_eq!(canceled.buffer, [1; 3]);

        peer.write_all(b"abc").unwrap();
        let received = socket.receive_async([0; 3]);
        received.handle().wait_one();
        post(received);
        assert_eq!(port.wait().unwrap().0.buffer, *b"abc");

        let late = post(socket.receive_async([2; 3]));
        socket.close();
        late.wait_one();
        assert!(is_aborted(&port.wait().unwrap().0.result.unwrap_err()));
        assert!(port.is_empty());
        assert_eq!(Arc::strong_count(&kept), 1);

        port.close();
        post(socket.receive_async([0; 3])).wait_one();
        // Who completes it lets go of it a moment after that.
        while Arc::strong_count(&kept) > 1 {
            thread::yield_now();
        }
    });
}

/// I10.
#[test]
fn a_panic_in_what_makes_a_packet_is_counted() {
    with_every_runtime(|runtime: &Runtime| {
        let port = Arc::new(CompletionPort::<()>::new(1));
        let (socket, _peer) = connected(runtime);
        let receive = socket.receive_async([0; 1]);
        receive.post_to(&port, |_| panic!("on purpose: in the map of post_to")).cancel();
        // With injected faults it may be a worker that completes it, later.
        while runtime.metrics().callback_panics == 0 {
            thread::yield_now();
        }
        assert_eq!(runtime.metrics().callback_panics, 1);
        assert!(port.is_empty());
    });
}
