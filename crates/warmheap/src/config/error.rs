//! What can be wrong with a configuration, and what is merely odd: values with a place, the text
//! that stands there, and what is allowed.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read at all.
    #[error("{}: cannot read the configuration: {source}; give the path of a YAML file", path.display())]
    Read {
        /// The path that was given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Settings were read and some of them cannot stand.
    #[error("{}", lines(file.as_ref(), problems))]
    Invalid {
        /// The file they came from, if any.
        file: Option<PathBuf>,
        /// Everything found wrong, in the order of the source; never empty. `Display` writes one
        /// line for each.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Everything found wrong with the settings; empty when they could not be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Read { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }

    pub(crate) fn invalid(problems: Vec<Problem>) -> Self {
        Self::Invalid { file: None, problems }
    }

    /// The same error, naming the file it came from.
    #[cfg(feature = "yaml")]
    pub(crate) fn in_file(self, path: PathBuf) -> Self {
        match self {
            Self::Invalid { problems, .. } => Self::Invalid { file: Some(path), problems },
            read @ Self::Read { .. } => read,
        }
    }
}

fn lines(file: Option<&PathBuf>, problems: &[Problem]) -> String {
    let file = file.map_or_else(String::new, |path| format!("{}: ", path.display()));
    problems.iter().map(|problem| format!("{file}{problem}")).collect::<Vec<_>>().join("\n")
}

/// One thing wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// What is wrong.
    pub fault: Fault,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Code => {}
            Place::Line(line) => write!(f, "line {line}: ")?,
            Place::Variable(name) => write!(f, "{name}: ")?,
        }
        self.fault.fmt(f)
    }
}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// By the program, through fields or the builder.
    Code,
    /// On this line of a file, counted from 1.
    Line(usize),
    /// In this environment variable.
    Variable(String),
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// No such key, or not in this section.
    #[error("unknown key `{key}`; {remedy}")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// The key that was probably meant, or those there are.
        remedy: String,
    },
    /// No such environment variable among those with our prefix.
    #[error("no setting has this variable; {remedy}")]
    UnknownVariable {
        /// The variable that was probably meant, or those there are.
        remedy: String,
    },
    /// The value is of the wrong kind or out of range.
    #[error("`{key}` is {found}; it must be {allowed}{hint}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What the key may hold.
        allowed: String,
        /// What else may help; empty, or continues the sentence.
        hint: &'static str,
    },
    /// A key was set before.
    #[error("`{key}` was already set on line {first}; keep one of the two")]
    Duplicate {
        /// The key.
        key: String,
        /// The line that set it first.
        first: usize,
    },
    /// `num_heaps` exceeds `max_heaps` while growth is on.
    #[error(
        "`num_heaps` is {num_heaps}, more than `max_heaps` {max_heaps}; with `dynamic_growth: true` \
         it must not exceed it: lower `num_heaps` or raise `max_heaps`"
    )]
    HeapsPastMaximum {
        /// Heaps at start-up.
        num_heaps: usize,
        /// The most there may be.
        max_heaps: usize,
    },
    /// A soft limit exceeds its hard one.
    #[error("`{soft_key}` is {soft}, more than `{hard_key}` {hard}; a soft limit is reached first: lower it")]
    SoftPastHard {
        /// The soft limit's key.
        soft_key: &'static str,
        /// Its value, in the key's unit.
        soft: String,
        /// The hard limit's key.
        hard_key: &'static str,
        /// Its value.
        hard: String,
    },
    /// A section is missing its settings, or has something else in their place.
    #[error("`{section}` is {found}; it must be a section: settings as `key: value` lines{hint}")]
    NotASection {
        /// The section, or `the configuration` for the whole file.
        section: &'static str,
        /// What was found.
        found: String,
        /// Where to put the settings; empty, or continues the sentence.
        hint: &'static str,
    },
    /// The text is not a YAML document that a configuration may be.
    #[error("{0}")]
    Syntax(String),
}

/// Something that works, but probably not as meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A warm-up size that no heap can hold; it is skipped.
    WarmupLargerThanHeap {
        /// The warm-up size in bytes.
        size: u64,
        /// The heaps' size in bytes.
        heap_size: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WarmupLargerThanHeap { size, heap_size } => write!(
                f,
                "warm-up size {} MiB is larger than a heap (`heap_size_mb` {}) and is skipped; \
                 remove it from `warmup_sizes` or raise `heap_size_mb`",
                super::mib(*size),
                super::mib(*heap_size)
            ),
        }
    }
}
