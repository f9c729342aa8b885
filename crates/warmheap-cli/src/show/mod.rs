//! Prints figures as JSON for machines or as tables for people. This module measures nothing and knows no
//! command. Each command says how its own figures read.

mod findings;

use std::fmt::{self, Display};
use std::io::{self, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;
use serde_json::Value;
use warmheap::config::MIB;

pub(crate) use self::findings::{findings, grades};
use crate::failure::Failure;
use crate::schema::SCHEMA_VERSION;

/// Prints `figures` on standard output, as JSON or as a table.
pub(crate) fn print(json: bool, command: &str, figures: &(impl Serialize + Display)) -> Result<(), Failure> {
    let text = if json { to_json(command, figures)? } else { figures.to_string() };
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        // The reader may close the pipe early, as `warmheap ... | head` does.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(e)),
        _ => Ok(()),
    }
}

/// Prints a line beside the results, on standard error. A command goes on if that cannot be written.
pub(crate) fn note(words: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "note: {words}");
}

/// Returns the figures of a command as indented JSON, with the command's name and the version of the schema in
/// each object.
pub(crate) fn to_json<T: Serialize>(command: &str, figures: &T) -> Result<String, Failure> {
    let mut value = serde_json::to_value(figures).map_err(Failure::failed)?;
    match &mut value {
        Value::Array(list) => list.iter_mut().for_each(|entry| name(entry, command)),
        one => name(one, command),
    }
    serde_json::to_string_pretty(&value).map_err(Failure::failed)
}

fn name(value: &mut Value, command: &str) {
    if let Value::Object(keys) = value {
        keys.insert("command".to_owned(), command.into());
        keys.insert("schema_version".to_owned(), SCHEMA_VERSION.into());
    }
}

/// The width of a terminal, in columns, that every table fits.
const WIDTH: u16 = 80;

/// Returns a table with a header. Every column but the first is aligned right.
pub(crate) fn table<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = impl IntoIterator<Item = String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.into_iter().collect::<Vec<_>>());
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.add_rows(rows.into_iter().map(|row| row.into_iter().collect::<Vec<_>>()));
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Returns a row of a two-column table.
pub(crate) fn row(name: impl Into<String>, value: impl ToString) -> [String; 2] {
    [name.into(), value.to_string()]
}

/// Returns bytes in MiB, or in a smaller unit where that would round to 0.
pub(crate) fn mib(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    match bytes {
        1..KIB => format!("{bytes} B"),
        KIB..TENTH_OF_MIB => format!("{:.1} KiB", bytes as f64 / KIB as f64),
        _ => format!("{:.1} MiB", bytes as f64 / MIB as f64),
    }
}

/// Fewer bytes show as 0.0 MiB or as 0.1 MiB.
const TENTH_OF_MIB: u64 = MIB / 10;

/// Returns a share in percent. What is not 0 or 1 is not shown as 0 or 100 %.
pub(crate) fn percent(share: f64) -> String {
    match share {
        some if some > 0.0 && some < 0.0005 => "< 0.1 %".to_owned(),
        most if (0.9995..1.0).contains(&most) => "> 99.9 %".to_owned(),
        _ => format!("{:.1} %", share * 100.0),
    }
}

/// Returns a figure with two decimals, or with as many as give four digits that say something. What is no
/// number has no figure, as it is `null` in JSON.
pub(crate) fn significant(figure: f64) -> String {
    if !figure.is_finite() {
        return "-".to_owned();
    }
    if figure == 0.0 {
        return "0.0".to_owned();
    }
    let decimals = (3.0 - figure.abs().log10().floor()).clamp(2.0, 12.0) as usize;
    format!("{figure:.decimals$}")
}

/// Returns `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_0_is_not_shown_as_0() {
        assert_eq!(
            [0, 1, 1023, 1536, 60_000, 1 << 20].map(mib),
            ["0.0 MiB", "1 B", "1023 B", "1.5 KiB", "58.6 KiB", "1.0 MiB"]
        );
        assert_eq!(
            [0.0, 1e-9, 0.001, 0.5, 0.99999, 1.0].map(percent),
            ["0.0 %", "< 0.1 %", "0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]
        );
        assert_eq!(
            [0.0, 3.4e-5, 0.036, 1.25, 121.987, 6237.161, f64::NAN].map(significant),
            ["0.0", "0.00003400", "0.03600", "1.250", "121.99", "6237.16", "-"]
        );
    }
}
