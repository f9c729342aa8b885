//! Writes a snapshot in the Prometheus text format (version 0.0.4). Names and units follow its customs:
//! bytes, ratios, and `_total` for counters.

use super::{Kind, Stage, Statistics, Unit};
use crate::config::MIB;

const SLOW_PATH: &str = "warmheap_slow_path_stages_total";

impl Statistics {
    /// Returns the snapshot as Prometheus text. Every sample has the label `pool="..."`. To serve several
    /// pools on one page, give each its own label, and keep one set of `HELP` and `TYPE` lines.
    #[must_use]
    pub fn to_prometheus(&self, pool: &str) -> String {
        let pool = escaped(pool);
        let head = |name: &str, kind: &str, help: &str| {
            format!("# HELP {name} {}\n# TYPE {name} {kind}\n", help.trim())
        };
        let mut text = String::new();
        for figure in Self::figures() {
            let kind = match figure.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            // A MiB is a power of two, so the result is exact for any whole number of bytes up to 2^53.
            let scale = if figure.unit == Unit::Mib { MIB as f64 } else { 1.0 };
            let (metric, value) = (figure.metric, figure.value(self) * scale);
            text += &format!("{}{metric}{{pool=\"{pool}\"}} {value}\n", head(metric, kind, figure.help));
        }
        text += &head(
            SLOW_PATH,
            "counter",
            "How often each stage of the slow path was tried, and how often it served the request.",
        );
        for (stage, Stage { tried, served }) in self.slow_path.stages() {
            for (outcome, count) in [("tried", tried), ("served", served)] {
                let labels = format!("pool=\"{pool}\",stage=\"{stage}\",outcome=\"{outcome}\"");
                text += &format!("{SLOW_PATH}{{{labels}}} {count}\n");
            }
        }
        text
    }
}

/// Escapes the three characters that a label's value must not contain as they are.
fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
