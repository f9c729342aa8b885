//! What a soak survived, as a table.

use super::{grouped, mib, percent, row, table};
use crate::commands::soak::Output;

pub(crate) fn text(output: &Output) -> String {
    let survived = &output.survived;
    let of = |part: u64, words: &str| format!("{} {words}", grouped(part));
    let rows = [
        row("Devices, in turns", output.devices.join(", ")),
        row("Threads and queues", format!("{} and {}", output.threads, output.queues)),
        row("Pools made, used and closed", grouped(survived.rounds)),
        row("Books compared", grouped(survived.comparisons)),
        row("Operations", grouped(survived.operations)),
        row("Requests refused", grouped(survived.refused_requests)),
        row("Requests served by the device", grouped(survived.fallbacks)),
        row("Buffers retired to queues", grouped(survived.retired)),
        row("Buffers freed by other threads", grouped(survived.freed_elsewhere)),
        row("Buffers grown", format!("{}, {}", of(survived.grown, "in place"), of(survived.moved, "moved"))),
        row(
            "Buffers that may move",
            format!("{}, {}", grouped(survived.movable), of(survived.lent, "times used by queues")),
        ),
        row(
            "Compactions",
            format!(
                "{}, {}",
                of(survived.compactions, "on demand"),
                of(survived.compactions_by_pools, "by the pools")
            ),
        ),
        row(
            "Buffers compacted",
            format!(
                "{}, {}, {} came free",
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
            format!("{}, {}", of(survived.heaps_made, "made"), of(survived.heaps_destroyed, "given back")),
        ),
        row("Trims", format!("{}, {}", grouped(survived.trims), mib(survived.trimmed_bytes))),
        row("Rests", grouped(survived.rests)),
        row("Calls for help", grouped(survived.calls_for_help)),
        row("Peak live", mib(survived.peak_live_bytes)),
        row("Peak reserved", mib(survived.peak_reserved_bytes)),
        row("Fragmentation at the end", percent(survived.end_fragmentation)),
        row("Books of one pool, at most", mib(survived.metadata_bytes)),
    ];
    let verdict = match output.finding {
        None => "Nothing lost, nothing handed out early, all bytes back.",
        Some(_) => "A promise was broken.",
    };
    let title = format!("{:.1} s from seed {}", output.seconds, output.seed);
    format!("{}\n{verdict}", table([title.as_str(), "Survived"], rows))
}
