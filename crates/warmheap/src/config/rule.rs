//! The rule of a key: how its text is read, which values are in range, and how an error describes them.

use std::collections::BTreeMap;
use std::fmt;

use super::MIB;
use super::input::{Entry, Input};
use super::value::Value;

/// The largest heap in bytes that a configuration may ask for: 512 GiB. It has fewer than 2^32 granules
/// of 256 bytes, and every product of sizes and counts stays within 64 bits. No device has as much.
pub const MAX_HEAP_SIZE: u64 = 1 << 39;
/// The most heaps that a configuration may ask for. Devices limit how many objects a process may have, and
/// each heap is one.
pub const MAX_HEAPS: usize = 4096;
const MAX_MIB: f64 = (MAX_HEAP_SIZE / MIB) as f64;
const MAX_WARMUP_SIZES: usize = 64;
const MAX_QUOTAS: usize = 64;
const MAX_TAG: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    Switch,
    /// A whole number from `min` to `max`, both included.
    Whole {
        min: f64,
        max: f64,
    },
    /// A number of MiB up to [`MAX_HEAP_SIZE`]. Fractions are allowed.
    Size {
        zero: bool,
    },
    /// Above 0, at most 1.
    Ratio,
    Word(&'static [&'static str]),
    Sizes,
    /// Tags, each with a number of MiB.
    Quotas,
}

impl Rule {
    /// Reads the value that `input` spells. Returns `None` if the rule does not accept it.
    pub(crate) fn read(self, input: &Input) -> Option<Value> {
        let value = match (self, input) {
            (Self::Switch, Input::Plain(text)) => Value::Switch(switch(text)?),
            (Self::Word(words), Input::Plain(text) | Input::Quoted(text)) => {
                Value::Word(words.iter().find(|word| *word == text)?)
            }
            (Self::Sizes, Input::List(items)) => {
                Value::Sizes(items.iter().map(number).collect::<Option<_>>()?)
            }
            (Self::Quotas, Input::Map(entries)) => Value::Quotas(quotas(entries)?),
            (Self::Whole { .. } | Self::Size { .. } | Self::Ratio, input) => Value::Number(number(input)?),
            _ => return None,
        };
        self.accepts(&value).then_some(value)
    }

    /// Returns whether `value` is of the right kind and in range.
    pub(crate) fn accepts(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Switch, Value::Switch(_)) => true,
            (Self::Whole { min, max }, Value::Number(n)) => n.fract() == 0.0 && (min..=max).contains(n),
            (Self::Size { zero }, Value::Number(n)) => size(*n) || (zero && *n == 0.0),
            (Self::Ratio, Value::Number(n)) => *n > 0.0 && *n <= 1.0,
            (Self::Word(words), Value::Word(word)) => words.contains(word),
            (Self::Sizes, Value::Sizes(sizes)) => {
                sizes.len() <= MAX_WARMUP_SIZES && sizes.iter().all(|n| size(*n))
            }
            (Self::Quotas, Value::Quotas(quotas)) => {
                quotas.len() <= MAX_QUOTAS && quotas.iter().all(|(name, n)| tag(name) && size(*n))
            }
            _ => false,
        }
    }

    /// Returns whether the rule wants sizes in MiB.
    pub(crate) fn is_size(self) -> bool {
        matches!(self, Self::Size { .. } | Self::Sizes | Self::Quotas)
    }

    /// Returns whether the rule wants numbers. An error then warns of units and arithmetic.
    pub(crate) fn is_numeric(self) -> bool {
        !matches!(self, Self::Switch | Self::Word(_))
    }
}

/// Describes the allowed values, for errors and documents.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Whole { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Size { zero: true } => write!(f, "a number of MiB from 0 to {MAX_MIB}"),
            Self::Size { zero: false } => {
                write!(f, "a number of MiB above 0 and at most {MAX_MIB}")
            }
            Self::Ratio => f.write_str("a number above 0 and at most 1"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
            Self::Sizes => write!(
                f,
                "a list of at most {MAX_WARMUP_SIZES} numbers of MiB, each above 0 and at most \
                 {MAX_MIB}"
            ),
            Self::Quotas => write!(
                f,
                "at most {MAX_QUOTAS} tags of letters, digits, `.`, `_` and `-`, each once and with a number of \
                 MiB above 0 and at most {MAX_MIB}"
            ),
        }
    }
}

/// Accepts names that need no quotes in a file and no escapes in a variable.
fn tag(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.len() <= MAX_TAG && name.chars().all(plain)
}

/// Returns `None` if a tag occurs twice, or if its value is not a number.
fn quotas(entries: &[Entry]) -> Option<Vec<(String, f64)>> {
    let pairs = entries.iter().map(|entry| Some((entry.key.clone(), number(&entry.value)?)));
    let quotas: BTreeMap<_, _> = pairs.collect::<Option<_>>()?;
    (quotas.len() == entries.len()).then(|| quotas.into_iter().collect())
}

/// Accepts what is a byte or more. Less would be taken for 0, which means something else.
fn size(mib: f64) -> bool {
    mib <= MAX_MIB && (mib * MIB as f64).round() >= 1.0
}

/// Returns whether `input` is a size of less than one byte.
pub(crate) fn is_tiny(input: &Input) -> bool {
    number(input).is_some_and(|mib| mib > 0.0 && !size(mib) && mib < 1.0)
}

/// Reads the words of YAML 1.2. YAML 1.1 also has `yes` and `on`; they are refused, because other readers
/// take them for text.
fn switch(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Reads a decimal number. `inf` and `nan`, which Rust also parses, are refused.
fn number(input: &Input) -> Option<f64> {
    let Input::Plain(text) = input else {
        return None;
    };
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
