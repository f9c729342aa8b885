//! MLX's allocator for Metal, on the double of Metal: `scripts/metal-on-linux.sh mlx` builds the library that stands
//! in for MLX's, and names it in `MLX_STAND_IN`.
#![cfg(metal_double)]
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::Arc;
use std::{env, ptr, thread};

use libloading::Library;
use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLBuffer, MTLCreateSystemDefaultDevice, MTLDevice, MTLResourceOptions};
use warmheap::device::metal::{Hazards, MetalDevice, MetalOptions, Storage};
use warmheap::{Pool, PoolConfig};
use warmheap_mlx::{InstallError, give_back, install, usage};

type Mtl = ProtocolObject<dyn MTLBuffer>;

extern "C" fn make(size: usize) -> *mut c_void {
    let device = MTLCreateSystemDefaultDevice().unwrap();
    let buffer = device.newBufferWithLength_options(size, MTLResourceOptions::StorageModeShared).unwrap();
    Retained::into_raw(buffer).cast()
}

extern "C" fn release(buffer: *mut c_void) {
    // SAFETY: `make` made it, and the stand-in releases it once.
    drop(unsafe { Retained::from_raw(buffer.cast::<Mtl>()) });
}

extern "C" fn contents(buffer: *mut c_void) -> *mut c_void {
    // SAFETY: the stand-in passes MTLBuffers that are alive.
    unsafe { &*buffer.cast::<Mtl>() }.contents().as_ptr()
}

extern "C" fn length(buffer: *mut c_void) -> usize {
    // SAFETY: as above.
    unsafe { &*buffer.cast::<Mtl>() }.length()
}

#[repr(C)]
struct Metal {
    make: extern "C" fn(usize) -> *mut c_void,
    release: extern "C" fn(*mut c_void),
    contents: extern "C" fn(*mut c_void) -> *mut c_void,
    length: extern "C" fn(*mut c_void) -> usize,
}

/// The functions of the stand-in.
#[derive(Clone, Copy)]
struct Mlx {
    malloc: unsafe extern "C" fn(usize) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
    size: unsafe extern "C" fn(*mut c_void) -> usize,
    contents: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    own_alive: unsafe extern "C" fn() -> i64,
}

impl Mlx {
    fn load(file: &Path) -> Self {
        // SAFETY: the stand-in's functions and its structure have these types. It is never unloaded.
        unsafe {
            let library = ManuallyDrop::new(Library::new(file).unwrap());
            *library.get::<*mut Metal>(b"metal").unwrap().as_mut().unwrap() =
                Metal { make, release, contents, length };
            Self {
                malloc: *library.get(b"mlx_malloc").unwrap(),
                free: *library.get(b"mlx_free").unwrap(),
                size: *library.get(b"mlx_size").unwrap(),
                contents: *library.get(b"mlx_contents").unwrap(),
                own_alive: *library.get(b"mlx_own_alive").unwrap(),
            }
        }
    }

    fn malloc(self, size: usize) -> *mut c_void {
        // SAFETY: any size may be asked for.
        unsafe { (self.malloc)(size) }
    }

    /// Frees a buffer that is alive.
    fn free(self, buffer: *mut c_void) {
        // SAFETY: the tests free what they hold.
        unsafe { (self.free)(buffer) }
    }

    fn size(self, buffer: *mut c_void) -> usize {
        // SAFETY: the tests ask for what they hold.
        unsafe { (self.size)(buffer) }
    }

    fn bytes(self, buffer: *mut c_void) -> usize {
        // SAFETY: as above.
        unsafe { (self.contents)(buffer) as usize }
    }

    fn own_alive(self) -> i64 {
        // SAFETY: it only reads.
        unsafe { (self.own_alive)() }
    }
}

fn pool(storage: Storage, config: PoolConfig) -> Pool {
    let options = MetalOptions::default().with_storage(storage).with_hazards(Hazards::Untracked);
    Pool::new(Arc::new(MetalDevice::system_default(options).unwrap()), config).unwrap()
}

