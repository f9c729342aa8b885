//! PyTorch's functions with wrong arguments: wrong devices, wild addresses, unknown pools, children of a
//! fork. The test has a process of its own, in which only one GPU is used.

mod support;

use std::ffi::c_void;
use std::ptr;

use cuda_double::Double;
use warmheap_c::{
    warmheap_begin_allocate_to_pool, warmheap_empty_cache, warmheap_end_allocate_to_pool, warmheap_free,
    warmheap_malloc, warmheap_pool_id, warmheap_record_stream, warmheap_release_pool, warmheap_reset_peaks,
    warmheap_statistics_json,
};

use support::in_child;

const MIB: usize = 1 << 20;
const WRONG: [i32; 6] = [1, -1, 63, 64, i32::MAX, i32::MIN];

fn statistics() -> serde_json::Value {
    let mut text = vec![0_u8; 1 << 16];
    // SAFETY: the buffer is as long as stated.
    let len = unsafe { warmheap_statistics_json(text.as_mut_ptr().cast(), text.len()) };
    serde_json::from_slice(&text[..len - 1]).unwrap()
}

/// Returns the number of live buffers, over all pools of all GPUs in use.
fn alive() -> (usize, u64) {
    let statistics = statistics();
    let gpus = statistics["devices"].as_array().unwrap();
    let streams = gpus.iter().flat_map(|gpu| gpu["streams"].as_array().unwrap());
    let active = streams.map(|stream| stream["statistics"]["active_allocations"].as_u64().unwrap());
    (gpus.len(), active.sum())
}

fn wild_calls(address: *mut c_void) {
    let id = warmheap_pool_id { first: 77, second: u64::MAX };
    for device in WRONG {
        warmheap_free(address, 1, device, ptr::null_mut());
        warmheap_end_allocate_to_pool(device, id);
        warmheap_release_pool(device, id);
    }
    warmheap_free(address, usize::MAX, 0, 7 as *mut c_void);
    warmheap_record_stream(address, 9 as *mut c_void);
    warmheap_release_pool(0, id);
}

#[test]
fn misuse_opens_no_gpu_and_frees_what_it_names() {
    // SAFETY: no other thread reads the environment, because this is the only test of the process.
    unsafe {
        std::env::vars()
            .filter(|(name, _)| name.starts_with("WARMHEAP_"))
            .for_each(|(name, _)| std::env::remove_var(name))
    };
    let double = Double::install();
    double.configure(1 << 30, true, true);

    wild_calls(0x1234_5678 as *mut c_void);
    wild_calls(ptr::null_mut());
    assert_eq!(alive(), (0, 0), "nothing was allocated, so no GPU is needed");

    for device in WRONG {
        let address = warmheap_malloc(3 * MIB, 0, ptr::null_mut());
        assert!(!address.is_null());
        assert_eq!(alive(), (1, 1));
        warmheap_free(address, 3 * MIB, device, ptr::null_mut());
        assert_eq!(alive(), (1, 0), "freed with device {device}");
        warmheap_free(address, 3 * MIB, device, ptr::null_mut());
        assert_eq!(alive(), (1, 0), "freed twice");
    }
    for device in [-1, 64, i32::MAX] {
        assert!(warmheap_malloc(1, device, ptr::null_mut()).is_null());
    }
    assert!(warmheap_malloc(usize::MAX, 0, ptr::null_mut()).is_null());
    wild_calls(ptr::without_provenance_mut(usize::MAX));

    let address = warmheap_malloc(MIB, 0, ptr::null_mut());
    in_child(|| {
        assert!(warmheap_malloc(MIB, 0, ptr::null_mut()).is_null());
        assert!(warmheap_malloc(MIB, 1, ptr::null_mut()).is_null());
        wild_calls(address);
        warmheap_free(address, MIB, 0, ptr::null_mut());
        warmheap_begin_allocate_to_pool(0, warmheap_pool_id { first: 1, second: 1 }, ptr::null());
        warmheap_empty_cache();
        warmheap_reset_peaks();
        assert_eq!(alive(), (0, 0), "the child has no GPUs");
    });
    assert_eq!(alive(), (1, 1));
    warmheap_free(address, MIB, 0, ptr::null_mut());
    warmheap_empty_cache();
    assert_eq!((double.violations().as_str(), double.used(0), double.used(1)), ("", 0, 0));
}
