//! The functions for PyTorch, on the double of the driver: streams, sharing between them, memory running out,
//! statistics.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use cuda_double::Double;
use warmheap_c::{
    warmheap_begin_allocate_to_pool, warmheap_empty_cache, warmheap_end_allocate_to_pool, warmheap_free,
    warmheap_init, warmheap_malloc, warmheap_pool_id, warmheap_record_stream, warmheap_release_pool,
    warmheap_reset_peaks, warmheap_statistics_json,
};

const MIB: usize = 1 << 20;
const MAIN: usize = 0;
const SIDE: usize = 0x51DE;

/// The pools belong to the process, so tests take turns and begin with nothing reserved.
fn turn() -> (MutexGuard<'static, ()>, &'static Double) {
    static TURNS: Mutex<()> = Mutex::new(());
    static DOUBLE: OnceLock<Double> = OnceLock::new();
    let turn = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
    let double = DOUBLE.get_or_init(|| {
        // Pools take every variable with this prefix for a setting, but those that size tests are none.
        let ours = std::env::vars_os().map(|(name, _)| name);
        let ours = ours.filter(|name| name.to_string_lossy().starts_with("WARMHEAP_")).collect::<Vec<_>>();
        // SAFETY: the first test does this. Only the tests' own threads exist then, and the others wait for
        // their turn.
        unsafe {
            ours.iter().for_each(|name| std::env::remove_var(name));
            std::env::set_var("WARMHEAP_STATS", statistics_file());
        }
        Double::install()
    });
    double.configure(1 << 30, true, true);
    warmheap_empty_cache();
    assert_eq!(double.used(0), 0, "a test before this one left memory taken");
    (turn, double)
}

fn statistics_file() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("statistics.json")
}

fn malloc(size: usize, stream: usize) -> *mut c_void {
    warmheap_malloc(size, 0, stream as *mut c_void)
}

fn free(address: *mut c_void, size: usize, stream: usize) {
    warmheap_free(address, size, 0, stream as *mut c_void);
}

