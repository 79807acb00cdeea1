//! [`Histogram`]: how often which durations were recorded.
//!
//! A bucket's width is a sixteenth of the power of two below its durations. So a bucket's ends are at most six percent
//! apart, whatever the duration, and a histogram takes a few kilobytes.

use std::fmt;
use std::iter;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// So many bits below a duration's highest choose its bucket.
const FINE_BITS: u32 = 4;
const FINE: u64 = 1 << FINE_BITS;

/// Durations from about 39 hours on are counted in the last bucket.
const HIGHEST_BIT: u32 = 46;

const BUCKETS: usize = ((HIGHEST_BIT - FINE_BITS + 2) * FINE as u32) as usize;

fn bucket_of(nanoseconds: u64) -> usize {
    if nanoseconds < FINE {
        return nanoseconds as usize;
    }
    let highest = nanoseconds.ilog2();
    if highest > HIGHEST_BIT {
        return BUCKETS - 1;
    }
    let coarse = u64::from(highest - FINE_BITS + 1);
    let fine = nanoseconds >> (highest - FINE_BITS) & (FINE - 1);
    (coarse * FINE + fine) as usize
}

/// The durations that are counted in a bucket, in nanoseconds.
fn bounds(bucket: usize) -> RangeInclusive<u64> {
    let (coarse, fine) = (bucket as u64 / FINE, bucket as u64 % FINE);
    let Some(shift) = coarse.checked_sub(1) else { return fine..=fine };
    let lowest = (FINE + fine) << shift;
    lowest..=lowest + (1 << shift) - 1
}

/// A histogram that is written by several threads.
#[derive(Debug)]
pub(crate) struct Recorder(Box<[AtomicU64]>);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(iter::repeat_with(AtomicU64::default).take(BUCKETS).collect())
    }

    pub(crate) fn record(&self, nanoseconds: u64) {
        self.0[bucket_of(nanoseconds)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_to(&self, histogram: &mut Histogram) {
        if histogram.buckets.is_empty() {
            histogram.buckets = vec![0; BUCKETS];
        }
        for (sum, count) in histogram.buckets.iter_mut().zip(&self.0) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
}

/// How often something took how long: see [`Latency`](crate::Latency).
///
/// Durations are told to within six percent.
///
/// ```
/// # use aio_core::{Metrics, Runtime};
/// # let metrics: Metrics = Runtime::builder().workers(1).latency_histograms(true).build()?.metrics();
/// let sends = metrics.operation("send").unwrap();
/// let latency = sends.latency.as_ref().expect("the builder asked for it");
/// println!("{:?} in the median, {:?} at p99", latency.until_completed.quantile(0.5),
///     latency.until_completed.quantile(0.99));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Empty if nothing has been counted.
    buckets: Vec<u64>,
}

impl Histogram {
    /// Returns how many durations have been counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Returns the duration that the share `q` of all, from 0 to 1, did not exceed: the upper end of its
    /// bucket. A smaller share counts as 0, a greater one as 1. Zero if nothing has been counted.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Duration {
        let rank = ((self.count() as f64 * q).ceil() as u64).max(1);
        let mut below = 0;
        for (range, count) in self.buckets() {
            below += count;
            if below >= rank {
                return *range.end();
            }
        }
        // The rank may be more than there are: if `q` is, or rounded up from what a float does not hold.
        self.max()
    }

    /// Returns the longest duration: the upper end of its bucket. Zero if nothing has been counted.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.buckets().last().map_or(Duration::ZERO, |(range, _)| *range.end())
    }

    /// Returns the ranges in which durations have been counted, in order, and how many.
    pub fn buckets(&self) -> impl Iterator<Item = (RangeInclusive<Duration>, u64)> {
        self.buckets.iter().enumerate().filter(|(_, count)| **count > 0).map(|(bucket, count)| {
            let (lowest, highest) = bounds(bucket).into_inner();
            (Duration::from_nanos(lowest)..=Duration::from_nanos(highest), *count)
        })
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("median", &self.quantile(0.5))
            .field("p99", &self.quantile(0.99))
            .field("max", &self.max())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_hold_what_is_counted_in_them() {
        let mut next = 0;
        for bucket in 0..BUCKETS {
            let range = bounds(bucket);
            assert_eq!(*range.start(), next);
            assert_eq!((bucket_of(*range.start()), bucket_of(*range.end())), (bucket, bucket));
            assert!((range.end() - range.start()) * FINE <= *range.start().max(&FINE));
            next = range.end() + 1;
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_right_to_six_percent() {
        let recorder = Recorder::new();
        (1..=1000).for_each(|micros| recorder.record(micros * 1000));
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.max()), (Duration::ZERO, Duration::ZERO));
        recorder.add_to(&mut histogram);
        assert_eq!(histogram.count(), 1000);
        for (q, micros) in [(0.0, 1), (0.001, 1), (0.5, 500), (0.99, 990), (1.0, 1000)] {
            let (told, right) = (histogram.quantile(q), Duration::from_micros(micros));
            assert!(told >= right && told <= right.mul_f64(1.0625), "{q}: {told:?}");
        }
        assert_eq!(histogram.max(), histogram.quantile(1.0));
        // A share that is none is taken for the next that is one.
        assert_eq!(histogram.quantile(1.5), histogram.max());
        for q in [-1.0, f64::NAN] {
            assert_eq!(histogram.quantile(q), histogram.quantile(0.0));
        }
    }

    /// A count that a float does not hold is rounded, up perhaps.
    #[test]
    fn the_last_quantile_of_very_many_is_the_longest() {
        let mut buckets = vec![0; BUCKETS];
        buckets[5] = (1 << 60) - 1;
        let histogram = Histogram { buckets };
        assert_eq!(histogram.quantile(1.0), Duration::from_nanos(5));
    }
}
