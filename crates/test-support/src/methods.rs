//! The methods that a document names in backticks are public methods of our crates.
//!
//! `Type::method` and `method` are ours: a method, or a field. What .NET calls so begins with a capital letter
//! and has a dot for `::`, and what other crates offer has the crate in front (`socket2::Socket::set_linger`).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::{Field, ImplItem, Item, ItemImpl, TraitItem, Type, Visibility};

use crate::sources::Sources;

/// Checks that the document names only methods of the crates in these directories.
///
/// # Panics
///
/// Panics with every method that does not exist.
pub fn check(document: &str, packages: &[&str]) {
    let text = fs::read_to_string(document).unwrap_or_else(|e| panic!("{document}: {e}"));
    let problems = examine(&text, packages.iter().map(Path::new));
    assert!(problems.is_empty(), "{document}:\n{}", problems.join("\n"));
}

fn examine(text: &str, packages: impl IntoIterator<Item: AsRef<Path>>) -> Vec<String> {
    let mut methods = Methods::default();
    for package in packages {
        for file in &Sources::load(&package.as_ref().join("src")).files {
            methods.add(&file.syntax.items);
        }
    }
    let mut problems = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for name in line.split('`').skip(1).step_by(2).filter(|name| is_path(name)) {
            let exists = match name.split_once("::") {
                Some((owner, method)) if owner.starts_with(char::is_uppercase) => {
                    methods.has(owner, method)
                }
                None if name.starts_with(char::is_lowercase) => methods.anywhere(name),
                _ => true,
            };
            if !exists {
                problems.push(format!("line {number}: there is no {name}"));
            }
        }
    }
    problems
}

/// True if the text is a name, or names with `::` between them.
fn is_path(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':')
}

/// The public methods and fields of each type, and the type that it derefs to.
#[derive(Default)]
struct Methods {
    of: HashMap<String, HashSet<String>>,
    targets: HashMap<String, String>,
}

impl Methods {
    fn has(&self, type_name: &str, method: &str) -> bool {
        self.of.get(type_name).is_some_and(|methods| methods.contains(method))
            || self.targets.get(type_name).is_some_and(|target| self.has(target, method))
    }

    fn anywhere(&self, method: &str) -> bool {
        self.of.values().any(|methods| methods.contains(method))
    }

    fn add(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Impl(item) => self.add_impl(item),
                Item::Mod(item) => self.add(item.content.as_ref().map_or(&[], |(_, items)| items)),
                Item::Struct(item) => {
                    let public = |field: &&Field| matches!(field.vis, Visibility::Public(_));
                    let names =
                        item.fields.iter().filter(public).filter_map(|field| field.ident.as_ref());
                    self.of
                        .entry(item.ident.to_string())
                        .or_default()
                        .extend(names.map(ToString::to_string));
                }
                Item::Trait(item) => {
                    let methods = self.of.entry(item.ident.to_string()).or_default();
                    methods.extend(item.items.iter().filter_map(|item| match item {
                        TraitItem::Fn(method) => Some(method.sig.ident.to_string()),
                        _ => None,
                    }));
                }
                _ => {}
            }
        }
    }

    fn add_impl(&mut self, item: &ItemImpl) {
        let Some(name) = type_name(&item.self_ty) else { return };
        let methods = self.of.entry(name.clone()).or_default();
        for member in &item.items {
            match member {
                ImplItem::Fn(method)
                    if item.trait_.is_some() || matches!(method.vis, Visibility::Public(_)) =>
                {
                    methods.insert(method.sig.ident.to_string());
                }
                // A macro makes methods of names that are given to it.
                ImplItem::Macro(call) => add_names(call.mac.tokens.clone(), methods),
                ImplItem::Type(target) if target.ident == "Target" => {
                    self.targets.extend(type_name(&target.ty).map(|target| (name.clone(), target)));
                }
                _ => {}
            }
        }
    }
}

fn add_names(tokens: TokenStream, names: &mut HashSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(ident) => drop(names.insert(ident.to_string())),
            TokenTree::Group(group) => add_names(group.stream(), names),
            _ => {}
        }
    }
}

fn type_name(of: &Type) -> Option<String> {
    let Type::Path(path) = of else { return None };
    path.path.segments.last().map(|segment| segment.ident.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    fn problems(text: &str) -> Vec<String> {
        let tree = Tree::new(&[
            ("lib.rs", "mod socket; mod handle;"),
            (
                "socket.rs",
                "pub struct Socket<T> { pub result: T, secret: T }
                 impl<T> Socket<T> { pub fn begin(&self) {} fn hidden(&self) {} ends! { end_it } }
                 impl Wait for Socket<u8> { fn wait(&self) {} }
                 trait Wait { fn wait(&self); }",
            ),
            (
                "handle.rs",
                "impl Handle { pub fn post(&self) {} }
                 impl std::ops::Deref for Owner { type Target = Handle; fn deref(&self) {} }",
            ),
        ]);
        examine(text, [tree.package()])
    }

    #[test]
    fn methods_that_exist_are_found() {
        let text =
            "| `Socket.BeginIt`, `Begin` | `Socket::begin`, `Socket::wait`, `Socket::end_it` |
                    `Wait::wait`, `Handle::post`, `Owner::post`; `other::Socket::gone`, `begin`, `result`, `tests/a.rs`";
        assert_eq!(problems(text), [""; 0]);
    }

    #[test]
    fn methods_that_do_not_exist_or_are_private_are_found_with_their_line() {
        let text =
            "`Socket::begin`\n`Socket::sibling` and `Socket::hidden`\n`Gone::begin`, `secret`";
        assert_eq!(
            problems(text),
            [
                "line 2: there is no Socket::sibling",
                "line 2: there is no Socket::hidden",
                "line 3: there is no Gone::begin",
                "line 3: there is no secret",
            ]
        );
    }
}
