//! Writes a snapshot in the Prometheus text format (version 0.0.4). Names and units follow its customs:
//! bytes, ratios, and `_total` for counters.

use super::{Kind, Stage, Statistics, Unit};
use crate::config::MIB;

const SLOW_PATH: &str = "warmheap_slow_path_stages_total";

/// Returns the snapshots of several pools as one page of Prometheus text. Each pool has a name, which is the
/// label `pool="..."` of its samples. Names must differ, as two samples with the same labels are no valid page.
///
/// ```
/// use warmheap::{Statistics, stats::to_prometheus};
///
/// let (one, other) = (Statistics::default(), Statistics::default());
/// let page = to_prometheus([("weights", &one), ("caches", &other)]);
/// assert_eq!(page.matches("# TYPE warmheap_heaps gauge").count(), 1);
/// assert!(page.contains("warmheap_heaps{pool=\"caches\"} 0\n"));
/// ```
#[must_use]
pub fn to_prometheus<'a>(pools: impl IntoIterator<Item = (&'a str, &'a Statistics)>) -> String {
    let pools: Vec<_> = pools.into_iter().map(|(name, statistics)| (escaped(name), statistics)).collect();
    let mut text = String::new();
    if pools.is_empty() {
        return text;
    }
    let head =
        |name: &str, kind: &str, help: &str| format!("# HELP {name} {}\n# TYPE {name} {kind}\n", help.trim());
    for figure in Statistics::figures() {
        let kind = match figure.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // A MiB is a power of two, so the result is exact for any whole number of bytes up to 2^53.
        let scale = if figure.unit == Unit::Mib { MIB as f64 } else { 1.0 };
        text += &head(figure.metric, kind, figure.help);
        for (pool, statistics) in &pools {
            let value = figure.value(statistics) * scale;
            text += &format!("{}{{pool=\"{pool}\"}} {value}\n", figure.metric);
        }
    }
    text += &head(
        SLOW_PATH,
        "counter",
        "How often each stage of the slow path was tried, and how often it served the request.",
    );
    for (pool, statistics) in &pools {
        for (stage, Stage { tried, served }) in statistics.slow_path.stages() {
            for (outcome, count) in [("tried", tried), ("served", served)] {
                let labels = format!("pool=\"{pool}\",stage=\"{stage}\",outcome=\"{outcome}\"");
                text += &format!("{SLOW_PATH}{{{labels}}} {count}\n");
            }
        }
    }
    text
}

impl Statistics {
    /// Returns the snapshot as Prometheus text. Every sample has the label `pool="..."`. To serve several
    /// pools on one page, use [`stats::to_prometheus`](to_prometheus).
    #[must_use]
    pub fn to_prometheus(&self, pool: &str) -> String {
        to_prometheus([(pool, self)])
    }
}

/// Escapes the three characters that a label's value must not contain as they are.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
