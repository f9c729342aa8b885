//! Quotas: the most requested bytes that may be alive under a tag.

use std::ffi::c_char;

use super::wh_pool;
use crate::status::{Failure, guarded, put, wh_status};
use crate::tables;
use crate::text::given;

/// Returns a tag that has a name.
///
/// # Safety
/// `tag` is null or ends with a zero byte.
unsafe fn named<'a>(tag: *const c_char) -> Result<&'a str, Failure> {
    // SAFETY: the caller keeps this function's contract.
    match unsafe { given(tag, "tag") }? {
        "" => Err(Failure::argument("tag is empty")),
        tag => Ok(tag),
    }
}

/// Sets the most requested bytes that may be alive under `tag`, those in flight included. A request that would
/// pass it returns `WH_QUOTA_EXCEEDED`. Buffers allocated before their tag first had a quota do not count.
/// Since 0.2.
///
/// # Safety
/// `tag` is null or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_set_quota(pool: wh_pool, tag: *const c_char, bytes: u64) -> wh_status {
    guarded(|| {
        let pool = tables::pool(pool.id)?;
        // SAFETY: the caller keeps this function's contract.
        pool.set_quota(unsafe { named(tag) }?, Some(bytes));
        Ok(())
    })
}

/// Removes the quota of `tag`. Since 0.2.
///
/// # Safety
/// `tag` is null or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_remove_quota(pool: wh_pool, tag: *const c_char) -> wh_status {
    guarded(|| {
        let pool = tables::pool(pool.id)?;
        // SAFETY: the caller keeps this function's contract.
        pool.set_quota(unsafe { named(tag) }?, None);
        Ok(())
    })
}

/// Writes the quota of `tag` to `bytes`, and how much of it is used to `used`; either may be null. Without a
/// quota both are `UINT64_MAX` and 0. Since 0.2.
///
/// # Safety
/// `tag` is null or ends with a zero byte. `bytes` and `used` are null or have room for the results.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_quota(
    pool: wh_pool,
    tag: *const c_char,
    bytes: *mut u64,
    used: *mut u64,
) -> wh_status {
    guarded(|| {
        let pool = tables::pool(pool.id)?;
        // SAFETY: the caller keeps this function's contract.
        let (quota, taken) = pool.quota(unsafe { named(tag) }?).unwrap_or((u64::MAX, 0));
        for (place, figure) in [(bytes, quota), (used, taken)] {
            if !place.is_null() {
                // SAFETY: the caller keeps this function's contract.
                unsafe { put(place, "quota", figure) }?;
            }
        }
        Ok(())
    })
}
