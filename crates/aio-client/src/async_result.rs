//! What a callback gets.

use crate::error::Error;
use crate::kind::Kind;
use crate::operation::OperationHandle;
use aio_sync::EventRef;
use std::fmt;

/// A call that is over, given to its callback and consumed by the `end_*` of its kind.
///
/// ```
/// use aio_client::{AsyncResult, Client, Completion, op};
///
/// fn receive_callback(ar: AsyncResult<op::ReceiveText, Client>) {
///     let client = ar.async_state().clone();
///     let Completion { result, state: client, .. } = client.end_receive_text(ar);
///     match result {
///         Ok(line) => {
///             println!("{line}");
///             client.begin_receive_text(receive_callback, client.clone());
///         }
///         Err(error) => println!("{error}"),
///     }
/// }
/// ```
#[must_use = "the result and the state are inside: call the end_* of the call"]
pub struct AsyncResult<K: Kind, S = ()> {
    completion: Completion<K, S>,
    handle: OperationHandle,
}

impl<K: Kind, S> AsyncResult<K, S> {
    pub(crate) fn new(completion: Completion<K, S>, handle: OperationHandle) -> Self {
        Self { completion, handle }
    }

    pub(crate) fn into_completion(self) -> Completion<K, S> {
        self.completion
    }

    /// Returns the state that was given to begin.
    pub fn async_state(&self) -> &S {
        &self.completion.state
    }

    /// Returns the error that `end_*` will report, if it will.
    pub fn error(&self) -> Option<&Error> {
        self.completion.result.as_ref().err()
    }

    /// Returns the handle that begin returned, or is about to.
    pub fn operation(&self) -> &OperationHandle {
        &self.handle
    }

    /// Returns the call's wait handle, which is set.
    pub fn async_wait_handle(&self) -> EventRef<'_> {
        self.handle.async_wait_handle()
    }

    /// Returns true: a callback runs when its call is over.
    pub fn is_completed(&self) -> bool {
        true
    }

    /// Returns false: a callback never runs inside begin.
    pub fn completed_synchronously(&self) -> bool {
        false
    }
}

impl<K: Kind, S: fmt::Debug> fmt::Debug for AsyncResult<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncResult")
            .field("call", &K::NAME)
            .field("error", &self.error())
            .field("state", &self.completion.state)
            .finish_non_exhaustive()
    }
}

/// What a call came to, and the state that was given to its begin.
#[non_exhaustive]
pub struct Completion<K: Kind, S = ()> {
    /// What the call yields, or why it failed.
    pub result: Result<K::Output, Error>,
    /// The state that was given to begin.
    pub state: S,
}

impl<K: Kind, S> Completion<K, S> {
    pub(crate) fn new(result: Result<K::Output, Error>, state: S) -> Self {
        Self { result, state }
    }
}

impl<K: Kind<Output: fmt::Debug>, S: fmt::Debug> fmt::Debug for Completion<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("call", &K::NAME)
            .field("result", &self.result)
            .field("state", &self.state)
            .finish()
    }
}
