//! Proposals for misspelt names of keys and variables.

#[cfg(feature = "yaml")]
use super::input::shortened;

/// How similar (0 to 1) a misspelt name must be to a known name for an error to propose that name.
#[cfg(feature = "yaml")]
const ALIKE: f64 = 0.7;

/// Returns what an error proposes for a key that is not in `known`.
pub(crate) fn remedy(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None if key.to_lowercase().contains("model") => {
            "a model's size is no setting: `warmheap check FILE --model-mb MIB` recommends heaps for it"
                .to_owned()
        }
        None => format!("known keys here are {}", known.join(", ")),
    }
}

/// Returns the name in `known` that `key` probably misspells.
#[cfg(feature = "yaml")]
pub(crate) fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    // A key in the source may have any length, and a comparison costs the product of both lengths.
    let key = shortened(key).to_lowercase().replace('-', "_");
    known
        .iter()
        .map(|name| (*name, strsim::normalized_damerau_levenshtein(&key, name)))
        .filter(|(_, alike)| *alike >= ALIKE)
        .max_by(|(_, a), (_, b)| a.total_cmp(b))
        .map(|(name, _)| name)
}

/// Returns `None`, because names are compared only with the feature `yaml`.
#[cfg(not(feature = "yaml"))]
pub(crate) fn nearest<'a>(_key: &str, _known: &[&'a str]) -> Option<&'a str> {
    None
}