fn statistics() -> serde_json::Value {
    // SAFETY: this asks for the length, and then passes a buffer of that length.
    let text = unsafe {
        let mut text = vec![0_u8; warmheap_statistics_json(ptr::null_mut(), 0) + 100];
        let len = warmheap_statistics_json(text.as_mut_ptr().cast(), text.len());
        text.truncate(len - 1);
        text
    };
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn a_stream_gets_its_own_memory_back_at_once() {
    let (_turn, double) = turn();
    let first = malloc(8 * MIB, MAIN);
    assert!(!first.is_null());
    double.hold(MAIN, true);
    free(first, 8 * MIB, MAIN);
    assert_eq!(malloc(8 * MIB, MAIN), first);
    double.hold(MAIN, false);
    free(first, 8 * MIB, MAIN);
    assert!(malloc(0, MAIN).is_null());
    free(ptr::null_mut(), 0, MAIN);
    assert_eq!(double.violations(), "");
}

#[test]
fn another_stream_does_not_get_memory_in_use() {
    let (_turn, double) = turn();
    let first = malloc(8 * MIB, MAIN);
    free(first, 8 * MIB, MAIN);
    let second = malloc(8 * MIB, SIDE);
    assert_ne!(first, second);
    free(second, 8 * MIB, SIDE);
    assert_eq!(double.violations(), "");
}

#[test]
fn memory_shared_with_a_stream_waits_for_it() {
    let (_turn, double) = turn();
    let shared = malloc(8 * MIB, MAIN);
    warmheap_record_stream(shared, SIDE as *mut c_void);
    warmheap_record_stream(shared, SIDE as *mut c_void);
    double.hold(SIDE, true);
    free(shared, 8 * MIB, MAIN);

    let meanwhile = malloc(8 * MIB, MAIN);
    assert_ne!(meanwhile, shared, "the side stream still uses it");
    double.hold(SIDE, false);
    let later = malloc(8 * MIB, MAIN);
    assert_eq!(later, shared, "the side stream is done with it");
    free(meanwhile, 8 * MIB, MAIN);
    free(later, 8 * MIB, MAIN);
    assert_eq!(double.violations(), "");
}

#[test]
fn what_one_stream_does_not_use_another_can_have() {
    let (_turn, double) = turn();
    let big = malloc(700 * MIB, MAIN);
    free(big, 700 * MIB, MAIN);
    // The device has 1024 MiB.
    let other = malloc(700 * MIB, SIDE);
    assert!(!other.is_null());
    free(other, 700 * MIB, SIDE);
    assert_eq!(double.violations(), "");
}

#[test]
fn out_of_memory_passes_and_the_process_goes_on() {
    let (_turn, double) = turn();
    let most = malloc(900 * MIB, MAIN);
    assert!(!most.is_null());
    // There is no C++ in this process, so the function throws nothing.
    assert!(malloc(200 * MIB, MAIN).is_null());
    assert!(malloc(200 * MIB, SIDE).is_null());
    free(most, 900 * MIB, MAIN);
    let again = malloc(900 * MIB, MAIN);
    assert!(!again.is_null());
    free(again, 900 * MIB, MAIN);
    assert_eq!(double.violations(), "");
}

const GRAPH: warmheap_pool_id = warmheap_pool_id { first: 1, second: 0 };

/// Runs `work` while the side stream is captured into private pool [`GRAPH`].
fn captured<R>(double: &Double, work: impl FnOnce() -> R) -> R {
    warmheap_begin_allocate_to_pool(0, GRAPH, ptr::null());
    double.capture(SIDE, true);
    let done = work();
    double.capture(SIDE, false);
    warmheap_end_allocate_to_pool(0, GRAPH);
    done
}

#[test]
fn memory_of_a_graph_stays_with_it() {
    let (_turn, double) = turn();
    let (scratch, output) = captured(double, || {
        let scratch = malloc(8 * MIB, SIDE);
        free(scratch, 8 * MIB, SIDE);
        assert_eq!(malloc(8 * MIB, SIDE), scratch, "a capture reuses what it freed");
        let larger = malloc(80 * MIB, SIDE);
        free(larger, 80 * MIB, SIDE);
        free(scratch, 8 * MIB, SIDE);
        // This is refused during the capture, because the device must not be waited for.
        warmheap_empty_cache();
        (scratch, malloc(MIB, SIDE))
    });
    let held = double.used(0);
    assert!(held >= 89 << 20, "what the graph wrote to is held: {held}");
    warmheap_empty_cache();
    assert_eq!(double.used(0), held);
    let ordinary = malloc(8 * MIB, SIDE);
    assert_ne!(ordinary, scratch, "the graph writes there when it is replayed");
    free(ordinary, 8 * MIB, SIDE);

    // A second graph shares the private pool and its memory.
    let second = captured(double, || malloc(60 * MIB, SIDE));
    free(second, 60 * MIB, SIDE);
    warmheap_empty_cache();
    assert_eq!(double.used(0), held);
    warmheap_release_pool(0, GRAPH);
    warmheap_empty_cache();
    assert_eq!(double.used(0), held, "one graph is left");

    // First both graphs go, then the last buffer.
    warmheap_release_pool(0, GRAPH);
    assert_eq!(double.used(0), held, "the output is still in use");
    free(output, MIB, SIDE);
    warmheap_empty_cache();
    assert_eq!(double.used(0), 0);
    assert_eq!(double.violations(), "");
}

#[test]
fn memory_shared_during_a_capture_waits_for_its_end() {
    let (_turn, double) = turn();
    let shared = malloc(8 * MIB, MAIN);
    warmheap_record_stream(shared, SIDE as *mut c_void);
    let meanwhile = captured(double, || {
        free(shared, 8 * MIB, MAIN);
        malloc(8 * MIB, MAIN)
    });
    assert_ne!(meanwhile, shared, "the stream could not be marked yet");
    assert_eq!(malloc(8 * MIB, MAIN), shared, "it was marked when the capture ended");
    free(meanwhile, 8 * MIB, MAIN);
    free(shared, 8 * MIB, MAIN);
    warmheap_release_pool(0, GRAPH);
    assert_eq!(double.violations(), "");
}

#[test]
fn captures_that_were_not_announced_or_overlap_are_refused() {
    let (_turn, double) = turn();
    double.capture(SIDE, true);
    assert!(malloc(MIB, SIDE).is_null());
    double.capture(SIDE, false);

    let other = warmheap_pool_id { first: 2, second: 0 };
    captured(double, || {
        free(malloc(MIB, SIDE), MIB, SIDE);
        warmheap_begin_allocate_to_pool(0, other, ptr::null());
        warmheap_release_pool(0, other);
        let more = malloc(MIB, SIDE);
        assert!(!more.is_null(), "the first capture goes on");
        free(more, MIB, SIDE);
    });
    // A capture that was broken off without its end does not block the next.
    warmheap_begin_allocate_to_pool(0, other, ptr::null());
    double.capture(SIDE, true);
    free(malloc(MIB, SIDE), MIB, SIDE);
    double.capture(SIDE, false);
    let kept = captured(double, || malloc(MIB, SIDE));
    assert!(!kept.is_null());
    warmheap_release_pool(0, other);
    warmheap_release_pool(0, GRAPH);
    warmheap_release_pool(0, GRAPH);
    free(kept, MIB, SIDE);
}

#[test]
fn frees_of_nothing_do_nothing() {
    let (_turn, double) = turn();
    let one = malloc(MIB, MAIN);
    free(one, MIB, MAIN);
    free(one, MIB, MAIN);
    free(12345 as *mut c_void, 1, MAIN);
    warmheap_free(one, MIB, 99, ptr::null_mut());
    assert!(warmheap_malloc(MIB, -1, ptr::null_mut()).is_null());
    warmheap_record_stream(one, ptr::null_mut());
    warmheap_record_stream(ptr::null_mut(), ptr::null_mut());
    for device in [-1, 64, 99] {
        warmheap_begin_allocate_to_pool(device, GRAPH, ptr::null());
        warmheap_end_allocate_to_pool(device, GRAPH);
        warmheap_release_pool(device, GRAPH);
    }
    warmheap_end_allocate_to_pool(0, GRAPH);
    warmheap_release_pool(0, GRAPH);
    assert!(malloc(usize::MAX, MAIN).is_null());
    assert_eq!(double.violations(), "");
}

#[test]
fn statistics_that_do_not_fit_are_cut() {
    let (_turn, _double) = turn();
    let mut text = [0xA5_u8; 9];
    // SAFETY: the calls offer eight of the nine bytes, then none, then no memory at all.
    unsafe {
        assert!(warmheap_statistics_json(text.as_mut_ptr().cast(), 8) > 8);
        assert!(warmheap_statistics_json(text.as_mut_ptr().cast(), 0) > 8);
        assert!(warmheap_statistics_json(ptr::null_mut(), 8) > 8);
    }
    assert_eq!((text[7], text[8]), (0, 0xA5));
}

#[test]
fn statistics_are_readable_while_running() {
    let (_turn, _double) = turn();
    let file = statistics_file();
    warmheap_init(1);
    warmheap_reset_peaks();
    let buffer = malloc(32 * MIB, MAIN);
    let now = statistics();
    let device = &now["devices"][0];
    assert!(device["device"].as_str().unwrap().starts_with("cuda:0"));
    assert!(device["reserved_bytes"].as_u64().unwrap() >= 32 << 20);
    assert!(device["streams"][0]["statistics"]["active_allocations"].as_u64().unwrap() >= 1);
    let written = (0..50).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let text = std::fs::read_to_string(&file).ok()?;
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        (value["devices"][0]["reserved_bytes"].as_u64()? >= 32 << 20).then_some(value)
    });
    assert_eq!(written.unwrap()["pid"], std::process::id());
    free(buffer, 32 * MIB, MAIN);
}

