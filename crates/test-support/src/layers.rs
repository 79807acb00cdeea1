//! The floors of a crate: arrows between its files point down, and few files form a circle.
//!
//! An *arrow* runs from a file to another one that it names in a path, such as a `use` (see `sources` for the
//! file that a path names). Two arrows do not count. One is from or to `lib.rs`, which re-exports. The other
//! is a re-export of what is below the module that re-exports it: it counts where it is used. A method call
//! is no path, so it is no arrow: a type may stand on a low floor and have an `impl` block on a higher one.
//!
//! The floors are a list, top to bottom. Each is a line of text that names folders (`engine/`) and files
//! (`clock.rs`), relative to `src`. A `|` divides a floor into rooms: between two rooms of one floor no arrow
//! runs, inside a room any may.
//!
//! ```text
//! &["api.rs api/", "engine/ | op/", "base/"]
//! ```

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::Path;

use crate::sources::{Reference, Sources};

/// The most files that may name one another in a circle.
pub const LARGEST_CYCLE: usize = 4;

/// What was counted in a crate.
#[derive(Debug, PartialEq, Eq)]
pub struct Figures {
    /// Files, apart from `lib.rs`, models and tests.
    pub modules: usize,
    /// Pairs of files of which one names the other.
    pub arrows: usize,
    /// Arrows that point up, or to another room of their floor.
    pub arrows_up: usize,
    /// Files in the largest circle of arrows; 1 if there is none.
    pub largest_cycle: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { modules, arrows, arrows_up, largest_cycle } = self;
        write!(
            f,
            "{modules} modules, {arrows} arrows, {arrows_up} up, largest cycle {largest_cycle}"
        )
    }
}

/// Checks the crate in the directory `package` and prints its figures.
///
/// # Panics
///
/// Panics with every arrow that points up, the largest cycle if it is too large, every file that is on no
/// floor or on several, and every name in `floors` that is no file or folder.
pub fn check(package: &str, floors: &[&str]) {
    let (figures, problems) = examine(Path::new(package), floors);
    assert!(problems.is_empty(), "{problems}{figures}");
    #[expect(clippy::print_stdout, reason = "shown with --nocapture")]
    {
        println!("{figures}");
    }
}

/// A file or a folder, and where it is. Rooms are numbered across floors, floors from the top.
struct Place<'a> {
    name: &'a str,
    room: usize,
    floor: usize,
}

impl Place<'_> {
    fn has(&self, file: &str) -> bool {
        file == self.name || self.name.ends_with('/') && file.starts_with(self.name)
    }
}

fn places<'a>(floors: &[&'a str]) -> Vec<Place<'a>> {
    let rooms = floors
        .iter()
        .enumerate()
        .flat_map(|(floor, line)| line.split('|').map(move |room| (floor, room)));
    rooms
        .enumerate()
        .flat_map(|(room, (floor, names))| {
            names.split_whitespace().map(move |name| Place { name, room, floor })
        })
        .collect()
}

/// The figures of the crate, and a line for each problem.
fn examine(package: &Path, floors: &[&str]) -> (Figures, String) {
    let src = package.join("src");
    let sources = Sources::load(&src);
    let places = places(floors);
    let mut problems = String::new();
    let mut problem = |line: fmt::Arguments<'_>| {
        writeln!(problems, "{line}").expect("a string takes every line");
    };

    for Place { name, .. } in &places {
        if !src.join(name).exists() {
            problem(format_args!("src/{name}: on a floor, but there is no such file or folder"));
        }
    }
    let place_of: Vec<_> = sources
        .files
        .iter()
        .map(|file| {
            let mut found = places.iter().filter(|place| place.has(&file.path));
            let place = found.next();
            if (place.is_none() && file.path != "lib.rs") || found.next().is_some() {
                problem(format_args!("src/{}: not on exactly one floor", file.path));
            }
            place
        })
        .collect();

    let arrows = arrows(&sources);
    let mut arrows_up = 0;
    for (&(from, to), references) in &arrows {
        let (Some(start), Some(end)) = (place_of[from], place_of[to]) else { continue };
        let is_up = end.floor <= start.floor && end.room != start.room;
        arrows_up += usize::from(is_up);
        for Reference { line, path, .. } in references.iter().filter(|_| is_up) {
            problem(format_args!(
                "src/{}:{line}: use {path} points up from {} to {}",
                sources.files[from].path, start.name, end.name,
            ));
        }
    }

    let cycle = largest_cycle(sources.files.len(), &arrows);
    if cycle.len() > LARGEST_CYCLE {
        let files: Vec<_> = cycle.iter().map(|&file| &*sources.files[file].path).collect();
        problem(format_args!("a cycle of {} files: {}", files.len(), files.join(", ")));
        for ((from, to), references) in &arrows {
            if cycle.contains(from) && cycle.contains(to) {
                let Reference { line, path, .. } = &references[0];
                let (from, to) = (&sources.files[*from].path, &sources.files[*to].path);
                problem(format_args!("src/{from}:{line}: use {path}, in the cycle, to {to}"));
            }
        }
    }
    let figures = Figures {
        modules: sources.files.len() - 1,
        arrows: arrows.len(),
        arrows_up,
        largest_cycle: cycle.len(),
    };
    (figures, problems)
}

