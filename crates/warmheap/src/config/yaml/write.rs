//! Writes settings as YAML.

use super::super::key::keys;
use super::super::settings::PoolConfig;

/// Returns the settings that `holds` names as a YAML document.
pub(crate) fn write(config: &PoolConfig, holds: impl Fn(&str) -> bool) -> String {
    let settings = keys().iter().filter(|key| holds(key.name()));
    let lines = settings.map(|key| (key.name(), (key.get)(config).to_string()));
    format!("metal_optimizations:\n  enabled: true\n  memory_pool:\n{}", sections(lines))
}

/// Returns the settings of `after` that differ from those of `before`, which stand beside them.
pub(crate) fn write_changes(before: &PoolConfig, after: &PoolConfig) -> String {
    let changed = keys().iter().filter(|key| (key.get)(before) != (key.get)(after));
    let lines = changed.map(|key| {
        let (old, new) = ((key.get)(before), (key.get)(after));
        (key.name(), format!("{new}  # was {old}"))
    });
    match sections(lines) {
        none if none.is_empty() => none,
        lines => format!("metal_optimizations:\n  memory_pool:\n{lines}"),
    }
}

/// Returns names and values as lines, those of a section indented below its name.
fn sections(lines: impl Iterator<Item = (&'static str, String)>) -> String {
    let mut yaml = String::new();
    let mut open = None;
    for (name, value) in lines {
        let (section, name) = match name.split_once('.') {
            Some((section, name)) => (Some(section), name),
            None => (None, name),
        };
        if section != open {
            open = section;
            if let Some(section) = section {
                push(&mut yaml, 4, section, "");
            }
        }
        let indent = if section.is_some() { 6 } else { 4 };
        push(&mut yaml, indent, name, &format!(" {value}"));
    }
    yaml
}

fn push(yaml: &mut String, indent: usize, name: &str, value: &str) {
    yaml.push_str(&format!("{:indent$}{name}:{value}\n", ""));
}
