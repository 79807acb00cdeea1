//! The faces of an operation behind one interface, so that a case is written once.

use crate::support::{ENGINES, builder, limit, within};
use aio_core::op::Destination;
use aio_core::socket2::SockAddr;
use aio_core::{
    AsyncResult, Completion, CompletionPort, IoBuf, IoBufMut, Operation, OperationHandle, Runtime,
    Socket, op,
};
use aio_sync::AutoResetEvent;
use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::{Deref, RangeBounds};
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

pub(crate) const WORKERS: [usize; 2] = [1, 3];

/// How an operation is begun and its completion obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    /// `begin_*`, and `end_*` in the callback.
    Callback,
    /// `*_async`, and `wait`.
    Wait,
    /// `*_async`, polled by a task that is woken.
    Await,
    /// `*_async`, posted to a completion port.
    Port,
}

impl Face {
    pub(crate) const ALL: [Self; 4] = [Self::Callback, Self::Wait, Self::Await, Self::Port];
}

/// What a case runs with.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) runtime: Runtime,
    face: Face,
}

/// So many bytes are not sent before the peer reads.
pub(crate) const UNFINISHED: usize = 64 << 20;

/// Runs `case` with every face, all of them at once.
pub(crate) fn conforms(case: fn(&Case)) {
    thread::scope(|scope| {
        for face in Face::ALL {
            scope.spawn(move || conforms_with(face, case));
        }
    });
}

/// Runs `case` with one face, under every engine, with one worker and with several.
pub(crate) fn conforms_with(face: Face, case: fn(&Case)) {
    for engine in ENGINES {
        for workers in WORKERS {
            within(limit(), &format!("{face:?}, {engine}, {workers} workers"), move || {
                let runtime = builder().engine(engine).workers(workers).build().unwrap();
                let conforming = Case { runtime, face };
                case(&conforming);
                assert_eq!(conforming.runtime.metrics().callback_panics, 0);
            });
        }
    }
}

/// An operation that was begun, whatever its face.
pub(crate) struct Begun<K: op::Kind> {
    handle: OperationHandle,
    outcome: Outcome<K>,
}

enum Outcome<K: op::Kind> {
    Callback(mpsc::Receiver<Completion<K>>),
    Wait(Operation<K>),
    Await(Pin<Box<Operation<K>>>, Arc<Task>),
    /// The task's first poll found it completed.
    Awaited(Completion<K>),
    Port(Arc<CompletionPort<Completion<K>>>),
}

struct Task {
    woken: AutoResetEvent,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.woken.set();
    }
}

fn poll<K: op::Kind>(
    operation: &mut Pin<Box<Operation<K>>>,
    task: &Arc<Task>,
) -> Poll<Completion<K>> {
    operation.as_mut().poll(&mut Context::from_waker(&Waker::from(task.clone())))
}

impl<K: op::Kind> Begun<K> {
    /// `begin` is given what is to be called in the callback, with what `end_*` returns.
    fn called_back(begin: impl FnOnce(mpsc::Sender<Completion<K>>) -> OperationHandle) -> Self {
        let (report, completed) = mpsc::channel();
        Self { handle: begin(report), outcome: Outcome::Callback(completed) }
    }

    fn started(face: Face, operation: Operation<K>) -> Self {
        let handle = operation.handle();
        let outcome = match face {
            Face::Callback => unreachable!("a callback is given to begin"),
            Face::Wait => Outcome::Wait(operation),
            Face::Await => {
                let task = Arc::new(Task { woken: AutoResetEvent::new(false) });
                let mut operation = Box::pin(operation);
                match poll(&mut operation, &task) {
                    Poll::Ready(completion) => Outcome::Awaited(completion),
                    Poll::Pending => Outcome::Await(operation, task),
                }
            }
            Face::Port => {
                let port = Arc::new(CompletionPort::new(1));
                operation.post_to(&port, |completion| completion);
                Outcome::Port(port)
            }
        };
        Self { handle, outcome }
    }

    /// Waits until the operation is over, and returns its one completion.
    pub(crate) fn end(self) -> Completion<K> {
        let completion = match self.outcome {
            Outcome::Callback(completed) => {
                let completion = completed.recv().expect("the callback runs");
                assert!(completed.recv().is_err(), "the callback runs once");
                completion
            }
            Outcome::Wait(operation) => operation.wait(),
            Outcome::Awaited(completion) => completion,
            Outcome::Await(mut operation, task) => loop {
                task.woken.wait_one();
                if let Poll::Ready(completion) = poll(&mut operation, &task) {
                    break completion;
                }
            },
            Outcome::Port(port) => {
                let completion = port.wait().expect("the port is open");
                assert!(port.is_empty(), "a completion is posted once");
                completion
            }
        };
        assert!(self.handle.is_completed(), "it has ended and is not completed");
        completion
    }

