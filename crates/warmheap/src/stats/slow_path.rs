//! The stages of the slow path, and how often each was tried and served.

/// The stages that a request goes through, in this order, when no heap has room for it.
///
/// After a wait or a callback, the slow path begins again. The stage that then serves the request is
/// counted as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
#[non_exhaustive]
pub struct SlowPath {
    /// The pool frees retired buffers whose work has completed.
    pub retired: Stage,
    /// Thread caches give up the spans that they keep.
    pub caches: Stage,
    /// The pool takes purgeable heaps back into use.
    pub purgeable: Stage,
    /// Movable buffers make room.
    pub compaction: Stage,
    /// The pool asks the device for heap memory.
    pub growth: Stage,
    /// The pool asks the device for a buffer.
    pub fallback: Stage,
    /// The request waits for work in flight.
    pub wait: Stage,
    /// The pool asks the program's callbacks to free something.
    pub callbacks: Stage,
}

/// How often a stage of the slow path was tried, and how often it served the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default))]
pub struct Stage {
    /// Times tried.
    pub tried: u64,
    /// Times that it served the request.
    pub served: u64,
}

impl SlowPath {
    /// Returns every stage with its name, in order.
    #[must_use]
    pub fn stages(&self) -> [(&'static str, Stage); 8] {
        [
            ("retired", self.retired),
            ("caches", self.caches),
            ("purgeable", self.purgeable),
            ("compaction", self.compaction),
            ("growth", self.growth),
            ("fallback", self.fallback),
            ("wait", self.wait),
            ("callbacks", self.callbacks),
        ]
    }
}
