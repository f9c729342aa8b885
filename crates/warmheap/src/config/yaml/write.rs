//! Writes settings as YAML.

use super::super::key::keys;
use super::super::settings::PoolConfig;

/// Returns every setting as a YAML document.
pub(crate) fn write(config: &PoolConfig) -> String {
    let mut yaml = "metal_optimizations:\n  enabled: true\n  memory_pool:\n".to_owned();
    let mut open = None;
    for key in keys() {
        let (section, name) = match key.name().split_once('.') {
            Some((section, name)) => (Some(section), name),
            None => (None, key.name()),
        };
        if section != open {
            open = section;
            if let Some(section) = section {
                push(&mut yaml, 4, section, "");
            }
        }
        let indent = if section.is_some() { 6 } else { 4 };
        push(&mut yaml, indent, name, &format!(" {}", (key.get)(config)));
    }
    yaml
}

fn push(yaml: &mut String, indent: usize, name: &str, value: &str) {
    yaml.push_str(&format!("{:indent$}{name}:{value}\n", ""));
}
