//! A setting's text before it is checked: the common form of a YAML node and of an environment variable.

use std::fmt;

/// The most characters of a source's text that an error repeats.
const SHOWN: usize = 60;

#[cfg_attr(not(feature = "yaml"), expect(dead_code, reason = "variables hold no quotes"))]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    /// Text without quotes: a number, a switch or a word.
    Plain(String),
    /// Text in quotes: always a word.
    Quoted(String),
    List(Vec<Input>),
    Map(Vec<Entry>),
    /// A form that no setting has. It is an error where a setting stands, and nothing elsewhere.
    Unread {
        /// The line, counted from 1.
        line: usize,
        /// What it is, and what to write instead.
        message: &'static str,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The line, counted from 1.
    pub(crate) line: usize,
    pub(crate) value: Input,
}

impl Input {
    /// Returns the line and the message of a part that is [`Input::Unread`].
    #[cfg(feature = "yaml")]
    pub(crate) fn unread(&self) -> Option<(usize, &'static str)> {
        match self {
            Self::Unread { line, message } => Some((*line, message)),
            Self::List(items) => items.iter().find_map(Self::unread),
            Self::Map(entries) => entries.iter().find_map(|entry| entry.value.unread()),
            Self::Plain(_) | Self::Quoted(_) => None,
        }
    }

    /// Returns whether the place of the value is empty.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Plain(text) if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Writes one line of bounded length, for error messages.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            _ if self.is_null() => f.write_str("empty"),
            Self::Plain(text) => write!(f, "`{}`", shortened(text)),
            Self::Quoted(text) => write!(f, "the text '{}'", shortened(text)),
            Self::List(items) => write!(f, "a list of {}", items.len()),
            Self::Map(_) => f.write_str("a section"),
            Self::Unread { message, .. } => f.write_str(message),
        }
    }
}

/// Returns `text` on one line, cut after [`SHOWN`] characters.
pub(crate) fn shortened(text: &str) -> String {
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}
