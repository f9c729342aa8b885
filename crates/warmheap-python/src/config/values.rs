//! Settings as JSON objects: flat with dots, as the library writes them, or with a section as an object.

use pyo3::prelude::*;
use serde_json::{Map, Value};
use warmheap::PoolConfig as Settings;
use warmheap::config::{ConfigError, Place, Problem, keys};

use crate::interpreter::errors::IntoPython;

/// Returns `settings` with `changes` made.
pub(crate) fn with(settings: &Settings, changes: Map<String, Value>) -> Result<Settings, ConfigError> {
    let mut all = nested(settings);
    merge(&mut all, nest(changes));
    parse(all)
}

/// Returns `base` with `changes` made. Keys of fixed heaps among them choose fixed heaps; see
/// [`Settings::with_yaml_str`].
pub(crate) fn over(base: Settings, changes: Map<String, Value>) -> PyResult<Settings> {
    if changes.is_empty() {
        return Ok(base);
    }
    let text = Value::Object(nest(changes)).to_string();
    base.with_yaml_str(&text).map_err(|error| placeless(error).into_python())
}

/// Returns every setting, with sections as objects.
pub(crate) fn nested(settings: &Settings) -> Map<String, Value> {
    match serde_json::to_value(settings) {
        Ok(Value::Object(flat)) => nest(flat),
        _ => Map::new(),
    }
}

/// Moves `compaction.enabled` to `enabled` in `compaction`.
fn nest(flat: Map<String, Value>) -> Map<String, Value> {
    let mut nested = Map::new();
    for (key, value) in flat {
        let entry = match key.split_once('.') {
            Some((section, name)) => {
                (section.to_owned(), Value::Object(Map::from_iter([(name.to_owned(), value)])))
            }
            None => (key, value),
        };
        merge(&mut nested, Map::from_iter([entry]));
    }
    nested
}

/// Whether there are keys under this name. A key's own value may be an object, too.
pub(crate) fn is_section(name: &str) -> bool {
    keys().iter().any(|key| key.name().split_once('.').is_some_and(|(section, _)| section == name))
}

/// Puts `changes` over `all`, and a section's settings over those of the section.
fn merge(all: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (key, change) in changes {
        match (all.get_mut(&key), change) {
            (Some(Value::Object(section)), Value::Object(changes)) if is_section(&key) => {
                merge(section, changes);
            }
            (_, change) => drop(all.insert(key, change)),
        }
    }
}

/// Reads settings as from a file, because JSON is YAML.
pub(crate) fn parse(settings: Map<String, Value>) -> Result<Settings, ConfigError> {
    if settings.is_empty() {
        return Ok(Settings::default());
    }
    Settings::from_yaml_str(&Value::Object(nest(settings)).to_string()).map_err(placeless)
}

/// Removes line numbers, which no file has.
fn placeless(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Invalid { file, problems } => {
            let problems =
                problems.into_iter().map(|Problem { fault, .. }| Problem { place: Place::Code, fault });
            ConfigError::Invalid { file, problems: problems.collect() }
        }
        other => other,
    }
}
