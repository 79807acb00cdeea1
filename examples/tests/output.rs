//! What the examples do when nobody reads what they print.

use std::process::{Command, Stdio};

#[test]
fn an_example_whose_output_fails_says_so_and_does_not_panic() {
    for (example, arguments) in [
        ("await_it", ""),
        ("completion_port", ""),
        ("events", ""),
        ("parallel_fetch", "--connections=2"),
        ("wait_any", "--forever"),
    ] {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["run", "-q", "-p", "examples", "--example", example]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        cargo.arg("--").args(arguments.split_whitespace());
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        let mut process =
            cargo.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cargo runs");
        // Whatever it prints fails from now on.
        drop(process.stdout.take());
        let output = process.wait_with_output().expect("the example ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{example}: {error}");
        assert!(error.contains("roken pipe") && !error.contains("panicked"), "{example}: {error}");
    }
}
