//! A child of `fork` shares the open sockets of its parent, and the poller. What it closes stays open in the parent,
//! which goes on to receive there.

#![cfg(unix)]

mod support;

use aio_core::Engine;
use std::io::Write;
use support::{LIMIT, connected, is_alone};

#[test]
fn a_child_that_closes_its_copies_takes_nothing_from_its_parent() {
    if !is_alone("-n 4096", "a_child_that_closes_its_copies_takes_nothing_from_its_parent") {
        return;
    }
    for engine in [Engine::Blocking, Engine::Readiness] {
        for workers in [1, 3] {
            let runtime = support::builder().engine(engine).workers(workers).build().unwrap();
            let (ours, mut peer) = connected(&runtime);
            let (dropped, mut other_peer) = connected(&runtime);
            let mut receive = ours.receive_async([0; 8]);
            let clone = dropped.clone();
            let mut other = dropped.receive_async([0; 8]);
            // Both are registered, for both have waited.
            assert!(receive.wait_timeout(std::time::Duration::from_millis(20)).is_none());
            // SAFETY: the child makes no call but to close its copies and to end. No thread of the parent holds a
            // lock that this takes: nothing is under way in the runtime.
            let child = unsafe { libc::fork() };
            if child == 0 {
                ours.close();
                clone.close();
                // SAFETY: it ends the child at once.
                unsafe { libc::_exit(0) };
            }
            let mut status = 1;
            // SAFETY: the status is ours to write.
            assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
            assert_eq!(status, 0);
            for (receive, peer) in [(&mut receive, &mut peer), (&mut other, &mut other_peer)] {
                peer.write_all(b"hello").unwrap();
                let completion = receive.wait_timeout(LIMIT / 4).expect("it is told of what came");
                assert_eq!(completion.result.unwrap(), 5);
            }
        }
    }
}
