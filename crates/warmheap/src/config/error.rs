//! Faults of a configuration, and warnings about it. A fault has its place, the text found there, and
//! the values that are allowed.

use std::path::PathBuf;
use std::{fmt, io};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot read the configuration: {source}; give the path of a YAML file", path.display())]
    Read {
        /// The path that was given.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Settings were read, and some of them are wrong.
    #[error("{}", lines(file.as_ref(), problems))]
    Invalid {
        /// The file that the settings came from, if any.
        file: Option<PathBuf>,
        /// Every fault found, in the order of the source. The list is never empty. `Display` writes one
        /// line for each.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// Returns every fault found in the settings. The list is empty if they could not be read.
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

    /// Adds the file that the settings came from.
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

/// One fault, and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The place of the setting.
    pub place: Place,
    /// What is wrong with it.
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

/// The place where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Place {
    /// The program's code: a field or the builder.
    Code,
    /// This line of a file, counted from 1.
    Line(usize),
    /// This environment variable.
    Variable(String),
}

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is no such key, or it does not belong in this section.
    #[error("unknown key `{key}`; {remedy}")]
    UnknownKey {
        /// The key as written.
        key: String,
        /// The key that was probably meant, or a list of the known keys.
        remedy: String,
    },
    /// The environment variable has the prefix of Warmheap and sets nothing.
    #[error("this variable sets nothing; {remedy}")]
    UnknownVariable {
        /// The variable that was probably meant, or a list of the known variables.
        remedy: String,
    },
    /// The value is of the wrong kind or out of range.
    #[error("`{key}` is {found}; it must be {allowed}{hint}")]
    BadValue {
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// The values that the key may hold.
        allowed: String,
        /// A hint that continues the sentence, or an empty text.
        hint: &'static str,
    },
    /// The key is set twice.
    #[error("`{key}` was already set on line {first}; keep one of the two")]
    Duplicate {
        /// The key.
        key: String,
        /// The line that set it first.
        first: usize,
    },
    /// `num_heaps` exceeds `max_heaps` while growth is on.
    #[error(
        "`num_heaps` is {num_heaps}, more than `max_heaps` {max_heaps}, which `dynamic_growth: true` does \
         not allow: lower `num_heaps` or raise `max_heaps`"
    )]
    HeapsPastMaximum {
        /// The number of heaps at start-up.
        num_heaps: usize,
        /// The most heaps that the pool may have.
        max_heaps: usize,
    },
    /// A soft limit exceeds its hard limit.
    #[error(
        "`{soft_key}` is {soft}, more than `{hard_key}` {hard}; a soft limit must not exceed the hard one: \
         lower it"
    )]
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
    /// A section has no settings, or has something else in their place.
    #[error("`{section}` is {found}; it must be a section: settings as `key: value` lines{hint}")]
    NotASection {
        /// The section, or `the configuration` for the whole file.
        section: &'static str,
        /// What was found.
        found: String,
        /// Where the settings belong: a text that continues the sentence, or an empty one.
        hint: &'static str,
    },
    /// The text is not YAML, or uses parts of YAML that a configuration must not use.
    #[error("{0}")]
    Syntax(String),
}

/// A setting that works, but is probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A warm-up size is larger than a heap, so it is skipped.
    WarmupLargerThanHeap {
        /// The warm-up size in bytes.
        size: u64,
        /// The size of each heap in bytes.
        heap_size: u64,
    },
    /// The warm-up sizes do not fit in a heap side by side, so the whole heap is warmed and no more.
    WarmupsLargerThanHeap {
        /// The sum of the warm-up sizes in bytes.
        sum: u64,
        /// The size of each heap in bytes.
        heap_size: u64,
    },
    /// The heaps alone pass a soft limit, so the pool starts with the limit crossed.
    SoftLimitCrossedAtStart {
        /// The key of the limit.
        key: &'static str,
        /// The limit, in the key's unit.
        limit: String,
        /// What the heaps take, in the same unit.
        heaps: String,
    },
    /// Keys that have no effect, because of other settings or the device.
    WithoutEffect {
        /// The keys.
        keys: Vec<&'static str>,
        /// The reason.
        because: &'static str,
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
            Self::WarmupsLargerThanHeap { sum, heap_size } => write!(
                f,
                "the `warmup_sizes` take {} MiB side by side, more than a heap (`heap_size_mb` {}), which is \
                 warmed whole; remove sizes or raise `heap_size_mb`",
                super::mib(*sum),
                super::mib(*heap_size)
            ),
            Self::SoftLimitCrossedAtStart { key, limit, heaps } => write!(
                f,
                "`{key}` is {limit}, and the heaps alone take {heaps}: the limit is crossed from the start; \
                 raise it or make the heaps smaller"
            ),
            Self::WithoutEffect { keys, because } => {
                let names: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
                let verb = if keys.len() == 1 { "has" } else { "have" };
                write!(f, "{} {verb} no effect: {because}", names.join(", "))
            }
        }
    }
}
