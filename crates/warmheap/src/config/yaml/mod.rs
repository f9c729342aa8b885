//! Settings from YAML and back: which section holds which keys.
//!
//! A whole document starts at `metal_optimizations`; a fragment may start at `memory_pool` or with
//! the pool's own keys. Text becomes a tree ([`tree`]), the tree becomes assignments of keys, and
//! those go the way that all settings go.

mod tree;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::PoolConfig;
use super::assign::{Assignment, assign, remedy};
use super::error::{ConfigError, Fault, Place, Problem};
use super::input::{Entry, Input, shortened};
use super::key::{Key, keys};
use super::rule::Rule;
use super::value::Value;

/// The most bytes a configuration may have.
pub const MAX_YAML_BYTES: usize = 1 << 20;

/// Past this many problems the rest is no help.
const MAX_PROBLEMS: usize = 20;

impl PoolConfig {
    /// The settings in `text`: the guide's form, or a fragment that starts at `memory_pool` or with
    /// the pool's own keys. What is not set is as in [`PoolConfig::default`].
    ///
    /// ```
    /// # use warmheap::config::{MIB, PoolConfig};
    /// let config = PoolConfig::from_yaml_str("heap_size_mb: 512\nnum_heaps: 2")?;
    /// assert_eq!((config.heap_size, config.num_heaps), (512 * MIB, 2));
    ///
    /// let error = PoolConfig::from_yaml_str("heap_size_bm: 512").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "line 1: unknown key `heap_size_bm`; did you mean `heap_size_mb`?"
    /// );
    /// # Ok::<(), warmheap::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Invalid`]: text that is no YAML, is empty, longer than [`MAX_YAML_BYTES`],
    /// uses aliases or nests deeply; unknown or repeated keys; values a key may not hold; settings
    /// that do not go together. Every problem names its line.
    pub fn from_yaml_str(text: &str) -> Result<Self, ConfigError> {
        let root = tree::parse(text).map_err(|problem| ConfigError::invalid(vec![problem]))?;
        let mut reader = Reader::default();
        reader.section(Section::File, &root);
        reader.finish()
    }

    /// The settings in a file, as [`from_yaml_str`](Self::from_yaml_str) reads them.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if the file cannot be read; otherwise as `from_yaml_str`, and the
    /// error names the file.
    pub fn from_yaml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let bytes = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        text(bytes)
            .map_err(|problem| ConfigError::invalid(vec![problem]))
            .and_then(|text| Self::from_yaml_str(&text))
            .map_err(|error| error.in_file(path.to_owned()))
    }
}

/// At most one byte more than a configuration may have: enough to see that it is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_YAML_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Length goes first: a cut in the middle of a character must not look like bad text.
fn text(bytes: Vec<u8>) -> Result<String, Problem> {
    tree::check_length(bytes.len())?;
    String::from_utf8(bytes).map_err(|error| not_utf8(&error))
}

fn not_utf8(error: &std::string::FromUtf8Error) -> Problem {
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
    Problem {
        place: Place::Line(line),
        fault: Fault::Syntax("not UTF-8 text; save the file as UTF-8".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Section {
    File,
    Optimizations,
    Pool,
    /// What stands before the dot in some keys' names.
    Group(&'static str),
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::File => "the configuration",
            Self::Optimizations => "metal_optimizations",
            Self::Pool => "memory_pool",
            Self::Group(name) => name,
        }
    }

    /// The section that `name` opens here.
    fn child(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::File, "metal_optimizations") => Some(Self::Optimizations),
            (Self::File | Self::Optimizations, "memory_pool") => Some(Self::Pool),
            (Self::File | Self::Pool, name) => groups().find(|group| *group == name).map(Self::Group),
            _ => None,
        }
    }

    /// What `key` is called here, if this is its place.
    fn name_of(self, key: &'static Key) -> Option<&'static str> {
        let name = key.name();
        match self {
            Self::Optimizations => (name == MASTER_SWITCH).then_some(name),
            Self::Group(group) => name.strip_prefix(group)?.strip_prefix('.'),
            Self::File | Self::Pool => (!name.contains('.')).then_some(name),
        }
    }

    /// The key that `name` sets here.
    fn key(self, name: &str) -> Option<&'static Key> {
        keys().iter().find(|key| self.name_of(key) == Some(name))
    }

    /// Every name that means something here.
    fn names(self) -> Vec<&'static str> {
        let sections = [Self::Optimizations.name(), Self::Pool.name()].into_iter().chain(groups());
        keys()
            .iter()
            .filter_map(|key| self.name_of(key))
            .chain(sections.filter(|name| self.child(name).is_some()))
            .collect()
    }
}

