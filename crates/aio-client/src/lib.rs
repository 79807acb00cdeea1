//! Connect, send, receive: the flow of .NET's asynchronous client socket as a client that people use.
//!
//! A [`Client`] is a connection to a server over [`aio_core`]. Its calls have deadlines and end on every
//! path: with what was asked for, or with an [`Error`] that says what was attempted on whom. Each call
//! blocks, runs a callback, or is waited for or awaited, as you like. A [`Framing`] says what a message is,
//! an [`Encoding`] what a text is, and limits keep a hostile server from filling memory or holding the
//! caller.
//!
//! ```
//! use aio_client::{Client, Framing};
//! use std::io::{BufRead, BufReader, Write};
//! use std::net::TcpListener;
//! use std::thread;
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?; // any server will do
//! let address = listener.local_addr()?;
//! let server = thread::spawn(move || -> std::io::Result<()> {
//!     let (mut stream, _) = listener.accept()?;
//!     let mut request = String::new();
//!     BufReader::new(stream.try_clone()?).read_line(&mut request)?;
//!     stream.write_all(request.to_uppercase().as_bytes())
//! });
//!
//! let client = Client::builder().framing(Framing::delimiter("\n")).connect(address)?;
//! client.send_text("this is a test")?;
//! assert_eq!(client.receive_text()?, "THIS IS A TEST");
//! # server.join().unwrap()?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! [`Error`] has the kinds of failure, and what can be done after each. People who know the document
//! find its program, name by name, in [from C# to Rust](from_csharp_to_rust).

#![forbid(unsafe_code)]

mod async_result;
mod builder;
mod client;
mod connect;
mod connection;
mod deadline;
mod encoding;
mod end_point;
mod error;
mod framing;
mod inbound;
mod kind;
pub mod op;
mod operation;
mod progress;
mod received;
mod state_object;
mod task;

pub use async_result::{AsyncResult, Completion};
pub use builder::Builder;
pub use client::Client;
pub use encoding::{DecodeError, Decoder, Encoding};
pub use end_point::EndPoint;
pub use error::{Error, ErrorKind};
pub use framing::{Framing, LengthPrefix};
pub use operation::{Operation, OperationHandle};
pub use state_object::StateObject;

#[doc = include_str!("../docs/from-csharp-to-rust.md")]
pub mod from_csharp_to_rust {}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
