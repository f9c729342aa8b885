//! Parses YAML text into a small tree with line numbers.
//!
//! A configuration needs no aliases, no tags and no deep nesting. The parser does not follow them, so the tree
//! is never larger than the text. They may stand in sections of other owners.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, StrInput};

use super::super::error::{Fault, Place, Problem};
use super::super::input::{Entry, Input};
use super::MAX_YAML_BYTES;

/// The deepest nesting that is read. A configuration nests three deep, and a list makes four.
const MAX_DEPTH: usize = 8;

pub(super) fn parse(text: &str) -> Result<Input, Problem> {
    check_length(text.len())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut events = Events(Parser::new_from_str(text));
    let mut root = None;
    loop {
        match events.next()? {
            (Event::StreamEnd, _) => break,
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (_, line) if root.is_some() => {
                return Err(problem(line, "a second YAML document; keep one per file".to_owned()));
            }
            event => root = Some(events.node(event, 0)?),
        }
    }
    match root {
        Some(root) if !root.is_null() => Ok(root),
        _ => Err(problem(
            1,
            "no settings here; start with `metal_optimizations:`, `memory_pool:` or a key such as \
             `heap_size_mb: 256`"
                .to_owned(),
        )),
    }
}

pub(super) fn check_length(bytes: usize) -> Result<(), Problem> {
    if bytes <= MAX_YAML_BYTES {
        return Ok(());
    }
    Err(problem(
        1,
        format!(
            "the text has more than {MAX_YAML_BYTES} bytes, which no configuration needs; is this the right \
             file?"
        ),
    ))
}

struct Events<'a>(Parser<'a, StrInput<'a>>);

impl<'a> Events<'a> {
    /// Returns the next event and the line on which it starts.
    fn next(&mut self) -> Result<(Event<'a>, usize), Problem> {
        match self.0.next_event() {
            Some(Ok((event, span))) => Ok((event, span.start.line())),
            Some(Err(error)) => Err(invalid(&error)),
            None => Ok((Event::StreamEnd, 1)),
        }
    }

    /// Reads the node that `event` begins.
    fn node(&mut self, (event, line): (Event<'a>, usize), depth: usize) -> Result<Input, Problem> {
        const TAG: &str = "a configuration has no YAML tags (`!...`); remove the tag";
        // The levels of `MAX_DEPTH`.
        const DEEP: &str = "nested more than 8 levels deep; a configuration needs three";
        let opens = matches!(event, Event::SequenceStart(..) | Event::MappingStart(..));
        if depth > MAX_DEPTH {
            if opens {
                self.skip()?;
            }
            return Ok(Input::Unread { line, message: DEEP });
        }
        match event {
            Event::Scalar(_, _, _, Some(_)) => Ok(Input::Unread { line, message: TAG }),
            Event::SequenceStart(_, Some(_)) | Event::MappingStart(_, Some(_)) => {
                self.skip()?;
                Ok(Input::Unread { line, message: TAG })
            }
            Event::Scalar(text, style, _, None) => Ok(match style {
                ScalarStyle::Plain => Input::Plain(text.into_owned()),
                _ => Input::Quoted(text.into_owned()),
            }),
            Event::SequenceStart(..) => self.list(depth),
            Event::MappingStart(..) => self.map(depth),
            Event::Alias(_) => {
                let message = "YAML aliases (`*name`) are not accepted; write the value itself";
                Ok(Input::Unread { line, message })
            }
            other => Err(problem(line, format!("not valid YAML: unexpected {other:?}"))),
        }
    }

    /// Reads the rest of the list or map that the last event began, whatever is in it.
    fn skip(&mut self) -> Result<(), Problem> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next()? {
                (Event::SequenceStart(..) | Event::MappingStart(..), _) => open += 1,
                (Event::SequenceEnd | Event::MappingEnd, _) => open -= 1,
                (Event::StreamEnd, line) => return Err(problem(line, "the text ends too early".to_owned())),
                _ => {}
            }
        }
        Ok(())
    }

    fn list(&mut self, depth: usize) -> Result<Input, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Input::List(items)),
                event => items.push(self.node(event, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Input, Problem> {
        let mut entries = Vec::new();
        loop {
            let (event, line) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Input::Map(entries));
            }
            let key = match self.node((event, line), depth + 1)? {
                Input::Plain(key) | Input::Quoted(key) => key,
                other => return Err(problem(line, format!("{other} cannot be a key"))),
            };
            let event = self.next()?;
            let value = self.node(event, depth + 1)?;
            entries.push(Entry { key, line, value });
        }
    }
}

fn invalid(error: &ScanError) -> Problem {
    problem(error.marker().line(), format!("not valid YAML: {}", error.info()))
}

fn problem(line: usize, message: String) -> Problem {
    Problem { place: Place::Line(line), fault: Fault::Syntax(message) }
}
