//! Compaction on demand, in steps, so that it can be stopped.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use warmheap::device::DeviceError;
use warmheap::{CompactionBudget, CompactionReport, Pool};

/// The time of the first step of a compaction.
const STEP: Duration = Duration::from_millis(20);

/// Compacts in steps, until nothing is left to move, the budget is spent, or it is stopped.
pub(crate) fn compact(
    pool: &Pool,
    budget: CompactionBudget,
    stopped: &AtomicBool,
) -> Result<Value, DeviceError> {
    let (begun, mut longest) = (Instant::now(), STEP);
    let mut sum = CompactionReport::default();
    loop {
        let bytes = budget.bytes.saturating_sub(sum.moved_bytes);
        let time = budget.time.saturating_sub(begun.elapsed()).min(longest);
        let step = pool.compact(CompactionBudget { bytes, time })?;
        sum.moved_buffers += step.moved_buffers;
        sum.moved_bytes += step.moved_bytes;
        sum.recovered_bytes += step.recovered_bytes;
        (sum.busy_buffers, sum.finished) = (step.busy_buffers, step.finished);
        // Each step looks at all buffers anew. A longer one gets past those that cannot move.
        if step.moved_buffers == 0 {
            longest = longest.saturating_mul(2);
        }
        let spent = sum.moved_bytes >= budget.bytes || begun.elapsed() >= budget.time;
        if sum.finished || spent || stopped.load(Relaxed) {
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
