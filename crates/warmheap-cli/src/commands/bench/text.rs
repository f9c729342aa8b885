//! A benchmark as tables, and the settings to change.

use std::fmt;

use warmheap::Statistics;
use warmheap::config::MIB;
use warmheap::stats::SlowPath;

use super::output::{FirstToken, Output, Side};
use crate::show::{findings, grades, grouped, mib, percent, row, significant, table};

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            title(self),
            costs(self),
            first_token(self),
            throughput(self),
            pool(self),
            findings(&self.findings, &self.change),
            footnote(self),
        ];
        f.write_str(&parts.join("\n\n"))
    }
}

fn title(output: &Output) -> String {
    let workload = output.workload.as_deref().unwrap_or("no sidecar says what ran");
    let recorded = output.recorded_on.iter();
    let recorded: String = recorded.map(|on| format!("; recorded on {on}")).collect();
    format!(
        "{}: {workload}{recorded}\n{} events, {} live at the most, on device {}; medians of {} \
         alternating rounds",
        output.trace,
        grouped(output.events),
        mib(output.peak_live_bytes),
        output.device,
        output.rounds
    )
}

/// Returns the sides to compare, with the titles of their columns.
fn sides(output: &Output) -> Vec<(&'static str, &Side)> {
    let driver_pool = output.driver_pool.iter().map(|side| ("cudaMallocAsync", side));
    [("Baseline", &output.baseline)].into_iter().chain(driver_pool).chain([("Pool", &output.pool)]).collect()
}

/// Returns a table of the sides: a name and a figure in each row, and the pool's change of the baseline.
fn compared(sides: &[(&str, &Side)], rows: &[(&str, Figure, Unit)], more: Option<Vec<String>>) -> String {
    let header = [""].into_iter().chain(sides.iter().map(|(head, _)| *head)).chain(["Change"]);
    let rows = rows.iter().map(|(name, figure, unit)| {
        let figures: Vec<f64> = sides.iter().map(|(_, side)| figure(side)).collect();
        let ends = figures.first().zip(figures.last());
        let change = ends.map(|(baseline, pool)| change(*baseline, *pool));
        [(*name).to_owned()].into_iter().chain(figures.iter().map(|f| unit(*f))).chain(change).collect()
    });
    table(header, rows.chain(more))
}

type Figure = fn(&Side) -> f64;
type Unit = fn(f64) -> String;

fn costs(output: &Output) -> String {
    let sides = sides(output);
    let serving: (&str, Figure, Unit) = if sides.iter().all(|(_, side)| side.ms_per_token.is_some()) {
        ("Allocation overhead per token", |side| side.ms_per_token.unwrap_or_default(), ms)
    } else {
        ("Allocation overhead while serving", |side| side.serving_ms, ms)
    };
    let rows = [
        serving,
        ("Allocation while loading the model", |side| side.loading_ms, ms),
        ("Per allocation or free", |side| side.ns_per_op, ns),
    ];
    let none = sides[1..].iter().map(|_| "-".to_owned());
    let startup = ["Start-up, once".to_owned()].into_iter().chain(none);
    compared(&sides, &rows, Some(startup.chain([ms(output.startup_ms), String::new()]).collect()))
}

fn first_token(output: &Output) -> String {
    let sides = sides(output);
    let Some(compute) = output.prefill_compute_ms else {
        return "No time to first token: the trace's sidecar does not say where the first token is\n\
                (decoding_from_event)."
            .to_owned();
    };
    let of = |side: &Side, warm: bool, figure: fn(&FirstToken) -> Option<f64>| {
        figure(if warm { side.warm.as_ref()? } else { side.cold.as_ref()? })
    };
    let row = |name: &str, warm: bool, figure: fn(&FirstToken) -> Option<f64>| {
        let figures: Vec<Option<f64>> = sides.iter().map(|(_, side)| of(side, warm, figure)).collect();
        let ends = figures.first().copied().flatten().zip(figures.last().copied().flatten());
        let change = ends.map_or("-".to_owned(), |(baseline, pool)| change(baseline, pool));
        let texts = figures.into_iter().map(|figure| figure.map_or("-".to_owned(), ms));
        [name.to_owned()].into_iter().chain(texts).chain([change]).collect::<Vec<_>>()
    };
    let token: fn(&FirstToken) -> Option<f64> = |one| Some(one.time_to_first_token_ms);
    let own: fn(&FirstToken) -> Option<f64> = |one| Some(one.prefill_allocation_ms);
    let decode: fn(&FirstToken) -> Option<f64> = |one| one.first_decode_ms;
    let rows = [
        row("Time to first token, cold", false, token),
        row("Time to first token, warm", true, token),
        row("  of it allocation, cold", false, own),
        row("  of it allocation, warm", true, own),
        row("First decode step, cold", false, decode),
        row("First decode step, warm", true, decode),
    ];
    let header = [""].into_iter().chain(sides.iter().map(|(head, _)| *head)).chain(["Change"]);
    format!(
        "{}\nModelled as below: {} of compute for the prompt. Cold is the first round, after start-up; warm\n\
         is the median of the others.",
        table(header, rows),
        ms(compute)
    )
}

