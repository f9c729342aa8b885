//! Reading settings from YAML and writing them. This module knows which section holds which keys.
//!
//! A whole document starts at `metal_optimizations`. A fragment may start at `memory_pool`, or with the
//! pool's own keys. [`tree`] turns text into a tree. The reader turns the tree into assignments of keys,
//! and [`apply`] applies and checks them.

mod tree;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub(crate) use write::{write, write_changes};

use super::assign::{Assignment, apply};
use super::effect::FIXED_HEAPS;
use super::error::{ConfigError, Fault, Place, Problem};
use super::input::{Entry, Input, shortened};
use super::key::{Key, keys};
use super::rule::Rule;
use super::settings::{HeapSizing, PoolConfig};
use super::suggest::{nearest, remedy};
use super::value::Value;

/// The most bytes that a configuration may have.
pub const MAX_YAML_BYTES: usize = 1 << 20;

/// The most problems that an error reports. More would not help the reader.
const MAX_PROBLEMS: usize = 20;

/// The most keys of other owners. Each is compared with every key that it may misspell.
const MAX_PASSED_OVER: usize = 1000;

/// What a YAML text says: the settings, the keys that it sets, and the keys that are not Warmheap's.
///
/// ```
/// # use warmheap::config::Document;
/// let document = Document::from_text("server: {port: 80}\nmemory_pool: {max_heaps: 8}")?;
/// assert_eq!(document.passed_over[0].key, "server");
/// let warnings = document.config.warnings_for(&document.keys);
/// assert!(warnings.iter().any(|w| w.to_string() == "`max_heaps` has no effect: `dynamic_growth` is off"));
/// # Ok::<(), warmheap::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Document {
    /// The settings. A key that the text does not set has its default.
    pub config: PoolConfig,
    /// The keys that the text sets.
    pub keys: Vec<&'static str>,
    /// The keys of other owners.
    pub passed_over: Vec<PassedOver>,
    /// Whether `metal_optimizations.enabled` is false, which switches off the sections of other owners there too.
    pub switched_off: bool,
}

impl Document {
    /// Reads a text, as [`PoolConfig::from_yaml_str`] does.
    ///
    /// # Errors
    /// Those of [`PoolConfig::from_yaml_str`].
    pub fn from_text(text: &str) -> Result<Self, ConfigError> {
        Self::from_text_over(PoolConfig::default(), text)
    }

    /// Reads a text whose settings change those of `base`, as [`PoolConfig::with_yaml_str`] does.
    ///
    /// # Errors
    /// Those of [`PoolConfig::with_yaml_str`].
    pub fn from_text_over(base: PoolConfig, text: &str) -> Result<Self, ConfigError> {
        let reader = Reader::of(text)?;
        for PassedOver { key, line, .. } in &reader.passed_over {
            tracing::info!(key, line, "a setting of another owner is passed over");
        }
        reader.finish(|set| sized_for(base, set))
    }

    /// Reads a file, as [`PoolConfig::from_yaml_file`] does. Every error names the file.
    ///
    /// # Errors
    /// Those of [`PoolConfig::from_yaml_file`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::from_file_over(PoolConfig::default(), path)
    }

    /// Reads a file whose settings change those of `base`, as [`PoolConfig::with_yaml_file`] does. Every error
    /// names the file.
    ///
    /// # Errors
    /// Those of [`PoolConfig::with_yaml_file`].
    pub fn from_file_over(base: PoolConfig, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        in_file(path.as_ref(), |text| Self::from_text_over(base, text))
    }

    /// Whether the text says how heaps are sized: by `heap_sizing`, or by a key that only fixed heaps have.
    #[must_use]
    pub fn sizes_heaps(&self) -> bool {
        sizes_heaps(&self.keys)
    }
}

fn sizes_heaps(keys: &[&str]) -> bool {
    keys.iter().any(|key| *key == "heap_sizing" || FIXED_HEAPS.contains(key))
}

/// A key of a configuration that is not Warmheap's, so that reading passes over it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// The key, cut where it is long.
    pub key: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// The settings directly in it; `None` if it is no section.
    pub settings: Option<Vec<OtherSetting>>,
}

