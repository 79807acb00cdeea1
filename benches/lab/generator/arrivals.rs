//! When messages are sent in an open loop: at a rate, whatever the server does.

use clap::ValueEnum;
use serde::Serialize;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arrivals {
    /// Evenly spaced
    Constant,
    /// Independent of one another: exponentially distributed gaps
    Poisson,
}

/// The intended times of sending, counted from the start.
pub(crate) struct Schedule {
    arrivals: Arrivals,
    gap: f64,
    /// In seconds; a sum, so that rounding does not change the rate.
    next: f64,
    random: fastrand::Rng,
}

impl Schedule {
    pub(crate) fn new(arrivals: Arrivals, rate: f64) -> Self {
        // Seeded, so that each contender of a round sees the same arrivals.
        Self { arrivals, gap: 1.0 / rate, next: 0.0, random: fastrand::Rng::with_seed(7) }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Duration::from_secs_f64(self.next);
        self.next += match self.arrivals {
            Arrivals::Constant => self.gap,
            Arrivals::Poisson => -(1.0 - self.random.f64()).ln() * self.gap,
        };
        Some(now)
    }
}
