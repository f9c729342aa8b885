//! `warmheap check` says whether a configuration is valid and suits the machine, and recommends one.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use warmheap::advice::{self, Finding, Severity};
use warmheap::config::MIB;

use crate::failure::Failure;
use crate::{input, show};

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A YAML file; - reads standard input.
    config: PathBuf,
    /// The machine's memory in GiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    ram_gb: Option<u64>,
    /// The model's weights in MiB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    model_mb: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) config: String,
    /// The memory that the pool takes from the device at start-up.
    pub(crate) capacity_mb: u64,
    pub(crate) num_heaps: usize,
    /// The keys of other owners that reading passed over.
    pub(crate) passed_over: Vec<String>,
    /// The most severe finding; absent if there is none.
    pub(crate) severity: Option<Severity>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) recommendation: Recommendation,
}

#[derive(Debug, Serialize)]
pub(crate) struct Recommendation {
    pub(crate) explanation: String,
    /// The recommended settings, as a configuration file.
    pub(crate) config: String,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let (config, passed_over) = input::config(&args.config)?;
    let findings = advice::review(&config, args.model_mb, args.ram_gb);
    let recommended = advice::recommend(args.model_mb, args.ram_gb, &config);
    let output = Output {
        config: args.config.display().to_string(),
        capacity_mb: (config.heap_size / MIB).saturating_mul(config.num_heaps as u64),
        num_heaps: config.num_heaps,
        passed_over: passed_over.into_iter().map(|passed| passed.key).collect(),
        severity: findings.iter().map(|finding| finding.severity).max(),
        findings,
        recommendation: Recommendation {
            explanation: recommended.explanation,
            config: recommended.config.to_yaml(),
        },
    };
    show::print(json, &output)?;
    Ok(match output.severity {
        Some(Severity::Error) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others = match &self.passed_over[..] {
            [] => String::new(),
            keys => format!("Passed over, as not Warmheap's: {}\n", keys.join(", ")),
        };
        write!(
            f,
            "{}: valid; {} heaps, {} MiB in all\n{}\n{}\n\nRecommended: {}\n\n{}",
            self.config,
            self.num_heaps,
            self.capacity_mb,
            others,
            show::findings(&self.findings),
            self.recommendation.explanation,
            self.recommendation.config
        )
    }
}
