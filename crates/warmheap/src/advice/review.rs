//! Judges a configuration before it runs, from what is known of the model, the machine and the start.

use super::size::{fixed, held_warmups, no_sizes, usable_mb};
use super::{Evidence, Finding, Grade, Severity, follow, heaps_for_ram, mib, recommend};
use crate::StartError;
use crate::config::{MAX_HEAP_SIZE, MIB, PoolConfig, Warning};

/// Judges a configuration before it runs, from what is known of the model and the machine. Returns the
/// findings, the gravest first.
#[must_use]
pub fn review(config: &PoolConfig, model_mb: Option<u64>, ram_gb: Option<u64>) -> Vec<Finding> {
    review_start(config, model_mb, ram_gb, &config.warnings(), None)
}

/// As [`review`], with the warnings and the error of [`Pool::check`](crate::Pool::check) on a device. Where the
/// start will fail, the sizes that would fit are proposed, and no others.
#[must_use]
pub fn review_start(
    config: &PoolConfig,
    model_mb: Option<u64>,
    ram_gb: Option<u64>,
    warnings: &[Warning],
    error: Option<&StartError>,
) -> Vec<Finding> {
    let mut found = recommend(model_mb, ram_gb, config).findings;
    match error {
        Some(error) => found.push(failing(config, error)),
        None if no_sizes(config).is_none() => found.extend(sizes(config, model_mb, ram_gb)),
        None => {}
    }
    // All proposals are made together, so the warm-up sizes are those of the heaps as they are to be.
    let heap_size = follow(config, &found).heap_size;
    found.extend(oversize_warmups(config, heap_size, warnings));
    found.extend(warnings.iter().filter_map(warned));
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// Grades a configuration by the findings of [`review`]: by the gravest of them.
#[must_use]
pub fn suitability(findings: &[Finding]) -> Grade {
    match findings.iter().map(|finding| finding.severity).max() {
        None => Grade::new("Excellent", Severity::Info, "Settings suit the machine"),
        Some(Severity::Info) => Grade::new("Good", Severity::Info, "Settings suit the machine"),
        Some(Severity::Warning) => Grade::new("Fair", Severity::Warning, "Settings work, but not as meant"),
        Some(Severity::Error) => Grade::new("Poor", Severity::Error, "Settings do not work on the machine"),
    }
}

/// Finds sizes that do not suit the machine or the model.
fn sizes(config: &PoolConfig, model_mb: Option<u64>, ram_gb: Option<u64>) -> Vec<Finding> {
    let mut found = Vec::new();
    let recommended = recommend(model_mb, ram_gb, config);
    let capacity_mb = mib(config.heap_size.saturating_mul(config.num_heaps as u64));
    let resized = |title, severity, limit| {
        Finding::new(title, severity)
            .shown_by([("total_capacity_mb", capacity_mb), limit])
            .proposing(config, &recommended.config)
    };
    if let Some(ram) = ram_gb.filter(|gb| *gb > 0) {
        let ram_mb = ram as f64 * 1024.0;
        let (usual, range) = heaps_for_ram(ram);
        if capacity_mb > ram_mb {
            found.push(
                resized("Pool Larger Than Memory", Severity::Error, ("ram_mb", ram_mb))
                    .because("start-up will fail: the heaps need more memory than the machine has"),
            );
        } else if capacity_mb > usable_mb(ram) as f64 {
            found.push(
                resized("Pool Crowds Memory", Severity::Warning, ("ram_mb", ram_mb))
                    .because("the pool leaves less than a quarter of the memory to everything else"),
            );
        } else if !range.contains(&config.num_heaps) {
            let (low, high) = range.into_inner();
            let as_much = (config.heap_size * config.num_heaps as u64).div_ceil(usual as u64);
            let to = fixed(config, as_much.next_multiple_of(MIB).min(MAX_HEAP_SIZE), usual);
            found.push(
                Finding::new("Unusual Number of Heaps", Severity::Info)
                    .shown_by([("num_heaps", config.num_heaps as f64)])
                    .proposing(config, &to)
                    .because(format!("usual for {ram} GiB are {low} to {high} heaps, mostly {usual}")),
            );
        }
    }
    if let Some(model) = model_mb.filter(|mb| *mb as f64 > capacity_mb) {
        found.push(
            resized("Pool Smaller Than the Model", Severity::Warning, ("model_mb", model as f64))
                .because("the weights alone do not fit in the heaps; the device will serve the rest"),
        );
    }
    found
}

/// The finding of a start that will fail.
fn failing(config: &PoolConfig, error: &StartError) -> Finding {
    let mut to = config.clone();
    if let Some((heap_size, num_heaps)) = error.smaller() {
        to = to.with_heap_size(heap_size).with_num_heaps(num_heaps);
        to.warmup_sizes = held_warmups(&config.warmup_sizes, heap_size);
    }
    let capacity = config.heap_size.saturating_mul(config.num_heaps as u64);
    Finding::new("Initialization Failure", Severity::Error)
        .shown_by([("total_capacity_mb", mib(capacity))])
        .proposing(config, &to)
        .because(error.to_string())
}

/// One finding for all warm-up sizes that the heaps cannot hold. It proposes those that heaps of `heap_size`
/// hold.
fn oversize_warmups(config: &PoolConfig, heap_size: u64, warnings: &[Warning]) -> Option<Finding> {
    let skipped: Vec<u64> = warnings
        .iter()
        .filter_map(|warning| match warning {
            Warning::WarmupLargerThanHeap { size, .. } => Some(*size),
            _ => None,
        })
        .collect();
    let sum = warnings.iter().find_map(|warning| match warning {
        Warning::WarmupsLargerThanHeap { sum, .. } => Some(*sum),
        _ => None,
    });
    let (title, why) = match (&skipped[..], sum) {
        ([], None) => return None,
        ([_], None) => {
            ("Warm-up Size Larger Than a Heap", "no heap can hold this size, so it is skipped".to_owned())
        }
        (_, None) => (
            "Warm-up Size Larger Than a Heap",
            "no heap can hold these sizes, so they are skipped".to_owned(),
        ),
        (_, Some(sum)) => (
            "Warm-up Sizes Larger Than a Heap",
            format!("they take {} MiB side by side; a heap is warmed whole, and no further", mib(sum)),
        ),
    };
    let mut to = config.clone();
    to.warmup_sizes = held_warmups(&config.warmup_sizes, heap_size);
    let mut finding =
        Finding::new(title, Severity::Warning).shown_by([("heap_size_mb", mib(config.heap_size))]);
    let sizes = skipped.iter().map(|size| Evidence { name: "warmup_size_mb", value: mib(*size) });
    finding.evidence.splice(0..0, sizes);
    Some(finding.proposing(config, &to).because(why))
}

fn warned(warning: &Warning) -> Option<Finding> {
    let title = match warning {
        Warning::WarmupLargerThanHeap { .. } | Warning::WarmupsLargerThanHeap { .. } => return None,
        Warning::SoftLimitCrossedAtStart { .. } => "Soft Limit Crossed at Start",
        Warning::WithoutEffect { .. } => "Setting Without Effect",
    };
    Some(Finding::new(title, Severity::Warning).because(warning.to_string()))
}
