//! Checks of the workspace's own sources, for the tests of its crates.
//!
//! [`layers`] holds a crate's files to its floors, [`code_map`] holds ARCHITECTURE.md to a crate's files, and
//! [`methods`] holds a document to the methods that the crates have. Nothing here runs outside tests.

pub mod code_map;
pub mod layers;
pub mod methods;
mod sources;
#[cfg(test)]
mod tree;