/// Random work on three streams, compared with an oracle. No two live buffers overlap, and none overlaps
/// memory that a held stream may still use.
#[test]
fn no_range_is_handed_out_twice() {
    let (_turn, double) = turn();
    let streams = [MAIN, SIDE, 0xBEEF];
    let mut live: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut random = 88_172_645_463_325_252_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for step in 0..20_000 {
        if live.len() < 40 && next(3) > 0 {
            let stream = streams[next(3)];
            let size = 1 + next(if step % 50 == 0 { 24 * MIB } else { 300_000 });
            let address = malloc(size, stream);
            assert!(!address.is_null());
            let start = address.addr();
            let before = live.range(..start + size).next_back();
            assert!(before.is_none_or(|(at, (len, _))| at + len <= start), "two live buffers overlap");
            // SAFETY: the double's memory is host memory, and a range without memory behind it faults.
            unsafe { address.cast::<u8>().write(1) };
            live.insert(start, (size, stream));
        } else if let Some((&start, &(size, stream))) = live.iter().nth(next(live.len().max(1))) {
            live.remove(&start);
            let address = ptr::with_exposed_provenance_mut(start);
            if next(10) == 0 {
                warmheap_record_stream(address, streams[next(3)] as *mut c_void);
            }
            free(address, size, stream);
        }
        if step % 4_000 == 0 {
            warmheap_empty_cache();
        }
    }
    for (start, (size, stream)) in live {
        free(ptr::with_exposed_provenance_mut(start), size, stream);
    }
    assert_eq!(double.violations(), "");
}
