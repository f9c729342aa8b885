//! `warmheap bench` measures what allocation costs with and without a pool, on the same trace.
//!
//! The baseline is a pool that is switched off, so every allocation and every free is a device call. On host
//! memory a call maps pages and touches each, or unmaps them, as a driver does that maps and clears. On CUDA
//! the baseline calls `cudaMalloc`. The driver's own pool, `cudaMallocAsync`, takes part as a third side. The
//! rounds of all sides alternate in one process, so that a disturbance of the machine affects all of them.

mod output;
mod text;

use std::iter;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use warmheap::advice::{self, Grades};
use warmheap::config::MIB;
use warmheap::device::{Device, Spec};
use warmheap::{Pool, PoolConfig, Statistics};
use warmheap_trace::replay::{Phases, play_phases};

use self::output::{FirstRound, Output, Side, median, milliseconds};
use super::count;
use crate::failure::Failure;
use crate::input::{self, Trace, sizes_at_peak};
use crate::output_file::OutputFile;
use crate::progress::Progress;
use crate::{device, show};

/// The rounds if the user names no number: so many, as long as they begin within `PATIENCE`, and more of short
/// ones, until `ENOUGH` has passed.
const ROUNDS: usize = 5;
const MOST_ROUNDS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(10);
const ENOUGH: Duration = Duration::from_millis(500);
/// The pool is opened so often, as long as that begins within `START_PATIENCE`.
const STARTS: usize = 5;
const START_PATIENCE: Duration = Duration::from_secs(1);

/// The command's name in its JSON.
const NAME: &str = "bench";

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A replay log: .csv, .csv.gz or .csv.zst; by default the bundled one.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    #[arg(long, default_value = "host", help = device::HELP)]
    device: Spec,
    /// The pool's settings; by default those that the advice recommends for the trace, changed by the file that
    /// WARMHEAP_CONFIG names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Rounds of each side, of which the medians are shown; by default about 5, fewer of long ones and more of
    /// short ones. The pool is also started so often, up to 5 times.
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

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let trace = match &args.trace {
        Some(path) => Trace::open(path, args.lenient)?,
        None => Trace::bundled()?,
    };
    let config = input::config_or(args.config.as_deref(), || recommended(&trace))?;
    let named = args.config.clone().or_else(input::environment_file);
    let read: Vec<_> = args.trace.iter().chain(&named).map(PathBuf::as_path).collect();
    let file = args.output.as_deref().map(|path| OutputFile::open(path, &read)).transpose()?;
    let output = measure(args, &trace, config)?;
    let text = format!("{}\n", show::to_json(NAME, &output)?);
    let written = file.map_or(Ok(()), |file| file.write(text.as_bytes()));
    // A result that could not be written is shown.
    show::print(json, NAME, &output)?;
    written?;
    let sides = [("the baseline", &output.baseline), ("the pool", &output.pool)];
    let driver_pool = output.driver_pool.iter().map(|side| ("the driver's pool", side));
    let failed = sides.into_iter().chain(driver_pool).find(|(_, side)| side.failed > 0);
    match failed {
        None => Ok(ExitCode::SUCCESS),
        Some((name, side)) => Err(super::unserved(name, side.failed, side.first_failure.as_ref())),
    }
}

/// Opens the pool as often as time allows, and returns the last one with the time of each start. `rounds`, if
/// the user names a number, are the least, up to `STARTS`.
fn open_timed(
    device: &Arc<dyn Device>,
    config: &PoolConfig,
    rounds: Option<NonZeroUsize>,
) -> Result<(Pool, Vec<f64>), Failure> {
    let least = rounds.map_or(1, NonZeroUsize::get).min(STARTS);
    let begun = Instant::now();
    let mut times = Vec::new();
    loop {
        let started = Instant::now();
        let pool = Pool::new(Arc::clone(device), config.clone()).map_err(Failure::failed)?;
        times.push(milliseconds(started.elapsed()));
        if times.len() == STARTS || times.len() >= least && begun.elapsed() > START_PATIENCE {
            return Ok((pool, times));
        }
    }
}

