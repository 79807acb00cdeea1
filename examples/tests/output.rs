//! What the examples say when something is wrong: nobody reads what they print, an argument is not one of
//! theirs, the environment has a wrong value.

use std::process::{Command, Stdio};

/// The example, as it is now, with these arguments; its output is piped.
fn example(name: &str, arguments: &str) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "-q", "-p", "examples", "--example", name]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.arg("--").args(arguments.split_whitespace());
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.stdout(Stdio::piped()).stderr(Stdio::piped());
    cargo
}

#[test]
fn an_example_whose_output_fails_says_so_and_does_not_panic() {
    for (name, arguments) in [
        ("await_it", ""),
        ("completion_port", ""),
        ("events", ""),
        ("graceful_shutdown", ""),
        ("parallel_fetch", "--connections=2"),
        ("wait_any", "--forever"),
    ] {
        let mut process = example(name, arguments).spawn().expect("cargo runs");
        // Whatever it prints fails from now on.
        drop(process.stdout.take());
        let output = process.wait_with_output().expect("the example ends");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {error}");
        assert!(error.contains("roken pipe") && !error.contains("panicked"), "{name}: {error}");
    }
}

#[test]
fn an_argument_that_an_example_does_not_have_is_named() {
    let names = [
        "async_server",
        "await_it",
        "client",
        "completion_port",
        "echo_server",
        "events",
        "graceful_shutdown",
        "parallel_fetch",
        "wait_any",
    ];
    for name in names {
        let output = example(name, "--nonsense").output().expect("cargo runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {error}");
        assert!(error.contains("--nonsense") && !error.contains("panicked"), "{name}: {error}");
    }
}

#[test]
fn a_wrong_value_in_the_environment_is_named_beside_the_right_ones() {
    for (variable, value, right) in [
        ("AIO_WORKERS", "0", "1 or more"),
        ("AIO_WORKERS", "many", "1 or more"),
        ("AIO_ENGINE", "turbo", "auto, blocking, readiness"),
    ] {
        let output = example("await_it", "").env(variable, value).output().expect("cargo runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        let said = format!("environment variable {variable}={value}: ");
        assert!(error.contains(&said) && error.contains(right), "{error}");
    }
}
