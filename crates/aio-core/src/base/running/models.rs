//! A model of how a callback is looked at while its worker goes on to others, explored by loom.

use super::{Callback, Running};
use crate::base::kind::OperationKind;
use crate::base::number::SocketNumber;
use loom::sync::Arc;
use loom::thread;

/// Invariant 1.
#[test]
fn what_is_seen_is_one_callback() {
    loom::model(|| {
        let running = Arc::new(Running::new(1));
        let callback = |number| Callback {
            kind: OperationKind::ALL[number],
            socket: SocketNumber::from(number),
        };
        let worker = {
            let running = running.clone();
            thread::spawn(move || {
                for number in [1, 2] {
                    running.begin(0, callback(number), number as u64);
                    running.end(0);
                }
                running.begin(0, callback(3), 3);
            })
        };
        for (worker, seen, since) in running.all() {
            assert_eq!((worker, seen), (0, callback(since as usize)));
        }
        worker.join().unwrap();
        assert_eq!(running.all().collect::<Vec<_>>(), [(0, callback(3), 3)]);
    });
}
