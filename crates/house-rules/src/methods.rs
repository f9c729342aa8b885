//! Finds which files implement a type's own methods, and which of these files call which others.
//!
//! A method call needs no import, so a circle may hide in the methods of one type that are spread over files.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{ImplItem, Item, ItemImpl, Type};

use crate::source::{File, Source, is_for_tests};

/// Types with methods of their own: the type, the method, and the indices of the files.
type Methods<'a> = BTreeMap<String, BTreeMap<String, BTreeSet<usize>>>;

impl Source {
    /// Returns the files that implement each type's own methods.
    #[must_use]
    pub fn files_by_type(&self) -> BTreeMap<String, Vec<&File>> {
        let types = self.methods();
        let files = |methods: &BTreeMap<String, BTreeSet<usize>>| {
            let indices: BTreeSet<usize> = methods.values().flatten().copied().collect();
            indices.into_iter().map(|index| &self.files[index]).collect()
        };
        types.iter().map(|(name, methods)| (name.clone(), files(methods))).collect()
    }

    /// Returns pairs of files of which the first calls, on `self`, a method that the second defines.
    pub(crate) fn calls_on_self(&self) -> BTreeSet<(usize, usize)> {
        let types = self.methods();
        let mut pairs = BTreeSet::new();
        for (index, file) in self.files.iter().enumerate() {
            for block in inherent(file) {
                let Some(methods) = name_of(&block.self_ty).and_then(|name| types.get(&name)) else {
                    continue;
                };
                let mut calls = Calls(BTreeSet::new());
                calls.visit_item_impl(block);
                let defined = calls.0.iter().filter_map(|call| methods.get(call));
                let elsewhere = defined.filter(|files| !files.contains(&index)).flatten();
                pairs.extend(elsewhere.map(|other| (index, *other)));
            }
        }
        pairs
    }

    fn methods(&self) -> Methods<'_> {
        let mut types = Methods::new();
        for (index, file) in self.files.iter().enumerate() {
            for block in inherent(file) {
                let Some(name) = name_of(&block.self_ty) else { continue };
                let methods = types.entry(name).or_default();
                for item in &block.items {
                    if let ImplItem::Fn(method) = item {
                        methods.entry(method.sig.ident.to_string()).or_default().insert(index);
                    }
                }
            }
        }
        types
    }
}

/// Returns the blocks of a file that give types methods of their own.
fn inherent(file: &File) -> impl Iterator<Item = &ItemImpl> {
    file.items.iter().filter_map(|item| match item {
        Item::Impl(block) if block.trait_.is_none() && !is_for_tests(&block.attrs) => Some(block),
        _ => None,
    })
}

fn name_of(kind: &Type) -> Option<String> {
    let Type::Path(path) = kind else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

/// The names of calls on `self` or `Self`.
struct Calls(BTreeSet<String>);

impl<'ast> Visit<'ast> for Calls {
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if matches!(&*call.receiver, syn::Expr::Path(path) if path.path.is_ident("self")) {
            self.0.insert(call.method.to_string());
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names = path.segments.iter().map(|segment| segment.ident.to_string());
        if names.next().as_deref() == Some("Self")
            && let Some(name) = names.next()
        {
            self.0.insert(name);
        }
        visit::visit_path(self, path);
    }
}
