//! The declaration of a figure of [`Statistics`]: its name and type, what it counts, and its Prometheus
//! metric.

use super::Statistics;

/// The kind of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The figure only grows. [`Pool::reset_statistics`](crate::Pool::reset_statistics) sets it to 0, except
    /// `device_calls`.
    Counter,
    /// The figure rises and falls.
    Gauge,
}

/// The unit of a figure.
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

/// One figure of [`Statistics`]: its names, its unit, and how to read it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Figure {
    /// The field of [`Statistics`], and the key in JSON.
    pub name: &'static str,
    /// What the figure counts, in a sentence or two.
    pub help: &'static str,
    /// Whether the figure only grows.
    pub kind: Kind,
    /// The unit of the value.
    pub unit: Unit,
    /// The name of its Prometheus metric.
    pub metric: &'static str,
    pub(super) read: fn(&Statistics) -> f64,
}

impl Figure {
    /// Returns the figure's value in a snapshot, in its unit. Counts above 2^53 are rounded.
    #[must_use]
    pub fn value(&self, statistics: &Statistics) -> f64 {
        (self.read)(statistics)
    }
}

/// The kinds of pools, which figures are to be judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum PoolKind {
    /// The settings size the heaps.
    #[default]
    FixedHeaps,
    /// The pool sizes its heaps.
    SelfSizing,
    /// The pool is switched off.
    Off,
}

/// Declares [`Statistics`] and the list of its figures.
macro_rules! figures {
    ($( $(#[doc = $help:literal])+ $name:ident: $type:ty = $kind:ident $unit:ident $metric:literal, )+) => {
        /// A snapshot of a pool. Figures whose names end in `_mb` are MiB (2^20 bytes).
        ///
        /// While other threads work, each figure is right for some moment of the call. While no thread
        /// works, all figures are exact. With `track_statistics: false`, requests and buffers are not counted:
        /// `docs/statistics.md` lists the figures that remain.
        #[derive(Debug, Clone, PartialEq, Default)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(default))]
        #[non_exhaustive]
        pub struct Statistics {
            $( $(#[doc = $help])+ pub $name: $type, )+
            /// How often each stage of the slow path was tried, and how often it served the request.
            pub slow_path: SlowPath,
            /// The kind of pool that this is a snapshot of. It is no figure, and not in any text.
            #[cfg_attr(feature = "serde", serde(skip))]
            pub pool_kind: PoolKind,
            /// Whether the pool does not count requests and buffers (`track_statistics: false`). As above.
            #[cfg_attr(feature = "serde", serde(skip))]
            pub uncounted: bool,
        }

        impl Statistics {
            /// Returns every figure except the stages of the slow path, in the order of the fields.
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
