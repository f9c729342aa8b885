//! A device's memory refuses what it does not have. A wrong range or request is an error with figures, and
//! the device writes nothing.

use std::sync::Arc;

use proptest::prelude::*;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::device::{Device, DeviceError, HeapRequest};
use warmheap::{Pool, PoolConfig};

#[test]
fn a_fill_past_the_end_of_a_block_is_an_error_with_figures() {
    let one = HostDevice::new().allocate(4096, 64).unwrap();
    let other = HostDevice::new().allocate(8192, 64).unwrap();
    // SAFETY: only this test has the memory, and the ranges are what it tests.
    let (filled, copied) = unsafe { (one.fill(0..1 << 36, 1), one.copy_from(4000, &*other, 0..97)) };
    assert_eq!(filled, Err(DeviceError::OutOfRange { start: 0, end: 1 << 36, size: 4096 }));
    assert_eq!(copied, Err(DeviceError::OutOfRange { start: 4000, end: 4097, size: 4096 }));
    let words = filled.unwrap_err().to_string();
    assert!(words.contains("bytes 0 to 68719476736 of memory of 4096 bytes"), "{words}");
}

#[test]
fn a_part_of_a_page_is_neither_committed_nor_taken_away_from_its_neighbour() {
    let request = HeapRequest::elastic(8 << 20, "heap");
    let host = HostDevice::with_budget(4 << 20);
    let heap = host.create_heap(&request).unwrap();
    // SAFETY: only this test has the heap, and it commits the first two steps once.
    unsafe {
        heap.commit(0..4 << 20).unwrap();
        heap.fill(0..4 << 20, 7).unwrap();
        assert!(matches!(heap.decommit(0..1), Err(DeviceError::OutOfRange { .. })));
        assert_eq!(heap.host_ptr().unwrap().read(), 7);
    }
    assert_eq!(host.limits().available, Some(0));
}

/// Sizes and alignments around every power of two.
fn edges() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u32..64, -1_i64..=1).prop_map(|(bit, off)| (1_u64 << bit).wrapping_add_signed(off)),
        any::<u64>()
    ]
}

proptest! {
    #[test]
    fn simulated_memory_never_wraps_overlaps_or_lies_at_address_0(
        requests in prop::collection::vec((edges(), 0_u32..64, any::<bool>()), 1..40),
        free in any::<u64>(),
    ) {
        let mut all = Device::limits(&SimDevice::new());
        (all.largest_heap, all.largest_buffer) = (u64::MAX, u64::MAX);
        let sim = SimDevice::new().limits(all);
        let mut held = Vec::new();
        for (number, (size, align, heap)) in requests.into_iter().enumerate() {
            let align = 1_u64 << align;
            let request = HeapRequest::elastic(size, "");
            let memory = if heap { sim.create_heap(&request) } else { sim.allocate(size, align) };
            let Ok(memory) = memory else { continue };
            prop_assert_eq!(memory.size(), size);
            prop_assert!(memory.device_address() != 0 && memory.device_address().checked_add(size).is_some());
            prop_assert!(heap || memory.device_address().is_multiple_of(align));
            held.push(memory);
            if free >> (number % 64) & 1 == 1 {
                held.swap_remove(number % held.len());
            }
            let mut places: Vec<_> = held.iter().map(|memory| (memory.device_address(), memory.size())).collect();
            places.sort_unstable();
            prop_assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{places:x?}");
        }
        drop(held);
        prop_assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0));
    }
}

#[test]
fn a_pool_serves_the_largest_alignments_of_a_simulated_device_or_says_why_not() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
    let mut held = Vec::new();
    for bit in (0..64).chain([62, 63, 62, 63]) {
        for size in [1, 4096, 3 << 20] {
            match pool.allocate(warmheap::Request::new(size).align(1 << bit)) {
                Ok(buffer) => {
                    assert!(
                        buffer.device_address() != 0 && buffer.device_address().is_multiple_of(1 << bit),
                        "{buffer:?}"
                    );
                    held.push(buffer);
                }
                Err(error) => {
                    assert!(bit > 60 && error.to_string().contains("no address is left"), "{error}")
                }
            }
        }
    }
    let mut places: Vec<_> = held.iter().map(|buffer| (buffer.device_address(), buffer.size())).collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{places:x?}");
}
