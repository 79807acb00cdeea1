//! Which CPUs the generator and the server run on.

use clap::ValueEnum;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::Serialize;
use std::io;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pinning {
    /// Generator and server on one CPU: the quietest set-up
    Shared,
    /// The generator on one CPU, the server on another
    Split,
}

impl Pinning {
    pub(crate) fn generator_cpu(self) -> usize {
        0
    }

    pub(crate) fn server_cpu(self) -> usize {
        match self {
            Self::Shared => 0,
            Self::Split => 1,
        }
    }

    /// Whether this process may run where it says.
    pub(crate) fn check(self) -> Result<(), String> {
        let allowed = sched_getaffinity(None).map_err(|error| error.to_string())?;
        for cpu in [self.generator_cpu(), self.server_cpu()] {
            if !allowed.is_set(cpu) {
                return Err(format!("--pin needs CPU {cpu}, which this process may not use"));
            }
        }
        Ok(())
    }
}

/// Keeps this process, and the threads that it makes from now on, on one CPU.
pub(crate) fn pin(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    Ok(sched_setaffinity(None, &set)?)
}