/// By their ends, with the first reference to each item.
fn arrows(sources: &Sources) -> BTreeMap<(usize, usize), Vec<Reference>> {
    let mut arrows = BTreeMap::<_, Vec<Reference>>::new();
    for file in 1..sources.files.len() {
        let mut references = sources.references(file);
        references.sort();
        for reference in references {
            let to = reference.target.file;
            if to != file && to != 0 {
                let arrow = arrows.entry((file, to)).or_default();
                if !arrow.iter().any(|known| known.target == reference.target) {
                    arrow.push(reference);
                }
            }
        }
    }
    arrows
}

/// The files of the largest strongly connected component.
fn largest_cycle(files: usize, arrows: &BTreeMap<(usize, usize), Vec<Reference>>) -> Vec<usize> {
    let mut reaches: Vec<Vec<bool>> = (0..files)
        .map(|from| (0..files).map(|to| from == to || arrows.contains_key(&(from, to))).collect())
        .collect();
    for through in 0..files {
        let onward = reaches[through].clone();
        for from in reaches.iter_mut().filter(|from| from[through]) {
            from.iter_mut().zip(&onward).for_each(|(reached, more)| *reached |= more);
        }
    }
    (0..files)
        .map(|a| (0..files).filter(|&b| reaches[a][b] && reaches[b][a]).collect::<Vec<_>>())
        .max_by_key(Vec::len)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    const FLOORS: &[&str] = &["top.rs", "a/ | b/", "base.rs more.rs"];

    fn tree(files: &[(&str, &str)]) -> Tree {
        let modules = "mod top; mod a; mod b; mod base; mod more;";
        let empty = ["top.rs", "a/mod.rs", "b/mod.rs", "base.rs", "more.rs"].map(|file| (file, ""));
        Tree::new(&[&[("lib.rs", modules)], &empty[..], files].concat())
    }

    fn problems(files: &[(&str, &str)]) -> String {
        examine(tree(files).package(), FLOORS).1
    }

    #[test]
    fn arrows_down_and_inside_a_room_are_counted() {
        let tree = tree(&[
            ("top.rs", "use crate::a::A;\nuse crate::base::{B, C};"),
            ("a/mod.rs", "pub(crate) struct A(crate::base::B);"),
            ("base.rs", "use crate::more; pub(crate) struct B; pub(crate) struct C;"),
            ("more.rs", "use crate::base::B;"),
        ]);
        let figures = Figures { modules: 5, arrows: 5, arrows_up: 0, largest_cycle: 2 };
        assert_eq!(examine(tree.package(), FLOORS), (figures, String::new()));
    }

    #[test]
    fn an_arrow_up_is_found_with_its_line() {
        assert_eq!(
            problems(&[
                ("top.rs", "pub(crate) struct T;"),
                ("base.rs", "//! Base.\n\nuse crate::top::T;\n"),
            ]),
            "src/base.rs:3: use crate::top::T points up from base.rs to top.rs\n"
        );
    }

    #[test]
    fn an_arrow_to_another_room_of_the_floor_points_up() {
        assert_eq!(
            problems(&[("a/mod.rs", "pub(crate) struct A;"), ("b/mod.rs", "use crate::a::A;")]),
            "src/b/mod.rs:1: use crate::a::A points up from b/ to a/\n"
        );
    }

    #[test]
    fn paths_count_wherever_they_are() {
        for text in [
            "use super::top::T;",
            "fn f() -> crate::top::T { todo!() }",
            "fn f() { crate::top::T::new(); }",
            "fn f() { use crate::top::T as U; }",
            "fn f() { assert!(x == [crate::top::T]); }",
            "macro_rules! m { () => { $crate::top::T }; }",
            "use crate::top; fn f() { top::T; }",
            "mod inner { use super::super::top::T; }",
            "use crate::top::*;",
            "impl crate::top::Tr for u8 {}",
        ] {
            let found = problems(&[("top.rs", "pub(crate) struct T;"), ("base.rs", text)]);
            assert!(found.starts_with("src/base.rs:1: use "), "{text}: {found}");
        }
    }

    #[test]
    fn comments_strings_docs_tests_and_models_do_not_count() {
        for text in [
            "// use crate::top::T;",
            "const S: &str = \"use crate::top::T;\";",
            "/// [`T`](crate::top::T)\n///\n/// ```\n/// use crate::top::T;\n/// ```\nstruct S;",
            "#[cfg(test)] mod tests { use crate::top::T; }",
            "#[cfg(all(test, not(loom)))] mod tests;",
            "#[cfg(test)] use crate::top::T;",
            "#[cfg(loom)] mod models;",
            "pub(in crate::top) struct S;",
            "use std::top::T;",
        ] {
            let found = problems(&[
                ("top.rs", "pub(crate) struct T;"),
                ("base.rs", text),
                ("base/models.rs", "use crate::top::T;"),
                ("base/tests.rs", "use crate::top::T;"),
            ]);
            assert_eq!(found, "", "{text}");
        }
        let guarded = "#[cfg(not(test))] use crate::top::T;";
        assert_ne!(problems(&[("base.rs", guarded)]), "", "this is not for tests");
    }

    #[test]
    fn a_re_exported_name_stands_for_the_file_that_defines_it() {
        let tree = tree(&[
            (
                "a/mod.rs",
                "mod inner; pub(crate) use inner::Inner;
                 mod other; pub(crate) use other::*;
                 pub(crate) use std::sync::Arc;",
            ),
            ("a/inner.rs", "pub(crate) struct Inner;"),
            ("a/other.rs", "pub(crate) struct Other;"),
            ("top.rs", "use crate::a::Inner;\nuse crate::a::Other;\nuse crate::a::Arc;"),
        ]);
        let sources = Sources::load(&tree.package().join("src"));
        let top = sources.files.iter().position(|file| file.path == "top.rs").unwrap();
        let named: Vec<_> = sources
            .references(top)
            .iter()
            .map(|reference| sources.files[reference.target.file].path.clone())
            .collect();
        assert_eq!(named, ["a/inner.rs", "a/other.rs", "a/mod.rs"]);
        let figures = examine(tree.package(), FLOORS).0;
        assert_eq!(figures.arrows, 3, "the re-exports themselves are no arrows");
    }

    #[test]
    fn a_cycle_of_five_is_too_large() {
        let next = |name: &str| format!("use crate::a::{name};");
        let names = ["one", "two", "three", "four", "five"];
        for length in 2..=5 {
            let names = &names[..length];
            let modules: String = names.iter().map(|name| format!("mod {name};")).collect();
            let texts: Vec<_> = (1..=length).map(|n| next(names[n % length])).collect();
            let paths: Vec<_> = names.iter().map(|name| format!("a/{name}.rs")).collect();
            let mut files = vec![("a/mod.rs", &*modules)];
            files.extend(paths.iter().zip(&texts).map(|(path, text)| (&**path, &**text)));
            let (figures, problems) = examine(tree(&files).package(), FLOORS);
            assert_eq!(figures.largest_cycle, length);
            assert_eq!(problems.contains("a cycle of 5 files"), length == 5, "{problems}");
        }
    }

    #[test]
    fn every_file_is_on_one_floor_and_every_floor_has_files() {
        let tree = tree(&[]);
        assert_eq!(
            examine(tree.package(), &["top.rs", "a/ b/ more.rs", "gone/", "more.rs"]).1,
            "src/gone/: on a floor, but there is no such file or folder\n\
             src/base.rs: not on exactly one floor\n\
             src/more.rs: not on exactly one floor\n"
        );
    }
}
