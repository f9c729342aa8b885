//! The figures that two results have in common, and whether the second is worse.
//!
//! A figure is worse if it has changed for the worse by more than the threshold, and by more than its noise.
//! Noise is how far the rounds of both results differ among themselves: rounds that differ say that the
//! machine, not the program, makes such differences. Counts of the first round, in which heaps grow, stand
//! apart from those of the later rounds, which are divided by their number. So results of different `--rounds` compare.

use serde::Serialize;
use serde_json::Value;
use warmheap_trace::replay::Replay;

/// The direction in which a figure improves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Better {
    Lower,
    Higher,
}

/// A figure of a result.
pub(super) struct Metric {
    name: &'static str,
    pointer: &'static str,
    unit: &'static str,
    better: Better,
    /// The list that has the figure of each round, and the key in each of its entries.
    rounds: Option<(&'static str, &'static str)>,
    /// Whether the figure is a sum over later rounds, so that it is shown for one of them.
    summed: bool,
    /// The figure of the first round, where the sum has it, too.
    first: Option<&'static str>,
}

const fn metric(name: &'static str, pointer: &'static str, unit: &'static str, better: Better) -> Metric {
    Metric { name, pointer, unit, better, rounds: None, summed: false, first: None }
}

impl Metric {
    const fn timed(mut self, list: &'static str, key: &'static str) -> Self {
        self.rounds = Some((list, key));
        self
    }

    const fn summed(mut self) -> Self {
        self.summed = true;
        self
    }

    const fn less(mut self, first: &'static str) -> Self {
        self.first = Some(first);
        self
    }

    /// Returns the figure of a result, for one round.
    fn of(&self, result: &Value) -> Option<f64> {
        let figure = result.pointer(self.pointer)?.as_f64()?;
        if !self.summed {
            return Some(figure);
        }
        let first = self.first.map_or(Some(0.0), |first| result.pointer(first)?.as_f64())?;
        let rounds = rounds(result) - f64::from(u8::from(self.first.is_some()));
        // Without later rounds there is nothing to say of them.
        (rounds > 0.0).then(|| (figure - first) / rounds)
    }
}

/// The unit of a share, from 0 to 1.
pub(super) const RATIO: &str = "ratio";

/// Returns the number of rounds that the sums of a result are over: all those of `bench`, and those of `replay`
/// after the first.
fn rounds(result: &Value) -> f64 {
    let timed = result.pointer("/rounds/ns_per_op").and_then(Value::as_array);
    let later = timed.map(|timed| (timed.len() + Replay::UNTIMED_LATER_ROUNDS) as f64);
    let all = result.get("rounds").and_then(Value::as_f64);
    later.or(all).unwrap_or(1.0).max(1.0)
}

/// The figures to compare where both results have them: those of `bench`, then those of `replay`.
pub(super) const METRICS: [Metric; 23] = [
    metric("Throughput (modelled)", "/pool/tokens_per_second", "tok/s", Better::Higher)
        .timed("/pool/rounds/tokens_per_second", ""),
    metric("First token, warm", "/pool/warm/time_to_first_token_ms", "ms", Better::Lower)
        .timed("/pool/rounds/time_to_first_token_ms", ""),
    metric("Allocation per token", "/pool/ms_per_token", "ms", Better::Lower)
        .timed("/pool/rounds/ms_per_token", ""),
    metric("Allocation, serving", "/pool/serving_ms", "ms", Better::Lower)
        .timed("/pool/rounds/serving_ms", ""),
    metric("Allocation, loading", "/pool/loading_ms", "ms", Better::Lower)
        .timed("/pool/rounds/loading_ms", ""),
    metric("Start-up", "/startup_ms", "ms", Better::Lower).timed("/startups_ms", ""),
    metric("Failed, round 1", "/first_round/failed", "", Better::Lower),
    metric("Failed, later rounds", "/pool/failed", "", Better::Lower).summed().less("/first_round/failed"),
    metric("Calls, round 1", "/first_round/device_calls", "", Better::Lower),
    metric("Calls, later rounds", "/device_calls_after_startup", "", Better::Lower)
        .summed()
        .less("/first_round/device_calls"),
    metric("Time per operation", "/ns_per_op", "ns", Better::Lower).timed("/rounds/ns_per_op", ""),
    metric("Allocation, p50", "/alloc_ns/p50", "ns", Better::Lower).timed("/rounds/alloc_ns", "/p50"),
    metric("Allocation, p99", "/alloc_ns/p99", "ns", Better::Lower).timed("/rounds/alloc_ns", "/p99"),
    metric("Free, p50", "/free_ns/p50", "ns", Better::Lower).timed("/rounds/free_ns", "/p50"),
    metric("Free, p99", "/free_ns/p99", "ns", Better::Lower).timed("/rounds/free_ns", "/p99"),
    metric("Peak reserved", "/peak_reserved_bytes", "B", Better::Lower),
    metric("Reserved at the end", "/end_reserved_bytes", "B", Better::Lower),
    metric("Hit rate", "/hit_rate", RATIO, Better::Higher),
    metric("Fallbacks, round 1", "/fallback_allocations", "", Better::Lower),
    metric("Fallbacks, round 1", "/first_round/fallback_allocations", "", Better::Lower),
    metric("Fallbacks, later rounds", "/statistics/fallback_allocations", "", Better::Lower)
        .summed()
        .less("/first_round/fallback_allocations"),
    metric("Failed, round 1", "/failed", "", Better::Lower),
    metric("Failed, later rounds", "/failed_later", "", Better::Lower).summed(),
];

