//! What a process has used so far, as it sees itself.
//!
//! A server reports its own `getrusage`, since only that counts the threads that have ended; what
//! `/proc/PID/task` shows of them is gone with them.

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use std::{fs, io};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// CPU time of all threads, in user mode and in the system, in microseconds.
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) voluntary_switches: u64,
    pub(crate) involuntary_switches: u64,
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// Threads, but for that one.
    pub(crate) threads: u64,
}

impl Cost {
    /// What this process has used, but for the calling thread, which answers the lab.
    pub(crate) fn of_the_other_threads() -> io::Result<Self> {
        let all = getrusage(UsageWho::RUSAGE_SELF)?;
        let own = getrusage(UsageWho::RUSAGE_THREAD)?;
        let difference = |of: fn(&Usage) -> i64| u64::try_from(of(&all) - of(&own)).unwrap_or(0);
        Ok(Self {
            user_us: difference(|usage| usage.user_time().num_microseconds()),
            system_us: difference(|usage| usage.system_time().num_microseconds()),
            voluntary_switches: difference(Usage::voluntary_context_switches),
            involuntary_switches: difference(Usage::involuntary_context_switches),
            resident: resident_bytes()?,
            threads: fs::read_dir("/proc/self/task")?.count() as u64 - 1,
        })
    }

    /// What was used between `earlier` and this; memory and threads are those of now.
    pub(crate) fn since(self, earlier: Self) -> Self {
        // The system divides CPU time into user and system anew each time; a part may shrink a little.
        let used = u64::saturating_sub;
        Self {
            user_us: used(self.user_us, earlier.user_us),
            system_us: used(self.system_us, earlier.system_us),
            voluntary_switches: used(self.voluntary_switches, earlier.voluntary_switches),
            involuntary_switches: used(self.involuntary_switches, earlier.involuntary_switches),
            ..self
        }
    }

    pub(crate) fn cpu_us(self) -> u64 {
        self.user_us + self.system_us
    }
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let time = usage.user_time() + usage.system_time();
    Ok(Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap_or(0)))
}

fn resident_bytes() -> io::Result<u64> {
    let pages = fs::read_to_string("/proc/self/statm")?;
    let resident = pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let resident =
        resident.ok_or_else(|| io::Error::other("/proc/self/statm has no second number"))?;
    Ok(resident * rustix::param::page_size() as u64)
}
