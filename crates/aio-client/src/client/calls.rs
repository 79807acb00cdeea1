//! The client's calls, each written once for all its faces.

use super::{Client, Origin};
use crate::async_result::{AsyncResult, Completion};
use crate::connect;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::{Attempt, Error, ErrorKind};
use crate::op::{self, Kind};
use crate::operation::{Operation, OperationHandle};
use crate::received::Received;
use crate::task::{self, Call, Place, Task, Won};
use aio_core::RuntimeHandle;
use std::future::Future;
use std::sync::Arc;

/// `None` for the faces that have no callback.
type Then<T> = Option<task::Then<T>>;

pub(super) fn then<K, T, S, F>(callback: F, state: S) -> Then<T>
where
    K: Kind,
    T: Won + Into<K::Output>,
    S: Send + 'static,
    F: FnOnce(AsyncResult<K, S>) + Send + 'static,
{
    Some(Box::new(move |task, outcome| {
        let completion = Completion::new(outcome.map(T::into), state);
        callback(AsyncResult::new(completion, OperationHandle::new(task)));
    }))
}

impl Client {
    fn start<T: Won, F>(
        &self,
        place: Place,
        call: impl FnOnce(Arc<Call>) -> F,
        then: Then<T>,
    ) -> Arc<Task<T>>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let deadline = Deadline::after(self.origin.settings.timeout);
        Task::start(self.connection.socket.runtime(), deadline, place, call, then)
    }

    pub(super) fn start_send(&self, message: Vec<u8>, then: Then<()>) -> Arc<Task<()>> {
        let (connection, settings) = (self.connection.clone(), self.origin.settings.clone());
        let send = |call| connection.send(message, settings, call);
        self.start(Place::InsideCallback, send, then)
    }

    fn start_receive(
        &self,
        check: impl Fn(&[u8]) -> Result<(), Error> + Send + 'static,
        then: Then<Received>,
    ) -> Arc<Task<Received>> {
        let (connection, settings) = (self.connection.clone(), self.origin.settings.clone());
        let tells_progress = settings.progress.is_some();
        let place = if tells_progress { Place::OnWorker } else { Place::InsideCallback };
        self.start(place, |call| connection.receive(settings, check, call), then)
    }

    pub(super) fn start_receive_bytes(&self, then: Then<Received>) -> Arc<Task<Received>> {
        self.start_receive(|_| Ok(()), then)
    }

    pub(super) fn start_receive_text(&self, then: Then<Received>) -> Arc<Task<Received>> {
        let (encoding, peer) = (self.origin.settings.encoding, self.connection.peer);
        let error = move |reason| Error::new(ErrorKind::Encoding, Attempt::Receive, peer, reason);
        self.start_receive(move |bytes| encoding.check(bytes).map_err(error), then)
    }
}

impl Won for Client {
    type Turn = ();

    fn turn(&mut self) -> Option<()> {
        None
    }
}

impl Origin {
    pub(crate) fn begin_connect<S, F>(
        self,
        runtime: Result<RuntimeHandle, Error>,
        callback: F,
        state: S,
    ) -> OperationHandle
    where
        S: Send + 'static,
        F: FnOnce(AsyncResult<op::Connect, S>) + Send + 'static,
    {
        OperationHandle::new(self.start(runtime, then(callback, state)))
    }

    pub(crate) fn connect_async(
        self,
        runtime: Result<RuntimeHandle, Error>,
    ) -> Operation<op::Connect> {
        Operation::new(self.start(runtime, None))
    }

    fn start(self, runtime: Result<RuntimeHandle, Error>, then: Then<Client>) -> Arc<Task<Client>> {
        let deadline = Deadline::after(self.settings.timeout);
        match runtime {
            Ok(runtime) => {
                let connect = |call| self.connect(runtime.clone(), call);
                Task::start(runtime.clone(), deadline, Place::InsideCallback, connect, then)
            }
            Err(error) => Task::failed(error, then),
        }
    }

    async fn connect(self, runtime: RuntimeHandle, call: Arc<Call>) -> Result<Client, Error> {
        let connected = connect::connect(runtime, &self.end_point, &self.options, &call);
        let (socket, peer) = connected.await?;
        Ok(Client { connection: Arc::new(Connection::new(socket, peer)), origin: self })
    }
}
