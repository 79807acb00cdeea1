//! How the examples end.

use std::fmt::Display;
use std::process::ExitCode;

/// Says on standard error what went wrong, if anything did.
pub fn exit(example: &str, outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{example}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The same for an example that takes no arguments.
#[allow(dead_code, reason = "the others parse theirs")]
pub fn exit_of<E: Display>(example: &str, run: fn() -> Result<(), E>) -> ExitCode {
    match std::env::args().nth(1) {
        None => exit(example, run()),
        Some(argument) => {
            eprintln!("{example}: it takes no arguments, and was given `{argument}`");
            // As of the examples whose arguments clap parses.
            ExitCode::from(2)
        }
    }
}