/// One figure of both results.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) before: f64,
    pub(crate) after: f64,
    /// The change from before to after in percent; absent where before is 0.
    pub(crate) change: Option<f64>,
    /// How far the rounds of both results differ among themselves; absent where a result has one value only.
    pub(crate) spread: Option<f64>,
    /// The change up to which the figure counts as the same: the spread, the steps of the clock, and what the
    /// order of several threads makes of memory.
    pub(crate) noise: f64,
    /// Whether the figure counts. A time that was measured once in a result does not.
    pub(crate) judged: bool,
    pub(crate) regression: bool,
}

/// Returns the figures that both results have.
pub(super) fn lines(before: &Value, after: &Value, threshold: f64) -> Vec<Line> {
    METRICS.iter().filter_map(|metric| line(metric, before, after, threshold)).collect()
}

fn line(metric: &Metric, before: &Value, after: &Value, threshold: f64) -> Option<Line> {
    let (was, is) = (metric.of(before)?, metric.of(after)?);
    let rounds = [before, after].map(|result| Rounds::of(metric, result));
    let judged = rounds.iter().all(|rounds| !matches!(rounds, Rounds::Once));
    let spread = rounds.iter().filter_map(Rounds::spread).reduce(|one, other| one + other);
    let worse = match metric.better {
        Better::Lower => is - was,
        Better::Higher => was - is,
    };
    let noise = spread.unwrap_or_default()
        + clock_step(metric, before).max(clock_step(metric, after))
        + interleaving(metric, before) * was.abs();
    let counts = (was.abs() * threshold / 100.0).max(noise);
    Some(Line {
        name: metric.name,
        unit: metric.unit,
        before: was,
        after: is,
        change: (was != 0.0).then(|| (is - was) / was * 100.0),
        spread,
        noise,
        judged,
        regression: judged && worse > counts,
    })
}

/// The rounds of a figure in one result.
enum Rounds {
    /// The figure is no time, or the result is of a program that wrote no rounds.
    None,
    /// One round tells nothing about the noise.
    Once,
    Spread(f64),
}

impl Rounds {
    fn of(metric: &Metric, result: &Value) -> Self {
        let Some((list, key)) = metric.rounds else { return Self::None };
        let Some(list) = result.pointer(list).and_then(Value::as_array) else { return Self::None };
        let mut figures: Vec<f64> = list.iter().filter_map(|round| round.pointer(key)?.as_f64()).collect();
        figures.sort_by(f64::total_cmp);
        // One round in ten at either end may be an accident.
        let accidents = figures.len() / 10;
        match &figures[accidents..figures.len() - accidents] {
            [least, .., most] => Self::Spread(most - least),
            _ => Self::Once,
        }
    }

    fn spread(&self) -> Option<f64> {
        match self {
            Self::Spread(spread) => Some(*spread),
            _ => None,
        }
    }
}

/// The share by which memory differs from run to run because several threads do not meet in the same order.
fn interleaving(metric: &Metric, result: &Value) -> f64 {
    let threads = result.get("threads").and_then(Value::as_u64).unwrap_or(1);
    let remote_free = result.get("remote_free").and_then(Value::as_bool).unwrap_or(false);
    if metric.unit == "B" && (threads > 1 || remote_free) { 0.15 } else { 0.0 }
}

