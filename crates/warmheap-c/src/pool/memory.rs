//! How a pool keeps its memory in order: giving back, and compaction.

use std::time::Duration;

use warmheap::{CompactionBudget, CompactionReport};

use super::wh_pool;
use crate::sized::{self, sized};
use crate::status::{guarded, put, wh_status};
use crate::tables;

/// What a compaction did. Set `struct_size` before a call that fills it.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_compaction {
    /// `sizeof(wh_compaction)`.
    pub struct_size: usize,
    /// The buffers that moved.
    pub moved_buffers: u64,
    /// The bytes of those buffers.
    pub moved_bytes: u64,
    /// The bytes that came free in whole pages or heaps. A trim can give them back now.
    pub recovered_bytes: u64,
    /// The buffers that stayed because they were pinned or in flight.
    pub busy_buffers: u64,
    /// Whether every buffer was looked at. `false` means that the budget was spent before.
    pub finished: bool,
}

sized! { wh_compaction, finished: bool }

impl From<CompactionReport> for wh_compaction {
    fn from(report: CompactionReport) -> Self {
        Self {
            struct_size: size_of::<Self>(),
            moved_buffers: report.moved_buffers,
            moved_bytes: report.moved_bytes,
            recovered_bytes: report.recovered_bytes,
            busy_buffers: report.busy_buffers,
            finished: report.finished,
        }
    }
}

/// Gives free memory back to the device until the pool holds at most `target` bytes, or no more can go. A
/// target of 0 means all free memory. Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_pool_trim(pool: wh_pool, target: u64) -> wh_status {
    guarded(|| Ok(tables::pool(pool.id)?.trim(target).map(drop)?))
}

/// Gives back memory that no request has needed for about `idle_ms` milliseconds, a little at each call, and
/// frees what queues have completed. Writes the milliseconds until the next call is due to `next_ms`, which
/// may be null. For programs that have a thread for such things; with the setting `trim_after_ms` the pool has
/// one of its own. Since 0.2.
///
/// # Safety
/// `next_ms` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_maintain(pool: wh_pool, idle_ms: u64, next_ms: *mut u64) -> wh_status {
    guarded(|| {
        let next = tables::pool(pool.id)?.maintain(Duration::from_millis(idle_ms))?;
        if next_ms.is_null() {
            return Ok(());
        }
        let next = u64::try_from(next.as_millis()).unwrap_or(u64::MAX);
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(next_ms, "next_ms", next) }
    })
}

/// Lets the system take the pages of heaps without buffers until requests need those heaps again. Writes the
/// bytes of those heaps to `bytes`, which may be null. On devices without such a state nothing happens, and
/// the result is 0. Since 0.2.
///
/// # Safety
/// `bytes` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_make_purgeable(pool: wh_pool, bytes: *mut u64) -> wh_status {
    guarded(|| {
        let purgeable = tables::pool(pool.id)?.make_purgeable()?;
        if bytes.is_null() {
            return Ok(());
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(bytes, "bytes", purgeable) }
    })
}

/// Packs movable buffers, so that the free memory between them becomes useful. Contents stay. Copies at most
/// about `max_bytes` and takes at most about `max_ms` milliseconds; 0 is no limit. Writes what it did to
/// `report`, which may be null. Since 0.2.
///
/// # Safety
/// `report` is null or points to a struct whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_compact(
    pool: wh_pool,
    max_bytes: u64,
    max_ms: u64,
    report: *mut wh_compaction,
) -> wh_status {
    guarded(|| {
        let pool = tables::pool(pool.id)?;
        if !report.is_null() {
            // SAFETY: the caller keeps this function's contract.
            unsafe { sized::check(report, "report") }?;
        }
        let mut budget = CompactionBudget::unlimited();
        if max_bytes > 0 {
            budget.bytes = max_bytes;
        }
        if max_ms > 0 {
            budget.time = Duration::from_millis(max_ms);
        }
        let done = pool.compact(budget)?.into();
        if report.is_null() {
            return Ok(());
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::write(report, "report", &done) }
    })
}
