//! Compares callgrind's counts with the budget. The program reads gungraun's summaries, one JSON object a
//! line, on standard input. It prints a table, and fails if a path takes more instructions than its budget.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::stdin;
use std::process::ExitCode;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use gate::PAIRS;
use serde::Deserialize;
use serde_json::Value;

/// The budget in instructions per operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    /// The budget of each path, by the name of its function.
    paths: BTreeMap<String, f64>,
    /// The budget of what statistics add to a hit.
    statistics: f64,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let budget: Budget = serde_json::from_str(include_str!("../budget.json"))?;
    let counted = counted()?;
    let count = |path: &str| counted.get(path).copied().ok_or_else(|| format!("{path} was not counted"));

    let mut lines = Vec::new();
    for (path, allowed) in &budget.paths {
        lines.push((path.as_str(), count(path)?, *allowed));
    }
    let statistics = count("hit")? - count("hit_without_statistics")?;
    lines.push(("statistics, on a hit", statistics, budget.statistics));

    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["instructions per operation", "counted", "budget"]);
    table.add_rows(
        lines.iter().map(|(path, count, allowed)| {
            [(*path).to_owned(), format!("{count:.1}"), format!("{allowed:.1}")]
        }),
    );
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");

    let over: Vec<_> = lines.iter().filter(|(_, count, allowed)| count > allowed).collect();
    for (path, count, allowed) in &over {
        eprintln!("{path}: {count:.1} instructions per operation; gate/budget.json allows {allowed:.1}");
    }
    Ok(if over.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the instructions per operation of each function.
fn counted() -> Result<BTreeMap<String, f64>, Box<dyn Error>> {
    let operations = (2 * PAIRS) as f64;
    let mut counted = BTreeMap::new();
    for summary in serde_json::Deserializer::from_reader(stdin().lock()).into_iter::<Value>() {
        let summary = summary?;
        let path = summary["function_name"].as_str().ok_or("a summary without a function name")?;
        let instructions = summary.pointer("/profiles/0/data/total/metrics/Ir/values/new");
        let instructions = instructions.and_then(Value::as_f64).ok_or("a summary without a count")?;
        counted.insert(path.to_owned(), instructions / operations);
    }
    Ok(counted)
}
