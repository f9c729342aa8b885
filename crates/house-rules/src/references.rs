//! Finds the modules that a file names, in its imports and in paths within its code.

use syn::visit::{self, Visit};

use crate::source::{File, Source, is_for_tests, walk_use};

/// Returns every module that `file` names, with the line.
pub(crate) fn of_file(source: &Source, file: &File) -> Vec<(Vec<String>, usize)> {
    let mut names = Names { source, file, found: Vec::new() };
    file.items.iter().for_each(|item| names.visit_item(item));
    names.found
}

struct Names<'a> {
    source: &'a Source,
    file: &'a File,
    found: Vec<(Vec<String>, usize)>,
}

impl Names<'_> {
    fn note(&mut self, path: &[String], line: usize) {
        if let Some(module) = self.source.resolve(&self.file.module, path) {
            self.found.push((module, line));
        }
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if is_for_tests(&item.attrs) {
            return;
        }
        let mut paths = Vec::new();
        walk_use(&item.tree, &mut Vec::new(), &mut |path: &[String], _: &str| paths.push(path.to_vec()));
        let line = item.use_token.span.start().line;
        paths.iter().for_each(|path| self.note(path, line));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // A single name is a local one or was imported, and the import has been seen.
        if names.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.note(&names, line);
        }
        visit::visit_path(self, path);
    }
}
