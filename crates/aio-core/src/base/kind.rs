//! The kinds of operation by name, and the two directions.

/// The two directions in which operations of a socket are ordered and otherwise independent (I5).
///
/// Accept waits for the same readiness as receive and connect for the same as send, so they share
/// their queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Receive,
    Send,
}

/// The names of all kinds, and of what else a runtime runs: what was posted to it, registered waits, and
/// jobs of rayon's. By these it counts.
pub(crate) const KIND_NAMES: [&str; 17] = [
    "accept",
    "accept_receive",
    "connect",
    "connect_to",
    "disconnect",
    "look_up",
    "receive",
    "receive_from",
    "receive_list",
    "receive_message_from",
    "send",
    "send_file",
    "send_list",
    "send_to",
    "post",
    "register_wait",
    "rayon_job",
];

/// The index of a name among [`KIND_NAMES`]; does not compile for another, where it is a constant.
pub(crate) const fn kind_index(name: &str) -> usize {
    let mut index = 0;
    while index < KIND_NAMES.len() {
        let (known, name) = (KIND_NAMES[index].as_bytes(), name.as_bytes());
        let mut at = 0;
        while at < name.len() && at < known.len() && name[at] == known[at] {
            at += 1;
        }
        if at == name.len() && at == known.len() {
            return index;
        }
        index += 1;
    }
    panic!("every kind is among KIND_NAMES")
}
