//! The figures of a pool: as a struct, as JSON and as Prometheus text.

use std::ffi::c_char;

use warmheap::stats::to_prometheus;
use warmheap::{Pool, Statistics};

use super::wh_pool;
use crate::sized::{self, sized};
use crate::status::{Failure, guarded, wh_status};
use crate::tables;
use crate::text::{given, put_text};

/// How often a stage of the slow path was tried, and how often it served the request.
/// Since 0.1, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct wh_stage {
    /// Times tried.
    pub tried: u64,
    /// Times that it served the request.
    pub served: u64,
}

/// The stages that a request goes through, in this order, when no heap has room for it. After a wait or a
/// callback, the slow path begins again. The stage that then serves the request is counted as well.
/// Since 0.1, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct wh_slow_path {
    /// The pool frees retired buffers whose work has completed.
    pub retired: wh_stage,
    /// Thread caches give up the spans that they keep.
    pub caches: wh_stage,
    /// The pool takes purgeable heaps back into use.
    pub purgeable: wh_stage,
    /// Movable buffers make room.
    pub compaction: wh_stage,
    /// The pool asks the device for heap memory.
    pub growth: wh_stage,
    /// The pool asks the device for a buffer.
    pub fallback: wh_stage,
    /// The request waits for work in flight.
    pub wait: wh_stage,
    /// The pool asks the program's callbacks to free something.
    pub callbacks: wh_stage,
}

impl From<warmheap::stats::Stage> for wh_stage {
    fn from(stage: warmheap::stats::Stage) -> Self {
        Self { tried: stage.tried, served: stage.served }
    }
}

impl From<warmheap::stats::SlowPath> for wh_slow_path {
    fn from(slow_path: warmheap::stats::SlowPath) -> Self {
        Self {
            retired: slow_path.retired.into(),
            caches: slow_path.caches.into(),
            purgeable: slow_path.purgeable.into(),
            compaction: slow_path.compaction.into(),
            growth: slow_path.growth.into(),
            fallback: slow_path.fallback.into(),
            wait: slow_path.wait.into(),
            callbacks: slow_path.callbacks.into(),
        }
    }
}

/// A snapshot of a pool's statistics. Figures ending in `_mb` are MiB (2^20 bytes). Set `struct_size` before a
/// call that fills it.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_statistics {
    /// `sizeof(wh_statistics)`.
    pub struct_size: usize,
    /// Requests that got a buffer, from a heap or by fallback.
    pub total_allocations: u64,
    /// Buffers freed, of those allocated since the last reset. Those that were alive at the reset are taken to
    /// be freed first.
    pub total_deallocations: u64,
    /// Requests that the device served, because no heap could.
    pub fallback_allocations: u64,
    /// Requests that failed, because memory or a quota was short, or the device could not clear the memory.
    pub failed_allocations: u64,
    /// Buffers alive now.
    pub active_allocations: u64,
    /// `(total - fallback) / total`, 0 to 1; 1 without requests.
    pub hit_rate: f64,
    /// Heaps held from the device.
    pub total_heaps: u64,
    /// Heaps that have a span out: in a live buffer, a cache or quarantine.
    pub active_heaps: u64,
    /// `used_capacity_mb / total_capacity_mb`, 0 to 1; 0 without heaps.
    pub utilization: f64,
    /// `1 - largest free block / free`, 0 to 1, over all heaps; 0 if nothing is free.
    pub fragmentation: f64,
    /// The size of the largest request served since the last reset, growth included.
    pub largest_allocation_mb: f64,
    /// The mean size of the requests served since the last reset, growth included.
    pub avg_allocation_mb: f64,
    /// Heap memory held from the device.
    pub total_capacity_mb: f64,
    /// Heap memory of live buffers, rounding included.
    pub used_capacity_mb: f64,
    /// The most requested bytes alive at once since the last reset, heaps and fallback together. It is exact
    /// where one thread uses the pool. Each further thread may add what it has freed since its own peak, up to
    /// 130 MiB, or 3 MiB if it only allocates or only frees. A snapshot that is taken while a thread works may
    /// add 1 MiB for that thread, once. It is never too low, nor above the most held.
    pub peak_used_mb: f64,
    /// Memory of live fallback buffers.
    pub fallback_mb: f64,
    /// Free memory that thread caches and the depot keep for later requests.
    pub cached_mb: f64,
    /// Freed memory in quarantine, which the device could not clear yet, heaps and fallback together.
    pub quarantined_mb: f64,
    /// Calls made to the device since start-up began, warm-up included. A reset does not zero them.
    pub device_calls: u64,
    /// Driver objects held now, such as MTLHeaps and MTLBuffers; 0 on a device without a limit on them.
    pub device_objects: u64,
    /// The most driver objects that the device may hold; 0 without such a limit.
    pub device_object_limit: u64,
    /// Requested bytes of retired buffers that wait for their queues.
    pub in_flight_mb: f64,
    /// Of the bytes in flight, those whose queue is lost or has no handle left. They come back when the work is
    /// done, or when the last handle of a lost queue goes.
    pub orphaned_mb: f64,
    /// How often the bytes or objects held from the device passed a soft limit.
    pub soft_limit_crossings: u64,
    /// Compactions, on demand and in the background.
    pub compactions: u64,
    /// Buffers that compaction has moved.
    pub moved_buffers: u64,
    /// Requested bytes of the buffers that compaction has moved.
    pub moved_mb: f64,
    /// Memory that compaction joined into whole free pages or heaps, which a trim can give back.
    pub recovered_mb: f64,
    /// How often each stage of the slow path was tried, and how often it served the request.
    pub slow_path: wh_slow_path,
    /// Bytes held from the device now: heaps and fallback buffers.
    pub reserved_bytes: u64,
    /// The most bytes held from the device at once since the last reset.
    pub peak_reserved_bytes: u64,
}