/// A setting of another owner, for that owner to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtherSetting {
    /// The key.
    pub key: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// The value as written, if it has no quotes: a number, a switch or a word. Otherwise a description, such as
    /// `a list of 3`.
    pub value: String,
}

impl PassedOver {
    fn of(entry: &Entry) -> Self {
        let settings = match &entry.value {
            Input::Map(entries) => Some(entries.iter().map(OtherSetting::of).collect()),
            _ => None,
        };
        Self { key: shortened(&entry.key), line: entry.line, settings }
    }
}

impl OtherSetting {
    fn of(entry: &Entry) -> Self {
        let value = match &entry.value {
            Input::Plain(text) if !entry.value.is_null() => text.clone(),
            other => other.to_string(),
        };
        Self { key: entry.key.clone(), line: entry.line, value }
    }
}

/// Returns the keys that reading `text` passes over: those of other owners in a whole document.
pub(crate) fn passed_over(text: &str) -> Vec<PassedOver> {
    Reader::of(text).map(|reader| reader.passed_over).unwrap_or_default()
}

/// Returns the settings that the assignments of a text change. A key of fixed heaps makes a pool that sizes
/// itself one of fixed heaps, unless the text says how heaps are sized. The heaps are warmed as by default,
/// unless `base` has sizes of its own.
fn sized_for(base: PoolConfig, set: &[Assignment]) -> PoolConfig {
    let sets = |names: &[&str]| set.iter().any(|assignment| names.contains(&assignment.key.name()));
    let sized = base.heaps == HeapSizing::Elastic && sets(FIXED_HEAPS) && !sets(&["heap_sizing"]);
    let PoolConfig { heaps, warmup_sizes, .. } = PoolConfig::default();
    if !sized {
        base
    } else if base.warmup_sizes == PoolConfig::elastic().warmup_sizes {
        PoolConfig { heaps, warmup_sizes, ..base }
    } else {
        PoolConfig { heaps, ..base }
    }
}

/// Reads the text of a file with `read_text`. Every error names the file.
fn in_file<R>(path: &Path, read_text: impl FnOnce(&str) -> Result<R, ConfigError>) -> Result<R, ConfigError> {
    let bytes = read(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text(bytes)
        .map_err(|problem| ConfigError::invalid(vec![problem]))
        .and_then(|text| read_text(&text))
        .map_err(|error| error.in_file(path.to_owned()))
}

/// Reads at most one byte more than a configuration may have. That shows whether the file is too long.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_YAML_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Decodes the text. The length is checked first, because a long file was cut, maybe inside a character.
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
    /// The part of a key's name before the dot.
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

    /// Returns the section that `name` opens inside this one.
    fn child(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::File, "metal_optimizations") => Some(Self::Optimizations),
            (Self::File | Self::Optimizations, "memory_pool") => Some(Self::Pool),
            (Self::File | Self::Pool, name) => groups().find(|group| *group == name).map(Self::Group),
            _ => None,
        }
    }

    /// Returns the name of `key` in this section, if the key belongs here.
    fn name_of(self, key: &'static Key) -> Option<&'static str> {
        let name = key.name();
        match self {
            Self::Optimizations => (name == MASTER_SWITCH).then_some(name),
            Self::Group(group) => name.strip_prefix(group)?.strip_prefix('.'),
            Self::File | Self::Pool => (!name.contains('.')).then_some(name),
        }
    }

    /// Returns the key that `name` sets in this section.
    fn key(self, name: &str) -> Option<&'static Key> {
        keys().iter().find(|key| self.name_of(key) == Some(name))
    }

    /// Returns every key and section that this section may contain.
    fn names(self) -> Vec<&'static str> {
        let sections = [Self::Optimizations.name(), Self::Pool.name()].into_iter().chain(groups());
        keys()
            .iter()
            .filter_map(|key| self.name_of(key))
            .chain(sections.filter(|name| self.child(name).is_some()))
            .collect()
    }
}

