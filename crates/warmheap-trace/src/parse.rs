//! Parses the text of one line to one event.
//!
//! Programs of many years and languages write such logs. Columns may stand in any order and others between
//! them, values may have spaces and quotes around them, and pointers may be decimal.

use std::time::Duration;

use crate::error::TraceErrorKind;
use crate::event::{Action, Event};

/// The columns that every log has, in the order in which this crate writes them.
const COLUMNS: [&str; 6] = ["Thread", "Time", "Action", "Pointer", "Size", "Stream"];
/// The most columns of a line.
const MOST_COLUMNS: usize = 64;
/// The most bytes of a bad value that a message shows.
const SHOWN: usize = 60;
/// What logs write where the allocator gave nothing.
const NO_POINTER: &[u8] = b"(nil)";

/// The place of each column in a line.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layout {
    places: [usize; COLUMNS.len()],
    /// The columns of a line.
    count: usize,
}

impl Layout {
    /// Reads the first line of a log. Returns `None` if a column is missing or there are too many.
    pub(crate) fn of_header(line: &[u8]) -> Option<Self> {
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let names = || line.split(|byte| *byte == b',').map(bare);
        let place = |column: &str| names().position(|name| name.eq_ignore_ascii_case(column.as_bytes()));
        let mut places = [0; COLUMNS.len()];
        for (found, column) in places.iter_mut().zip(COLUMNS) {
            *found = place(column)?;
        }
        let count = names().count();
        (count <= MOST_COLUMNS).then_some(Self { places, count })
    }
}

/// Returns a value without the spaces and the quotes around it.
fn bare(value: &[u8]) -> &[u8] {
    let value = value.trim_ascii();
    let quoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    quoted.map_or(value, <[u8]>::trim_ascii)
}

/// Parses a line without its end. Returns `None` for a line on which the allocator neither gave nor took
/// anything: the allocation of 0 bytes and the free of no pointer.
pub(crate) fn event(line: &[u8], layout: &Layout) -> Result<Option<Event>, TraceErrorKind> {
    let mut columns = [&line[..0]; MOST_COLUMNS];
    let mut found = 0;
    for value in line.split(|b| *b == b',') {
        if let Some(column) = columns.get_mut(found) {
            *column = bare(value);
        }
        found += 1;
    }
    if found != layout.count {
        return Err(TraceErrorKind::Columns { found, expected: layout.count });
    }
    let [thread, time, action, pointer, size, stream] = layout.places.map(|place| columns[place]);
    let action = column("Action", action, "allocate, allocate failure or free", |v| {
        Some(match v {
            b"allocate" => Action::Allocate,
            b"allocate failure" => Action::AllocateFailure,
            b"free" => Action::Free,
            _ => return None,
        })
    })?;
    let given = pointer != NO_POINTER;
    let event = Event {
        thread: column("Thread", thread, "a whole number", number)?,
        time: column("Time", time, "seconds or HH:MM:SS.uuuuuu", duration)?,
        action: if given || action == Action::Free { action } else { Action::AllocateFailure },
        pointer: if given {
            column("Pointer", pointer, "a whole number, as 0x7f00 or 32512, or (nil)", number)?
        } else {
            0
        },
        size: column("Size", size, "a whole number of bytes below 2^63", decimal)?,
        stream: column("Stream", stream, "a whole number", number)?,
    };
    let nothing = !given && (action == Action::Free || (action == Action::Allocate && event.size == 0));
    Ok((!nothing).then_some(event))
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
    digits(value.strip_prefix(b"0x").or_else(|| value.strip_prefix(b"0X"))?, 16)
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

/// Reads seconds, or a clock time of a day. Some logs have a colon before the microseconds.
fn duration(value: &[u8]) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?;
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [seconds] => exact(seconds).filter(|seconds| *seconds <= LONGEST),
        [hours, minutes, seconds] => clock(hours, minutes, exact(seconds)?),
        [hours, minutes, seconds, micros] if micros.len() == 6 => {
            let micros = Duration::from_micros(decimal(micros.as_bytes())?);
            clock(hours, minutes, Duration::from_secs(decimal(seconds.as_bytes())?) + micros)
        }
        _ => None,
    }
}

