//! `warmheap soak` tests pools in many kinds of trouble at once, for as long as the user wants.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use warmheap::config::HeapSizing;
use warmheap::device::Spec;
use warmheap_testing::soak::{Soak, Survived};
use warmheap_trace::Program;

use super::{count, whole};
use crate::failure::Failure;
use crate::input::Trace;
use crate::progress::Progress;
use crate::show::{grouped, mib, percent, row, table};
use crate::{device, show};

/// The soak is stuck if no thread has done a thousand operations in this time.
const PATIENCE: Duration = Duration::from_secs(120);

/// The exit code of a soak that was interrupted and had found nothing, as shells have it for the signal.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
#[command(allow_negative_numbers = true)]
pub(crate) struct Args {
    /// Minutes to soak; fractions count.
    #[arg(long, default_value = "1", value_parser = minutes)]
    minutes: Duration,
    /// Replay logs, which the threads share; by default the bundled trace.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    trace: Vec<PathBuf>,
    #[arg(long, num_args = 1.., default_values = ["sim", "sim:discrete,purgeable", "host:budget=2048"], help = device::HELP)]
    device: Vec<Spec>,
    /// Threads that play at once.
    #[arg(long, default_value = "3", value_parser = count)]
    threads: NonZeroUsize,
    /// Queues that buffers wait for.
    #[arg(long, default_value = "3", value_parser = count)]
    queues: NonZeroUsize,
    /// The sizing of the pools' heaps, fixed or elastic; by default as each pool's settings have it.
    #[arg(long, value_name = "SIZING", value_parser = heaps)]
    heaps: Option<HeapSizing>,
    /// The seed of the random choices; by default a new one each time. It decides settings and choices, but
    /// not how the threads interleave.
    #[arg(long, value_parser = whole("", 0, u64::MAX))]
    seed: Option<u64>,
}

/// The figures of the soak, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) seed: u64,
    pub(crate) threads: usize,
    pub(crate) queues: usize,
    pub(crate) devices: Vec<String>,
    pub(crate) seconds: f64,
    /// The broken promise, if there is one.
    pub(crate) finding: Option<String>,
    #[serde(flatten)]
    pub(crate) survived: Survived,
}

