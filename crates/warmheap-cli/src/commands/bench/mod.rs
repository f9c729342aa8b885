//! `warmheap bench` measures what allocation costs with and without a pool, on the same trace.
//!
//! The baseline is a pool that is switched off, so every allocation and every free is a device call. On host
//! memory a call maps pages and touches each, or unmaps them, as a driver does that maps and clears. On CUDA
//! the baseline calls `cudaMalloc`. The driver's own pool, `cudaMallocAsync`, takes part as a third side. The
//! rounds of all sides alternate in one process, so that a disturbance of the machine affects all of them.

mod text;

use std::iter;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use warmheap::advice::{self, Finding, Grades};
use warmheap::config::MIB;
use warmheap::device::{Device, Spec};
use warmheap::{Pool, PoolConfig, Statistics};
use warmheap_trace::replay::{Phases, play_phases};

use super::count;
use crate::failure::Failure;
use crate::input::{self, Trace, sizes_at_peak};
use crate::progress::Progress;
use crate::{device, show};

/// The rounds if the user names no number: at most this many, as long as they begin within `PATIENCE`.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A replay log: .csv, .csv.gz or .csv.zst; by default the bundled one.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[arg(long, default_value = "host", help = device::HELP)]
    device: Spec,
    /// The pool's settings; by default those that the advice recommends for the trace.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rounds of each side, of which the medians are shown; by default up to 5, as time allows.
    #[arg(long, value_parser = count)]
    rounds: Option<NonZeroUsize>,
    /// Write the result to this file as JSON.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tokens that the trace decodes, if no sidecar says.
    #[arg(long, value_name = "N", value_parser = count)]
    tokens: Option<NonZeroUsize>,
    /// Skip and count events that contradict others, instead of refusing the trace.
    #[arg(long)]
    lenient: bool,
}

/// The result, as `--json` and `--output` write it.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) trace: String,
    pub(crate) workload: Option<String>,
    pub(crate) recorded_on: Option<String>,
    pub(crate) device: String,
    pub(crate) rounds: usize,
    pub(crate) events: u64,
    pub(crate) tokens: Option<u64>,
    /// The time between the first and last event of serving, for each token, as recorded.
    pub(crate) compute_ms_per_token: Option<f64>,
    pub(crate) baseline: Side,
    /// The driver's own pool, on a device that has one beside its plain allocation.
    pub(crate) driver_pool: Option<Side>,
    pub(crate) pool: Side,
    /// The share of the baseline's allocation time while serving that the pool saves.
    pub(crate) reduction: f64,
    /// The time to open the pool: to create its heaps and warm them.
    pub(crate) startup_ms: f64,
    pub(crate) hit_rate: f64,
    pub(crate) reserved_bytes: u64,
    pub(crate) peak_live_bytes: u64,
    /// Calls to the device after start-up, in all rounds of the pool.
    pub(crate) device_calls_after_startup: u64,
    /// The pool's settings, as a configuration file.
    pub(crate) config: String,
    /// The statistics over all rounds, with the buffers that are alive when the trace ends.
    pub(crate) statistics: Statistics,
    pub(crate) grades: Grades,
    pub(crate) findings: Vec<Finding>,
    /// What the findings change, as a configuration file; empty if nothing.
    pub(crate) change: String,
}

