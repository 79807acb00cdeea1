//! Faults for tests, with the feature `testing`: calls that fail, fall short or would block, reports and completions that
//! are late or wrong, and races that are lost. A seed decides.
//!
//! A server meets a full descriptor table once a year and a short write once a day, always
//! elsewhere. A [`Runtime`](crate::Runtime) that is built with [`Faults`] meets them when asked to,
//! on top of whichever [`Engine`](crate::Engine) it has, and over real sockets:
//!
//! ```
//! use aio_core::{Runtime, testing::Faults};
//! use std::net::{SocketAddr, TcpStream};
//!
//! let faults = Faults::seeded(42).out_of_descriptors(0.9);
//! let runtime = Runtime::builder().workers(1).faults(faults.clone()).build()?;
//! let listener = runtime.tcp_v4()?;
//! listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
//! listener.listen(1)?;
//! let client = TcpStream::connect(listener.local_addr()?)?;
//!
//! // A server that gives up when it cannot accept once does not see its second client.
//! let mut refused = 0;
//! let accepted = loop {
//!     match listener.accept_async().wait().result {
//!         Ok(socket) => break socket,
//!         Err(_) => refused += 1,
//!     }
//! };
//! assert_eq!(faults.injected().out_of_descriptors, refused);
//! # drop((client, accepted));
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is promised all the same
//!
//! Everything: an operation completes exactly once, its buffer comes back, order holds. Short
//! transfers, calls that would block or are interrupted, spurious reports, late cancels and delays are
//! *benign*: they change no result except the sizes of receives, and who wins a race that either side may
//! win. An injected error is the result of the operation it hits, as if the system had
//! said so; the call is not made, so an accept leaves its connection where it was, and a receive its
//! bytes. Unlike a real reset, an injected one leaves the connection standing;
//! [`broken_connections`](Faults::broken_connections) are real.
//!
//! # What a seed reproduces
//!
//! Each decision is a function of the seed, the socket's number in its runtime, the direction
//! (accept and receive, or connect and send), and how many calls were made before in that direction
//! of that socket. A program whose sockets are made in a fixed order, and that makes their calls one
//! after the other, gets the same faults each time. When threads or peers race, a socket may have
//! another number, or a call more that really would block, and the decisions after it fall on other
//! operations. Spurious reports and failed waits are decided by how often operations of that socket and
//! direction had to wait before, late cancels by how many were canceled; the system's and the threads'
//! timing has a part in both. Delays are decided by how many pieces of work were queued before in the
//! runtime, which threads always race for.

mod faults;
mod injector;
mod random;
mod record;
mod socket_faults;

pub use faults::Faults;
pub(crate) use injector::Injector;
pub use record::{Fault, Injected, Injection};
pub(crate) use socket_faults::SocketFaults;
