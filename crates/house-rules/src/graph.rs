//! Finds which siblings use which others, and the circles among them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::references;
use crate::source::{Module, Source};

/// A use of one sibling by another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// The folder that both are in, as a module's path; empty for the crate's root.
    pub folder: String,
    /// The child that uses the other.
    pub from: String,
    /// The child that is used.
    pub to: String,
    /// The file and the line of the use.
    pub at: String,
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} uses {} ({})", self.folder, self.from, self.to, self.at)
    }
}

impl Source {
    /// Returns every use between siblings. A use of a parent by its child, or of a child by its parent, does
    /// not count.
    #[must_use]
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for file in &self.files {
            for (to, line) in references::of_file(self, file) {
                let at = format!("{}:{line}", file.path.display());
                edges.extend(edge(&file.module, &to, at));
            }
        }
        for (from, to) in self.calls_on_self() {
            let [from, to] = [from, to].map(|index| &self.files[index]);
            let at = format!("{}, by a method call", from.path.display());
            edges.extend(edge(&from.module, &to.module, at));
        }
        edges.sort();
        edges.dedup_by(|a, b| (&a.folder, &a.from, &a.to) == (&b.folder, &b.from, &b.to));
        edges
    }
}

/// Returns the use as one between siblings, below the last folder that both modules are in.
fn edge(from: &Module, to: &Module, at: String) -> Option<Edge> {
    let common = from.iter().zip(to).take_while(|(a, b)| a == b).count();
    let (a, b) = (from.get(common)?, to.get(common)?);
    Some(Edge { folder: from[..common].join("::"), from: a.clone(), to: b.clone(), at })
}

/// Returns the uses that lie on a circle: each leads to a child from which there is a way back.
#[must_use]
pub fn circles(edges: &[Edge]) -> Vec<&Edge> {
    let mut next: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        next.entry((&edge.folder, &edge.from)).or_default().insert(&edge.to);
    }
    let leads_back = |edge: &&Edge| {
        let mut seen = BTreeSet::new();
        let mut open = vec![edge.to.as_str()];
        while let Some(child) = open.pop() {
            if child == edge.from {
                return true;
            }
            if seen.insert(child) {
                open.extend(next.get(&(edge.folder.as_str(), child)).into_iter().flatten());
            }
        }
        false
    };
    edges.iter().filter(leads_back).collect()
}
