//! Compaction on demand, in steps, so that signals can end it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warmheap::device::DeviceError;
use warmheap::{CompactionBudget, CompactionReport, Pool};

use crate::interpreter::wait::look_for_signals;

/// The time of one step of a compaction, between two looks for signals.
const STEP: Duration = Duration::from_millis(20);

/// Compacts in steps, until nothing is left to move, the budget is spent, or a signal ends it.
pub(crate) fn compact(pool: &Pool, budget: CompactionBudget) -> Result<Value, DeviceError> {
    let begun = Instant::now();
    let mut sum = CompactionReport::default();
    loop {
        let bytes = budget.bytes.saturating_sub(sum.moved_bytes);
        let time = budget.time.saturating_sub(begun.elapsed()).min(STEP);
        let step = pool.compact(CompactionBudget { bytes, time })?;
        sum.moved_buffers += step.moved_buffers;
        sum.moved_bytes += step.moved_bytes;
        sum.recovered_bytes += step.recovered_bytes;
        (sum.busy_buffers, sum.finished) = (step.busy_buffers, step.finished);
        let spent = sum.moved_bytes >= budget.bytes || begun.elapsed() >= budget.time;
        if sum.finished || spent || look_for_signals() {
            return Ok(json!({
                "moved_buffers": sum.moved_buffers,
                "moved_bytes": sum.moved_bytes,
                "recovered_bytes": sum.recovered_bytes,
                "busy_buffers": sum.busy_buffers,
                "finished": sum.finished,
            }));
        }
    }
}