pub(crate) fn run(args: &Args, json: bool) -> Result<ExitCode, Failure> {
    let interrupted = interruption()?;
    let traces: Vec<Trace> = match &args.trace[..] {
        [] => vec![Trace::bundled()?],
        paths => paths.iter().map(|path| Trace::open(path, false)).collect::<Result<_, _>>()?,
    };
    let devices: Vec<_> = args.device.iter().map(device::open).collect::<Result<_, _>>()?;
    let seed = args.seed.unwrap_or_else(some_seed);
    let (threads, queues) = (args.threads.get(), args.queues.get());
    let names = args.device.iter().map(Spec::to_string).collect();
    let soak = Soak { time: args.minutes, threads, queues, heaps: args.heaps, seed };
    let programs: Vec<Program> = traces.into_iter().map(|trace| trace.program).collect();

    let started = Instant::now();
    let (tell, hear) = mpsc::channel();
    let progress = Progress::new("soaking, in seconds", args.minutes.as_secs() as usize);
    let stop = Arc::clone(&interrupted);
    let soaking = thread::spawn(move || {
        soak.run(&programs, &devices, &|survived| {
            // After a timeout nothing receives this.
            let _ = tell.send(*survived);
            if stop.load(Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
    });
    let mut survived = Survived::default();
    let finding = loop {
        match hear.recv_timeout(PATIENCE) {
            Ok(now) => survived = now,
            Err(RecvTimeoutError::Timeout) => break Some(stuck(seed, &survived)),
            Err(RecvTimeoutError::Disconnected) => {
                let (all, outcome) =
                    soaking.join().map_err(|_| Failure::failed("the soak itself panicked"))?;
                survived = all;
                break outcome.err().map(|broken| broken.to_string());
            }
        }
        progress.reach(started.elapsed().as_secs());
    };
    drop(progress);
    let seconds = started.elapsed().as_secs_f64();
    let output = Output { seed, threads, queues, devices: names, seconds, finding, survived };
    show::print(json, "soak", &output)?;
    match output.finding {
        None if interrupted.load(Relaxed) => Ok(ExitCode::from(INTERRUPTED)),
        None => Ok(ExitCode::SUCCESS),
        Some(finding) => Err(Failure::Failed(finding)),
    }
}

/// Returns a flag that the first interruption (Ctrl-C) sets. The second ends the process.
fn interruption() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // In this order, so that the first one finds the flag unset.
    flag::register_conditional_shutdown(SIGINT, INTERRUPTED.into(), Arc::clone(&interrupted))
        .and_then(|_| flag::register(SIGINT, Arc::clone(&interrupted)))
        .map_err(Failure::failed)?;
    Ok(interrupted)
}

fn stuck(seed: u64, survived: &Survived) -> String {
    format!(
        "no progress for {} s: the threads wait for each other; found in round {}: start with `--seed {}` \
         to begin there, with the same settings",
        PATIENCE.as_secs(),
        survived.rounds + 1,
        seed + survived.rounds
    )
}

fn some_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The seed is short enough to type.
    u64::from(now.subsec_nanos()) ^ (now.as_secs() & 0xffff) << 16
}

fn heaps(text: &str) -> Result<HeapSizing, String> {
    match text {
        "fixed" => Ok(HeapSizing::Fixed),
        "elastic" => Ok(HeapSizing::Elastic),
        _ => Err("it must be fixed or elastic".to_owned()),
    }
}

fn minutes(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|minutes| *minutes > 0.0 && *minutes <= 1e6)
        .map(|minutes: f64| Duration::from_secs_f64(minutes * 60.0))
        .ok_or_else(|| "it must be a number of minutes above 0, as in 10 or 0.5".to_owned())
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let survived = &self.survived;
        let of = |part: u64, words: &str| format!("{} {words}", grouped(part));
        let rows = [
            row("Devices, in turns", self.devices.join(", ")),
            row("Threads and queues", format!("{} and {}", self.threads, self.queues)),
            row(
                "Pools made, used and closed",
                format!(
                    "{}, {}",
                    grouped(survived.rounds),
                    of(survived.closed_in_play, "in the middle of play")
                ),
            ),
            row("Threads replaced", grouped(survived.threads_replaced)),
            row("Comparisons of statistics", grouped(survived.comparisons)),
            row("Operations", grouped(survived.operations)),
            row("Requests refused", grouped(survived.refused_requests)),
            row("Requests served by the device", grouped(survived.fallbacks)),
            row("Buffers retired to queues", grouped(survived.retired)),
            row("Buffers freed by other threads", grouped(survived.freed_elsewhere)),
            row(
                "Buffers grown",
                format!("{}, {}", of(survived.grown, "in place"), of(survived.moved, "moved")),
            ),
            row(
                "Buffers that may move",
                format!("{}, {}", grouped(survived.movable), of(survived.lent, "times used by queues")),
            ),
            row(
                "Compactions",
                format!(
                    "{}, {}",
                    of(survived.compactions, "on request"),
                    of(survived.compactions_by_pools, "by the pools")
                ),
            ),
            row(
                "Buffers compacted",
                format!(
                    "{}, {}, {} recovered",
                    grouped(survived.compacted),
                    mib(survived.compacted_bytes),
                    mib(survived.recovered_bytes)
                ),
            ),
            row(
                "Queues",
                format!("{}, {}", of(survived.queues_lost, "lost"), of(survived.queues_replaced, "replaced")),
            ),
            row("Device failures injected", grouped(survived.failures_injected)),
            row("Device calls past the budget", grouped(survived.refused_by_budget)),
            row(
                "Heaps",
                format!(
                    "{}, {}",
                    of(survived.heaps_made, "made"),
                    of(survived.heaps_destroyed, "given back")
                ),
            ),
            row("Trims", format!("{}, {}", grouped(survived.trims), mib(survived.trimmed_bytes))),
            row("Times made purgeable", grouped(survived.rests)),
            row(
                "Callbacks when memory was short",
                format!(
                    "{}, {}, {}",
                    grouped(survived.calls_for_help),
                    of(survived.kept_by_callbacks, "buffers kept"),
                    of(survived.panics, "panics")
                ),
            ),
            row("Peak live", mib(survived.peak_live_bytes)),
            row("Peak reserved", mib(survived.peak_reserved_bytes)),
            row("Fragmentation at the end", percent(survived.end_fragmentation)),
            row("Metadata of one pool, at most", mib(survived.metadata_bytes)),
        ];
        let verdict = match self.finding {
            None => "Nothing lost, nothing handed out early, all bytes back.",
            Some(_) => "A promise was broken.",
        };
        let title = format!("{:.1} s from seed {}", self.seconds, self.seed);
        write!(f, "{}\n{verdict}", table([title.as_str(), "Count"], rows))
    }
}
