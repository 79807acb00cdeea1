//! Where and with what it was measured: on every record, since figures mean nothing without.

use crate::options::Settings;
use crate::pinning::Pinning;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};
use std::{fs, thread};

#[derive(Clone, Serialize)]
pub(crate) struct Environment {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// How many threads wanted to run in the minute before, which should be none.
    pub(crate) load: String,
    pub(crate) commit: String,
    /// Of the contenders, as locked.
    pub(crate) versions: BTreeMap<String, String>,
    /// Seconds since 1970.
    pub(crate) time: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pinning: Option<Pinning>,
    pub(crate) arrivals: crate::generator::Arrivals,
}

const CONTENDERS: [&str; 9] =
    ["aio-core", "mio", "tokio", "smol", "async-io", "compio", "monoio", "rayon", "crossbeam"];

impl Environment {
    pub(crate) fn now(settings: &Settings) -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
        let unknown = || "unknown".to_owned();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease");
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let time = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            cpu: model.map_or_else(unknown, str::to_owned),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.map_or_else(|_| unknown(), |release| release.trim().to_owned()),
            rustc: output("rustc", &["--version"]).unwrap_or_else(unknown),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            commit: commit().unwrap_or_else(unknown),
            versions: versions(),
            time: time.map_or(0, |time| time.as_secs()),
            pinning: settings.pinning,
            arrivals: settings.arrivals,
        }
    }

    pub(crate) fn versions(&self) -> String {
        let version = |(name, version): (&String, &String)| format!("{name} {version}");
        self.versions.iter().map(version).collect::<Vec<_>>().join(", ")
    }
}

/// The folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn commit() -> Option<String> {
    let commit = output("git", &["rev-parse", "--short", "HEAD"])?;
    let changes = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changes.is_empty() { commit } else { format!("{commit}, with changes") })
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// From the lock file.
fn versions() -> BTreeMap<String, String> {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap_or_default();
    let field = |package: &str, key: &str| {
        let prefix = format!("{key} = \"");
        let value = package.lines().find_map(|line| line.strip_prefix(&prefix)?.strip_suffix('"'));
        value.map(str::to_owned)
    };
    let mut versions = BTreeMap::new();
    for package in lock.split("[[package]]") {
        if let (Some(name), Some(version)) = (field(package, "name"), field(package, "version")) {
            if CONTENDERS.contains(&name.as_str()) {
                // Sorted by version: the last is the newest, which is the one of the workspace.
                versions.insert(name, version);
            }
        }
    }
    versions
}
