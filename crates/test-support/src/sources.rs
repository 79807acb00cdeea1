//! A crate's sources: its files, its modules, and the file that a path names.
//!
//! The sources are parsed, not compiled: every `cfg` counts as true, except that `models.rs` and what only
//! tests compile are left out. A path resolves as rustc resolves it, through `use`, re-exports and globs, to
//! the file that *defines* the item. Two kinds of names have no definition to be seen: what a macro makes, and
//! what a module re-exports from another crate. Both resolve to the file of the module that was asked for them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::{fs, iter, mem};

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, Token, UseTree, Visibility};

/// How many re-exports a path may lead through. More are a circle.
const MAX_REEXPORTS: usize = 16;

/// A crate's sources.
pub(crate) struct Sources {
    /// The first is `lib.rs`.
    pub(crate) files: Vec<File>,
    /// The first is the crate's root.
    modules: Vec<Module>,
}

pub(crate) struct File {
    /// Relative to `src`, with `/` on every system.
    pub(crate) path: String,
    pub(crate) syntax: syn::File,
    module: usize,
}

struct Module {
    file: usize,
    parent: Option<usize>,
    names: HashMap<String, Vec<Binding>>,
    globs: Vec<Vec<String>>,
}

/// What a name stands for in a module.
enum Binding {
    Module(usize),
    Item,
    Use(Vec<String>),
}

impl Binding {
    fn module(&self) -> Option<usize> {
        match self {
            Self::Module(module) => Some(*module),
            Self::Item | Self::Use(_) => None,
        }
    }
}

/// A path in a file, and an item that it names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reference {
    pub(crate) from: usize,
    pub(crate) line: usize,
    pub(crate) path: String,
    pub(crate) target: Target,
}

/// An item, or a module, and the file that defines it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) file: usize,
    pub(crate) name: String,
}

impl Sources {
    /// Parses the sources below `src`, beginning with `lib.rs`.
    ///
    /// # Panics
    ///
    /// Panics if a file is missing or cannot be parsed.
    pub(crate) fn load(src: &Path) -> Self {
        let mut sources = Self { files: Vec::new(), modules: Vec::new() };
        sources.load_file(src, "lib.rs", "", None);
        sources
    }

    /// Every path of the file that names an item of the crate.
    pub(crate) fn references(&self, file: usize) -> Vec<Reference> {
        let File { syntax, module, .. } = &self.files[file];
        let mut visitor = References { sources: self, file, module: *module, found: Vec::new() };
        visitor.visit_file(syntax);
        visitor.found
    }