fn measure(args: &Args, trace: &Trace, config: PoolConfig) -> Result<Output, Failure> {
    let device = device::open(&args.device)?;
    let off = |device: Arc<dyn Device>| Pool::new(device, switched_off()).map_err(Failure::failed);
    let baseline = off(Arc::clone(&device))?;
    let driver_pool = args.device.driver_pool().map(|spec| device::open(&spec)).transpose()?;
    let driver_pool = driver_pool.map(off).transpose()?;
    let (pool, startups_ms) = open_timed(&device, &config, args.rounds)?;
    let calls_at_start = pool.statistics().device_calls;

    let expected = args.rounds.map_or(ROUNDS, NonZeroUsize::get);
    let goes_on = |played: usize, time: Duration| match args.rounds {
        Some(rounds) => played < rounds.get(),
        None => played < ROUNDS && time < PATIENCE || played < MOST_ROUNDS && time < ENOUGH,
    };
    let others: Vec<&Pool> = iter::once(&baseline).chain(&driver_pool).collect();
    let progress = Progress::new("measuring", (others.len() + 1) * expected);
    let started = Instant::now();
    let (mut without, mut with) = (vec![vec![]; others.len()], vec![]);
    let (mut statistics, mut end_reserved_bytes) = (Statistics::default(), 0);
    let mut first_round = FirstRound::default();
    while with.is_empty() || goes_on(with.len(), started.elapsed()) {
        for (pool, rounds) in others.iter().zip(&mut without) {
            rounds.push(play_phases(&trace.program, pool, || {}));
            progress.step();
        }
        with.push(play_phases(&trace.program, &pool, || {
            statistics = pool.statistics();
            end_reserved_bytes = pool.reserved_bytes();
        }));
        if with.len() == 1 {
            let after = pool.statistics();
            first_round = FirstRound {
                device_calls: after.device_calls - calls_at_start,
                fallback_allocations: after.fallback_allocations,
                failed: with[0].failed,
            };
        }
        progress.step();
    }
    drop(progress);

    let summary = trace.program.summary();
    let tokens = args.tokens.map(|n| n.get() as u64).or(trace.sidecar.decode_steps);
    // A trace whose clock stands still models no compute time.
    let compute = tokens.filter(|_| !summary.serving.is_zero());
    let compute = compute.map(|tokens| milliseconds(summary.serving) / tokens as f64);
    let findings = advice::findings_with_sizes(&statistics, pool.config(), &sizes_at_peak(&trace.program));
    let side = |rounds: &Vec<Phases>| Side::of(rounds, summary, tokens, compute);
    let (baseline, with, rounds) = (side(&without[0]), side(&with), with.len());
    Ok(Output {
        trace: trace.name.clone(),
        trace_fingerprint: trace.fingerprint(),
        workload: trace.sidecar.workload.clone(),
        recorded_on: trace.sidecar.recorded_on.clone(),
        device: device.name().to_owned(),
        device_spec: args.device.to_string(),
        rounds,
        events: summary.events,
        tokens,
        compute_ms_per_token: compute,
        prefill_compute_ms: summary.decoding_from.map(|_| milliseconds(summary.prefill)),
        first_decode_compute_ms: summary.second_decode_from.map(|_| milliseconds(summary.first_decode)),
        reduction: (baseline.serving_ms > 0.0).then(|| 1.0 - with.serving_ms / baseline.serving_ms),
        baseline,
        driver_pool: without.get(1).map(side),
        pool: with,
        startup_ms: median(startups_ms.iter().copied()),
        startups_ms,
        hit_rate: statistics.hit_rate,
        peak_reserved_bytes: pool.peak_reserved_bytes(),
        end_reserved_bytes,
        peak_live_bytes: summary.peak_live_bytes,
        first_round,
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
