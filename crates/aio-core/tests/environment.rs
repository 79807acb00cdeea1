//! What the environment says about the process-wide runtime.

use aio_core::Runtime;
use std::env;
use std::io::ErrorKind;
use std::process::Command;

/// Set in a process that a test has started to have an environment of its own.
const INSIDE: &str = "AIO_TEST_INSIDE";

/// Runs this test in processes of their own, with these numbers of workers; false inside of one.
fn runs_inside(test: &str, numbers: &[&str]) -> bool {
    if env::var_os(INSIDE).is_some() {
        return false;
    }
    for workers in numbers {
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", test])
            .envs([(INSIDE, "1"), ("AIO_WORKERS", workers)])
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && report.contains("1 passed"), "{workers:?}: {report}");
    }
    true
}

#[test]
fn a_wrong_number_of_workers_is_an_error_that_tells_the_right_ones() {
    let test = "a_wrong_number_of_workers_is_an_error_that_tells_the_right_ones";
    if runs_inside(test, &["0", "-1", "many", ""]) {
        return;
    }
    let error = Runtime::global().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let workers = env::var("AIO_WORKERS").unwrap();
    let right = "it is a number of worker threads, 1 or more; without it there is one for each CPU";
    let message = format!("environment variable AIO_WORKERS={workers}: {right}");
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_right_number_of_workers_is_taken() {
    if !runs_inside("a_right_number_of_workers_is_taken", &["3"]) {
        assert_eq!(Runtime::global().unwrap().workers(), 3);
    }
}