    fn load_file(&mut self, src: &Path, path: &str, folder: &str, parent: Option<usize>) -> usize {
        let text = fs::read_to_string(src.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
        let items = mem::take(&mut syntax.items);
        let (file, module) = (self.files.len(), self.modules.len());
        self.modules.push(Module::new(file, parent));
        self.files.push(File { path: path.to_owned(), syntax, module });
        self.load_items(src, &items, folder, module);
        self.files[file].syntax.items = items;
        module
    }

    /// Enters the items of a module, whose files are in `folder` (empty, or ending in `/`).
    fn load_items(&mut self, src: &Path, items: &[Item], folder: &str, module: usize) {
        for item in items.iter().filter(|item| !is_for_tests(attributes(item))) {
            match item {
                Item::Mod(item) if item.ident != "models" => {
                    let child = self.load_module(src, item, folder, module);
                    self.modules[module].bind(item.ident.to_string(), Binding::Module(child));
                }
                Item::Use(item) => {
                    for (name, path) in imports(&item.tree) {
                        let path = path.into_iter().map(|(name, _)| name).collect();
                        self.modules[module].import(name, path);
                    }
                }
                item => {
                    if let Some(name) = defined_name(item) {
                        self.modules[module].bind(name, Binding::Item);
                    }
                }
            }
        }
    }

    fn load_module(&mut self, src: &Path, item: &ItemMod, folder: &str, parent: usize) -> usize {
        let inner = format!("{folder}{}/", item.ident);
        if let Some((_, items)) = &item.content {
            let module = self.modules.len();
            self.modules.push(Module::new(self.modules[parent].file, Some(parent)));
            self.load_items(src, items, &inner, module);
            return module;
        }
        let in_folder = format!("{inner}mod.rs");
        let path = match path_attribute(&item.attrs) {
            Some(path) => format!("{folder}{path}"),
            None if src.join(&in_folder).exists() => in_folder,
            None => format!("{folder}{}.rs", item.ident),
        };
        self.load_file(src, &path, &inner, Some(parent))
    }

    /// The items that a path in a module names: none if the path leads out of the crate.
    fn resolve(&self, module: usize, path: &[String]) -> BTreeSet<Target> {
        self.resolve_within(MAX_REEXPORTS, module, path)
    }

    fn resolve_within(&self, depth: usize, module: usize, path: &[String]) -> BTreeSet<Target> {
        let (mut module, mut rest) = (module, path);
        let mut is_relative = true;
        while let [first, others @ ..] = rest {
            module = match first.as_str() {
                "crate" => 0,
                "self" => module,
                "super" => self.modules[module].parent.unwrap_or(0),
                _ => break,
            };
            is_relative = false;
            rest = others;
        }
        if is_relative { self.find(depth, module, rest) } else { self.descend(depth, module, rest) }
    }

    /// As `find`, where the module is certain to have the name.
    fn descend(&self, depth: usize, module: usize, path: &[String]) -> BTreeSet<Target> {
        let file = self.modules[module].file;
        let Some(name) = path.first() else {
            return BTreeSet::from([Target { file, name: self.files[file].path.clone() }]);
        };
        let mut found = self.find(depth, module, path);
        if found.is_empty() {
            found.insert(Target { file, name: name.clone() });
        }
        found
    }

    fn find(&self, depth: usize, module: usize, path: &[String]) -> BTreeSet<Target> {
        let (Some((name, rest)), Some(depth)) = (path.split_first(), depth.checked_sub(1)) else {
            return BTreeSet::new();
        };
        let through = |prefix: &[String], rest: &[String]| {
            self.resolve_within(depth, module, &[prefix, rest].concat())
        };
        let Module { file, names, globs, .. } = &self.modules[module];
        match names.get(name) {
            Some(bindings) => bindings
                .iter()
                .flat_map(|binding| {
                    let this = || BTreeSet::from([Target { file: *file, name: name.clone() }]);
                    match binding {
                        Binding::Module(child) => self.descend(depth, *child, rest),
                        Binding::Item => this(),
                        Binding::Use(path) => {
                            let found = through(path, rest);
                            if found.is_empty() { this() } else { found }
                        }
                    }
                })
                .collect(),
            None => {
                let modules = globs.iter().filter_map(|glob| self.module_at(module, glob));
                modules.flat_map(|module| self.find(depth, module, path)).collect()
            }
        }
    }

    /// The module that a glob opens, unless that is another crate's, or is itself re-exported.
    fn module_at(&self, module: usize, glob: &[String]) -> Option<usize> {
        glob.iter().try_fold(module, |module, name| match name.as_str() {
            "crate" => Some(0),
            "self" => Some(module),
            "super" => self.modules[module].parent,
            name => self.modules[module].names.get(name)?.iter().find_map(Binding::module),
        })
    }

    /// True if the module `inner` is inside `outer`.
    fn is_inside(&self, inner: usize, outer: usize) -> bool {
        let mut ancestors = iter::successors(Some(inner), |at| self.modules[*at].parent);
        ancestors.any(|ancestor| ancestor == outer)
    }
}

impl Module {
    fn new(file: usize, parent: Option<usize>) -> Self {
        Self { file, parent, names: HashMap::new(), globs: Vec::new() }
    }

    fn bind(&mut self, name: String, binding: Binding) {
        self.names.entry(name).or_default().push(binding);
    }

    fn import(&mut self, name: String, path: Vec<String>) {
        match name.as_str() {
            "*" => self.globs.push(path),
            // A macro, or a crate, that is re-exported under its own name.
            _ if path == [name.clone()] => {}
            _ => self.bind(name, Binding::Use(path)),
        }
    }
}

/// Collects the paths of a file.
struct References<'a> {
    sources: &'a Sources,
    file: usize,
    module: usize,
    found: Vec<Reference>,
}

