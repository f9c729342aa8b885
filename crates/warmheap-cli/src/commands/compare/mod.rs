//! `warmheap compare` prints two results side by side and says whether the second is worse.

mod metric;
mod same;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;

use self::metric::{Line, RATIO};
use crate::failure::Failure;
use crate::show::{grouped, mib, percent, significant, table};
use crate::{input, show};

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// The earlier result, of `bench --output` or `replay --json`.
    before: PathBuf,
    /// The later result.
    after: PathBuf,
    /// Percent by which a figure may be worse before it counts as a regression. It must also be worse by more
    /// than the rounds differ.
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
    for (path, result) in [(&args.before, &before), (&args.after, &after)] {
        if let Some(unfit) = same::unfit(result) {
            return Err(Failure::Failed(format!("{}: this is {unfit}; {}", path.display(), input::RESULT)));
        }
    }
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
            "{} and {} have no figure in common; {}",
            args.before.display(),
            args.after.display(),
            input::RESULT
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
            let noise = match () {
                _ if !line.judged => "once".to_owned(),
                _ if line.noise > 0.0 => value(line.noise, line.unit),
                _ => "-".to_owned(),
            };
            let [before, after] = [line.before, line.after].map(|figure| value(figure, line.unit));
            [line.name.to_owned(), before, after, noise, change(line)]
        });
        let table = table(["Figure", "Before", "After", "Noise", "Change"], rows);
        let verdict = match self.regressions {
            0 => "No figure is".to_owned(),
            1 => "1 figure is".to_owned(),
            n => format!("{n} figures are"),
        };
        let once = match self.lines.iter().any(|line| !line.judged) {
            false => "",
            true => "\nA time that was measured once is not judged; measure with more --rounds.",
        };
        write!(
            f,
            "Before: {}\nAfter:  {}\n{table}\n{verdict} worse by more than {} % and more than the noise.\n\
             Noise is how far the rounds of both differ.{once}",
            self.before, self.after, self.threshold
        )
    }
}

fn value(number: f64, unit: &str) -> String {
    match unit {
        "" if number.fract() == 0.0 => grouped(number as u64),
        "" => significant(number),
        RATIO => percent(number),
        "B" => mib(number as u64),
        _ => format!("{} {unit}", significant(number)),
    }
}

/// Returns a change in percent, with as many decimals as show that it is none or one.
fn change(line: &Line) -> String {
    let percent = match line.change {
        Some(change) if change != 0.0 && change.abs() < 0.05 => {
            format!("{}< 0.1 %", if change > 0.0 { "+ " } else { "- " })
        }
        Some(change) => format!("{change:+.1} %"),
        None if line.after == 0.0 => "none".to_owned(),
        None => "new".to_owned(),
    };
    if line.regression { format!("{percent} worse") } else { percent }
}