fn throughput(output: &Output) -> String {
    let sides = sides(output);
    let Some(compute) = output
        .compute_ms_per_token
        .filter(|_| sides.iter().all(|(_, side)| side.tokens_per_second.is_some()))
    else {
        let why = match output.tokens {
            None => "nothing says how many tokens the trace decodes; give\n--tokens N",
            Some(_) => "no time passes in the trace between the first event\nof serving and the last",
        };
        return format!("No throughput is modelled: {why}");
    };
    let rate: Figure = |side| side.tokens_per_second.unwrap_or_default();
    format!(
        "{}\nModelled: {} of compute per token, as recorded in the trace, plus the allocation\n\
         time measured here.",
        compared(&sides, &[("Throughput, modelled", rate, |rate| format!("{rate:.2} tok/s"))], None),
        ms(compute)
    )
}

fn pool(output: &Output) -> String {
    let mut rows = statistics(&output.statistics);
    rows.push(row("Reserved, at the most", mib(output.peak_reserved_bytes)));
    rows.push(row("Reserved, when the trace ends", mib(output.end_reserved_bytes)));
    rows.push(row("Device calls after start-up", output.device_calls_after_startup));
    let title = format!("Pool, over {} rounds, when the trace ends", output.rounds);
    format!("{}\n{}", table([&title, "Figure"], rows), grades(&output.grades))
}

/// Returns the stages of the slow path that served, and how often each did.
fn stages(slow_path: &SlowPath) -> String {
    let served = slow_path.stages().into_iter().filter(|(_, stage)| stage.served > 0);
    let listed: Vec<_> =
        served.map(|(name, stage)| format!("{} {}", name.replace('_', " "), grouped(stage.served))).collect();
    if listed.is_empty() { "-".to_owned() } else { listed.join(", ") }
}

fn statistics(statistics: &Statistics) -> Vec<[String; 2]> {
    let mb = |figure: f64| mib((figure * MIB as f64).round() as u64);
    vec![
        row("Total allocations", grouped(statistics.total_allocations)),
        row("Fallback allocations", grouped(statistics.fallback_allocations)),
        row("Hit rate", percent(statistics.hit_rate)),
        row("Active allocations", grouped(statistics.active_allocations)),
        row("Total heaps", statistics.total_heaps),
        row("Active heaps", statistics.active_heaps),
        row("Heap utilization", percent(statistics.utilization)),
        row("Fragmentation", percent(statistics.fragmentation)),
        row("Largest allocation", mb(statistics.largest_allocation_mb)),
        row("Avg allocation", mb(statistics.avg_allocation_mb)),
        row("Total capacity", mb(statistics.total_capacity_mb)),
        row("Used capacity", mb(statistics.used_capacity_mb)),
        row("Peak used", mb(statistics.peak_used_mb)),
        row("Cached", mb(statistics.cached_mb)),
        row("Quarantined", mb(statistics.quarantined_mb)),
        row("Moved by compaction", mb(statistics.moved_mb)),
        row("Misses served by", stages(&statistics.slow_path)),
    ]
}

fn footnote(output: &Output) -> String {
    let baseline = if output.driver_pool.is_some() {
        "cudaMalloc and cudaFree for each buffer; cudaMallocAsync: the driver's\nown pool, which keeps \
         what is freed"
    } else if output.device == "host" {
        "each allocation maps its pages and touches every one, and each free\nunmaps them, as a driver \
         that maps and clears does"
    } else {
        "each allocation and each free is the device's own call"
    };
    format!("Baseline: {baseline}.\nTimings are specific to this machine; compare the ratios.")
}

fn ms(milliseconds: f64) -> String {
    format!("{} ms", significant(milliseconds))
}

fn ns(nanoseconds: f64) -> String {
    format!("{} ns", significant(nanoseconds))
}

fn change(before: f64, after: f64) -> String {
    if before == 0.0 {
        return "-".to_owned();
    }
    format!("{:+.2} %", (after - before) / before * 100.0)
}
