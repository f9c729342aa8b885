//! `warmheap compare` prints two results side by side and says whether the second is worse.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;
use crate::show::{mib, table};
use crate::{input, show};

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The earlier result, of `bench --output` or `replay --json`.
    before: PathBuf,
    /// The later result.
    after: PathBuf,
    /// Percent by which a figure may be worse before it counts as a regression.
    #[arg(long, default_value = "5", value_name = "PERCENT", value_parser = threshold)]
    threshold: f64,
}

/// The direction in which a figure improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Lower,
    Higher,
}

/// A figure that results have in common.
struct Metric {
    name: &'static str,
    pointer: &'static str,
    unit: &'static str,
    better: Better,
}

const fn metric(name: &'static str, pointer: &'static str, unit: &'static str, better: Better) -> Metric {
    Metric { name, pointer, unit, better }
}

/// The figures to compare where both results have them: those of `bench`, then those of `replay`.
const METRICS: [Metric; 16] = [
    metric("Throughput (modelled)", "/pool/tokens_per_second", "tok/s", Better::Higher),
    metric("Allocation per token", "/pool/ms_per_token", "ms", Better::Lower),
    metric("Allocation while serving", "/pool/serving_ms", "ms", Better::Lower),
    metric("Allocation while loading", "/pool/loading_ms", "ms", Better::Lower),
    metric("Start-up", "/startup_ms", "ms", Better::Lower),
    metric("Reserved", "/reserved_bytes", "B", Better::Lower),
    metric("Time per operation", "/ns_per_op", "ns", Better::Lower),
    metric("Allocation, p50", "/alloc_ns/p50", "ns", Better::Lower),
    metric("Allocation, p99", "/alloc_ns/p99", "ns", Better::Lower),
    metric("Free, p50", "/free_ns/p50", "ns", Better::Lower),
    metric("Free, p99", "/free_ns/p99", "ns", Better::Lower),
    metric("Peak reserved", "/peak_reserved_bytes", "B", Better::Lower),
    metric("Reserved at the end", "/end_reserved_bytes", "B", Better::Lower),
    metric("Hit rate", "/hit_rate", "", Better::Higher),
    metric("Fallback allocations", "/fallback_allocations", "", Better::Lower),
    metric("Failed allocations", "/failed", "", Better::Lower),
];

/// One figure of both results.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// The change from before to after in percent; absent where before is 0.
    pub(crate) change: Option<f64>,
    pub(crate) regression: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) threshold: f64,
    pub(crate) lines: Vec<Line>,
    pub(crate) regressions: usize,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let before: Value = input::json(&args.before)?;
    let after: Value = input::json(&args.after)?;
    let number = |result: &Value, metric: &Metric| result.pointer(metric.pointer)?.as_f64();
    let lines: Vec<Line> = METRICS
        .iter()
        .filter_map(|metric| {
            let (before, after) = (number(&before, metric)?, number(&after, metric)?);
            Some(line(metric, before, after, args.threshold))
        })
        .collect();
    if lines.is_empty() {
        return Err(Failure::Failed(format!(
            "{} and {} have no figure in common; give two results of `bench --output`, or two of \
             `replay --json`",
            args.before.display(),
            args.after.display()
        )));
    }
    let output = Output {
        before: args.before.display().to_string(),
        after: args.after.display().to_string(),
        threshold: args.threshold,
        regressions: lines.iter().filter(|line| line.regression).count(),
        lines,
    };
    show::print(json, &output)?;
    Ok(match output.regressions {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn line(metric: &Metric, before: f64, after: f64, threshold: f64) -> Line {
    let worse = match metric.better {
        Better::Lower => after - before,
        Better::Higher => before - after,
    };
    Line {
        name: metric.name,
        unit: metric.unit,
        before,
        after,
        change: (before != 0.0).then(|| (after - before) / before * 100.0),
        regression: worse > 0.0 && worse > before.abs() * threshold / 100.0,
    }
}

fn threshold(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|percent: &f64| (0.0..=1000.0).contains(percent))
        .ok_or_else(|| "it must be a number of percent from 0 to 1000".to_owned())
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.lines.iter().map(|line| {
            [line.name.to_owned(), value(line.before, line.unit), value(line.after, line.unit), change(line)]
        });
        let table = table(["Figure", "Before", "After", "Change"], rows);
        let verdict = match self.regressions {
            0 => format!("No figure is worse by more than {} %.", self.threshold),
            1 => format!("1 figure is worse by more than {} %.", self.threshold),
            n => format!("{n} figures are worse by more than {} %.", self.threshold),
        };
        write!(f, "Before: {}\nAfter:  {}\n{table}\n{verdict}", self.before, self.after)
    }
}

fn value(number: f64, unit: &str) -> String {
    match unit {
        "" => format!("{number}"),
        "B" => mib(number as u64),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_by_more_than_the_threshold_is_a_regression() {
        let lower = metric("", "", "", Better::Lower);
        let higher = metric("", "", "", Better::Higher);
        assert!(!line(&lower, 100.0, 105.0, 5.0).regression);
        assert!(line(&lower, 100.0, 105.1, 5.0).regression);
        assert!(!line(&lower, 100.0, 1.0, 5.0).regression);
        assert!(line(&higher, 1.0, 0.9, 5.0).regression);
        // A rise from 0 has no percentage, but it is a regression.
        let fallbacks = line(&lower, 0.0, 3.0, 5.0);
        assert!(fallbacks.regression && fallbacks.change.is_none());
    }
}
