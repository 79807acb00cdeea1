//! The state object of the documented flow.

use crate::encoding::{DecodeError, Decoder, Encoding};
use aio_core::Socket;

/// What travels from one receive to the next in the documented flow: the socket and the text so far.
///
/// It is for programs that keep the structure of the document, on sockets of aio-core: see
/// [from C# to Rust](crate::from_csharp_to_rust). A [`Client`](crate::Client) needs none. The receive
/// buffer, which .NET's has as a field, travels beside it, from begin to end and on to the next begin.
///
/// ```
/// use aio_client::StateObject;
///
/// # let runtime = aio_core::Runtime::builder().workers(1).build()?;
/// # let client = runtime.tcp_v4()?;
/// let mut state = StateObject::new(client);
/// state.append(b"5 \xE2\x82").unwrap(); // a character that the next receive completes
/// state.append(b"\xAC").unwrap();
/// assert_eq!(state.sb, "5 €");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct StateObject {
    /// The client socket.
    pub work_socket: Socket,
    /// The received text.
    pub sb: String,
    decoder: Decoder,
}

impl StateObject {
    /// The size of the receive buffer.
    pub const BUFFER_SIZE: usize = 256;

    /// Makes the state object of a connection whose text is UTF-8.
    #[must_use]
    pub fn new(work_socket: Socket) -> Self {
        Self::with_encoding(work_socket, Encoding::Utf8)
    }

    /// Makes the state object of a connection with text of this encoding.
    #[must_use]
    pub fn with_encoding(work_socket: Socket, encoding: Encoding) -> Self {
        Self { work_socket, sb: String::new(), decoder: encoding.decoder() }
    }

    /// Makes a receive buffer.
    #[must_use]
    pub fn buffer() -> Vec<u8> {
        vec![0; Self::BUFFER_SIZE]
    }

    /// Stores the data received so far. A character that the bytes cut is completed by the next ones.
    ///
    /// # Errors
    ///
    /// If the bytes are no text of the encoding, which does not happen to ASCII.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.decoder.decode(bytes, &mut self.sb)
    }

    /// Returns the text when all of it has arrived.
    ///
    /// # Errors
    ///
    /// If it ends in the middle of a character.
    pub fn into_text(self) -> Result<String, DecodeError> {
        self.decoder.finish()?;
        Ok(self.sb)
    }
}
