//! `warmheap check` says whether a configuration is valid, starts and suits the machine, and recommends one.

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use warmheap::advice::{self, Finding, Grade, ModelClass, Severity};
use warmheap::config::{Document, HeapSizing, MIB};
use warmheap::device::sim::SimDevice;
use warmheap::device::{Device, Spec};
use warmheap::{Pool, PoolConfig};

use super::whole;
use crate::failure::Failure;
use crate::show::{grouped, significant};
use crate::{device, input, show};

const GIB: u64 = 1 << 30;
/// The most bytes that are warmed to measure how long a start takes.
const PROBE: u64 = 32 * MIB;

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A YAML file; - reads standard input.
    config: PathBuf,
    /// The memory in GiB of a machine other than this one.
    #[arg(long, value_name = "N", value_parser = whole(" of GiB", 1, 1 << 20))]
    ram_gb: Option<u64>,
    /// The model's weights in MiB. The usual size of a heap for its class is shown, too.
    #[arg(long, value_name = "N", value_parser = whole(" of MiB", 1, 1 << 30))]
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
    /// Whether the file says how heaps are sized.
    pub(crate) sizes_heaps: bool,
    /// Whether the pool sizes its heaps itself.
    pub(crate) self_sizing: bool,
    /// The memory that the pool takes from the device at start-up.
    pub(crate) capacity_mb: f64,
    /// The heaps that it creates at start-up.
    pub(crate) num_heaps: usize,
    /// The memory that start-up commits, and how long that will take, as far as a measurement here tells.
    pub(crate) warmed_mb: f64,
    pub(crate) startup_ms: Option<f64>,
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

fn judge(args: &Args, document: &Document) -> Result<Output, Failure> {
    let Document { config, keys, passed_over, .. } = document;
    let Machine { device, name, ram_gb } = machine(args)?;
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
        device: name,
        starts: checked.is_ok(),
        enabled: config.enabled,
        sizes_heaps: document.sizes_heaps(),
        self_sizing: config.heaps == HeapSizing::Elastic,
        // Another machine's time cannot be measured here.
        startup_ms: match args.ram_gb {
            None if checked.is_ok() => startup_ms(&device, config, heaps),
            _ => None,
        },
        warmed_mb: if has_heaps { config.warmed_bytes() as f64 / MIB as f64 * heaps as f64 } else { 0.0 },
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

/// What the settings are checked for.
struct Machine {
    device: Arc<dyn Device>,
    /// The device, as `--device` names it.
    name: String,
    ram_gb: Option<u64>,
}

/// Returns the machine to check. Another machine than this one has the device's limits, with as much memory as
/// the user says.
fn machine(args: &Args) -> Result<Machine, Failure> {
    match args.ram_gb {
        Some(ram_gb) => Ok(other_machine(args, ram_gb)),
        None => {
            let device = device::open(&args.device)?;
            let bounds = device.bounds().into_iter().filter_map(|bound| bound.bytes).map(|bytes| bytes.limit);
            let memory = bounds.min().or_else(|| device.limits().available);
            // A machine of 16 GiB shows a little less.
            let ram_gb = memory.map(|bytes| (bytes.saturating_add(GIB / 2) / GIB).max(1));
            Ok(Machine { device, name: args.device.to_string(), ram_gb })
        }
    }
}

fn other_machine(args: &Args, ram_gb: u64) -> Machine {
    let ram = ram_gb * GIB;
    let simulated = SimDevice::new().budget(ram);
    let (device, name) = match device::open(&args.device) {
        Ok(here) => {
            let mut limits = here.limits();
            limits.largest_heap = limits.largest_heap.max(ram);
            limits.largest_buffer = limits.largest_buffer.max(ram);
            limits.available = Some(ram);
            (simulated.limits(limits), args.device.to_string())
        }
        Err(failure) => {
            show::note(format_args!("checked on a simulated device, because {failure}"));
            (simulated, format!("sim:budget={}", ram / MIB))
        }
    };
    Machine { device: Arc::new(device), name, ram_gb: Some(ram_gb) }
}

/// Returns how long a start will take, in milliseconds. A heap of `PROBE` bytes, or of what one heap warms, and one
/// of an eighth of it are created and warmed here. From them follow the cost of a heap and the cost of a byte.
/// Returns `None` if nothing is to be warmed, or if that cannot be measured.
fn startup_ms(device: &Arc<dyn Device>, config: &PoolConfig, heaps: usize) -> Option<f64> {
    let warmed = config.warmed_bytes();
    if warmed == 0 || heaps == 0 {
        return None;
    }
    let (small, large) = ((warmed.min(PROBE) / 8).max(1), warmed.min(PROBE));
    let (quick, slow) = (start_ms(device, small)?, start_ms(device, large)?);
    let byte = ((slow - quick) / large.saturating_sub(small).max(1) as f64).max(0.0);
    let heap = (slow - byte * large as f64).max(0.0);
    Some(heaps as f64 * (heap + byte * warmed as f64))
}

/// Creates a pool of one heap of these bytes and warms them. Returns the time.
fn start_ms(device: &Arc<dyn Device>, bytes: u64) -> Option<f64> {
    let one = PoolConfig::default().with_num_heaps(1).with_heap_size(bytes).with_warmup_sizes([bytes]);
    let started = Instant::now();
    let pool = Pool::new(Arc::clone(device), one).ok()?;
    let time = started.elapsed();
    drop(pool);
    Some(time.as_secs_f64() * 1e3)
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
        if self.enabled && !self.sizes_heaps {
            writeln!(
                f,
                "The file does not say how heaps are sized: from C, Python or PyTorch the pool sizes them"
            )?;
        }
        if let Some(time) = self.startup_ms {
            writeln!(
                f,
                "Start-up: about {} ms to warm {} MiB, as measured here on a part of it",
                if time < 10.0 { significant(time) } else { grouped(time.round() as u64) },
                self.warmed_mb
            )?;
        }
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