sized! { wh_statistics, peak_reserved_bytes: u64 }

impl Default for wh_statistics {
    fn default() -> Self {
        // SAFETY: all fields are numbers.
        Self { struct_size: size_of::<Self>(), ..unsafe { std::mem::zeroed() } }
    }
}

/// Sets the pool's counters to zero. Gauges keep their values, and peaks start again from the present values.
/// Since 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn wh_pool_reset_statistics(pool: wh_pool) -> wh_status {
    guarded(|| {
        tables::pool(pool.id)?.reset_statistics();
        Ok(())
    })
}

/// Writes a snapshot of the pool's statistics to `statistics`. Since 0.1.
///
/// # Safety
/// `statistics` is null or points to a struct whose `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_statistics(pool: wh_pool, statistics: *mut wh_statistics) -> wh_status {
    guarded(|| {
        let pool = tables::pool(pool.id)?;
        let snapshot = snapshot(&pool);
        // SAFETY: the caller keeps this function's contract.
        unsafe { sized::write(statistics, "statistics", &snapshot) }
    })
}

/// Returns the pool's figures in C's struct: all that the library has, and the bytes held from the device.
/// The header's test checks that none is missing.
fn snapshot(pool: &Pool) -> wh_statistics {
    macro_rules! filled {
        ($statistics:ident, [$($field:ident),+], $($own:ident),+) => {
            wh_statistics {
                struct_size: size_of::<wh_statistics>(),
                $($field: $statistics.$field,)+
                slow_path: $statistics.slow_path.into(),
                $($own: pool.$own()),+
            }
        };
    }
    let statistics = pool.statistics();
    filled!(
        statistics,
        [
            total_allocations,
            total_deallocations,
            fallback_allocations,
            failed_allocations,
            active_allocations,
            hit_rate,
            total_heaps,
            active_heaps,
            utilization,
            fragmentation,
            largest_allocation_mb,
            avg_allocation_mb,
            total_capacity_mb,
            used_capacity_mb,
            peak_used_mb,
            fallback_mb,
            cached_mb,
            quarantined_mb,
            device_calls,
            device_objects,
            device_object_limit,
            in_flight_mb,
            orphaned_mb,
            soft_limit_crossings,
            compactions,
            moved_buffers,
            moved_mb,
            recovered_mb
        ],
        reserved_bytes,
        peak_reserved_bytes
    )
}

