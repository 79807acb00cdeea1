//! The conformance suite: what .NET promises of its socket operations, as far as we promise it too.
//!
//! One set of cases, each run with every face of an operation ([`Face`]), under every engine, with one
//! worker and with several. A case cites the statements it checks by their ids; `CONFORMANCE.md`,
//! beside this crate's README, lists .NET's operations and statements with the case that checks each, or
//! the reason why none does.

#[path = "../support/mod.rs"]
mod support;

mod accept;
mod callback;
mod close;
mod connect;
#[cfg(target_os = "linux")]
mod connect_pending;
mod connect_to;
mod datagram;
mod disconnect;
mod face;
#[cfg(unix)]
mod local;
mod order;
mod races;
mod receive;
mod result;
mod send;
mod send_file;
mod synchronous;

use face::{Face, WORKERS};
use support::ENGINES;

/// Every family and its source.
const FAMILIES: &[(&str, &str)] = &[
    ("accept", include_str!("accept.rs")),
    ("callback", include_str!("callback.rs")),
    ("close", include_str!("close.rs")),
    ("connect", include_str!("connect.rs")),
    ("connect_pending", include_str!("connect_pending.rs")),
    ("connect_to", include_str!("connect_to.rs")),
    ("datagram", include_str!("datagram.rs")),
    ("disconnect", include_str!("disconnect.rs")),
    ("local", include_str!("local.rs")),
    ("order", include_str!("order.rs")),
    ("races", include_str!("races.rs")),
    ("receive", include_str!("receive.rs")),
    ("result", include_str!("result.rs")),
    ("send", include_str!("send.rs")),
    ("send_file", include_str!("send_file.rs")),
    ("synchronous", include_str!("synchronous.rs")),
];

/// The cases that are run by `call`, as `family::name`.
fn cases(call: &str) -> Vec<String> {
    let mut cases = Vec::new();
    for (family, source) in FAMILIES {
        for test in source.split("#[test]").skip(1).filter(|test| test.contains(call)) {
            let name = test.split_once("fn ").and_then(|(_, rest)| rest.split_once('('));
            cases.push(format!("{family}::{}", name.expect("a test is a function").0));
        }
    }
    cases
}

/// `CONFORMANCE.md` says how many cases there are, and names every one of them and no other.
#[test]
fn the_list_of_cases_is_right() {
    let list = include_str!("../../CONFORMANCE.md");
    let (all, callback) = (cases("    conforms("), cases("    conforms_with("));
    let runtimes = ENGINES.len() * WORKERS.len();
    let sentence = format!(
        "{} cases × {} faces and {} of callbacks alone, × {} engines × {} numbers of workers: {} runs",
        all.len(),
        Face::ALL.len(),
        callback.len(),
        ENGINES.len(),
        WORKERS.len(),
        (all.len() * Face::ALL.len() + callback.len()) * runtimes,
    );
    assert!(list.contains(&sentence), "it is to say: {sentence}");
    let cases = [all, callback].concat();
    for case in &cases {
        assert!(list.contains(&format!("`{case}`")), "it does not name {case}");
    }
    for named in list.split('`').skip(1).step_by(2) {
        let is_case = FAMILIES.iter().any(|(family, _)| {
            named.strip_prefix(family).is_some_and(|rest| rest.starts_with("::"))
        });
        assert!(!is_case || cases.iter().any(|case| case == named), "there is no {named}");
    }
}
