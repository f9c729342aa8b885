//! Writes figures as tables for people and as JSON for machines. This module measures nothing.

use std::io::{self, Write};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table as Grid};
use serde::Serialize;

/// All measured figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    processors: usize,
    /// The allocators that could not run, each with the reason.
    absent: Vec<String>,
    pub(crate) tables: Vec<Table>,
}

/// One table, with a row for each allocator or setting and a column for each figure.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
    /// The same figures as curves.
    #[serde(skip)]
    pub(crate) charts: Vec<Chart>,
}

/// Times per operation as curves.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What the horizontal axis counts.
    pub(crate) across: &'static str,
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Chart {
    pub(crate) fn new(title: &str, across: &'static str) -> Self {
        Self { title: title.to_owned(), across, lines: Vec::new() }
    }

    pub(crate) fn line(&mut self, name: &str, points: impl Iterator<Item = (usize, f64)>) {
        let points = points.map(|(x, y)| (x as f64, y)).collect();
        self.lines.push(Line { name: name.to_owned(), points });
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Column {
    name: String,
    /// The number of significant digits after the decimal point.
    #[serde(skip)]
    digits: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: String,
    /// One value for each column, or null where the figure does not exist.
    values: Vec<Option<f64>>,
}

impl Table {
    /// Creates an empty table. The name of a column contains its unit.
    pub(crate) fn new(title: impl Into<String>, columns: &[(impl AsRef<str>, usize)]) -> Self {
        let columns =
            columns.iter().map(|(name, digits)| Column { name: name.as_ref().to_owned(), digits: *digits });
        Self { title: title.into(), columns: columns.collect(), rows: Vec::new(), charts: Vec::new() }
    }

    pub(crate) fn row(&mut self, name: impl Into<String>, values: impl IntoIterator<Item = Option<f64>>) {
        self.rows.push(Row { name: name.into(), values: values.into_iter().collect() });
    }

    pub(crate) fn to_text(&self) -> String {
        let mut grid = Grid::new();
        let names = self.columns.iter().map(|column| column.name.as_str());
        grid.load_style(UTF8_FULL_CONDENSED).set_header([self.title.as_str()].into_iter().chain(names));
        for row in &self.rows {
            let figures = row.values.iter().zip(&self.columns).map(|(value, column)| match value {
                Some(value) => format!("{value:.*}", column.digits),
                None => "-".to_owned(),
            });
            grid.add_row([row.name.clone()].into_iter().chain(figures));
        }
        for column in grid.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        grid.to_string()
    }
}

impl Report {
    pub(crate) fn new(absent: Vec<String>) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { processors, absent, tables: Vec::new() }
    }

    pub(crate) fn notes(&self) -> String {
        let mut notes = format!("{} processors", self.processors);
        for absent in &self.absent {
            notes.push_str("; ");
            notes.push_str(absent);
        }
        notes
    }

    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }
}

/// Prints a line on standard output. It is not an error if the reader has closed the pipe.
pub(crate) fn print(text: &str) -> io::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
