//! A crate's files, parsed, with the module that each of them is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use syn::{Attribute, Item, Meta, UseTree};

/// A module's path from the crate's root: `["pool", "heaps"]`.
pub(crate) type Module = Vec<String>;

/// One source file.
#[derive(Debug)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// How many lines it has.
    pub lines: usize,
    pub(crate) module: Module,
    pub(crate) items: Vec<Item>,
}

/// The files of a crate that are part of its build: code for tests alone is left out.
#[derive(Debug)]
pub struct Source {
    /// Every file, by its module.
    pub files: Vec<File>,
    /// What a module imports: its name there, and where it comes from.
    pub(crate) imports: BTreeMap<(Module, String), Module>,
}

impl Source {
    /// Reads the crate whose root file is `root`.
    ///
    /// # Errors
    /// A file that cannot be read or is not Rust.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut source = Self { files: Vec::new(), imports: BTreeMap::new() };
        let folder = root.parent().unwrap_or(Path::new("."));
        source.read_module(root, folder, Vec::new())?;
        Ok(source)
    }

    fn read_module(&mut self, path: &Path, folder: &Path, module: Module) -> io::Result<()> {
        let text = fs::read_to_string(path)?;
        let items = syn::parse_file(&text).map_err(io::Error::other)?.items;
        for item in &items {
            match item {
                Item::Mod(child) if child.content.is_none() && !is_for_tests(&child.attrs) => {
                    let name = child.ident.to_string();
                    let path = place_of(folder, &name, &child.attrs);
                    let below = folder.join(&name);
                    let module = [module.as_slice(), &[name]].concat();
                    self.read_module(&path, &below, module)?;
                }
                Item::Use(import) => {
                    let mut note = |path: &[String], name: &str| {
                        self.imports.insert((module.clone(), name.to_owned()), path.to_vec());
                    };
                    walk_use(&import.tree, &mut Vec::new(), &mut note);
                }
                _ => {}
            }
        }
        self.files.push(File { path: path.to_owned(), lines: text.lines().count(), module, items });
        Ok(())
    }

    /// The module that a path leads to from within `from`; `None` for what is not of this crate.
    pub(crate) fn resolve(&self, from: &[String], path: &[String]) -> Option<Module> {
        self.resolve_within(from, path, 8)
    }

    fn resolve_within(&self, from: &[String], path: &[String], depth: usize) -> Option<Module> {
        let (mut at, rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            "super" => {
                let ups = path.iter().take_while(|name| *name == "super").count();
                (from[..from.len().checked_sub(ups)?].to_vec(), &path[ups..])
            }
            // A child of this module, or something imported here.
            _ => (from.to_vec(), path),
        };
        let is_named = at.len() < from.len() || rest.len() < path.len();
        for (step, name) in rest.iter().enumerate() {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if self.files.iter().any(|file| file.module == child) {
                at = child;
                continue;
            }
            // An import is followed to what it names.
            let imported = self.imports.get(&(at.clone(), name.clone())).filter(|_| depth > 0);
            let followed = imported.and_then(|path| self.resolve_within(&at, path, depth - 1));
            return followed.or_else(|| (is_named || step > 0).then_some(at));
        }
        Some(at)
    }
}

/// The file of a child module, where its declaration is in `folder`.
fn place_of(folder: &Path, name: &str, attributes: &[Attribute]) -> PathBuf {
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("path")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) = &pair.value
        {
            return folder.join(path.value());
        }
    }
    let flat = folder.join(format!("{name}.rs"));
    if flat.exists() { flat } else { folder.join(name).join("mod.rs") }
}

/// Whether an item is built for tests alone.
pub(crate) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let Meta::List(list) = &attribute.meta else { return false };
        list.path.is_ident("cfg") && list.tokens.to_string().split(' ').any(|word| word == "test")
    })
}

/// Shows every path that an import names, with the name that it has from then on.
pub(crate) fn walk_use(tree: &UseTree, path: &mut Vec<String>, show: &mut impl FnMut(&[String], &str)) {
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            walk_use(&step.tree, path, show);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            let own = path.last().cloned().unwrap_or_default();
            show(path, &own);
        }
        UseTree::Name(name) => {
            path.push(name.ident.to_string());
            show(path, &name.ident.to_string());
            path.pop();
        }
        UseTree::Rename(rename) => {
            path.push(rename.ident.to_string());
            show(path, &rename.rename.to_string());
            path.pop();
        }
        UseTree::Glob(_) => show(path, "*"),
        UseTree::Group(group) => group.items.iter().for_each(|tree| walk_use(tree, path, show)),
    }
}