/// A percentile that comes in steps of the clock may differ by two of them for nothing.
fn clock_step(metric: &Metric, result: &Value) -> f64 {
    match metric.rounds {
        Some((_, key)) if !key.is_empty() => {
            2.0 * result.pointer("/rounds/clock_step_ns").and_then(Value::as_f64).unwrap_or_default()
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn regressions(before: &Value, after: &Value, threshold: f64) -> Vec<&'static str> {
        let worse = lines(before, after, threshold).into_iter().filter(|line| line.regression);
        worse.map(|line| line.name).collect()
    }

    #[test]
    fn worse_by_more_than_the_threshold_is_a_regression() {
        let at = |ns: f64| json!({ "ns_per_op": ns });
        assert!(regressions(&at(100.0), &at(105.0), 5.0).is_empty());
        assert_eq!(regressions(&at(100.0), &at(105.1), 5.0), ["Time per operation"]);
        assert!(regressions(&at(100.0), &at(1.0), 5.0).is_empty());
        assert_eq!(regressions(&json!({ "hit_rate": 1.0 }), &json!({ "hit_rate": 0.9 }), 5.0), ["Hit rate"]);
        // A rise from 0 has no percentage, but it is a regression.
        let fallbacks = |count: u64| json!({ "fallback_allocations": count });
        let line = &lines(&fallbacks(0), &fallbacks(3), 5.0)[0];
        assert!(line.regression && line.change.is_none());
    }

    #[test]
    fn a_change_within_what_the_rounds_differ_by_is_none() {
        let at = |ns: f64, rounds: &[f64]| json!({ "ns_per_op": ns, "rounds": { "ns_per_op": rounds } });
        let before = at(100.0, &[98.0, 100.0, 104.0]);
        // The rounds differ by 6 and by 3.
        assert!(regressions(&before, &at(109.0, &[107.0, 109.0, 110.0]), 5.0).is_empty());
        assert_eq!(regressions(&before, &at(110.0, &[108.0, 110.0, 111.0]), 5.0).len(), 1);
        // Past the noise, but not past the threshold.
        assert!(regressions(&before, &at(112.0, &[110.0, 112.0, 113.0]), 15.0).is_empty());
        // One round shows no noise, so it cannot be judged.
        let once = &lines(&before, &at(200.0, &[200.0]), 5.0)[0];
        assert!(!once.judged && !once.regression);
    }

    #[test]
    fn memory_of_several_threads_may_differ_by_15_percent() {
        let held = |threads: u64, bytes: u64| json!({ "threads": threads, "peak_reserved_bytes": bytes });
        assert_eq!(regressions(&held(1, 1000), &held(1, 1060), 5.0), ["Peak reserved"]);
        assert!(regressions(&held(2, 1000), &held(2, 1149), 5.0).is_empty());
        assert_eq!(regressions(&held(2, 1000), &held(2, 1160), 5.0), ["Peak reserved"]);
    }

    #[test]
    fn a_count_over_all_rounds_is_compared_for_one_round() {
        // Heaps grow in the first round, with 40 calls. Each round has 3 calls and 1 fallback more.
        let bench = |rounds: u64| {
            json!({
                "rounds": rounds, "device_calls_after_startup": 40 + 3 * rounds,
                "pool": { "failed": 2 * rounds }, "statistics": { "fallback_allocations": rounds },
                "first_round": { "device_calls": 43, "failed": 2, "fallback_allocations": 1 },
            })
        };
        for (few, many) in [(bench(2), bench(20)), (bench(20), bench(2))] {
            assert!(regressions(&few, &many, 0.0).is_empty());
            let figures = lines(&few, &many, 0.0).iter().map(|line| line.after).collect::<Vec<_>>();
            assert_eq!(figures, [2.0, 2.0, 43.0, 3.0, 1.0, 1.0]);
        }
        let mut worse = bench(3);
        worse["device_calls_after_startup"] = json!(43 + 2 * 4);
        assert_eq!(regressions(&bench(20), &worse, 5.0), ["Calls, later rounds"]);
        assert_eq!(lines(&bench(1), &bench(1), 5.0).len(), 3);
        let replay = |rounds: usize| {
            let later = rounds + Replay::UNTIMED_LATER_ROUNDS;
            json!({ "rounds": { "ns_per_op": vec![1.0; rounds] }, "failed_later": 5 * later })
        };
        assert!(regressions(&replay(1), &replay(9), 0.0).is_empty());
        let more = json!({ "rounds": { "ns_per_op": [1.0] }, "failed_later": 6 * 5 });
        assert_eq!(regressions(&replay(9), &more, 0.0), ["Failed, later rounds"]);
    }

    #[test]
    fn a_percentile_may_move_by_two_steps_of_the_clock() {
        let at = |p50: f64| {
            json!({
                "alloc_ns": { "p50": p50 },
                "rounds": { "alloc_ns": [{ "p50": p50 }, { "p50": p50 }], "clock_step_ns": 10.0 },
            })
        };
        assert!(regressions(&at(0.0), &at(20.0), 5.0).is_empty());
        assert_eq!(regressions(&at(0.0), &at(30.0), 5.0), ["Allocation, p50"]);
    }
}