/// One test, because a pool serves MLX to the end of the process.
#[test]
fn mlx_on_metal() {
    let file = env::var("MLX_STAND_IN").expect("scripts/metal-on-linux.sh mlx sets it");
    let (file, mlx) = (Path::new(&file), Mlx::load(Path::new(&file)));
    let before = mlx.malloc(1000);
    assert_eq!(mlx.own_alive(), 1);

    let private = pool(Storage::Private, PoolConfig::elastic());
    assert_eq!(install(&private, file), Err(InstallError::NotMetal));
    drop(private);
    let pool = pool(Storage::Shared, PoolConfig::elastic());
    install(&pool, file).unwrap();
    assert_eq!(install(&pool, file), Err(InstallError::Installed));

    // Sizes are rounded as MLX rounds them, the memory is the object's, and empty buffers are null.
    assert_eq!(mlx.malloc(0), ptr::null_mut());
    mlx.free(ptr::null_mut());
    let (small, large) = (mlx.malloc(1), mlx.malloc(100_000));
    assert_eq!((mlx.size(small), mlx.size(large)), (256, 7 << 14));
    assert_eq!((mlx.own_alive(), pool.statistics().active_allocations), (1, 2));
    // SAFETY: the buffer has these bytes.
    unsafe { ptr::write_bytes(mlx.bytes(large) as *mut u8, 7, 7 << 14) };
    assert_eq!(usage().unwrap().active, 256 + (7 << 14));

    // What was freed serves a like size as the same object, and no other object lies over its bytes.
    let bytes = mlx.bytes(large);
    mlx.free(large);
    let others: Vec<_> = (0..50).map(|turn| mlx.malloc(1 + turn * 20_011)).collect();
    let mut spans: BTreeMap<usize, usize> = BTreeMap::new();
    for &other in others.iter().filter(|other| !other.is_null()) {
        assert!(spans.insert(mlx.bytes(other), mlx.size(other)).is_none());
        assert!(
            other == large
                || mlx.bytes(other) >= bytes + (7 << 14)
                || mlx.bytes(other) + mlx.size(other) <= bytes
        );
    }
    assert!(others.contains(&large), "the freed object was not used again");
    let mut end = 0;
    for (start, len) in spans {
        assert!(start >= end, "two objects over the same bytes");
        end = start + len;
    }

    // After MLX has synchronised, the bytes are the pool's again.
    for other in others {
        mlx.free(other);
    }
    mlx.free(small);
    let held = pool.statistics().active_allocations;
    assert!(held > 0);
    give_back(0).unwrap();
    let now = usage().unwrap();
    assert_eq!((pool.statistics().active_allocations, now.active, now.reserved), (0, 0, 0));

    // What MLX allocated before goes back to where it came from.
    assert_eq!(mlx.size(before), 1000);
    mlx.free(before);
    assert_eq!(mlx.own_alive(), 0);

    // Threads share the objects.
    for count in [1, 2, 3, 16, 64] {
        thread::scope(|scope| {
            for seed in 0..count {
                scope.spawn(move || {
                    let mut held = Vec::new();
                    for turn in 0..50 {
                        let size = 1 + (seed * 7919 + turn * 104_729) % 6_000;
                        let buffer = mlx.malloc(size) as usize;
                        let at = mlx.bytes(buffer as *mut c_void) as *mut u64;
                        // SAFETY: the smallest buffer has 256 bytes.
                        unsafe { at.write((seed << 32 | turn) as u64) };
                        held.push((buffer, seed << 32 | turn));
                        if turn % 3 == 2 {
                            let (buffer, said) = held.swap_remove(turn % held.len());
                            let at = mlx.bytes(buffer as *mut c_void) as *const u64;
                            // SAFETY: as above.
                            assert_eq!(unsafe { at.read() }, said as u64);
                            mlx.free(buffer as *mut c_void);
                        }
                    }
                    for (buffer, said) in held {
                        let at = mlx.bytes(buffer as *mut c_void) as *const u64;
                        // SAFETY: as above.
                        assert_eq!(unsafe { at.read() }, said as u64);
                        mlx.free(buffer as *mut c_void);
                    }
                });
            }
        });
        give_back(0).unwrap();
        assert_eq!(pool.statistics().active_allocations, 0);
    }

    // What the pool refuses, MLX's own allocator serves.
    let most = MTLCreateSystemDefaultDevice().unwrap().maxBufferLength();
    let huge = mlx.malloc(most);
    assert!(!huge.is_null());
    mlx.free(huge);
}
