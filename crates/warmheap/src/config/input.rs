//! What somebody wrote, before it is known to make sense: the common form of a YAML node and of an
//! environment variable's text.

use std::fmt;

/// Longest piece of foreign text an error repeats.
const SHOWN: usize = 60;

#[cfg_attr(not(feature = "yaml"), expect(dead_code, reason = "variables hold no quotes"))]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// Bare text, which may be a number, a switch or a word.
    Plain(String),
    /// Text in quotes, which is only ever a word.
    Quoted(String),
    List(Vec<Input>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) value: Input,
}

impl Input {
    /// Nothing was written where a value belongs.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// One line of bounded length, fit for an error message.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            _ if self.is_null() => f.write_str("empty"),
            Self::Plain(text) => write!(f, "`{}`", shortened(text)),
            Self::Quoted(text) => write!(f, "the text '{}'", shortened(text)),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Map(_) => f.write_str("a section"),
        }
    }
}

/// `text` on one line, cut where a reader has seen enough.
pub(crate) fn shortened(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}
