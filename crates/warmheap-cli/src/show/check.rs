//! What is thought of a configuration.

use super::advice::findings;
use crate::commands::check::Output;

pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}: valid; {} heaps, {} MiB in all\n\n{}\n\nRecommended: {}\n\n{}",
        output.config,
        output.num_heaps,
        output.capacity_mb,
        findings(&output.findings),
        output.recommendation.explanation,
        output.recommendation.config
    )
}
