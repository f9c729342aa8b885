//! A benchmark as the guide's tables, and what to change.

use warmheap::Statistics;

use super::advice::findings;
use super::{grouped, mib, percent, row, table};
use crate::commands::bench::{Output, Side};

pub(crate) fn text(output: &Output) -> String {
    [
        title(output),
        costs(output),
        throughput(output),
        pool(output),
        findings(&output.findings),
        footnote(output),
    ]
    .join("\n\n")
}

fn title(output: &Output) -> String {
    let workload = output.workload.as_deref().unwrap_or("no sidecar says what ran");
    let recorded = output.recorded_on.iter();
    let recorded: String = recorded.map(|on| format!("; recorded on {on}")).collect();
    format!(
        "{}: {workload}{recorded}\n{} events, {} live at the most, on device {}, medians of {} \
         alternating rounds",
        output.trace,
        grouped(output.events),
        mib(output.peak_live_bytes),
        output.device,
        output.rounds
    )
}

fn costs(output: &Output) -> String {
    let (baseline, pool) = (&output.baseline, &output.pool);
    let line =
        |name: &str, without: f64, with: f64| [name.to_owned(), ms(without), ms(with), change(without, with)];
    let serving = match (baseline.ms_per_token, pool.ms_per_token) {
        (Some(without), Some(with)) => line("Allocation overhead per token", without, with),
        _ => line("Allocation overhead while serving", baseline.serving_ms, pool.serving_ms),
    };
    let loading = line("Allocation while loading the model", baseline.loading_ms, pool.loading_ms);
    let startup = ["Start-up, once".to_owned(), "-".to_owned(), ms(output.startup_ms), String::new()];
    table(["", "Baseline", "Pool", "Change"], [serving, loading, startup])
}

fn throughput(output: &Output) -> String {
    let rate = |side: &Side| side.tokens_per_second;
    let (Some(compute), Some(without), Some(with)) =
        (output.compute_ms_per_token, rate(&output.baseline), rate(&output.pool))
    else {
        return "No throughput is modelled: nothing says how many tokens the trace decodes; give \
                --tokens N"
            .to_owned();
    };
    let tokens = |rate: f64| format!("{rate:.2} tok/s");
    let rows = [["Throughput, modelled".to_owned(), tokens(without), tokens(with), change(without, with)]];
    format!(
        "{}\nModelled: {} of compute per token, as recorded in the trace, plus the allocation time \
         measured here.",
        table(["", "Baseline", "Pool", "Change"], rows),
        ms(compute)
    )
}

fn pool(output: &Output) -> String {
    let grades = &output.grades;
    let mut rows = statistics(&output.statistics);
    rows.push(row("Reserved", mib(output.reserved_bytes)));
    rows.push(row("Device calls after start-up", output.device_calls_after_startup));
    let title = format!("Pool, over {} rounds, when the trace ends", output.rounds);
    format!(
        "{}\nHit rate: {}\nUtilization: {}\nFallback rate: {}",
        table([&title, "Figure"], rows),
        grades.hit_rate,
        grades.utilization,
        grades.fallback_rate
    )
}

fn statistics(statistics: &Statistics) -> Vec<[String; 2]> {
    let mb = |figure: f64| format!("{figure:.1} MiB");
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
    ]
}

fn footnote(output: &Output) -> String {
    let baseline = if output.device == "host" {
        "each allocation maps its pages and touches every one, each free unmaps them: what a driver \
         does that maps and clears"
    } else {
        "each allocation and each free is the device's own call"
    };
    format!("Baseline: {baseline}. Times are of this machine; ratios travel further.")
}

fn ms(milliseconds: f64) -> String {
    match milliseconds {
        small if small < 1.0 => format!("{small:.4} ms"),
        _ => format!("{milliseconds:.2} ms"),
    }
}

fn change(before: f64, after: f64) -> String {
    if before == 0.0 {
        return "-".to_owned();
    }
    format!("{:+.2} %", (after - before) / before * 100.0)
}
