//! Whether two results are of the same thing, so that a difference is one of the program.

use serde_json::Value;
use warmheap::PoolConfig;

use crate::schema::SCHEMA_VERSION;

/// The commands whose results can be compared.
const COMPARABLE: [&str; 2] = ["bench", "replay"];

/// What both results must agree in: a key, and what it is.
const ALIKE: [(&str, &str); 7] = [
    ("command", "commands"),
    ("trace_fingerprint", "traces"),
    ("device_spec", "devices"),
    ("threads", "numbers of threads"),
    ("remote_free", "uses of --remote-free"),
    ("events", "numbers of events"),
    ("tokens", "numbers of tokens"),
];

/// Returns why a file is no result that can be compared, in words, or `None` if it is one.
pub(super) fn unfit(result: &Value) -> Option<String> {
    // `devices` prints a list.
    let first = result.get(0).unwrap_or(result);
    let command = first.get("command").and_then(Value::as_str);
    match (command, first.get("schema_version").and_then(Value::as_u64)) {
        (Some(command), _) if !COMPARABLE.contains(&command) => {
            Some(format!("a result of `{command}`, which has no figures to compare"))
        }
        (Some(_), Some(version)) if version != u64::from(SCHEMA_VERSION) => {
            Some(format!("a result of version {version}; this command reads version {SCHEMA_VERSION}"))
        }
        (Some(_), Some(_)) => None,
        _ => Some("no result of this command".to_owned()),
    }
}

/// Returns how two results differ in what they measured, in words. Settings may differ if `any_config` says
/// so, or if one of them is of a pool that is switched off: then the pool is set against none.
pub(super) fn difference(before: &Value, after: &Value, any_config: bool) -> Option<String> {
    for (key, what) in ALIKE {
        let (one, other) = (before.get(key), after.get(key));
        if one != other {
            return Some(format!("they have different {what}: {} and {}", shown(one), shown(other)));
        }
    }
    let (one, other) = (text(before, "config"), text(after, "config"));
    let is_off = |config: &str| PoolConfig::from_yaml_str(config).is_ok_and(|config| !config.enabled);
    if any_config || one == other || is_off(one) != is_off(other) {
        return None;
    }
    let line = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    let line = line.map_or_else(
        || "one has more settings".to_owned(),
        |(one, other)| format!("`{}` and `{}`", one.trim(), other.trim()),
    );
    Some(format!("their pools have different settings: {line}; compare them with --any-config"))
}

fn text<'a>(result: &'a Value, key: &str) -> &'a str {
    result.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "none".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