/// Writes the pool's statistics to `text` as a JSON object. Writes as much as fits into `capacity` bytes, with
/// a zero byte at the end, and the bytes that the whole text takes to `needed`, the zero byte included. With a
/// null `text` and a capacity of 0 it only tells the length. Since 0.2.
///
/// # Safety
/// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_statistics_json(
    pool: wh_pool,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> wh_status {
    guarded(|| {
        let made = tables::pool(pool.id)?.statistics().to_json();
        // SAFETY: the caller keeps this function's contract.
        unsafe { put_text(&made, text, capacity, needed) }
    })
}

/// Writes the pool's statistics to `text` as Prometheus text, each with the label `pool="NAME"`. Sizes are
/// bytes there. The text and its length are written as `wh_pool_statistics_json` does. A page of several pools
/// comes from `wh_pools_prometheus`. Since 0.2.
///
/// # Safety
/// `name` is null or ends with a zero byte. `text` is null or has room for `capacity` bytes. `needed` is null
/// or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_prometheus(
    pool: wh_pool,
    name: *const c_char,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> wh_status {
    guarded(|| {
        let pool = tables::pool(pool.id)?;
        // SAFETY: the caller keeps this function's contract.
        let made = pool.statistics().to_prometheus(unsafe { given(name, "name") }?);
        // SAFETY: as above.
        unsafe { put_text(&made, text, capacity, needed) }
    })
}

/// Writes one page of Prometheus text for several pools: `count` of them in `pools`, with their names in
/// `names`. Each sample has the label `pool="NAME"`, and every metric is described once, which the texts of
/// single pools side by side do not do. Two pools of one name are refused. The text and its length are written
/// as `wh_pool_statistics_json` does; without pools it is empty. Since 0.2.
///
/// # Safety
/// `pools` and `names` are null or have `count` items. Each name is null or ends with a zero byte. `text` is
/// null or has room for `capacity` bytes. `needed` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pools_prometheus(
    pools: *const wh_pool,
    names: *const *const c_char,
    count: usize,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> wh_status {
    guarded(|| {
        if count > 0 && (pools.is_null() || names.is_null()) {
            let which = if pools.is_null() { "pools" } else { "names" };
            return Err(Failure::argument(format!("{which} is null, and count is {count}")));
        }
        let mut seen: Vec<(&str, Statistics)> = Vec::new();
        for at in 0..count {
            // SAFETY: the caller has `count` items in both.
            let (pool, name) = unsafe { (pools.add(at).read(), names.add(at).read()) };
            // SAFETY: the caller keeps this function's contract.
            let name = unsafe { given(name, &format!("names[{at}]")) }?;
            if seen.iter().any(|(known, _)| *known == name) {
                return Err(Failure::argument(format!(
                    "two pools have the name {name:?}; a label tells pools apart"
                )));
            }
            seen.push((name, tables::pool(pool.id)?.statistics()));
        }
        let made = to_prometheus(seen.iter().map(|(name, statistics)| (*name, statistics)));
        // SAFETY: the caller keeps this function's contract.
        unsafe { put_text(&made, text, capacity, needed) }
    })
}

/// Writes the buffers that are alive to `text`: their number, and a line for each line of source and tag, most
/// bytes first. The text and its length are written as `wh_pool_statistics_json` does. When a pool closes with
/// buffers alive, the same text is logged. Since 0.2.
///
/// # Safety
/// `text` is null or has room for `capacity` bytes. `needed` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_leak_report(
    pool: wh_pool,
    text: *mut c_char,
    capacity: usize,
    needed: *mut usize,
) -> wh_status {
    guarded(|| {
        let made = tables::pool(pool.id)?.leaks().to_string();
        // SAFETY: the caller keeps this function's contract.
        unsafe { put_text(&made, text, capacity, needed) }
    })
}
