//! A running program's pools as a table.

use super::{grouped, mib, percent, table};
use crate::commands::watch::Report;

pub(crate) fn text(report: &Report) -> String {
    let rows = report.devices.iter().flat_map(|device| {
        device.streams.iter().map(|stream| {
            let statistics = &stream.statistics;
            [
                format!("{} {}", device.device, stream.stream),
                format!("{:.1} MiB", statistics.used_capacity_mb),
                mib(stream.reserved_bytes),
                mib(stream.peak_reserved_bytes),
                grouped(statistics.active_allocations),
                grouped(statistics.total_allocations),
                percent(statistics.hit_rate),
                percent(statistics.fragmentation),
                grouped(statistics.device_calls),
            ]
        })
    });
    let header = [
        "Device and stream",
        "Used",
        "Reserved",
        "At most",
        "Buffers",
        "Allocations",
        "Hits",
        "Fragmented",
        "Device calls",
    ];
    format!("process {}\n{}", report.pid, table(header, rows))
}
