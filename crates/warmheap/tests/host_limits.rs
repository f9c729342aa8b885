//! The host device refuses what the machine does not have, with figures, before it touches a page. Otherwise
//! the kernel would end the process.
#![cfg(target_os = "linux")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use warmheap::device::host::HostDevice;
use warmheap::device::{Device, DeviceError, HeapRequest};
use warmheap::{AllocError, Pool, PoolConfig};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Returns the bytes of this process that are in memory.
fn resident() -> u64 {
    let figures = std::fs::read_to_string("/proc/self/statm").unwrap();
    figures.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Runs `body` in a child with a lower limit. The child must end well.
fn limited(resource: libc::__rlimit_resource_t, bytes: u64, body: impl FnOnce()) {
    // SAFETY: the child makes pools of its own, and then exits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let in_use = if resource == libc::RLIMIT_AS { addresses_in_use() } else { 0 };
        let bytes = bytes.saturating_add(in_use);
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: this reads a local variable.
        let set = unsafe { libc::setrlimit(resource, &limit) };
        let done = catch_unwind(AssertUnwindSafe(|| {
            assert_eq!(set, 0);
            body();
        }));
        // SAFETY: this ends the process.
        unsafe { libc::_exit(i32::from(done.is_err())) }
    }
    let mut status = 0;
    // SAFETY: this waits for our own child, and writes to a local variable.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "how the child ended");
}

fn addresses_in_use() -> u64 {
    let figures = std::fs::read_to_string("/proc/self/statm").unwrap();
    figures.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn more_than_the_machine_has_is_refused_at_once_and_no_page_is_touched() {
    let host = HostDevice::new();
    let most = host.limits().available.expect("Linux can tell");
    let before = resident();
    for size in [most + 2 * GIB, (most + GIB).next_power_of_two() * 2, 1 << 40] {
        let begun = Instant::now();
        let fixed = HeapRequest::fixed(size, "absurd");
        for answer in [host.allocate(size, 4096), host.create_heap(&fixed)] {
            match answer.unwrap_err() {
                DeviceError::OutOfMemory { requested, available: Some(available) } => {
                    assert!(requested == size && available < size, "{available} of {size}");
                }
                error => assert!(matches!(error, DeviceError::TooLarge { .. }), "{error}"),
            }
        }
        assert!(begun.elapsed() < Duration::from_millis(100), "{:?}", begun.elapsed());
    }
    assert!(resident() < before + 64 * MIB);
    assert!(host.allocate(MIB, 64).is_ok());
}

/// Takes addresses until no hole of `left` bytes remains, as a tool that watches the process may have done.
fn take_addresses(left: u64) {
    let mut size = 1 << 46;
    while size >= left {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping without access, at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), size as usize, libc::PROT_NONE, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            size /= 2;
        }
    }
}

#[test]
fn pools_reserve_less_where_the_address_space_is_small() {
    limited(libc::RLIMIT_NOFILE, 100, || {
        take_addresses(8 * GIB);
        let pools: Vec<_> =
            (0..3).map(|_| Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap()).collect();
        let buffers: Vec<_> = pools.iter().map(|pool| pool.allocate(20 * MIB).unwrap()).collect();
        std::thread::scope(|scope| {
            for pool in &pools {
                scope.spawn(|| pool.allocate(20 * MIB).unwrap());
            }
        });
        assert!(buffers.iter().all(|buffer| buffer.host_ptr().is_some() && !buffer.is_fallback()));
    });
}

#[test]
fn a_pool_says_so_and_goes_on() {
    let mut fixed = PoolConfig::default();
    fixed.heap_size = 8 * MIB;
    fixed.num_heaps = 1;
    fixed.warmup_sizes.clear();
    for config in [fixed, PoolConfig::elastic()] {
        let pool = Pool::new(Arc::new(HostDevice::new()), config).unwrap();
        let error = pool.allocate(1 << 40).unwrap_err();
        assert!(matches!(error, AllocError::OutOfMemory(_)), "{error}");
        let words = error.to_string();
        assert!(words.contains("1048576.0 MiB requested") && words.contains(" free"), "{words}");
        drop(pool.allocate(MIB).unwrap());
    }
}

#[test]
fn the_limit_on_private_memory_is_the_figure_where_it_is_the_least() {
    limited(libc::RLIMIT_DATA, GIB, || {
        let host = HostDevice::new();
        let error = host.allocate(4 * GIB, 64).unwrap_err();
        assert!(
            matches!(error, DeviceError::OutOfMemory { requested, available: Some(free) }
                if requested == 4 * GIB && free < GIB),
            "{error}"
        );
        assert!(host.limits().available.unwrap() < GIB);
        drop(host.allocate(64 * MIB, 64).unwrap());
        let pool = Pool::new(Arc::new(host), PoolConfig::elastic()).unwrap();
        assert!(matches!(pool.allocate(4 * GIB), Err(AllocError::OutOfMemory(_))));
        // The child takes all there is in small pieces. The device refuses in the end, not before, and no
        // signal comes.
        let held: Vec<_> = std::iter::repeat_with(|| pool.allocate(16 * MIB)).map_while(Result::ok).collect();
        assert!(held.len() > 20 && held.len() < 64, "{}", held.len());
    });
}

