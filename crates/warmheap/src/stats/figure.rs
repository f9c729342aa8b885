//! How a figure of [`Statistics`] is declared: its name and type, what it counts, and its Prometheus metric.

use super::Statistics;

/// Whether a figure only grows between resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// It only grows; [`Pool::reset_statistics`](crate::Pool::reset_statistics) sets it to 0.
    Counter,
    /// It rises and falls.
    Gauge,
}

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Things or events.
    Count,
    /// A share, 0 to 1.
    Ratio,
    /// MiB (2^20 bytes). Prometheus gets bytes.
    Mib,
}

/// One figure of [`Statistics`]: what it is called in each of its forms, and how to read it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Figure {
    /// The field of [`Statistics`], and the key in JSON.
    pub name: &'static str,
    /// One sentence or two.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What it is measured in.
    pub unit: Unit,
    /// The name of its Prometheus metric.
    pub metric: &'static str,
    pub(super) read: fn(&Statistics) -> f64,
}

impl Figure {
    /// The figure's value in a snapshot, in its unit. Counts above 2^53 are rounded.
    #[must_use]
    pub fn value(&self, statistics: &Statistics) -> f64 {
        (self.read)(statistics)
    }
}

/// Declares [`Statistics`] and the list of its figures.
macro_rules! figures {
    ($( $(#[doc = $help:literal])+ $name:ident: $type:ty = $kind:ident $unit:ident $metric:literal, )+) => {
        /// A snapshot of a pool, with the guide's names. Figures ending in `_mb` are MiB (2^20 bytes).
        ///
        /// Taken while other threads work, each figure is right for some moment of the call; taken at rest
        /// all of them are exact. With `track_statistics: false` the counters stay 0 and the gauges of
        /// heaps remain.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(default))]
        #[non_exhaustive]
        pub struct Statistics {
            $( $(#[doc = $help])+ pub $name: $type, )+
            /// What was tried when no heap had room.
            pub slow_path: SlowPath,
        }

        impl Statistics {
            /// Every figure but the stages of the slow path, in the order of the fields.
            #[must_use]
            pub const fn figures() -> &'static [Figure] {
                &[ $( Figure {
                    name: stringify!($name),
                    help: concat!($($help),+),
                    kind: figures!(@kind $kind),
                    unit: figures!(@unit $unit),
                    metric: $metric,
                    read: |statistics| statistics.$name as f64,
                } ),+ ]
            }
        }
    };
    (@kind counter) => { Kind::Counter };
    (@kind gauge) => { Kind::Gauge };
    (@unit count) => { Unit::Count };
    (@unit ratio) => { Unit::Ratio };
    (@unit mib) => { Unit::Mib };
}
