//! How long operations take, by kind, for a runtime that was asked to measure it.
//!
//! As with the counters, each worker has histograms of its own, and all other threads share one set. A histogram is
//! made when the first duration is recorded in it.

use crate::base::histogram::{Histogram, Recorder};
use crate::base::kind::OperationKind;
use std::sync::OnceLock;

/// A part of an operation's time, from begin to completion and from there to the callback.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stretch {
    UntilCompleted,
    UntilCallback,
}

#[derive(Debug)]
pub(crate) struct Latencies {
    /// Of the workers, then of all other threads; by kind, then by stretch.
    shards: Box<[[[OnceLock<Recorder>; 2]; OperationKind::COUNT]]>,
}

impl Latencies {
    pub(crate) fn new(workers: usize) -> Self {
        Self { shards: (0..=workers).map(|_| Default::default()).collect() }
    }

    pub(crate) fn record(
        &self,
        worker: Option<usize>,
        kind: OperationKind,
        stretch: Stretch,
        nanoseconds: u64,
    ) {
        let shard = worker.unwrap_or(self.shards.len() - 1);
        self.shards[shard][kind as usize][stretch as usize]
            .get_or_init(Recorder::new)
            .record(nanoseconds);
    }

    pub(crate) fn histogram(&self, kind: OperationKind, stretch: Stretch) -> Histogram {
        let mut histogram = Histogram::default();
        for shard in &self.shards {
            if let Some(recorder) = shard[kind as usize][stretch as usize].get() {
                recorder.add_to(&mut histogram);
            }
        }
        histogram
    }
}
