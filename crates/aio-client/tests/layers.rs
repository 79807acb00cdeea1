//! The crate's floors, and its part of the code map.

use test_support::{code_map, layers};

/// Top to bottom.
const FLOORS: &[&str] = &[
    "builder.rs",
    "client/",
    "op.rs",
    "client.rs | async_result.rs operation.rs | state_object.rs",
    "connect.rs | connection.rs inbound.rs received.rs",
    "task.rs",
    "progress.rs | framing.rs | encoding.rs | end_point.rs | deadline.rs | error.rs | kind.rs",
];

#[test]
fn arrows_between_files_point_down() {
    layers::check(env!("CARGO_MANIFEST_DIR"), FLOORS);
}

#[test]
fn the_code_map_names_each_file_once() {
    code_map::check(env!("CARGO_MANIFEST_DIR"));
}
