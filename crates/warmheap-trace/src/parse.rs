//! Parses the text of one line to one event.

use std::time::Duration;

use crate::error::TraceErrorKind;
use crate::event::{Action, Event};

const COLUMNS: usize = 6;
/// The most bytes of a bad value that a message shows.
const SHOWN: usize = 60;

/// Parses a line without its end.
pub(crate) fn event(line: &[u8]) -> Result<Event, TraceErrorKind> {
    let mut columns = [&line[..0]; COLUMNS];
    let mut found = 0;
    for value in line.split(|b| *b == b',') {
        if let Some(column) = columns.get_mut(found) {
            *column = value;
        }
        found += 1;
    }
    if found != COLUMNS {
        return Err(TraceErrorKind::Columns { found });
    }
    let [thread, time, action, pointer, size, stream] = columns;
    let action = column("Action", action, "allocate, allocate failure or free", |v| {
        Some(match v {
            b"allocate" => Action::Allocate,
            b"allocate failure" => Action::AllocateFailure,
            b"free" => Action::Free,
            _ => return None,
        })
    })?;
    Ok(Event {
        thread: column("Thread", thread, "a whole number", number)?,
        time: column("Time", time, "seconds or HH:MM:SS.uuuuuu", duration)?,
        action,
        pointer: column("Pointer", pointer, "a hexadecimal number: 0x...", |v| match v {
            // Logs write this pointer for an allocation that failed.
            b"(nil)" if action == Action::AllocateFailure => Some(0),
            _ => hexadecimal(v),
        })?,
        size: column("Size", size, "a whole number of bytes below 2^63", decimal)?,
        stream: column("Stream", stream, "a whole number", number)?,
    })
}

fn column<T>(
    column: &'static str,
    value: &[u8],
    expected: &'static str,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, TraceErrorKind> {
    parse(value).ok_or_else(|| TraceErrorKind::Value { column, found: shown(value), expected })
}

/// Returns the start of `value` in printable letters, for a message of one line.
pub(crate) fn shown(value: &[u8]) -> String {
    let start = &value[..value.len().min(SHOWN)];
    let dots = if start.len() < value.len() { "..." } else { "" };
    format!("{}{dots}", start.escape_ascii())
}

fn number(value: &[u8]) -> Option<u64> {
    hexadecimal(value).or_else(|| decimal(value))
}

fn decimal(value: &[u8]) -> Option<u64> {
    digits(value, 10)
}

fn hexadecimal(value: &[u8]) -> Option<u64> {
    digits(value.strip_prefix(b"0x")?, 16)
}

fn digits(value: &[u8], radix: u32) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = char::from(*byte).to_digit(radix)?;
        number.checked_mul(radix.into())?.checked_add(digit.into())
    })
}

fn duration(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.rsplitn(3, ':');
    let seconds = parts.next()?.parse().ok()?;
    let seconds = Duration::try_from_secs_f64(seconds).ok()?;
    let clock: Vec<u64> = parts.map(str::parse).collect::<Result<_, _>>().ok()?;
    match clock[..] {
        [] => (seconds <= LONGEST).then_some(seconds),
        [minutes, hours] if hours < 24 && minutes < 60 && seconds < Duration::from_secs(61) => {
            Some(seconds + Duration::from_secs(hours * 3600 + minutes * 60))
        }
        _ => None,
    }
}

/// Longer than any recording, and short enough to be summed.
const LONGEST: Duration = Duration::from_secs(1 << 40);

#[cfg(test)]
mod tests {
    use super::*;

    fn message(line: &str) -> String {
        event(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_line_of_either_clock_is_an_event() {
        let plain = event(b"7,1.000250,allocate,0xff,1024,0").unwrap();
        assert_eq!(plain.time, Duration::from_micros(1_000_250));
        assert_eq!((plain.thread, plain.pointer, plain.size), (7, 255, 1024));
        let clock = event(b"7,01:02:03.000004,free,0x0,1,0x2").unwrap();
        assert_eq!(clock.time, Duration::from_micros(3_723_000_004));
        assert_eq!((clock.action, clock.stream), (Action::Free, 2));
        let failure = event(b"0,0,allocate failure,(nil),9,0").unwrap();
        assert_eq!(failure.action, Action::AllocateFailure);
    }

    #[test]
    fn a_bad_value_is_named_with_what_may_stand_there() {
        for (line, column) in [
            ("x,0,free,0x0,1,0", "Thread"),
            ("0,NaN,free,0x0,1,0", "Time"),
            ("0,-1,free,0x0,1,0", "Time"),
            ("0,1e30,free,0x0,1,0", "Time"),
            ("0,1:2,free,0x0,1,0", "Time"),
            ("0,24:00:00,free,0x0,1,0", "Time"),
            ("0,0,alloc,0x0,1,0", "Action"),
            ("0,0,free,12,1,0", "Pointer"),
            ("0,0,free,(nil),1,0", "Pointer"),
            ("0,0,free,0x10000000000000000,1,0", "Pointer"),
            ("0,0,free,0x0,-1,0", "Size"),
            ("0,0,free,0x0,+1,0", "Size"),
            ("0,0,free,0x0,1.5,0", "Size"),
            ("0,0,free,0x0,18446744073709551616,0", "Size"),
            ("0,0,free,0x0,1,", "Stream"),
        ] {
            let message = message(line);
            assert!(message.starts_with(&format!("{column} is `")), "{message}");
            assert!(message.contains("; expected "), "{message}");
        }
    }

    #[test]
    fn columns_are_counted_and_strange_bytes_escaped() {
        assert!(message("0,0,free").starts_with("3 columns instead of 6"));
        assert!(message("0,0,free,0x0,1,0,0").starts_with("7 columns"));
        let bytes = event(b"0,0,\xff\x1b[2J,0x0,1,0").unwrap_err().to_string();
        assert!(bytes.contains(r"`\xff\x1b[2J`"), "{bytes}");
    }
}
