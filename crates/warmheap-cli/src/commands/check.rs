//! `warmheap check` says whether a configuration is valid, starts and suits the machine, and recommends one.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;
use warmheap::advice::{self, Finding, Grade, ModelClass, Severity};
use warmheap::config::{Document, HeapSizing, MIB};
use warmheap::device::sim::SimDevice;
use warmheap::device::{Device, Spec};
use warmheap::{Pool, PoolConfig};

use crate::failure::Failure;
use crate::{device, input, show};

const GIB: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A YAML file; - reads standard input.
    config: PathBuf,
    /// The memory in GiB of a machine other than this one.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    ram_gb: Option<u64>,
    /// The model's weights in MiB. The usual size of a heap for its class is shown, too.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    model_mb: Option<u64>,
    #[arg(long, default_value = "host", help = device::HELP)]
    device: Spec,
}

#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) config: String,
    /// The device on which the start was checked.
    pub(crate) device: String,
    /// Whether a pool with these settings can start there.
    pub(crate) starts: bool,
    /// The master switch. A pool that is off passes every request to the device.
    pub(crate) enabled: bool,
    /// Whether the pool sizes its heaps itself.
    pub(crate) self_sizing: bool,
    /// The memory that the pool takes from the device at start-up.
    pub(crate) capacity_mb: f64,
    /// The heaps that it creates at start-up.
    pub(crate) num_heaps: usize,
    /// The memory of the machine for which the settings were judged, if it is known.
    pub(crate) ram_gb: Option<u64>,
    /// The keys of other owners that reading passed over.
    pub(crate) passed_over: Vec<String>,
    /// The most severe finding; absent if there is none.
    pub(crate) severity: Option<Severity>,
    pub(crate) grade: Grade,
    pub(crate) findings: Vec<Finding>,
    /// What the findings change, as a configuration file; empty if nothing.
    pub(crate) change: String,
    pub(crate) recommendation: Recommendation,
}

#[derive(Debug, Serialize)]
pub(crate) struct Recommendation {
    pub(crate) explanation: String,
    /// The recommended settings, as a configuration file.
    pub(crate) config: String,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let document = input::config(&args.config)?;
    let output = judge(args, &document)?;
    show::print(json, "check", &output)?;
    Ok(match output.severity {
        Some(Severity::Error) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn judge(args: &Args, Document { config, keys, passed_over, .. }: &Document) -> Result<Output, Failure> {
    let (device, ram_gb) = machine(args)?;
    let checked = Pool::check(&*device, config);
    // The check repeats what is true of the settings on any device.
    let everywhere = config.warnings();
    let of_device = checked.iter().flatten().filter(|warning| !everywhere.contains(warning));
    let warnings = [config.warnings_for(keys), of_device.cloned().collect()].concat();
    let findings = advice::review_start(config, args.model_mb, ram_gb, &warnings, checked.as_ref().err());
    let has_heaps = config.enabled && config.heaps == HeapSizing::Fixed;
    let heaps = if has_heaps { config.num_heaps } else { 0 };
    Ok(Output {
        config: args.config.display().to_string(),
        device: args.device.to_string(),
        starts: checked.is_ok(),
        enabled: config.enabled,
        self_sizing: config.heaps == HeapSizing::Elastic,
        capacity_mb: config.heap_size as f64 / MIB as f64 * heaps as f64,
        num_heaps: heaps,
        ram_gb,
        passed_over: passed_over.iter().map(|passed| passed.key.clone()).collect(),
        severity: findings.iter().map(|finding| finding.severity).max(),
        grade: advice::suitability(&findings),
        change: advice::follow(config, &findings).to_yaml_changes(config),
        recommendation: recommended(args.model_mb, ram_gb, config, &*device),
        findings,
    })
}

/// Returns the device to check, and the GiB of the machine's memory. For another machine that is a device with
/// as much memory.
fn machine(args: &Args) -> Result<(Arc<dyn Device>, Option<u64>), Failure> {
    if let Some(ram_gb) = args.ram_gb {
        return Ok((Arc::new(SimDevice::new().budget(ram_gb * GIB)), Some(ram_gb)));
    }
    let device = device::open(&args.device)?;
    let bounds = device.bounds().into_iter().filter_map(|bound| bound.bytes).map(|bytes| bytes.limit);
    let memory = bounds.min().or_else(|| device.limits().available);
    // A machine of 16 GiB shows a little less.
    let ram_gb = memory.map(|bytes| (bytes.saturating_add(GIB / 2) / GIB).max(1));
    Ok((device, ram_gb))
}

/// Returns settings that also start on the device.
fn recommended(
    model_mb: Option<u64>,
    ram_gb: Option<u64>,
    base: &PoolConfig,
    device: &dyn Device,
) -> Recommendation {
    let advice::Recommendation { mut config, mut explanation, .. } =
        advice::recommend(model_mb, ram_gb, base);
    if let Some((heap_size, num_heaps)) = Pool::check(device, &config).err().and_then(|e| e.smaller()) {
        config = config.with_heap_size(heap_size).with_num_heaps(num_heaps);
        config.warmup_sizes.retain(|size| *size <= heap_size);
        explanation += &format!("; {num_heaps} x {} is what fits now", heap_size / MIB);
    }
    if let Some(model) = model_mb {
        let (low, high) = ModelClass::of_weights_mb(model).heap_size_mb().into_inner();
        explanation += &format!("; usual for this class of model are heaps of {low} to {high} MiB");
    }
    Recommendation { explanation, config: config.to_effective_yaml() }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.starts { "valid" } else { "valid, but cannot start" };
        let pool = if !self.enabled {
            "the pool is off (`enabled: false`): every request goes to the device".to_owned()
        } else if self.self_sizing {
            "the pool sizes its heaps (`heap_sizing: elastic`), and takes nothing at the start".to_owned()
        } else {
            let plural = if self.num_heaps == 1 { "heap" } else { "heaps" };
            format!("{} {plural}, {} MiB in all", self.num_heaps, self.capacity_mb)
        };
        writeln!(f, "{}: {verdict}; {pool}", self.config)?;
        if let [first, rest @ ..] = &self.passed_over[..] {
            let rest: String = rest.iter().map(|key| format!(", {key}")).collect();
            writeln!(f, "Passed over, as not Warmheap's: {first}{rest}")?;
        }
        let memory = self.ram_gb.map(|gb| format!(" with {gb} GiB")).unwrap_or_default();
        writeln!(f, "Grade on {}{memory}: {}", self.device, self.grade)?;
        write!(
            f,
            "\n{}\n\nRecommended: {}\n\n{}",
            show::findings(&self.findings, &self.change),
            self.recommendation.explanation,
            self.recommendation.config
        )
    }
}
