//! What a soak has been through, counted by everyone who takes part in it.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

macro_rules! figures {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// What a soak has been through so far. Bytes are bytes.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
        #[non_exhaustive]
        pub struct Survived {
            $($(#[$doc])* pub $name: u64,)+
            /// `1 - largest free / free` of the last pool before its buffers were freed.
            pub end_fragmentation: f64,
        }

        /// The same, while it goes on.
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
    /// Times that all threads stood still and the books were compared.
    comparisons,
    /// Buffers asked for, freed and retired.
    operations,
    /// Requests that nobody could serve, each for a reason.
    refused_requests,
    /// Requests that the device served straight.
    fallbacks,
    /// Buffers that waited for a queue.
    retired,
    /// Buffers freed by another thread than the one that asked for them.
    freed_elsewhere,
    /// Buffers made longer where they were.
    grown,
    /// Buffers moved to be longer.
    moved,
    /// Buffers that the pool may move.
    movable,
    /// Times that a queue used one of those.
    lent,
    /// Compactions on demand.
    compactions,
    /// Compactions by the pools themselves: in the background, and for requests that found no room.
    compactions_by_pools,
    /// Buffers moved by any of them, where statistics are kept.
    compacted,
    /// The bytes of those.
    compacted_bytes,
    /// Bytes that came free in whole pages or heaps by that.
    recovered_bytes,
    /// Device calls made to fail.
    failures_injected,
    /// Device calls refused for want of memory: the budget moves.
    refused_by_budget,
    /// Heaps made.
    heaps_made,
    /// Heaps given back.
    heaps_destroyed,
    /// Times that free memory was given back on demand.
    trims,
    /// Bytes given back so.
    trimmed_bytes,
    /// Pools closed in the middle of play.
    closed_in_play,
    /// Threads that ended in the middle of play, and were followed by another.
    threads_replaced,
    /// Times that a pool told the program that memory is short.
    calls_for_help,
    /// Buffers that callbacks asked for, to keep.
    kept_by_callbacks,
    /// Calls that a callback's panic came out of.
    panics,
    /// Times that idle heaps were put to rest.
    rests,
    /// Queues lost with work on them.
    queues_lost,
    /// Queues that took another's place.
    queues_replaced,
    /// The most requested bytes alive at once, in flight included.
    peak_live_bytes,
    /// The most bytes held from a device at once.
    peak_reserved_bytes,
    /// The most bytes of a pool's own books.
    metadata_bytes,
}

/// Counts one.
pub(super) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Relaxed);
}
