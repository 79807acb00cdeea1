//! The client's calls that block.

use super::Client;
use crate::error::Error;

impl Client {
    /// Sends a message, in its frame, and returns when the system has taken all of it. That says
    /// nothing of the peer.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a message that the framing cannot carry;
    /// [`ErrorKind::TimedOut`], and the message says how much was sent; [`ErrorKind::Closed`];
    /// [`ErrorKind::Send`].
    ///
    /// [`ErrorKind::InvalidInput`]: crate::ErrorKind::InvalidInput
    /// [`ErrorKind::TimedOut`]: crate::ErrorKind::TimedOut
    /// [`ErrorKind::Closed`]: crate::ErrorKind::Closed
    /// [`ErrorKind::Send`]: crate::ErrorKind::Send
    pub fn send(&self, message: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.send_async(message).wait()
    }

    /// Sends a text in the client's encoding.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_text(&self, text: &str) -> Result<(), Error> {
        self.send_text_async(text).wait()
    }

    /// Receives the next message, without its frame.
    ///
    /// Nothing is lost when it fails: what has arrived of the message is there for the next receive.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TimedOut`]; [`ErrorKind::Closed`] if there are no more messages;
    /// [`ErrorKind::Incomplete`]; [`ErrorKind::TooLong`]; [`ErrorKind::Receive`];
    /// [`ErrorKind::InvalidInput`] for a framing that cannot be.
    ///
    /// [`ErrorKind::InvalidInput`]: crate::ErrorKind::InvalidInput
    /// [`ErrorKind::TimedOut`]: crate::ErrorKind::TimedOut
    /// [`ErrorKind::Closed`]: crate::ErrorKind::Closed
    /// [`ErrorKind::Incomplete`]: crate::ErrorKind::Incomplete
    /// [`ErrorKind::TooLong`]: crate::ErrorKind::TooLong
    /// [`ErrorKind::Receive`]: crate::ErrorKind::Receive
    pub fn receive(&self) -> Result<Vec<u8>, Error> {
        self.receive_async().wait()
    }

    /// Receives the next message as a text in the client's encoding.
    ///
    /// # Errors
    ///
    /// As [`receive`](Self::receive), and [`ErrorKind::Encoding`](crate::ErrorKind::Encoding).
    pub fn receive_text(&self) -> Result<String, Error> {
        self.receive_text_async().wait()
    }

    /// Closes this connection and makes another, to the same end point and with the same settings.
    ///
    /// It resends nothing: what had been sent may or may not have reached the server, and who called
    /// knows which of it may be said twice. What had arrived and was not taken is gone with the old
    /// connection. How often to try, and how long to pause in between, is the caller's choice, too:
    ///
    /// ```
    /// use aio_client::{Client, Error};
    /// use std::thread;
    /// use std::time::Duration;
    ///
    /// /// Waits twice as long after each failure, up to half a minute.
    /// fn reconnect(client: &Client, attempts: u32) -> Result<Client, Error> {
    ///     let mut pause = Duration::from_millis(100);
    ///     for _ in 1..attempts {
    ///         match client.reconnect() {
    ///             Ok(client) => return Ok(client),
    ///             Err(error) => eprintln!("{error}; trying again in {pause:?}"),
    ///         }
    ///         thread::sleep(pause);
    ///         pause = (pause * 2).min(Duration::from_secs(30));
    ///     }
    ///     client.reconnect()
    /// }
    /// # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// # let client = Client::connect(server.local_addr()?)?;
    /// # let again = reconnect(&client, 3)?;
    /// # assert_eq!(again.peer_addr(), client.peer_addr());
    /// # assert!(client.send("x").is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Builder::connect`](crate::Builder::connect).
    pub fn reconnect(&self) -> Result<Self, Error> {
        self.reconnect_async().wait()
    }
}
