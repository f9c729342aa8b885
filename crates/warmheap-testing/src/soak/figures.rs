//! The figures of a soak. All of its threads count them.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// The figures of a soak so far. Sizes are in bytes.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct Survived {
            $($(#[$doc])* pub $name: u64,)+
            /// `1 - largest free / free` of the last pool before its buffers were freed.
            pub end_fragmentation: f64,
        }

        /// The same figures, while the soak goes on.
        #[derive(Debug, Default)]
        pub(super) struct Figures {
            $(pub(super) $name: AtomicU64,)+
            pub(super) end_fragmentation: AtomicU64,
        }

        impl Figures {
            pub(super) fn so_far(&self) -> Survived {
                Survived {
                    $($name: self.$name.load(Relaxed),)+
                    end_fragmentation: f64::from_bits(self.end_fragmentation.load(Relaxed)),
                }
            }
        }
    };
}

figures! {
    /// Pools that were made, used and closed.
    rounds,
    /// Times that all threads waited and the figures were compared.
    comparisons,
    /// Operations: buffers allocated, freed and retired.
    operations,
    /// Requests that failed, each for a reason.
    refused_requests,
    /// Requests served by fallback.
    fallbacks,
    /// Buffers that waited for a queue.
    retired,
    /// Buffers freed by a thread that had not allocated them.
    freed_elsewhere,
    /// Buffers grown in place.
    grown,
    /// Buffers moved to grow.
    moved,
    /// Buffers that the pool may move.
    movable,
    /// Times that a queue used a movable buffer.
    lent,
    /// Compactions on request.
    compactions,
    /// Compactions by the pools themselves, in the background and for requests that found no room.
    compactions_by_pools,
    /// Buffers moved by compaction, in rounds with statistics.
    compacted,
    /// The bytes of those buffers.
    compacted_bytes,
    /// Bytes that compaction joined into whole free pages or heaps.
    recovered_bytes,
    /// Device calls with an injected failure.
    failures_injected,
    /// Device calls that the moving budget refused.
    refused_by_budget,
    /// Heaps created.
    heaps_made,
    /// Heaps given back.
    heaps_destroyed,
    /// Trims on request.
    trims,
    /// Bytes given back by those trims.
    trimmed_bytes,
    /// Pools closed in the middle of play.
    closed_in_play,
    /// Threads that ended in the middle of play and were replaced.
    threads_replaced,
    /// Times that a pool called a callback because memory was short.
    calls_for_help,
    /// Buffers that callbacks allocated and kept.
    kept_by_callbacks,
    /// Calls that ended with a callback's panic.
    panics,
    /// Times that idle heaps were made purgeable.
    rests,
    /// Queues lost with work on them.
    queues_lost,
    /// Queues that replaced another.
    queues_replaced,
    /// The most requested bytes alive at once, with those in flight.
    peak_live_bytes,
    /// The most bytes held from a device at once.
    peak_reserved_bytes,
    /// The most bytes of a pool's own metadata.
    metadata_bytes,
}

/// Counts one.
pub(super) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Relaxed);
}
