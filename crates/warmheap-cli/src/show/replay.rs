//! A replay as a table.

use warmheap::trace::replay::Percentiles;

use super::{grouped, mib, percent, row, table};
use crate::commands::replay::Output;

pub(crate) fn text(output: &Output) -> String {
    let report = &output.report;
    let times = |p: Percentiles| format!("{:.1} / {:.1} / {:.1} ns", p.p50, p.p99, p.p999);
    let reserved = mib(report.peak_reserved_bytes);
    let reserved = match report.peak_live_bytes {
        0 => reserved,
        live => format!("{reserved} ({:.3} x live)", report.peak_reserved_bytes as f64 / live as f64),
    };
    let calls = report.device_calls;
    let rows = [
        row("Device", &output.device),
        row("Threads", threads(output)),
        row("Operations in a round", grouped(report.events)),
        row("Allocations", grouped(report.allocations)),
        row("Failed", grouped(report.failed)),
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
            "Device calls: start-up / first half / second half",
            format!("{} / {} / {}", calls.setup, calls.first_half, calls.second_half),
        ),
        row("Verified", if output.verified { "yes" } else { "no" }),
    ];
    table([output.trace.as_str(), "Figure"], rows)
}

fn threads(output: &Output) -> String {
    let threads = output.report.threads;
    if output.remote_free { format!("{threads} + 1 that frees") } else { threads.to_string() }
}