fn exact(seconds: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.parse().ok()?).ok()
}

fn clock(hours: &str, minutes: &str, seconds: Duration) -> Option<Duration> {
    let (hours, minutes) = (decimal(hours.as_bytes())?, decimal(minutes.as_bytes())?);
    let fits = hours < 24 && minutes < 60 && seconds < Duration::from_secs(61);
    fits.then(|| seconds + Duration::from_secs(hours * 3600 + minutes * 60))
}

/// Longer than any recording, and short enough to be summed.
const LONGEST: Duration = Duration::from_secs(1 << 40);

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Layout {
        Layout::of_header(b"Thread,Time,Action,Pointer,Size,Stream").unwrap()
    }

    fn read(line: &[u8]) -> Event {
        event(line, &usual()).unwrap().unwrap()
    }

    fn message(line: &str) -> String {
        event(line.as_bytes(), &usual()).unwrap_err().to_string()
    }

    #[test]
    fn a_line_of_either_clock_is_an_event() {
        let plain = read(b"7,1.000250,allocate,0xff,1024,0");
        assert_eq!(plain.time, Duration::from_micros(1_000_250));
        assert_eq!((plain.thread, plain.pointer, plain.size), (7, 255, 1024));
        let clock = read(b"7,01:02:03.000004,free,0x0,1,0x2");
        assert_eq!(clock.time, Duration::from_micros(3_723_000_004));
        assert_eq!((clock.action, clock.stream), (Action::Free, 2));
        let failure = read(b"0,0,allocate failure,(nil),9,0");
        assert_eq!(failure.action, Action::AllocateFailure);
        let colons = read(b"7,01:02:03:000004,free,0x0,1,0");
        assert_eq!(colons.time, clock.time);
    }

    #[test]
    fn pointers_may_be_decimal_and_values_have_spaces_around_them() {
        let spaced = read(b" 7 , 1.5 ,allocate , 0XFF, 1024 ,0 ");
        assert_eq!((spaced.thread, spaced.pointer, spaced.size), (7, 255, 1024));
        assert_eq!(read(b"0,0,free,255,1024,0").pointer, 255);
        let quoted = br#""7","1.5", "allocate" ,"0xff","1024",0"#;
        assert_eq!((read(quoted).pointer, read(quoted).size), (255, 1024));
    }

    #[test]
    fn columns_may_stand_in_any_order_with_others_between() {
        let header = b"\xef\xbb\xbfName, size ,Stream,Pointer,Action,Tag,Time,THREAD";
        let layout = Layout::of_header(header).unwrap();
        let seen = event(b"kv,64,3,0x10,allocate,,2,9", &layout).unwrap().unwrap();
        assert_eq!((seen.thread, seen.pointer, seen.size, seen.stream), (9, 16, 64, 3));
        assert!(event(b"9,2,allocate,0x10,64,3", &layout).is_err());
        assert!(Layout::of_header(b"Thread,Time,Action,Pointer,Size").is_none());
    }

    #[test]
    fn a_line_on_which_nothing_was_given_is_passed_over() {
        for nothing in [&b"0,0,free,(nil),0,0"[..], b"0,0,free,(nil),64,0", b"0,0,allocate,(nil),0,0"] {
            assert_eq!(event(nothing, &usual()).unwrap(), None);
        }
        assert_eq!(read(b"0,0,allocate,(nil),64,0").action, Action::AllocateFailure);
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
            ("0,0,free,0xg,1,0", "Pointer"),
            ("0,0,free,nil,1,0", "Pointer"),
            ("0,1:2:3:4,free,0x0,1,0", "Time"),
            ("0,1:2:-3,free,0x0,1,0", "Time"),
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
        let bytes = event(b"0,0,\xff\x1b[2J,0x0,1,0", &usual()).unwrap_err().to_string();
        assert!(bytes.contains(r"`\xff\x1b[2J`"), "{bytes}");
    }
}
