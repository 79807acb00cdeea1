//! What a kind of operation is, and what an operation came to.

use std::fmt;
use std::io;

/// A kind of operation.
///
/// Implemented by the types of this module and by nothing else.
pub trait Kind: sealed::Sealed + Send + 'static {
    /// The operation's name, as in `begin_NAME`.
    const NAME: &'static str;
    /// What a successful operation yields.
    type Output: Send + 'static;
    /// What the operation borrows from its caller and gives back in every outcome.
    type Buffer: Send + 'static;
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "so that nobody else can implement `Kind`")]
    pub trait Sealed {}
}

/// What an operation came to, and everything that was lent to it.
///
/// ```
/// use aio_core::{AsyncResult, Completion, Socket, op};
///
/// fn receive_callback(received: AsyncResult<op::Receive<Vec<u8>>, Socket>) {
///     let socket = received.async_state().clone();
///     let Completion { result, buffer, .. } = socket.end_receive(received);
///     match result {
///         Ok(0) => println!("the peer has closed"),
///         Ok(n) => println!("{} bytes: {:?}", n, &buffer[..n]),
///         Err(error) => println!("{error}"),
///     }
/// }
/// ```
#[non_exhaustive]
pub struct Completion<K: Kind, S = ()> {
    /// What the operation yields, or why it failed.
    pub result: io::Result<K::Output>,
    /// How many bytes were sent or received, whatever the result.
    pub bytes_transferred: usize,
    /// The buffer that was given to begin.
    pub buffer: K::Buffer,
    /// The state that was given to begin.
    pub state: S,
}

impl<K, S> fmt::Debug for Completion<K, S>
where
    K: Kind<Output: fmt::Debug, Buffer: fmt::Debug>,
    S: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("operation", &K::NAME)
            .field("result", &self.result)
            .field("bytes_transferred", &self.bytes_transferred)
            .field("buffer", &self.buffer)
            .field("state", &self.state)
            .finish()
    }
}
