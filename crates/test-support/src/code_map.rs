//! The code map: each crate's section of ARCHITECTURE.md names each of its files once.
//!
//! A section begins with a heading such as `### aio-sync` and ends with the next heading. It has tables whose
//! first column names files, relative to `src`, in backticks. A file named `models.rs` needs no row.

use std::fs;
use std::path::Path;

/// Checks the section of the crate in the directory `package`.
///
/// # Panics
///
/// Panics with every file that the section does not name, or names twice, and with every name that is no file.
pub fn check(package: &str) {
    let package = Path::new(package);
    let workspace = package.ancestors().nth(2).expect("a package is in crates/");
    let map =
        fs::read_to_string(workspace.join("ARCHITECTURE.md")).expect("the workspace has a map");
    let problems = examine(package, &map);
    assert!(problems.is_empty(), "ARCHITECTURE.md:\n{}", problems.join("\n"));
}

fn examine(package: &Path, map: &str) -> Vec<String> {
    let name = package.file_name().expect("a package has a name").to_string_lossy();
    let Some((_, section)) = map.split_once(&format!("\n### {name}\n")) else {
        return vec![format!("no section ### {name}")];
    };
    let rows = section.lines().take_while(|line| !line.starts_with('#'));
    let cells = rows.filter_map(|row| row.strip_prefix('|')?.split('|').next());
    let mut named: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    named.sort_unstable();

    let mut files = Vec::new();
    add_files(&package.join("src"), "", &mut files);
    let twice =
        named.windows(2).filter(|two| two[0] == two[1]).map(|two| (two[0], "is named twice"));
    let gone = named.iter().filter(|name| !files.iter().any(|file| file == *name));
    let missing = files.iter().filter(|file| !named.contains(&&***file));
    twice
        .chain(gone.map(|name| (*name, "is no file")))
        .chain(missing.map(|file| (&**file, "is not named")))
        .map(|(file, problem)| format!("### {name}: {file} {problem}"))
        .collect()
}

/// Adds the sources in a folder, relative to it, in alphabetical order.
fn add_files(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    let entries = fs::read_dir(folder).expect("a folder that can be read");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().expect("an entry has a name").to_string_lossy();
        if path.is_dir() {
            add_files(&path, &format!("{prefix}{name}/"), files);
        } else if name.ends_with(".rs") && name != "models.rs" {
            files.push(format!("{prefix}{name}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const FILES: &[(&str, &str)] =
        &[("lib.rs", ""), ("a/mod.rs", ""), ("a/models.rs", ""), ("b.rs", "")];

    fn problems(rows: &str) -> Vec<String> {
        let map = format!(
            "# A\n\n### sample\n\n| file | knows |\n|---|---|\n{rows}\n### other\n\n| `c.rs` |\n"
        );
        examine(Tree::new(FILES).package(), &map)
    }

    #[test]
    fn a_map_that_names_each_file_once_is_right() {
        let right = "| `lib.rs` | `more` |\n\nThen `text`.\n\n| `a/mod.rs` | |\n| `b.rs` | |\n";
        assert_eq!(problems(right), [""; 0]);
    }

    #[test]
    fn a_file_that_is_missing_or_named_twice_or_gone_is_found() {
        assert_eq!(
            problems("| `lib.rs` | |\n| `b.rs` | |\n| `b.rs` | |\n| `a/` | |\n"),
            [
                "### sample: b.rs is named twice",
                "### sample: a/ is no file",
                "### sample: a/mod.rs is not named",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_section_is_found() {
        let tree = Tree::new(FILES);
        assert_eq!(examine(tree.package(), "### other\n"), ["no section ### sample"]);
    }
}
