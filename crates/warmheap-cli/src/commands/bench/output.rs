//! The result of a benchmark, as `--json` and `--output` write it.

use std::time::Duration;

use serde::Serialize;
use warmheap::Statistics;
use warmheap::advice::{Finding, Grades};
use warmheap_trace::Summary;
use warmheap_trace::replay::{FirstFailure, Phases};

#[derive(Debug, Serialize)]
pub(crate) struct Output {
    pub(crate) trace: String,
    /// The same for two traces with the same requests.
    pub(crate) trace_fingerprint: String,
    pub(crate) workload: Option<String>,
    pub(crate) recorded_on: Option<String>,
    pub(crate) device: String,
    /// The device with its options, as `--device` has it.
    pub(crate) device_spec: String,
    pub(crate) rounds: usize,
    pub(crate) events: u64,
    pub(crate) tokens: Option<u64>,
    /// The time between the first and last event of serving, for each token, as recorded.
    pub(crate) compute_ms_per_token: Option<f64>,
    /// The time of the prompt and of the first decode step, as recorded.
    pub(crate) prefill_compute_ms: Option<f64>,
    pub(crate) first_decode_compute_ms: Option<f64>,
    pub(crate) baseline: Side,
    /// The driver's own pool, on a device that has one beside its plain allocation.
    pub(crate) driver_pool: Option<Side>,
    pub(crate) pool: Side,
    /// The share of the baseline's allocation time while serving that the pool saves; absent if that took none.
    pub(crate) reduction: Option<f64>,
    /// The time to open the pool: to create its heaps and warm them. The median of `startups_ms`.
    pub(crate) startup_ms: f64,
    pub(crate) startups_ms: Vec<f64>,
    pub(crate) hit_rate: f64,
    /// The most bytes that the pool held from the device, in all rounds.
    pub(crate) peak_reserved_bytes: u64,
    /// The bytes that it held at the end of the trace, with the buffers that are alive there.
    pub(crate) end_reserved_bytes: u64,
    pub(crate) peak_live_bytes: u64,
    /// Calls to the device after start-up, in all rounds of the pool.
    pub(crate) device_calls_after_startup: u64,
    /// What of these counts, and of `pool.failed` and the statistics, the first round of the pool had.
    pub(crate) first_round: FirstRound,
    /// The pool's settings, as a configuration file.
    pub(crate) config: String,
    /// The statistics over all rounds, with the buffers that are alive when the trace ends.
    pub(crate) statistics: Statistics,
    pub(crate) grades: Grades,
    pub(crate) findings: Vec<Finding>,
    /// What the findings change, as a configuration file; empty if nothing.
    pub(crate) change: String,
}

/// Counts of the pool's first round, in which heaps that grow do so.
#[derive(Debug, Default, Serialize)]
pub(crate) struct FirstRound {
    pub(crate) device_calls: u64,
    pub(crate) fallback_allocations: u64,
    pub(crate) failed: u64,
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
    /// The first token of the first round, and of the others, if the trace says where it is.
    pub(crate) cold: Option<FirstToken>,
    pub(crate) warm: Option<FirstToken>,
    pub(crate) failed: u64,
    pub(crate) first_failure: Option<FirstFailure>,
    pub(crate) rounds: Rounds,
}

/// The times up to the first tokens: the trace's compute time, and the allocation time measured here.
#[derive(Debug, Serialize)]
pub(crate) struct FirstToken {
    /// The prompt, after which the first token is there.
    pub(crate) time_to_first_token_ms: f64,
    /// The allocation time in it.
    pub(crate) prefill_allocation_ms: f64,
    /// The decode step after it.
    pub(crate) first_decode_ms: Option<f64>,
}

