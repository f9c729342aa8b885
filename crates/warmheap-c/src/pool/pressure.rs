//! Tells the program that memory is short.

use std::ffi::c_void;

use warmheap::Pressure;

use super::wh_pool;
use crate::callback::{self, UserData};
use crate::status::{Failure, guarded, wh_status};
use crate::tables;

/// Why a pool calls a callback of `wh_pool_on_pressure`. Since 0.2.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum wh_pressure_kind {
    /// The pool holds more than a soft limit allows, and has given back all that no buffer uses. Since 0.2.
    WH_PRESSURE_SOFT_LIMIT = 1,
    /// A request is about to fail. The pool tries it once more after the callbacks. Since 0.2.
    WH_PRESSURE_EXHAUSTED = 2,
}

/// What a callback is told.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct wh_pressure {
    /// `sizeof(wh_pressure)`, as the library knows it.
    pub struct_size: usize,
    /// Why the pool calls.
    pub kind: wh_pressure_kind,
    /// The requested bytes, if a request is about to fail; else 0.
    pub requested: u64,
    /// The bytes held from the device, at a soft limit; else 0.
    pub reserved: u64,
    /// The heaps and fallback buffers held, at a soft limit; else 0.
    pub objects: u64,
}

/// A function for moments when memory is short. `user` is what `wh_pool_on_pressure` was given. Since 0.2.
#[allow(non_camel_case_types)]
pub type wh_pressure_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, pool: wh_pool, pressure: *const wh_pressure)>;

impl wh_pressure {
    /// Returns `None` for a kind that this interface does not have yet.
    fn of(met: Pressure) -> Option<Self> {
        let struct_size = size_of::<Self>();
        match met {
            Pressure::SoftLimit { reserved, objects } => {
                let kind = wh_pressure_kind::WH_PRESSURE_SOFT_LIMIT;
                Some(Self { struct_size, kind, requested: 0, reserved, objects })
            }
            Pressure::Exhausted { requested } => {
                let kind = wh_pressure_kind::WH_PRESSURE_EXHAUSTED;
                Some(Self { struct_size, kind, requested, reserved: 0, objects: 0 })
            }
            _ => None,
        }
    }
}

/// Registers `callback` for moments when memory is short: the pool holds more than a soft limit allows, or a
/// request is about to fail, which is then tried once more. The callback runs on the thread whose request met
/// the pressure, never for a free, and not within itself. It may call the library with this pool and others,
/// and does not throw.
///
/// It stays until `wh_pool_close`, also if queues keep the pool. That call waits until no other thread is in
/// the callback, and calls `release` with `user`, unless that is null. Within a callback (of a pool or of the
/// log) `wh_pool_close` does not wait; the last call of the callback to return then calls `release`. Do not hold
/// a lock that the callback takes while the pool is closed. If this call fails, `release` is not called.
/// Since 0.2.
///
/// # Safety
/// Any thread may call `callback` with `user` until the library has called `release`, as this says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_pool_on_pressure(
    pool: wh_pool,
    callback: wh_pressure_callback,
    user: *mut c_void,
    release: Option<unsafe extern "C" fn(user: *mut c_void)>,
) -> wh_status {
    guarded(|| {
        let library = tables::pool(pool.id)?;
        let callback = callback.ok_or_else(|| Failure::argument("callback is null"))?;
        let data = tables::add_data(pool.id, || UserData { user, release })?;
        library.on_pressure(move |_, met| {
            let (Some(data), Some(pressure)) = (data.upgrade(), wh_pressure::of(met)) else { return };
            // SAFETY: the program promises that any thread may make this call.
            callback::enter(|| unsafe { callback(data.user, pool, &raw const pressure) });
        });
        Ok(())
    })
}
