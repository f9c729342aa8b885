//! `warmheap replay` replays one trace on one pool and measures it.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use warmheap::advice::{self, Finding, Grades};
use warmheap::config::MIB;
use warmheap::device::Spec;
use warmheap::{Pool, PoolConfig};
use warmheap_trace::Program;
use warmheap_trace::replay::{Percentiles, Replay, Report};

use super::count;
use crate::failure::Failure;
use crate::input::{self, Trace, sizes_at_peak};
use crate::progress::Progress;
use crate::show::{grouped, mib, percent, row, table};
use crate::{device, show};

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A replay log: .csv, .csv.gz or .csv.zst.
    trace: PathBuf,
    #[arg(long, default_value = "sim", help = device::HELP)]
    device: Spec,
    /// The pool's settings; by default the pool sizes its heaps itself, without a cap, and as the file that
    /// WARMHEAP_CONFIG names says.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Threads that each replay the whole trace on the one pool.
    #[arg(long, default_value = "1", value_parser = count)]
    threads: NonZeroUsize,
    /// Timed rounds; the figures are of the median round.
    #[arg(long, default_value = "5", value_parser = count)]
    rounds: NonZeroUsize,
    /// Check that no two live buffers overlap, and that contents survive.
    #[arg(long)]
    verify: bool,
    /// Free every buffer on one more thread, as completion handlers do.
    #[arg(long)]
    remote_free: bool,
    /// Skip and count events that contradict others, instead of refusing the trace.
    #[arg(long)]
    lenient: bool,
}

/// A replay's figures, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) trace: String,
    /// The same for two traces with the same requests.
    pub(crate) trace_fingerprint: String,
    pub(crate) device: String,
    /// The device with its options, as `--device` has it.
    pub(crate) device_spec: String,
    pub(crate) remote_free: bool,
    pub(crate) verified: bool,
    /// The pool's settings, as a configuration file.
    pub(crate) config: String,
    #[serde(flatten)]
    pub(crate) report: Report,
    #[serde(flatten)]
    pub(crate) judgement: Judgement,
}

/// What the statistics of all rounds show, as the pool was at its fullest.
#[derive(Debug, Serialize)]
pub(crate) struct Judgement {
    grades: Grades,
    findings: Vec<Finding>,
    /// What the findings change, as a configuration file; empty if nothing.
    change: String,
}

impl Judgement {
    fn of(pool: &Pool, program: &Program, peak_live_bytes: u64) -> Self {
        let mut statistics = pool.statistics();
        if statistics.total_capacity_mb > 0.0 {
            let peak_mb = peak_live_bytes as f64 / MIB as f64;
            statistics.utilization = (peak_mb / statistics.total_capacity_mb).min(1.0);
        }
        let findings = advice::findings_with_sizes(&statistics, pool.config(), &sizes_at_peak(program));
        let change = advice::follow(pool.config(), &findings).to_yaml_changes(pool.config());
        Self { grades: Grades::of(&statistics), findings, change }
    }
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let config = input::config_or(args.config.as_deref(), PoolConfig::elastic)?;
    let trace = Trace::open(&args.trace, args.lenient)?;
    let device = device::open(&args.device)?;
    let name = device.name().to_owned();
    let pool = Pool::new(device, config).map_err(Failure::failed)?;
    let settings = pool.config().to_yaml();
    let replay = Replay {
        threads: args.threads.get(),
        rounds: args.rounds.get(),
        verify: args.verify,
        remote_free: args.remote_free,
    };
    let progress = Progress::new("replaying", replay.total_rounds());
    let report = replay.run(&trace.program, &pool, || progress.step());
    drop(progress);
    let report = report.map_err(Failure::failed)?;
    let output = Output {
        trace_fingerprint: trace.fingerprint(),
        trace: trace.name,
        device: name,
        device_spec: args.device.to_string(),
        remote_free: args.remote_free,
        verified: args.verify,
        config: settings,
        judgement: Judgement::of(&pool, &trace.program, report.peak_live_bytes),
        report,
    };
    show::print(json, "replay", &output)?;
    let report = &output.report;
    match report.failed + report.failed_later {
        0 => Ok(ExitCode::SUCCESS),
        failed => Err(super::unserved("the pool", failed, report.first_failure.as_ref())),
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        let step = report.rounds.clock_step_ns;
        let time = |ns: f64| if ns < step { format!("< {step:.1}") } else { format!("{ns:.1}") };
        let times = |p: Percentiles| format!("{} / {} / {} ns", time(p.p50), time(p.p99), time(p.p999));
        let reserved = mib(report.peak_reserved_bytes);
        let reserved = match report.peak_live_bytes {
            0 => reserved,
            live => format!("{reserved} ({:.3} x live)", report.peak_reserved_bytes as f64 / live as f64),
        };
        let calls = report.device_calls;
        let rows = [
            row("Device", &self.device),
            row("Threads", threads(self)),
            row("Operations in a round", grouped(report.events)),
            row("Allocations", grouped(report.allocations)),
            row("Failed", failed(report)),
            row("Hit rate", percent(report.hit_rate)),
            row("Fallback allocations", grouped(report.fallback_allocations)),
            row("Time per operation", format!("{:.2} ns", report.ns_per_op)),
            row("Allocation, p50 / p99 / p99.9", times(report.alloc_ns)),
            row("Free, p50 / p99 / p99.9", times(report.free_ns)),
            row("Peak live", mib(report.peak_live_bytes)),
            row("Peak reserved", reserved),
            row("Live at the end", mib(report.end_live_bytes)),
            row("Reserved at the end", mib(report.end_reserved_bytes)),
            row(
                "Device calls: start-up / 1st / 2nd half",
                format!("{} / {} / {}", calls.setup, calls.first_half, calls.second_half),
            ),
            row("Verified", if self.verified { "yes" } else { "no" }),
        ];
        write!(f, "{}\n{}", self.trace, table(["Replay", "Figure"], rows))?;
        let Judgement { grades, findings, change } = &self.judgement;
        write!(f, "\n{}\n\n{}", show::grades(grades), show::findings(findings, change))
    }
}

fn threads(output: &Output) -> String {
    let threads = output.report.threads;
    if output.remote_free { format!("{threads} + 1 that frees") } else { threads.to_string() }
}

fn failed(report: &Report) -> String {
    match report.failed_later {
        0 => grouped(report.failed),
        later => format!("{} and {} in later rounds", grouped(report.failed), grouped(later)),
    }
}