/// The figures of each round, whose differences show how far one is to be trusted.
#[derive(Debug, Serialize)]
pub(crate) struct Rounds {
    pub(crate) loading_ms: Vec<f64>,
    pub(crate) serving_ms: Vec<f64>,
    pub(crate) ns_per_op: Vec<f64>,
    pub(crate) ms_per_token: Option<Vec<f64>>,
    pub(crate) tokens_per_second: Option<Vec<f64>>,
    /// The rounds after the first.
    pub(crate) time_to_first_token_ms: Option<Vec<f64>>,
}

impl Side {
    /// Returns the figures of these rounds. `compute` is the trace's compute time for each token, in
    /// milliseconds.
    pub(super) fn of(
        rounds: &[Phases],
        summary: &Summary,
        tokens: Option<u64>,
        compute: Option<f64>,
    ) -> Self {
        let each = |figure: &dyn Fn(&Phases) -> f64| rounds.iter().map(figure).collect::<Vec<f64>>();
        let events = summary.events.max(1) as f64;
        let loading_ms = each(&|round| milliseconds(round.loading));
        let serving_ms = each(&|round| milliseconds(round.serving));
        let ns_per_op = each(&|round| milliseconds(round.loading + round.serving) * 1e6 / events);
        let ms_per_token = tokens.map(|tokens| serving_ms.iter().map(|ms| ms / tokens as f64).collect());
        let rate = |own: &f64, compute: f64| 1000.0 / (compute + own).max(f64::MIN_POSITIVE);
        let tokens_per_second = ms_per_token
            .as_ref()
            .zip(compute)
            .map(|(each, compute): (&Vec<f64>, _)| each.iter().map(|own| rate(own, compute)).collect());
        let first = |round: &Phases| first_token(round, summary);
        let (cold, later) = rounds.split_at(rounds.len().min(1));
        let later: Vec<FirstToken> = later.iter().filter_map(first).collect();
        let warm_ms = |figure: fn(&FirstToken) -> f64| median(later.iter().map(figure));
        let warm = later.first().map(|one| FirstToken {
            time_to_first_token_ms: warm_ms(|one| one.time_to_first_token_ms),
            prefill_allocation_ms: warm_ms(|one| one.prefill_allocation_ms),
            first_decode_ms: one.first_decode_ms.map(|_| warm_ms(|one| one.first_decode_ms.unwrap_or(0.0))),
        });
        let middle = |figures: &Vec<f64>| median(figures.iter().copied());
        Self {
            loading_ms: middle(&loading_ms),
            serving_ms: middle(&serving_ms),
            ns_per_op: middle(&ns_per_op),
            ms_per_token: ms_per_token.as_ref().map(middle),
            tokens_per_second: tokens_per_second.as_ref().map(middle),
            cold: cold.iter().find_map(first),
            warm,
            failed: rounds.iter().map(|round| round.failed).sum(),
            first_failure: first_failure(rounds),
            rounds: Rounds {
                loading_ms,
                serving_ms,
                ns_per_op,
                ms_per_token,
                tokens_per_second,
                time_to_first_token_ms: (!later.is_empty())
                    .then(|| later.iter().map(|one| one.time_to_first_token_ms).collect()),
            },
        }
    }
}

/// Returns the times to the first tokens of a round, if the trace says where they are.
fn first_token(round: &Phases, summary: &Summary) -> Option<FirstToken> {
    summary.decoding_from?;
    let (prefill, decode) = (milliseconds(round.prefill), milliseconds(round.first_decode));
    Some(FirstToken {
        time_to_first_token_ms: milliseconds(summary.prefill) + prefill,
        prefill_allocation_ms: prefill,
        first_decode_ms: summary.second_decode_from.map(|_| milliseconds(summary.first_decode) + decode),
    })
}

fn first_failure(rounds: &[Phases]) -> Option<FirstFailure> {
    let (number, mut failure) =
        (1..).zip(rounds).find_map(|(number, round)| Some((number, round.first_failure.clone()?)))?;
    failure.round = number;
    Some(failure)
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or_default()
}
