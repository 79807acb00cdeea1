//! Synchronous calls: an operation is started, on borrowed bytes, and waited for, by a thread that is no worker
//! without one (`engine/own_thread.rs`).

use crate::base::buffer::Lent;
use crate::op::{self, Message};
use crate::state::perform::Perform;
use crate::state::socket::Socket;
use socket2::SockAddr;
use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::ops::RangeBounds;
use std::process;

impl Socket {
    /// Connects to `address`, and blocks until that is done.
    ///
    /// The synchronous calls are operations too: they take their turn among those that were begun, and a
    /// handle [`with_timeout`](Self::with_timeout) limits them. In a callback they hold a worker, but
    /// I/O goes on.
    ///
    /// On any other thread they need no worker: the thread itself waits for the socket, so they go on while
    /// callbacks hold all workers. [`send_file`](Self::send_file) is an exception, since the disk may block it; so
    /// is [`connect_to`](crate::RuntimeHandle::connect_to), since the name may. A thread that has had to wait keeps one
    /// descriptor until it ends; where there is none left, a worker sees to its calls.
    ///
    /// ```
    /// use aio_core::Runtime;
    ///
    /// let runtime = Runtime::builder().workers(1).build()?;
    /// let listener = runtime.associate(std::net::TcpListener::bind("127.0.0.1:0")?)?;
    /// let client = runtime.tcp_v4()?;
    /// client.connect(listener.local_addr()?)?;
    /// let server = listener.accept()?;
    /// client.send(b"hello")?;
    /// let mut bytes = [0; 16];
    /// let n = server.receive(&mut bytes)?;
    /// assert_eq!(&bytes[..n], b"hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`end_connect`](Self::end_connect)'s result.
    pub fn connect(&self, address: impl Into<SockAddr>) -> io::Result<()> {
        self.call(op::Connect::new(address.into()))
    }

    /// Accepts a connection, and blocks until there is one: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_accept`](Self::end_accept)'s result.
    pub fn accept(&self) -> io::Result<Self> {
        self.call(op::Accept::new())
    }

    /// Ends the connection in both directions, after the sends before it: see
    /// [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_disconnect`](Self::end_disconnect)'s result.
    pub fn disconnect(&self) -> io::Result<()> {
        self.call(op::Disconnect::new())
    }

    /// Sends all bytes, and blocks until that is done: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_send`](Self::end_send)'s result. How many bytes were sent before the error is known to
    /// the other faces only.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: `finish` returns when the operation is over, and not otherwise; a send does not write.
        self.finish(op::Send::new(unsafe { Lent::to_read(bytes) }))
    }

    /// Sends a datagram to `address`: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_send_to`](Self::end_send_to)'s result.
    pub fn send_to(&self, bytes: &[u8], address: impl Into<SockAddr>) -> io::Result<usize> {
        let address: SockAddr = address.into();
        // SAFETY: as in `send`.
        self.finish(op::SendTo::new(unsafe { Lent::to_read(bytes) }, address))
    }

    /// Receives what there is, and blocks until there is something: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_receive`](Self::end_receive)'s result.
    pub fn receive(&self, bytes: &mut [u8]) -> io::Result<usize> {
        // SAFETY: `finish` returns when the operation is over, and not otherwise.
        self.finish(op::Receive::new(unsafe { Lent::to_write(bytes) }))
    }

    /// Receives a datagram, and blocks until there is one: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_receive_from`](Self::end_receive_from)'s result.
    pub fn receive_from(&self, bytes: &mut [u8]) -> io::Result<(usize, SockAddr)> {
        // SAFETY: as in `receive`.
        self.finish(op::ReceiveFrom::new(unsafe { Lent::to_write(bytes) }))
    }

    /// Sends all bytes of several buffers, in order, as one send: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_send_list`](Self::end_send_list)'s result.
    pub fn send_list(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: as in `send`.
        let lend = |bytes: &IoSlice<'_>| unsafe { Lent::to_read(bytes) };
        self.finish(op::SendList::new(buffers.iter().map(lend).collect()))
    }

    /// Receives into several buffers, in order: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_receive_list`](Self::end_receive_list)'s result.
    pub fn receive_list(&self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        // SAFETY: as in `receive`.
        let lend = |bytes: &mut IoSliceMut<'_>| unsafe { Lent::to_write(bytes) };
        self.finish(op::ReceiveList::new(buffers.iter_mut().map(lend).collect()))
    }

    /// Receives a datagram, or the part of it that fits: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_receive_message_from`](Self::end_receive_message_from)'s result.
    pub fn receive_message_from(&self, bytes: &mut [u8]) -> io::Result<Message> {
        // SAFETY: as in `receive`.
        self.finish(op::ReceiveMessageFrom::new(unsafe { Lent::to_write(bytes) }))
    }

    /// Accepts a connection and receives its first bytes: see [`connect`](Self::connect).
    ///
    /// # Errors
    ///
    /// As [`end_accept_receive`](Self::end_accept_receive)'s result.
    pub fn accept_receive(&self, bytes: &mut [u8]) -> io::Result<(Self, usize)> {
        // SAFETY: as in `receive`.
        self.finish(op::AcceptReceive::new(unsafe { Lent::to_write(bytes) }))
    }

    /// Sends a file, or a part of it: see [`connect`](Self::connect).
    ///
    /// ```no_run
    /// use std::fs::File;
    ///
    /// # fn send(socket: aio_core::Socket) -> std::io::Result<()> {
    /// let sent = socket.send_file(&File::open("index.html")?, ..)?;
    /// println!("{sent} bytes");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`end_send_file`](Self::end_send_file)'s result; the system's if there is no descriptor left
    /// to duplicate the file's.
    pub fn send_file(&self, file: &File, range: impl RangeBounds<u64>) -> io::Result<u64> {
        self.call(op::SendFile::new(file.try_clone()?, range))
    }

    /// Starts an operation that works on borrowed bytes, and waits for it.
    fn finish<K: Perform>(&self, work: K) -> io::Result<K::Output> {
        /// The operation may not outlive the borrow, so nothing may unwind before it is over.
        struct NotBefore;
        impl Drop for NotBefore {
            fn drop(&mut self) {
                process::abort();
            }
        }
        let not_before = NotBefore;
        let result = self.call(work);
        mem::forget(not_before);
        result
    }
}
