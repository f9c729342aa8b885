//! Functions of the program end when the call that ends them returns, whatever other threads do.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use warmheap_c::wh_log_level::{WH_LOG_DEBUG, WH_LOG_ERROR};
use warmheap_c::wh_status::{WH_INVALID_ARGUMENT, WH_INVALID_HANDLE, WH_OK, WH_OUT_OF_MEMORY};
use warmheap_c::*;

/// How long calls stay in a callback, so that others must wait for them.
const STAY: Duration = Duration::from_millis(50);
const THREADS: [u64; 5] = [1, 2, 3, 16, 64];

/// The data of a callback.
#[derive(Default)]
struct Seen {
    calls: AtomicU64,
    inside: AtomicU64,
    released: AtomicU64,
    /// The number of the least important level.
    least: AtomicU64,
    /// Whether calls stay until `go`.
    stays: AtomicBool,
    go: AtomicBool,
    /// What the next call does in the callback, instead of staying.
    within: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Seen {
    /// Data that lives for ever, as far as these tests go.
    fn new(stays: bool) -> &'static Self {
        Box::leak(Box::new(Self { stays: stays.into(), ..Self::default() }))
    }

    fn user(&'static self) -> *mut c_void {
        ptr::from_ref(self).cast_mut().cast()
    }

    fn within(&self, call: impl FnOnce() + Send + 'static) {
        *self.within.lock().unwrap() = Some(Box::new(call));
    }

    fn visit(&self) {
        self.calls.fetch_add(1, SeqCst);
        self.inside.fetch_add(1, SeqCst);
        let within = self.within.lock().unwrap().take();
        match within {
            Some(call) => call(),
            None if self.stays.load(SeqCst) => {
                until(|| self.go.load(SeqCst));
                thread::sleep(STAY);
            }
            None => {}
        }
        self.inside.fetch_sub(1, SeqCst);
    }

    fn calls(&self) -> u64 {
        self.calls.load(SeqCst)
    }

    fn inside(&self) -> u64 {
        self.inside.load(SeqCst)
    }

    fn released(&self) -> u64 {
        self.released.load(SeqCst)
    }
}

fn until(mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "a call hangs");
        thread::sleep(Duration::from_micros(200));
    }
}

unsafe extern "C" fn keep_record(user: *mut c_void, record: *const wh_log_record) {
    // SAFETY: the tests pass data that lives for ever, and the library a record.
    let (seen, record) = unsafe { (&*user.cast::<Seen>(), &*record) };
    seen.least.fetch_max(record.level as u64, SeqCst);
    seen.visit();
}

unsafe extern "C" fn feel(user: *mut c_void, _: wh_pool, _: *const wh_pressure) {
    // SAFETY: as above.
    unsafe { &*user.cast::<Seen>() }.visit();
}

unsafe extern "C" fn release(user: *mut c_void) {
    // SAFETY: as above.
    let seen = unsafe { &*user.cast::<Seen>() };
    seen.released.fetch_add(1, SeqCst);
}

/// The process has one log, so one test at a time runs.
fn log_of_this_test() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn set_log(seen: &'static Seen, level: wh_log_level) {
    // SAFETY: any thread may call the function with data that lives for ever.
    assert_eq!(unsafe { wh_set_log(Some(keep_record), seen.user(), level as u32) }, WH_OK);
}

fn end_log() {
    // SAFETY: no function is set.
    assert_eq!(unsafe { wh_set_log(None, ptr::null_mut(), 0) }, WH_OK);
}

fn unset_log(seen: &'static Seen) {
    assert_eq!(wh_unset_log(Some(keep_record), seen.user()), WH_OK);
}

fn open(config: &CStr) -> wh_pool {
    let mut pool = wh_pool::default();
    // SAFETY: the texts end with zero bytes, and there is room for the result.
    assert_eq!(unsafe { wh_pool_open(c"sim".as_ptr(), config.as_ptr(), &mut pool) }, WH_OK);
    pool
}

/// Makes the library log a line at the level of information, and one at the level of errors.
fn log_lines() {
    let pool = open(c"wait_ms: 0");
    let buffer = allocate(pool, 1).1;
    assert_eq!((wh_pool_close(pool), wh_free(buffer)), (WH_OK, WH_OK));
    assert_eq!(wh_pool_close(open(c"wait_ms: 0")), WH_OK);
}

fn allocate(pool: wh_pool, size: u64) -> (wh_status, wh_buffer) {
    let (request, mut buffer) = (wh_request { size, ..Default::default() }, wh_buffer::default());
    // SAFETY: the request is there, and there is room for the result.
    (unsafe { wh_allocate_with(pool, &request, &mut buffer) }, buffer)
}

fn on_pressure(pool: wh_pool, seen: &'static Seen) -> wh_status {
    // SAFETY: any thread may call the functions with data that lives for ever.
    unsafe { wh_pool_on_pressure(pool, Some(feel), seen.user(), Some(release)) }
}

/// Sets the first log, lets so many threads stay in it, and replaces it from within by the second.
fn replace_within<'scope>(
    scope: &'scope thread::Scope<'scope, '_>,
    threads: u64,
    first: &'static Seen,
    second: &'static Seen,
) {
    set_log(first, WH_LOG_DEBUG);
    (0..threads).for_each(|_| drop(scope.spawn(log_lines)));
    until(|| first.inside() == threads);
    first.within(move || set_log(second, WH_LOG_DEBUG));
    scope.spawn(log_lines).join().unwrap();
}