impl References<'_> {
    fn add(&mut self, line: usize, path: &[String], is_facade: bool) {
        for target in self.sources.resolve(self.module, path) {
            let below = self.sources.files[target.file].module;
            if !(is_facade && self.sources.is_inside(below, self.module)) {
                let path = path.join("::");
                self.found.push(Reference { from: self.file, line, path, target });
            }
        }
    }

    /// Finds paths among the tokens of a macro: names with `::` between them.
    fn add_from_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<(String, usize)> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match &token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_path(&path);
                        path.clear();
                    }
                    path.push((ident.to_string(), ident.span().start().line));
                    colons = 0;
                }
                _ => {
                    self.add_path(&path);
                    path.clear();
                    colons = 0;
                }
            }
            if let TokenTree::Group(group) = token {
                self.add_from_tokens(group.stream());
            }
        }
        self.add_path(&path);
    }

    /// A single name is in scope by a `use`, which has been added, or is defined here.
    fn add_path(&mut self, path: &[(String, usize)]) {
        if let [(_, line), _, ..] = path {
            let names: Vec<_> = path.iter().map(|(name, _)| name.clone()).collect();
            self.add(*line, &names, false);
        }
    }
}

impl Visit<'_> for References<'_> {
    fn visit_item(&mut self, item: &Item) {
        if !is_for_tests(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let names = &self.sources.modules[self.module].names;
        let bindings = names.get(&item.ident.to_string());
        let Some(module) = bindings.and_then(|all| all.iter().find_map(Binding::module)) else {
            return;
        };
        let outer = mem::replace(&mut self.module, module);
        items.iter().for_each(|item| self.visit_item(item));
        self.module = outer;
    }

    fn visit_item_use(&mut self, item: &ItemUse) {
        // What a module re-exports from below itself counts where it is used.
        let is_facade = !matches!(item.vis, Visibility::Inherited);
        for (_, path) in imports(&item.tree) {
            let line = path.last().expect("a path has a name").1;
            let names: Vec<_> = path.into_iter().map(|(name, _)| name).collect();
            self.add(line, &names, is_facade);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let line = |ident: &syn::Ident| ident.span().start().line;
        let names: Vec<_> =
            path.segments.iter().map(|s| (s.ident.to_string(), line(&s.ident))).collect();
        self.add_path(&names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &syn::Macro) {
        self.visit_path(&item.path);
        self.add_from_tokens(item.tokens.clone());
    }

    // Documentation and lints name what they like, and visibility points up by its nature.
    fn visit_attribute(&mut self, _: &Attribute) {}
    fn visit_visibility(&mut self, _: &Visibility) {}
}

/// A path of a `use` with the line of each name.
type UsePath = Vec<(String, usize)>;

/// The name that each part of a `use` brings into scope (`*` for a glob), and its path.
fn imports(tree: &UseTree) -> Vec<(String, UsePath)> {
    let mut found = Vec::new();
    add_imports(tree, &mut Vec::new(), &mut found);
    found
}

fn add_imports(tree: &UseTree, prefix: &mut UsePath, found: &mut Vec<(String, UsePath)>) {
    let named = |ident: &syn::Ident| (ident.to_string(), ident.span().start().line);
    let mut leaf = |ident: &syn::Ident, renamed: &syn::Ident| {
        let mut path = prefix.clone();
        if ident != "self" || path.is_empty() {
            path.push(named(ident));
        }
        let name =
            if renamed == "self" { path[path.len() - 1].0.clone() } else { renamed.to_string() };
        found.push((name, path));
    };
    match tree {
        UseTree::Name(name) => leaf(&name.ident, &name.ident),
        UseTree::Rename(rename) => leaf(&rename.ident, &rename.rename),
        UseTree::Glob(_) => found.push(("*".to_owned(), prefix.clone())),
        UseTree::Path(path) => {
            prefix.push(named(&path.ident));
            add_imports(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| add_imports(tree, prefix, found));
        }
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// True of an item that `cfg(test)` or `cfg(all(test, …))` guards.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    fn needs_test(meta: &Meta) -> bool {
        let Meta::List(list) = meta else { return meta.path().is_ident("test") };
        list.path.is_ident("all")
            && list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .is_ok_and(|all| all.iter().any(needs_test))
    }
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Meta>().is_ok_and(|meta| needs_test(&meta))
    })
}

/// The file that `#[path = "…"]` names.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    let path = attributes.iter().find(|attribute| attribute.path().is_ident("path"))?;
    let Meta::NameValue(pair) = &path.meta else { return None };
    let syn::Expr::Lit(literal) = &pair.value else { return None };
    let syn::Lit::Str(path) = &literal.lit else { return None };
    Some(path.value())
}