/// The sections of a pool's settings. Keys of one stand together in the table.
fn groups() -> impl Iterator<Item = &'static str> {
    let mut last = None;
    let group = |key: &'static Key| key.name().split_once('.').map(|(group, _)| group);
    keys().iter().filter_map(group).filter(move |group| last.replace(*group) != Some(group))
}

/// Off in either of its two sections is off.
const MASTER_SWITCH: &str = "enabled";

#[derive(Debug, Default)]
struct Reader {
    assignments: Vec<Assignment>,
    /// `metal_optimizations.enabled`, unless it is plainly `true`: it has the last word.
    master: Option<Assignment>,
    problems: Vec<Problem>,
    /// Where each section and key was set, by its full name.
    seen: BTreeMap<String, usize>,
}

impl Reader {
    fn section(&mut self, section: Section, input: &Input) {
        let Input::Map(entries) = input else {
            // Only the file itself comes here as anything else.
            self.not_a_section(section, input, 1);
            return;
        };
        for entry in entries {
            if self.problems.len() >= MAX_PROBLEMS {
                return;
            }
            self.entry(section, entry);
        }
    }

    fn entry(&mut self, section: Section, entry: &Entry) {
        let child = section.child(&entry.key);
        let key = section.key(&entry.key);
        let full_name = match (key, child) {
            (Some(_), _) if section == Section::Optimizations => "metal_optimizations.enabled",
            (Some(key), _) => key.name(),
            (None, Some(child)) => child.name(),
            (None, None) => {
                return self.problem(
                    entry.line,
                    Fault::UnknownKey {
                        key: shortened(&entry.key),
                        remedy: remedy(&entry.key, &section.names()),
                    },
                );
            }
        };
        if let Some(&first) = self.seen.get(full_name) {
            let key = entry.key.clone();
            return self.problem(entry.line, Fault::Duplicate { key, first });
        }
        self.seen.insert(full_name.to_owned(), entry.line);
        match (key, child) {
            (Some(key), _) => self.assign(section, key, entry),
            (None, Some(child)) if matches!(entry.value, Input::Map(_)) => {
                self.section(child, &entry.value);
            }
            (None, Some(child)) => self.not_a_section(child, &entry.value, entry.line),
            (None, None) => {}
        }
    }

    fn assign(&mut self, section: Section, key: &'static Key, entry: &Entry) {
        let assignment = Assignment { key, place: Place::Line(entry.line), input: entry.value.clone() };
        if section != Section::Optimizations {
            self.assignments.push(assignment);
        } else if Rule::Switch.read(&entry.value) != Some(Value::Switch(true)) {
            self.master = Some(assignment);
        }
    }

    fn not_a_section(&mut self, section: Section, input: &Input, line: usize) {
        let hint = match section {
            Section::File => "",
            _ => ", indented under it",
        };
        self.problem(line, Fault::NotASection { section: section.name(), found: input.to_string(), hint });
    }

    fn problem(&mut self, line: usize, fault: Fault) {
        self.problems.push(Problem { place: Place::Line(line), fault });
    }

    fn finish(mut self) -> Result<PoolConfig, ConfigError> {
        self.assignments.extend(self.master);
        assign(PoolConfig::default(), &self.assignments, self.problems)
    }
}
