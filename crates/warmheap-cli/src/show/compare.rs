//! Two results as a table.

use super::table;
use crate::commands::compare::{Line, Output};

pub(crate) fn text(output: &Output) -> String {
    let rows = output.lines.iter().map(|line| {
        [line.name.to_owned(), value(line.before, line.unit), value(line.after, line.unit), change(line)]
    });
    let table = table(["Figure", "Before", "After", "Change"], rows);
    let verdict = match output.regressions {
        0 => format!("No figure is worse by more than {} %.", output.threshold),
        1 => format!("1 figure is worse by more than {} %.", output.threshold),
        n => format!("{n} figures are worse by more than {} %.", output.threshold),
    };
    format!("Before: {}\nAfter:  {}\n{table}\n{verdict}", output.before, output.after)
}

fn value(number: f64, unit: &str) -> String {
    match unit {
        "" => format!("{number}"),
        "B" => super::mib(number as u64),
        _ => format!("{number:.4} {unit}"),
    }
}

fn change(line: &Line) -> String {
    let percent = match line.change {
        Some(change) => format!("{change:+.1} %"),
        None if line.after == 0.0 => "none".to_owned(),
        None => "new".to_owned(),
    };
    if line.regression { format!("{percent} worse") } else { percent }
}