#[test]
fn the_limit_on_addresses_is_the_figure_where_it_is_the_least() {
    limited(libc::RLIMIT_AS, 512 * MIB, || {
        let host = HostDevice::new();
        for size in [GIB, 1 << 40] {
            let error = host.allocate(size, 64).unwrap_err();
            assert!(
                matches!(error, DeviceError::OutOfMemory { requested, available: Some(free) }
                    if requested == size && free <= 512 * MIB),
                "{error}"
            );
            let error = host.create_heap(&HeapRequest::elastic(size, "addresses")).unwrap_err();
            let largest = host.limits().largest_heap;
            assert!(largest <= 512 * MIB);
            assert_eq!(error, DeviceError::TooLarge { requested: size, largest });
        }
        drop(host.allocate(16 * MIB, 64).unwrap());
    });
}

#[test]
fn many_pools_leave_addresses_for_the_program() {
    limited(libc::RLIMIT_AS, u64::MAX, || {
        let before = addresses_in_use();
        let start = |_| Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
        let pools: Vec<_> = (0..100).map(start).collect();
        let held: Vec<_> = pools.iter().map(|pool| pool.allocate(MIB).unwrap()).collect();
        // SAFETY: reads the machine's own figures.
        let memory = unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) as u64 * 4096 };
        let taken = addresses_in_use() - before;
        assert!(taken <= 100 * 5 * memory, "{taken} bytes of addresses for {memory} bytes of memory");
        drop(held);
    });
}

#[test]
fn a_pool_works_where_addresses_are_few() {
    limited(libc::RLIMIT_AS, 8 * GIB, || {
        let before = addresses_in_use();
        let pool = Pool::new(Arc::new(HostDevice::new()), PoolConfig::elastic()).unwrap();
        let held: Vec<_> = (0..64).map(|_| pool.allocate(4 * MIB).unwrap()).collect();
        let seen = pool.statistics();
        assert_eq!(seen.fallback_allocations, 0);
        assert!(addresses_in_use() - before < 7 * GIB, "the program has no room left");
        drop(held);
    });
}

#[test]
fn all_heaps_together_are_checked_before_any_is_mapped() {
    let host = Arc::new(HostDevice::new());
    let free = host.limits().available.unwrap();
    // Each heap fits, and two do not.
    let size = free / 3 * 2 / MIB * MIB;
    let config = PoolConfig::default().with_heap_size(size).with_num_heaps(8).with_warmup_sizes([size]);
    let before = addresses_in_use();
    let error = Pool::new(host.clone(), config.clone()).unwrap_err();
    assert!(addresses_in_use() < before + GIB);
    let words = error.to_string();
    assert!(words.contains(&format!("heap 2 of 8 ({} MiB each)", size / MIB)), "{words}");
    assert!(words.contains(&format!("asked for {size} bytes, ")), "{words}");
    // The pool that the error names does start.
    let (size, heaps) = error.smaller().expect("a smaller pool fits");
    assert!(words.ends_with(&format!("{} MiB would fit", size / MIB)), "{words}");
    let smaller = config.with_heap_size(size).with_num_heaps(heaps).with_warmup_sizes([MIB]);
    assert_eq!(Pool::check(&*host, &smaller).unwrap(), []);
    drop(Pool::new(host, smaller).unwrap());
}

#[test]
fn every_bound_of_the_process_is_told_and_the_least_is_what_is_free() {
    limited(libc::RLIMIT_AS, 128 * MIB, || {
        let host = HostDevice::with_budget(8 * GIB);
        let bounds = host.bounds();
        let names: Vec<_> = bounds.iter().map(|bound| bound.name).collect();
        assert_eq!(names, ["budget", "machine", "control group", "RLIMIT_DATA", "RLIMIT_AS"]);
        let (name, least) = bounds
            .iter()
            .filter_map(|bound| Some((bound.name, bound.bytes?)))
            .min_by_key(|(_, bytes)| bytes.free)
            .unwrap();
        assert_eq!(name, "RLIMIT_AS");
        assert!(least.free <= 128 * MIB && least.limit > least.free);
        let available = host.limits().available.unwrap();
        assert!(available.abs_diff(least.free) < 16 * MIB, "{available} of {least:?}");
    });
}
