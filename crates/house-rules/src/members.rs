//! What modules and types have by name, public or not.

use std::collections::{BTreeMap, BTreeSet};

use syn::{Fields, ImplItem, Item, TraitItem, Type, UseTree};

use crate::source::{Source, walk_use};

/// The names that each module and each type has: a type's functions, fields, variants and constants; a
/// module's items and imports. The key is the last part of the path.
pub type Members = BTreeMap<String, BTreeSet<String>>;

/// Returns the names in a crate. The names within a macro's call belong to its module, and to each type whose
/// name is in the call.
#[must_use]
pub fn members(source: &Source) -> Members {
    let mut members = Members::new();
    for file in &source.files {
        let module = file.module.last().map_or("crate", String::as_str);
        for item in &file.items {
            note(item, module, &mut members);
        }
    }
    members
}

fn note(item: &Item, module: &str, members: &mut Members) {
    let mut add = |parent: &str, name: &dyn ToString| {
        members.entry(parent.to_owned()).or_default().insert(name.to_string());
    };
    match item {
        Item::Struct(item) => {
            add(module, &item.ident);
            note_fields(&item.ident.to_string(), &item.fields, &mut add);
        }
        Item::Enum(item) => {
            add(module, &item.ident);
            item.variants.iter().for_each(|variant| add(&item.ident.to_string(), &variant.ident));
        }
        Item::Trait(item) => {
            add(module, &item.ident);
            for part in &item.items {
                if let TraitItem::Fn(method) = part {
                    add(&item.ident.to_string(), &method.sig.ident);
                }
            }
        }
        Item::Impl(item) => {
            let Type::Path(path) = &*item.self_ty else { return };
            let Some(kind) = path.path.segments.last() else { return };
            for part in &item.items {
                match part {
                    ImplItem::Fn(method) => add(&kind.ident.to_string(), &method.sig.ident),
                    ImplItem::Const(constant) => add(&kind.ident.to_string(), &constant.ident),
                    _ => {}
                }
            }
        }
        Item::Fn(item) => add(module, &item.sig.ident),
        Item::Const(item) => add(module, &item.ident),
        Item::Type(item) => add(module, &item.ident),
        Item::Mod(item) => {
            add(module, &item.ident);
            let within = item.content.iter().flat_map(|(_, items)| items);
            within.for_each(|part| note(part, &item.ident.to_string(), members));
        }
        Item::Use(item) => imports(&item.tree).iter().for_each(|name| add(module, name)),
        Item::Macro(item) => {
            let text = item.mac.tokens.to_string();
            let words: Vec<&str> =
                text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
            let types = words.iter().filter(|word| word.starts_with(char::is_uppercase));
            for parent in types.chain([&module]) {
                words.iter().for_each(|word| add(parent, word));
            }
        }
        _ => {}
    }
}

fn note_fields(parent: &str, fields: &Fields, add: &mut impl FnMut(&str, &dyn ToString)) {
    fields.iter().filter_map(|field| field.ident.as_ref()).for_each(|name| add(parent, name));
}

fn imports(tree: &UseTree) -> Vec<String> {
    let mut names = Vec::new();
    walk_use(tree, &mut Vec::new(), &mut |_: &[String], name: &str| names.push(name.to_owned()));
    names
}
