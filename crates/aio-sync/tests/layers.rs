//! The crate's floors, and its part of the code map.

use test_support::{code_map, layers};

/// Top to bottom.
const FLOORS: &[&str] = &[
    "auto_reset_event.rs | manual_reset_event.rs",
    "wait_any.rs | wait_all.rs | wait_future.rs | registration.rs",
    "pinned_wait.rs",
    "wait_one.rs | wait_handle.rs",
    "raw_event.rs wait_list.rs watch.rs",
    "sleeper.rs wait_options.rs",
    "wait_block.rs",
    "hooks.rs | parker/ deadline.rs",
    "sync.rs",
];

#[test]
fn arrows_between_files_point_down() {
    layers::check(env!("CARGO_MANIFEST_DIR"), FLOORS);
}

#[test]
fn the_code_map_names_each_file_once() {
    code_map::check(env!("CARGO_MANIFEST_DIR"));
}
