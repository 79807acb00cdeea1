//! The package of a test, which goes when the test ends.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, process};

pub(crate) struct Tree(PathBuf);

impl Tree {
    /// Makes a package `sample` with these files below `src`: their paths and texts, of which the last counts.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("test-support-{}-{number}", process::id()));
        let package = root.join("sample");
        for (path, text) in files {
            let path = package.join("src").join(path);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        Self(package)
    }

    pub(crate) fn package(&self) -> &Path {
        &self.0
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(self.0.parent().expect("a package is in a folder")));
    }
}
