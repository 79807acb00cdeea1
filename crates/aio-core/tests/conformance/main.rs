//! The conformance suite: what .NET promises of its socket operations, as far as we promise it too.
//!
//! One set of cases, each run with every face of an operation ([`Face`]), under every engine, with one
//! worker and with several. A case cites the statements it checks by their ids; `CONFORMANCE.md`,
//! beside this crate's README, lists .NET's operations and statements with the case that checks each, or
//! the reason why none does.

#[path = "../support/mod.rs"]
mod support;

mod accept;
mod callback;
mod close;
mod connect;
mod connect_to;
mod datagram;
mod disconnect;
mod face;
mod order;
mod races;
mod receive;
mod result;
mod send;
mod send_file;
