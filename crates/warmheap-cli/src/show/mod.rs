//! Prints figures as JSON for machines or as tables for people. This module measures nothing and knows no
//! command. Each command says how its own figures read.

mod findings;

use std::fmt::{self, Display};
use std::io::{self, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use warmheap::config::MIB;

pub(crate) use self::findings::{findings, grades};
use crate::failure::Failure;

/// Prints `figures` on standard output, as JSON or as a table.
pub(crate) fn print(json: bool, figures: &(impl Serialize + Display)) -> Result<(), Failure> {
    let text = if json { to_json(figures)? } else { figures.to_string() };
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

/// Returns figures as indented JSON.
pub(crate) fn to_json<T: Serialize>(figures: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(figures).map_err(Failure::failed)
}

/// Returns a table with a header. Every column but the first is aligned right.
pub(crate) fn table<'a>(
    header: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item = impl IntoIterator<Item = String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header.into_iter().collect::<Vec<_>>());
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

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
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
