//! `warmheap replay`: one trace on one pool, measured.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;
use warmheap::device::Spec;
use warmheap::trace::replay::{Replay, Report};
use warmheap::{Pool, PoolConfig};

use super::count;
use crate::failure::Failure;
use crate::input::{self, Trace};
use crate::progress::Progress;
use crate::{device, show};

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// A replay log: .csv, .csv.gz or .csv.zst.
    trace: PathBuf,
    #[arg(long, default_value = "sim", help = device::HELP)]
    device: Spec,
    /// The pool's settings; without, the pool sizes its heaps itself, with no cap.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Threads that each replay the whole trace on the one pool.
    #[arg(long, default_value = "1", value_parser = count)]
    threads: NonZeroUsize,
    /// Timed rounds; the median counts.
    #[arg(long, default_value = "5", value_parser = count)]
    rounds: NonZeroUsize,
    /// Check that no two live buffers overlap and that contents survive.
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
    pub(crate) device: String,
    pub(crate) remote_free: bool,
    pub(crate) verified: bool,
    #[serde(flatten)]
    pub(crate) report: Report,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let config = input::config_or(args.config.as_deref(), PoolConfig::elastic)?;
    let trace = Trace::open(&args.trace, args.lenient)?;
    let device = device::open(&args.device)?;
    let name = device.name().to_owned();
    let pool = Pool::new(device, config).map_err(Failure::failed)?;
    let replay = Replay {
        threads: args.threads.get(),
        rounds: args.rounds.get(),
        verify: args.verify,
        remote_free: args.remote_free,
    };
    let progress = Progress::new("replaying", replay.total_rounds());
    let report = replay.run(&trace.program, &pool, || progress.step());
    drop(progress);
    let output = Output {
        trace: trace.name,
        device: name,
        remote_free: args.remote_free,
        verified: args.verify,
        report: report.map_err(Failure::failed)?,
    };
    show::print(json, &output, show::replay::text)?;
    Ok(ExitCode::SUCCESS)
}
