//! Look up the addresses of a host.

use crate::base::kind::{Direction, OperationKind};
use crate::state::completion::{Kind, sealed};
use crate::state::context::RuntimeInner;
use crate::state::in_flight::{Call, Owner};
use crate::state::perform::{Attempt, Perform};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Looks up the addresses of a host:
/// [`RuntimeHandle::look_up_async`](crate::RuntimeHandle::look_up_async).
#[derive(Debug)]
pub struct LookUp(());

impl LookUp {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// The name has been looked up.
    pub(crate) fn found(
        runtime: &Arc<RuntimeInner>,
        mut whole: Owner,
        addresses: io::Result<Vec<SocketAddr>>,
    ) {
        whole.stands::<Self>(runtime, addresses, None);
        whole.complete(runtime);
    }
}

impl sealed::Sealed for LookUp {}

impl Kind for LookUp {
    const NAME: &'static str = Self::KIND.name();
    /// The addresses, in the order in which the system would have them tried.
    type Output = Vec<SocketAddr>;
    type Buffer = ();
}

impl Perform for LookUp {
    // It never comes to a socket.
    const KIND: OperationKind = OperationKind::LookUp;
    const DIRECTION: Direction = Direction::Send;

    const IS_COMPOSITE: bool = true;

    fn attempt(&mut self, _call: Call<'_>) -> Attempt<Self::Output> {
        unreachable!("a lookup has no socket to be attempted at");
    }

    fn into_buffer(self) {}
}
