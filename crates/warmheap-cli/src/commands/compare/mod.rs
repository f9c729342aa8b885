//! `warmheap compare` prints two results side by side and says whether the second is worse.

mod metric;
mod same;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use self::metric::Line;
use crate::failure::Failure;
use crate::show::{mib, significant, table};
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
    /// Compare pools with different settings, too.
    #[arg(long)]
    any_config: bool,
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
    if let Some(difference) = same::difference(&before, &after, args.any_config) {
        return Err(Failure::Failed(format!(
            "{} and {} cannot be compared: {difference}",
            args.before.display(),
            args.after.display()
        )));
    }
    let lines = metric::lines(&before, &after, args.threshold);
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
    show::print(json, "compare", &output)?;
    Ok(match output.regressions {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
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
            let noise = match line.spread {
                _ if !line.judged => "once".to_owned(),
                Some(spread) => value(spread, line.unit),
                None => "-".to_owned(),
            };
            let [before, after] = [line.before, line.after].map(|figure| value(figure, line.unit));
            [line.name.to_owned(), before, after, noise, change(line)]
        });
        let table = table(["Figure", "Before", "After", "Noise", "Change"], rows);
        let verdict = match self.regressions {
            0 => format!("No figure is worse by more than {} %.", self.threshold),
            1 => format!("1 figure is worse by more than {} %.", self.threshold),
            n => format!("{n} figures are worse by more than {} %.", self.threshold),
        };
        let once = self.lines.iter().filter(|line| !line.judged).count();
        let once = match once {
            0 => String::new(),
            _ => "\nA time that was measured once is not judged; measure with more --rounds.".to_owned(),
        };
        write!(
            f,
            "Before: {}\nAfter:  {}\n{table}\n{verdict} Noise is how far the rounds of both differ.{once}",
            self.before, self.after
        )
    }
}

fn value(number: f64, unit: &str) -> String {
    match unit {
        "" => format!("{number}"),
        "B" => mib(number as u64),
        _ => format!("{} {unit}", significant(number)),
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