/// Returns the sections inside a pool's settings. The table keeps the keys of a section together.
fn groups() -> impl Iterator<Item = &'static str> {
    let mut last = None;
    let group = |key: &'static Key| key.name().split_once('.').map(|(group, _)| group);
    keys().iter().filter_map(group).filter(move |group| last.replace(*group) != Some(group))
}

/// The key that two sections have. The pool is off if either of them switches it off.
const MASTER_SWITCH: &str = "enabled";

#[derive(Debug, Default)]
struct Reader {
    assignments: Vec<Assignment>,
    /// The assignment of `metal_optimizations.enabled`, unless its value is `true`. It is applied last.
    master: Option<Assignment>,
    problems: Vec<Problem>,
    /// The line that set each section and key, by its full name.
    seen: BTreeMap<String, usize>,
    /// Whether the text is a whole document, in which sections of other owners may stand.
    whole: bool,
    passed_over: Vec<PassedOver>,
}

impl Reader {
    fn of(text: &str) -> Result<Self, ConfigError> {
        let root = tree::parse(text).map_err(|problem| ConfigError::invalid(vec![problem]))?;
        let sections = [Section::Optimizations.name(), Section::Pool.name()];
        let whole = matches!(&root, Input::Map(entries) if
            entries.iter().any(|entry| sections.contains(&entry.key.as_str())));
        let mut reader = Self { whole, ..Self::default() };
        reader.section(Section::File, &root);
        Ok(reader)
    }

    /// Whether an unknown key in this section may be another owner's. A key like one of ours is misspelt, unless
    /// it is like one of `sections`, which stand beside it: `cpu_optimizations` beside `metal_optimizations`.
    fn may_pass_over(&self, section: Section, key: &str, sections: &[Section]) -> bool {
        let shared = match section {
            Section::File => self.whole,
            Section::Optimizations => true,
            Section::Pool | Section::Group(_) => false,
        };
        let is_ours = || {
            nearest(key, &section.names()).is_some_and(|meant| !sections.iter().any(|s| s.name() == meant))
        };
        shared && self.passed_over.len() < MAX_PASSED_OVER && !is_ours()
    }

    fn section(&mut self, section: Section, input: &Input) {
        if let Input::Unread { line, message } = input {
            return self.problem(*line, Fault::Syntax((*message).to_owned()));
        }
        let Input::Map(entries) = input else {
            // Every other section was checked to be a map, so this is the file itself.
            self.not_a_section(section, input, 1);
            return;
        };
        let sections: Vec<_> = entries.iter().filter_map(|entry| section.child(&entry.key)).collect();
        for entry in entries {
            if self.problems.len() >= MAX_PROBLEMS {
                return;
            }
            self.entry(section, entry, &sections);
        }
    }

    fn entry(&mut self, section: Section, entry: &Entry, sections: &[Section]) {
        let child = section.child(&entry.key);
        let key = section.key(&entry.key);
        let full_name = match (key, child) {
            (Some(_), _) if section == Section::Optimizations => "metal_optimizations.enabled",
            (Some(key), _) => key.name(),
            (None, Some(child)) => child.name(),
            (None, None) if self.may_pass_over(section, &entry.key, sections) => {
                return self.passed_over.push(PassedOver::of(entry));
            }
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
        // The entries of a section are looked at one by one.
        let is_section = key.is_none() && matches!(entry.value, Input::Map(_));
        if let Some((line, message)) = entry.value.unread().filter(|_| !is_section) {
            return self.problem(line, Fault::Syntax(message.to_owned()));
        }
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

    /// Applies the settings to those that `base` chooses for them.
    fn finish(mut self, base: impl FnOnce(&[Assignment]) -> PoolConfig) -> Result<Document, ConfigError> {
        // Its value is not `true`; one that is no switch is an error below.
        let switched_off = self.master.is_some();
        self.assignments.extend(self.master);
        let keys = self.assignments.iter().map(|assignment| assignment.key.name()).collect();
        let config = apply(base(&self.assignments), &self.assignments, self.problems)?;
        Ok(Document { config, keys, passed_over: self.passed_over, switched_off })
    }
}
