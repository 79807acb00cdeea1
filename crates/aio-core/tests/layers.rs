//! The crate's floors, its part of the code map, and the methods that `CONFORMANCE.md` names.

use test_support::{code_map, layers, methods};

/// Top to bottom.
const FLOORS: &[&str] =
    &["api/", "runtime/", "engine/ | op/", "state/", "testing/", "pool/ | port/", "base/"];

#[test]
fn arrows_between_files_point_down() {
    layers::check(env!("CARGO_MANIFEST_DIR"), FLOORS);
}

#[test]
fn the_code_map_names_each_file_once() {
    code_map::check(env!("CARGO_MANIFEST_DIR"));
}

#[test]
fn the_methods_that_the_comparison_names_exist() {
    let crates = ["/../aio-sync", "", "/../aio-client"]
        .map(|path| format!("{}{path}", env!("CARGO_MANIFEST_DIR")));
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFORMANCE.md");
    methods::check(document, &crates.each_ref().map(String::as_str));
}
