//! What is not MLX is left alone. MLX itself is tested from Python (`crates/warmheap-python/tests/mlx`).

use std::path::Path;
use std::sync::Arc;

use warmheap::device::host::HostDevice;
use warmheap::{Pool, PoolConfig};
use warmheap_mlx::{InstallError, install, usage};

#[test]
fn libraries_that_are_not_mlx_are_refused() {
    let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
    let absent = Path::new("/nowhere/libmlx.so");
    assert_eq!(install(&pool, absent), Err(InstallError::NotLoaded(absent.into())));
    let c = Path::new(if cfg!(target_vendor = "apple") { "/usr/lib/libSystem.B.dylib" } else { "libc.so.6" });
    let refused = install(&pool, c).unwrap_err();
    assert!(matches!(refused, InstallError::NoFunction { .. }), "{refused}");
    assert_eq!(usage(), None);
}
