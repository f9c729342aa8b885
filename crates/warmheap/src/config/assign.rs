//! Applies settings to a configuration: those read from a file or from the environment, and one that the
//! program sets by the name of its key.

use super::error::{ConfigError, Fault, Place, Problem};
use super::input::{Entry, Input, shortened};
use super::key::{Key, find, keys};
use super::rule::{Rule, is_tiny};
use super::settings::PoolConfig;
use super::suggest::remedy;
use super::validate::{bad_value, faults};
use super::value::Value;

/// One setting: a key, its place, and the text found there.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) key: &'static Key,
    pub(crate) place: Place,
    pub(crate) input: Input,
}

/// Applies the assignments to `config` and checks the result. `problems` are those found in the source
/// before its values were read.
pub(crate) fn apply(
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
            faults(&config).map(|(keys, fault)| Problem { place: blamed(&keys, assignments), fault }),
        );
    }
    if problems.is_empty() {
        Ok(config)
    } else {
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Err(ConfigError::invalid(problems))
    }
}

/// Sets one key by its name in the program's code. The configuration is unchanged on an error.
pub(crate) fn set(config: &mut PoolConfig, key: &str, value: &Value) -> Result<(), ConfigError> {
    let fault = match find(key) {
        None => Fault::UnknownKey {
            key: key.to_owned(),
            remedy: remedy(key, &keys().iter().map(Key::name).collect::<Vec<_>>()),
        },
        Some(key) if key.rule.accepts(value) => {
            (key.set)(config, value);
            return Ok(());
        }
        Some(key) => bad_value(key, value),
    };
    Err(ConfigError::invalid(vec![Problem { place: Place::Code, fault }]))
}

fn has_tiny(input: &Input) -> bool {
    match input {
        Input::List(items) => items.iter().any(is_tiny),
        Input::Map(entries) => entries.iter().any(|entry| is_tiny(&entry.value)),
        input => is_tiny(input),
    }
}

/// Describes quotas by the tag that is at fault.
fn bad_quotas(key: &Key, tags: &[Entry]) -> String {
    let alone = |entry: &Entry| key.rule.read(&Input::Map(vec![entry.clone()])).is_some();
    if let Some(Entry { key, value, .. }) = tags.iter().find(|entry| !alone(entry)) {
        return format!("a section with `{}`: {value}", shortened(key));
    }
    let repeated = |(at, entry): &(usize, &Entry)| tags[..*at].iter().any(|other| other.key == entry.key);
    match tags.iter().enumerate().find(repeated) {
        Some((_, entry)) => format!("a section with `{}` twice", entry.key),
        None => format!("a section of {} tags", tags.len()),
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
        input if has_tiny(input) && key.rule.is_size() => "; that is less than one byte",
        _ => "",
    };
    let found = match input {
        // The key wants a list, so one of the items is at fault.
        Input::List(items) if key.rule == Rule::Sizes => items
            .iter()
            .find(|item| key.rule.read(&Input::List(vec![(*item).clone()])).is_none())
            .map_or_else(|| input.to_string(), |item| format!("a list with {item}")),
        Input::Map(tags) if key.rule == Rule::Quotas => bad_quotas(key, tags),
        _ => input.to_string(),
    };
    Fault::BadValue { key: key.name(), found, allowed: key.allowed(), hint }
}
