//! What a pool reports of leaks and exhaustion, in values and in the log.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;
use warmheap::config::MIB;
use warmheap::device::sim::SimDevice;
use warmheap::{AllocError, CallSite, Request};

use crate::support::{fixed, start};

/// A log that a test can read.
#[derive(Debug, Default, Clone)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self, with: &str) -> usize {
        self.text().lines().filter(|line| line.contains(with)).count()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Runs `work` and keeps all that this thread logs.
fn logged(work: impl FnOnce(&Log)) -> String {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || work(&log));
    log.text()
}

const WARNING: &str = "falling back to device allocation";

#[test]
fn a_burst_of_fallbacks_is_logged_once_with_its_advice() {
    logged(|log| {
        let pool = start(&SimDevice::new(), fixed(2, 16 * MIB));
        let held: Vec<_> = (0..5).map(|_| pool.allocate(20 * MIB).unwrap()).collect();
        assert_eq!(pool.statistics().fallback_allocations, 5);
        assert_eq!(log.lines("WARN"), 1, "{}", log.text());
        assert_eq!(log.lines("Heap exhausted for 20.0MB allocation, falling back to device allocation"), 1);
        assert_eq!(log.lines("Consider increasing heap_size_mb or num_heaps"), 1);
        drop(held);
    });
}

#[test]
fn the_next_burst_is_logged_again() {
    logged(|log| {
        let pool = start(&SimDevice::new(), fixed(2, 16 * MIB));
        let exhaust = || {
            let _large: Vec<_> = (0..3).map(|_| pool.allocate(17 * MIB).unwrap()).collect();
        };
        exhaust();
        assert_eq!(log.lines(WARNING), 1, "{}", log.text());
        // Bursts are at least a second apart.
        thread::sleep(Duration::from_millis(1100));
        exhaust();
        assert_eq!(log.lines(WARNING), 2, "{}", log.text());
    });
}

#[test]
fn exhaustion_is_silent_where_that_is_asked_for_or_meant() {
    let mut silent = fixed(2, 16 * MIB);
    silent.log_exhaustion = false;
    let mut off = fixed(2, 16 * MIB);
    off.enabled = false;
    for config in [silent, off] {
        let text = logged(|_| {
            let pool = start(&SimDevice::new(), config);
            let _large = pool.allocate(20 * MIB).unwrap();
            assert_eq!(pool.statistics().fallback_allocations, 1);
        });
        assert!(!text.contains("exhausted"), "{text}");
    }
}

#[test]
fn a_pool_that_ends_with_nothing_out_says_so() {
    let text = logged(|_| {
        let pool = start(&SimDevice::new(), fixed(2, 16 * MIB));
        drop(pool.allocate(1000).unwrap());
    });
    assert!(text.contains("no buffer leaked") && !text.contains("ERROR"), "{text}");
}

#[test]
fn buffers_that_outlive_their_pool_are_reported_with_their_call_sites() {
    let mut kept = Vec::new();
    let first = line!() + 5;
    let text = logged(|_| {
        let pool = start(&SimDevice::new(), fixed(2, 16 * MIB));
        drop(pool.allocate(7).unwrap());
        for _ in 0..3 {
            kept.push(pool.allocate(Request::new(2 * MIB).tag("kv-cache")).unwrap());
        }
        kept.push(pool.allocate(Request::new(30 * MIB).tag("weights")).unwrap());
        kept.push(thread::scope(|scope| scope.spawn(|| pool.allocate(500).unwrap()).join().unwrap()));
        let report = pool.leaks();
        assert_eq!((report.acquired, report.released, report.leaks.len()), (6, 1, 5));
        assert_eq!(report.bytes(), 36 * MIB + 500);
    });
    let at = |line: u32| format!("allocated at {}:{line}:", file!());
    let parts = [
        "Memory leak detected! Acquired: 6, Released: 1, Leaked: 5 buffers".to_owned(),
        format!("\n  1 x, 31457280 bytes, {}", at(first + 2)),
        ", tagged \"weights\"\n".to_owned(),
        format!("  3 x, 6291456 bytes, {}", at(first)),
        ", tagged \"kv-cache\"\n".to_owned(),
        format!("  1 x, 500 bytes, {}", at(first + 3)),
    ];
    // The site with the most bytes comes first.
    let mut rest = text.as_str();
    for part in &parts {
        let Some((_, after)) = rest.split_once(part.as_str()) else { panic!("{part:?} is not in {text}") };
        rest = after;
    }
    assert!(text.contains("ERROR"), "{text}");
    drop(kept);
}

#[test]
fn a_line_of_another_language_is_a_call_site_too() {
    let pool = start(&SimDevice::new(), fixed(2, 16 * MIB));
    let site = CallSite::foreign("serve.py", 42);
    let request = Request::new(500).call_site(site);
    let at_once = pool.allocate(request.non_blocking()).unwrap_err();
    assert_eq!(at_once, AllocError::WouldBlock, "this thread holds nothing yet");
    drop(pool.allocate(request).unwrap());
    let again = pool.allocate(request.non_blocking()).unwrap();
    let large = pool
        .allocate(Request::new(5 * MIB).no_fallback().call_site(CallSite::foreign("serve.py", 43)))
        .unwrap();
    let report = pool.leaks();
    assert_eq!(again.site(), Some(site));
    assert_eq!(report.leaks.iter().filter(|leak| leak.site == Some(site)).count(), 1);
    let text = report.to_string();
    assert!(text.contains("allocated at serve.py:42") && text.contains("allocated at serve.py:43"), "{text}");
    drop((again, large));
}

#[test]
fn what_heaps_hold_is_had_at_once() {
    let pool = start(&SimDevice::new(), fixed(2, 16 * MIB));
    let site = CallSite::foreign("serve.py", 42);
    let at_once = |size| pool.allocate(Request::new(size).non_blocking().call_site(site));
    assert_eq!(at_once(3 * MIB).unwrap_err(), AllocError::WouldBlock, "this thread is new to the pool");
    drop(pool.allocate(3 * MIB).unwrap());
    let first = at_once(3 * MIB).expect("no thread is in the heaps");
    let second = at_once(3 * MIB).expect("the other heap has room");
    assert_ne!(first.device_address(), second.device_address());
    assert_eq!(at_once(1000 * MIB).unwrap_err(), AllocError::WouldBlock, "no heap has room");
    let zeroed = pool.allocate(Request::new(3 * MIB).zeroed().non_blocking());
    assert_eq!(zeroed.unwrap_err(), AllocError::WouldBlock, "the device clears");
    for (request, error) in [
        (Request::new(0), AllocError::ZeroSize),
        (Request::new(1).align(48), AllocError::BadAlignment { align: 48 }),
    ] {
        assert_eq!(pool.allocate(request.non_blocking()).unwrap_err(), error);
    }
    let statistics = pool.statistics();
    assert_eq!((statistics.total_allocations, statistics.active_allocations), (3, 2));
    assert_eq!(pool.leaks().leaks.iter().filter(|leak| leak.site == Some(site)).count(), 2);
}

#[test]
fn warm_up_sizes_that_no_heap_holds_are_named() {
    let text = logged(|_| {
        let mut config = fixed(2, 16 * MIB);
        config.warmup_sizes = vec![4 * MIB, 512 * MIB];
        start(&SimDevice::new(), config);
    });
    assert!(text.lines().any(|line| line.contains("WARN") && line.contains("512")), "{text}");
}