/// The figures of one side: medians over the rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Side {
    pub(crate) loading_ms: f64,
    pub(crate) serving_ms: f64,
    /// The mean over loading and serving together.
    pub(crate) ns_per_op: f64,
    pub(crate) ms_per_token: Option<f64>,
    /// The rate if only the trace's compute time and this allocation time passed.
    pub(crate) tokens_per_second: Option<f64>,
    pub(crate) failed: u64,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let trace = match &args.trace {
        Some(path) => Trace::open(path, args.lenient)?,
        None => Trace::bundled()?,
    };
    let config = input::config_or(args.config.as_deref(), || recommended(&trace))?;
    let output = measure(args, &trace, config)?;
    if let Some(path) = &args.output {
        input::write_json(path, &show::to_json(&output)?)?;
    }
    show::print(json, &output)?;
    let sides = [&output.baseline, &output.pool].into_iter().chain(&output.driver_pool);
    Ok(match sides.map(|side| side.failed).sum() {
        0_u64 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn measure(args: &Args, trace: &Trace, config: PoolConfig) -> Result<Output, Failure> {
    let device = device::open(&args.device)?;
    let off = |device: Arc<dyn Device>| Pool::new(device, switched_off()).map_err(Failure::failed);
    let baseline = off(Arc::clone(&device))?;
    let driver_pool = args.device.driver_pool().map(|spec| device::open(&spec)).transpose()?;
    let driver_pool = driver_pool.map(off).transpose()?;
    let started = Instant::now();
    let pool = Pool::new(Arc::clone(&device), config).map_err(Failure::failed)?;
    let startup = started.elapsed();
    let calls_at_start = pool.statistics().device_calls;

    let (rounds, time) = match args.rounds {
        Some(rounds) => (rounds.get(), Duration::MAX),
        None => (ROUNDS, PATIENCE),
    };
    let others: Vec<&Pool> = iter::once(&baseline).chain(&driver_pool).collect();
    let progress = Progress::new("measuring", (others.len() + 1) * rounds);
    let started = Instant::now();
    let (mut without, mut with) = (vec![vec![]; others.len()], vec![]);
    let mut statistics = Statistics::default();
    while with.is_empty() || (with.len() < rounds && started.elapsed() < time) {
        for (pool, rounds) in others.iter().zip(&mut without) {
            rounds.push(play_phases(&trace.program, pool, || {}));
            progress.step();
        }
        with.push(play_phases(&trace.program, &pool, || {
            statistics = pool.statistics();
        }));
        progress.step();
    }
    drop(progress);

    let summary = trace.program.summary();
    let tokens = args.tokens.map(|n| n.get() as u64).or(trace.sidecar.decode_steps);
    let compute = tokens.map(|tokens| milliseconds(summary.serving) / tokens as f64);
    let findings = advice::findings_with_sizes(&statistics, pool.config(), &sizes_at_peak(&trace.program));
    let side = |rounds: &Vec<Phases>| side(rounds, summary.events, tokens, compute);
    let (baseline, with, rounds) = (side(&without[0]), side(&with), with.len());
    Ok(Output {
        trace: trace.name.clone(),
        workload: trace.sidecar.workload.clone(),
        recorded_on: trace.sidecar.recorded_on.clone(),
        device: device.name().to_owned(),
        rounds,
        events: summary.events,
        tokens,
        compute_ms_per_token: compute,
        reduction: 1.0 - with.serving_ms / baseline.serving_ms.max(f64::MIN_POSITIVE),
        baseline,
        driver_pool: without.get(1).map(side),
        pool: with,
        startup_ms: milliseconds(startup),
        hit_rate: statistics.hit_rate,
        reserved_bytes: pool.reserved_bytes(),
        peak_live_bytes: summary.peak_live_bytes,
        device_calls_after_startup: pool.statistics().device_calls - calls_at_start,
        config: pool.config().to_yaml(),
        grades: Grades::of(&statistics),
        change: advice::follow(pool.config(), &findings).to_yaml_changes(pool.config()),
        findings,
        statistics,
    })
}

/// Returns the smallest fixed pool that serves the trace by the advice's estimate, warmed whole.
fn recommended(trace: &Trace) -> PoolConfig {
    let summary = trace.program.summary();
    let mut known = Statistics::default();
    known.peak_used_mb = summary.peak_live_bytes as f64 / MIB as f64;
    known.largest_allocation_mb = summary.largest_bytes as f64 / MIB as f64;
    let config = advice::recommend_for_run(&known, &PoolConfig::default()).config;
    let heap_size = config.heap_size;
    config.with_warmup_sizes([heap_size])
}

/// Returns a pool that passes everything to the device.
fn switched_off() -> PoolConfig {
    PoolConfig::default().with_enabled(false)
}

fn side(rounds: &[Phases], events: u64, tokens: Option<u64>, compute: Option<f64>) -> Side {
    let serving_ms = median(rounds.iter().map(|round| milliseconds(round.serving)));
    let ms_per_token = tokens.map(|tokens| serving_ms / tokens as f64);
    let total = compute.zip(ms_per_token).map(|(compute, own)| compute + own);
    Side {
        loading_ms: median(rounds.iter().map(|round| milliseconds(round.loading))),
        serving_ms,
        ns_per_op: median(
            rounds
                .iter()
                .map(|round| milliseconds(round.loading + round.serving) * 1e6 / events.max(1) as f64),
        ),
        ms_per_token,
        tokens_per_second: total.filter(|ms| *ms > 0.0).map(|ms| 1000.0 / ms),
        failed: rounds.iter().map(|round| round.failed).sum(),
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
