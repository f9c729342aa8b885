//! Applies settings read from a file or from the environment to a configuration. Both use this module.

use super::PoolConfig;
use super::error::{ConfigError, Fault, Place, Problem};
use super::input::Input;
#[cfg(feature = "yaml")]
use super::input::shortened;
use super::key::Key;
use super::rule::Rule;

/// How similar (0 to 1) a misspelt key must be to a known key for an error to propose that key.
#[cfg(feature = "yaml")]
const ALIKE: f64 = 0.7;

/// One setting: a key, its place, and the text found there.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) key: &'static Key,
    pub(crate) place: Place,
    pub(crate) input: Input,
}

/// Applies the assignments to `config` and checks the result. `problems` are those found in the source
/// before its values were read.
pub(crate) fn assign(
    mut config: PoolConfig,
    assignments: &[Assignment],
    mut problems: Vec<Problem>,
) -> Result<PoolConfig, ConfigError> {
    for Assignment { key, place, input } in assignments {
        match key.rule.read(input) {
            Some(value) => (key.set)(&mut config, &value),
            None => problems.push(Problem { place: place.clone(), fault: bad_input(key, input) }),
        }
    }
    // Contradictions between settings are reported only if each value is valid by itself.
    if problems.is_empty() {
        problems.extend(
            config.faults().map(|(keys, fault)| Problem { place: blamed(&keys, assignments), fault }),
        );
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Err(ConfigError::invalid(problems))
    }
}

fn blamed(keys: &[&str], assignments: &[Assignment]) -> Place {
    keys.iter()
        .find_map(|name| assignments.iter().find(|a| a.key.name() == *name))
        .map_or(Place::Code, |assignment| assignment.place.clone())
}

fn bad_input(key: &Key, input: &Input) -> Fault {
    let figure = |text: &str| text.contains(|c: char| c.is_ascii_digit());
    let hint = match input {
        Input::Plain(text) if key.rule.is_numeric() && text.parse::<f64>().is_err() && figure(text) => {
            "; write the figure alone, without unit or arithmetic"
        }
        Input::Quoted(text) if key.rule.is_numeric() && figure(text) => "; leave the quotes out",
        _ => "",
    };
    let found = match input {
        // The key wants a list, so one of the items is at fault.
        Input::List(items) if key.rule == Rule::Sizes => items
            .iter()
            .find(|item| key.rule.read(&Input::List(vec![(*item).clone()])).is_none())
            .map_or_else(|| input.to_string(), |item| format!("a list with {item}")),
        _ => input.to_string(),
    };
    Fault::BadValue { key: key.name(), found, allowed: key.allowed(), hint }
}

/// Returns what an error proposes for a key that is not in `known`.
pub(crate) fn remedy(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
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
