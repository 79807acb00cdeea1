//! The examples: see README.md.