    /// What it yields; it succeeds.
    pub(crate) fn output(self) -> K::Output {
        self.end().result.unwrap()
    }

    /// Why it fails; it does.
    pub(crate) fn error(self) -> io::Error {
        self.end().result.err().expect("this operation fails")
    }

    pub(crate) fn handle(&self) -> OperationHandle {
        self.handle.clone()
    }
}

impl<K: op::Kind> Deref for Begun<K> {
    type Target = OperationHandle;

    fn deref(&self) -> &OperationHandle {
        &self.handle
    }
}

/// Gives `report` the completion; in the callback of an operation that has completed (AR-5).
fn report<K: op::Kind>(
    report: &mpsc::Sender<Completion<K>>,
    result: AsyncResult<K>,
    end: impl FnOnce(AsyncResult<K>) -> Completion<K>,
) {
    assert!(result.is_completed() && result.operation().is_completed());
    assert!(result.async_wait_handle().try_wait() && !result.completed_synchronously());
    // Gone if the case does not ask for the completion.
    let _ = report.send(end(result));
}

impl Case {
    /// Begun at the runtime, since there is no socket before.
    pub(crate) fn connect_to(&self, destination: impl Into<Destination>) -> Begun<op::ConnectTo> {
        match self.face {
            Face::Callback => Begun::called_back(|completed| {
                let callback = move |ar| report(&completed, ar, Socket::end_connect_to);
                self.runtime.begin_connect_to(destination, callback, ())
            }),
            face => Begun::started(face, self.runtime.connect_to_async(destination)),
        }
    }
}

macro_rules! operations {
    ($($name:ident[$($parameters:tt)*]($($argument:ident: $type:ty),*) -> $kind:ty,
        $begin:ident, $end:ident, $start:ident;)*) => {
        impl Case {$(
            pub(crate) fn $name<$($parameters)*>(
                &self,
                socket: &Socket,
                $($argument: $type),*
            ) -> Begun<$kind> {
                match self.face {
                    Face::Callback => Begun::called_back(|completed| {
                        let ender = socket.clone();
                        let callback = move |ar| report(&completed, ar, |ar| ender.$end(ar));
                        socket.$begin($($argument,)* callback, ())
                    }),
                    face => Begun::started(face, socket.$start($($argument),*)),
                }
            }
        )*}
    };
}

operations! {
    connect[A: Into<SockAddr>](address: A) -> op::Connect, begin_connect, end_connect, connect_async;
    accept[]() -> op::Accept, begin_accept, end_accept, accept_async;
    accept_receive[B: IoBufMut](buffer: B) -> op::AcceptReceive<B>,
        begin_accept_receive, end_accept_receive, accept_receive_async;
    disconnect[]() -> op::Disconnect, begin_disconnect, end_disconnect, disconnect_async;
    send[B: IoBuf](buffer: B) -> op::Send<B>, begin_send, end_send, send_async;
    send_list[B: IoBuf](buffers: Vec<B>) -> op::SendList<B>,
        begin_send_list, end_send_list, send_list_async;
    send_to[B: IoBuf, A: Into<SockAddr>](buffer: B, address: A) -> op::SendTo<B>,
        begin_send_to, end_send_to, send_to_async;
    send_file[R: RangeBounds<u64>](file: File, range: R) -> op::SendFile,
        begin_send_file, end_send_file, send_file_async;
    receive[B: IoBufMut](buffer: B) -> op::Receive<B>, begin_receive, end_receive, receive_async;
    receive_list[B: IoBufMut](buffers: Vec<B>) -> op::ReceiveList<B>,
        begin_receive_list, end_receive_list, receive_list_async;
    receive_from[B: IoBufMut](buffer: B) -> op::ReceiveFrom<B>,
        begin_receive_from, end_receive_from, receive_from_async;
    receive_message_from[B: IoBufMut](buffer: B) -> op::ReceiveMessageFrom<B>,
        begin_receive_message_from, end_receive_message_from, receive_message_from_async;
}
