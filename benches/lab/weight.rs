//! Weight (P14): crates in the tree and the time of a clean release build, ours beside others'.
//!
//! Each is built as the only dependency of an empty package, in a folder that is new.

use crate::{environment, interrupt};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use std::{fs, io};

#[derive(Serialize)]
pub(crate) struct Weight {
    pub(crate) name: &'static str,
    /// Itself and all that it needs to be built.
    pub(crate) crates: usize,
    pub(crate) build_seconds: f64,
}

pub(crate) const NAMES: [&str; 5] = ["aio-sync", "aio-core", "aio-client", "tokio", "compio"];

pub(crate) fn measure(name: &'static str, folder: &Path) -> io::Result<Weight> {
    interrupt::check()?;
    let package = folder.join("weight").join(name);
    if package.exists() {
        fs::remove_dir_all(&package)?;
    }
    fs::create_dir_all(package.join("src"))?;
    fs::write(package.join("src/lib.rs"), "")?;
    // The versions that were compared; what is not in the lock file is not needed.
    fs::copy(environment::root().join("Cargo.lock"), package.join("Cargo.lock"))?;
    let manifest = format!(
        "[workspace]\n[package]\nname = \"weight\"\nedition = \"2024\"\n[dependencies]\n{}\n",
        dependency(name)
    );
    fs::write(package.join("Cargo.toml"), manifest)?;
    let tree = cargo(&package, &["tree", "--edges", "normal,build", "--prefix", "none"])?;
    // The first line is the empty package; one that was shown before is marked.
    let crates: BTreeSet<_> =
        tree.lines().skip(1).map(|line| line.trim_end_matches(" (*)")).collect();
    let begun = Instant::now();
    cargo(&package, &["build", "--release", "--target-dir", "target"])?;
    let build_seconds = begun.elapsed().as_secs_f64();
    fs::remove_dir_all(&package)?;
    Ok(Weight { name, crates: crates.len(), build_seconds })
}

fn dependency(name: &str) -> String {
    match name {
        "tokio" => "tokio = { version = \"1\", default-features = false, \
                    features = [\"net\", \"rt-multi-thread\", \"sync\", \"time\"] }"
            .to_owned(),
        "compio" => "compio = { version = \"0.19\", features = [\"net\", \"time\"] }".to_owned(),
        ours => {
            let path: PathBuf = environment::root().join("crates").join(ours);
            format!("{ours} = {{ path = {path:?} }}")
        }
    }
}

fn cargo(package: &Path, arguments: &[&str]) -> io::Result<String> {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(package).stdin(Stdio::null());
    let output = command.output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let last = message.lines().last().unwrap_or("no message");
        return Err(io::Error::other(format!("cargo {}: {last}", arguments[0])));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