#[test]
fn a_call_outside_of_callbacks_waits_for_all_logs_that_were_replaced_within_them() {
    let _one = log_of_this_test();
    for threads in THREADS {
        let (first, second) = (Seen::new(true), Seen::new(false));
        thread::scope(|scope| {
            replace_within(scope, threads, first, second);
            assert_eq!((first.inside(), second.calls() > 0), (threads, true), "replaced at once");
            scope.spawn(|| first.go.store(true, SeqCst));
            end_log();
            assert_eq!((first.inside(), second.inside()), (0, 0), "{threads} threads: a former log runs");
        });
    }
}

#[test]
fn calls_within_callbacks_never_wait_for_one_another() {
    let _one = log_of_this_test();
    for threads in THREADS {
        let (first, second) = (Seen::new(false), Seen::new(false));
        let (pools, met) = (Mutex::new(Vec::new()), AtomicU64::new(0));
        // Each thread is in a callback, and ends the one in which all others are.
        thread::scope(|scope| {
            for thread in 0..threads {
                let (pools, met) = (&pools, &met);
                scope.spawn(move || {
                    let pool = open(c"limits: {hard_mb: 4}");
                    let own = Seen::new(false);
                    assert_eq!(on_pressure(pool, own), WH_OK);
                    pools.lock().unwrap().push(own);
                    own.within(move || {
                        set_log(if thread % 2 == 0 { first } else { second }, WH_LOG_DEBUG);
                        log_lines();
                        unset_log(first);
                        assert_eq!((wh_pool_close(pool), own.released()), (WH_OK, 0), "it still runs");
                    });
                    assert_eq!(allocate(pool, 8 << 20).0, WH_OUT_OF_MEMORY);
                    assert_eq!((own.calls(), own.released()), (1, 1));
                    met.fetch_add(1, SeqCst);
                });
            }
        });
        end_log();
        assert_eq!(met.into_inner(), threads);
        assert!(pools.into_inner().unwrap().iter().all(|own| own.inside() == 0));
    }
}

#[test]
fn a_log_that_was_replaced_ends_without_its_successor() {
    let _one = log_of_this_test();
    assert_eq!(wh_unset_log(None, ptr::null_mut()), WH_INVALID_ARGUMENT);
    for threads in THREADS {
        let (first, second) = (Seen::new(true), Seen::new(false));
        thread::scope(|scope| {
            replace_within(scope, threads, first, second);
            scope.spawn(|| first.go.store(true, SeqCst));
            unset_log(first);
            assert_eq!(first.inside(), 0, "{threads} threads");
        });
        let (ended, before) = (first.calls(), second.calls());
        log_lines();
        assert_eq!((first.calls(), second.calls()), (ended, before + 2));
        unset_log(first);
        log_lines();
        assert_eq!(second.calls(), before + 4);
        unset_log(second);
        log_lines();
        assert_eq!(second.calls(), before + 4);
    }
}

#[test]
fn a_callback_gets_the_levels_that_it_was_set_with_while_others_are_set() {
    let _one = log_of_this_test();
    for threads in [1, 2, 3, 16] {
        let (errors, all) = (Seen::new(false), Seen::new(false));
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while !done.load(SeqCst) {
                        log_lines();
                    }
                });
            }
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(200) {
                set_log(errors, WH_LOG_ERROR);
                set_log(all, WH_LOG_DEBUG);
            }
            done.store(true, SeqCst);
        });
        end_log();
        assert!(errors.least.load(SeqCst) <= WH_LOG_ERROR as u64, "{threads} threads");
        assert!(all.least.load(SeqCst) > WH_LOG_ERROR as u64);
    }
}

#[test]
fn a_pools_callback_ends_when_the_pool_closes() {
    let _one = log_of_this_test();
    for threads in THREADS {
        let pool = open(c"limits: {hard_mb: 4}");
        let (seen, mut queue) = (Seen::new(true), wh_queue::default());
        // The queue keeps the pool open.
        // SAFETY: there is room for the result.
        assert_eq!(unsafe { wh_queue_open(pool, &mut queue) }, WH_OK);
        assert_eq!((on_pressure(pool, seen), on_pressure(pool, seen)), (WH_OK, WH_OK));
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| assert_eq!(allocate(pool, 8 << 20).0, WH_OUT_OF_MEMORY));
            }
            until(|| seen.inside() == threads);
            scope.spawn(|| seen.go.store(true, SeqCst));
            assert_eq!(wh_pool_close(pool), WH_OK);
            assert_eq!((seen.inside(), seen.released()), (0, 2), "{threads} threads");
        });
        assert_eq!((on_pressure(pool, seen), seen.released()), (WH_INVALID_HANDLE, 2));
        assert_eq!(wh_queue_close(queue), WH_OK);
        assert_eq!(seen.released(), 2);
    }
}

#[test]
fn a_buffer_that_outlives_its_pool_calls_none_of_its_callbacks() {
    let _one = log_of_this_test();
    let pool = open(c"limits: {hard_mb: 4}");
    let (seen, mut queue) = (Seen::new(false), wh_queue::default());
    // SAFETY: there is room for the result.
    assert_eq!(unsafe { wh_queue_open(pool, &mut queue) }, WH_OK);
    assert_eq!(on_pressure(pool, seen), WH_OK);
    let buffer = allocate(pool, 1 << 20).1;
    assert_ne!(wh_grow(buffer, 8 << 20), WH_OK);
    let before = seen.calls();
    assert_eq!(wh_pool_close(pool), WH_OK);
    let (request, mut left) = (wh_request { size: 8 << 20, ..Default::default() }, wh_buffer::default());
    // SAFETY: the request is there, and there is room for the result.
    assert_ne!(unsafe { wh_grow_or_move(buffer, &request, &mut left) }, WH_OK);
    assert_eq!((seen.calls(), seen.released()), (before, 1));
    assert_eq!((wh_free(buffer), wh_queue_close(queue)), (WH_OK, WH_OK));
}
