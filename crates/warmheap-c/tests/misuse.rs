//! Threads that use the C functions without any order: handles of everything, live and gone, of this pool and
//! of others, passed to every function. Each call returns, none is a defect, and memory adds up in the end.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use warmheap_c::wh_status::{WH_INTERNAL, WH_OK};
use warmheap_c::*;

/// The steps of each thread.
const STEPS: u64 = 400;

/// The handles that all threads know, whether they still name anything or not.
#[derive(Default)]
struct Known {
    pools: Vec<wh_pool>,
    buffers: Vec<wh_buffer>,
    queues: Vec<wh_queue>,
    tickets: Vec<wh_ticket>,
}

/// A small generator of numbers: xorshift.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    /// One of `known`, mostly a late one, or a handle of nothing.
    fn pick<T: Copy + Default>(&mut self, known: &[T]) -> T {
        let back = self.roll(known.len().min(40) + 1);
        known.len().checked_sub(back).and_then(|at| known.get(at)).copied().unwrap_or_default()
    }
}

const DEVICES: [&CStr; 4] = [c"sim", c"sim:discrete", c"sim:budget=64", c"host"];

fn open(device: &CStr) -> wh_pool {
    let mut pool = wh_pool::default();
    // SAFETY: the texts end with zero bytes, and there is room for the result.
    let opened = unsafe { wh_pool_open(device.as_ptr(), c"limits: {hard_mb: 64}".as_ptr(), &mut pool) };
    assert_eq!(opened, WH_OK);
    pool
}

unsafe extern "C" fn under_pressure(user: *mut c_void, pool: wh_pool, _: *const wh_pressure) {
    // SAFETY: the test's own table outlives its pools.
    let known = unsafe { &*user.cast::<Mutex<Known>>() };
    let victim = known.try_lock().ok().and_then(|known| known.buffers.last().copied());
    if let Some(buffer) = victim {
        wh_free(buffer);
    }
    wh_pool_trim(pool, 0);
}

unsafe extern "C" fn on_record(user: *mut c_void, _: *const wh_log_record) {
    // SAFETY: the test's own table outlives its log.
    let known = unsafe { &*user.cast::<Mutex<Known>>() };
    let queue = known.try_lock().ok().and_then(|known| known.queues.last().copied());
    wh_queue_close(queue.unwrap_or_default());
}

/// One step: a call with handles chosen at random.
fn step(known: &Mutex<Known>, dice: &mut Dice) -> wh_status {
    let locked = || known.lock().unwrap_or_else(PoisonError::into_inner);
    let (pool, buffer, queue, ticket) = {
        let all = locked();
        (dice.pick(&all.pools), dice.pick(&all.buffers), dice.pick(&all.queues), dice.pick(&all.tickets))
    };
    let flags = [0, WH_ZEROED, WH_MOVABLE, WH_NO_FALLBACK, WH_NON_BLOCKING, WH_NO_WAIT][dice.roll(6)];
    let size = 1 << dice.roll(23);
    let request = wh_request { size, flags, wait_ms: u64::from(flags == 0), ..wh_request::default() };
    let (mut info, mut statistics) = (wh_buffer_info::default(), wh_statistics::default());
    let (mut made, mut opened, mut signalled, mut done, mut needed) = Default::default();
    let user = ptr::from_ref(known).cast_mut().cast();
    // SAFETY: the requests are there, and there is room for the results.
    let status = unsafe {
        match dice.roll(24) {
            0..6 => wh_allocate_with(pool, &request, &mut made),
            6 => wh_queue_allocate(queue, &request, &mut made),
            7 | 8 => wh_free(buffer),
            9 => wh_inspect(buffer, &mut info),
            10 => wh_grow(buffer, size),
            11 => wh_grow_or_move(buffer, &request, &mut made),
            12 => wh_pin(buffer, &mut info),
            13 => wh_unpin(buffer),
            14 => wh_retire(buffer, ticket),
            15 => wh_in_flight_until(buffer, ticket),
            16 => wh_queue_signal(queue, &mut signalled),
            17 => wh_queue_complete(ticket),
            18 => wh_ticket_wait(ticket, 1, &mut done),
            19 => wh_queue_poll(queue, ptr::null_mut()),
            20 => wh_pool_compact(pool, 1 << 20, 1, ptr::null_mut()),
            21 => wh_pool_statistics(pool, &mut statistics),
            22 => match dice.roll(9) {
                0 | 1 => wh_queue_open(pool, &mut opened),
                2 => wh_queue_close(queue),
                3 => wh_pool_on_pressure(pool, Some(under_pressure), user, None),
                4 => wh_pool_trim(pool, 0),
                5 if dice.roll(4) == 0 => wh_queue_lose(queue, c"its worker died".as_ptr()),
                6 => wh_set_log(Some(on_record), user, 1 + dice.roll(4) as u32),
                7 => wh_unset_log(Some(on_record), user),
                _ => wh_pools_prometheus(&pool, &c"pool".as_ptr(), 1, ptr::null_mut(), 0, &mut needed),
            },
            _ if dice.roll(20) == 0 => {
                locked().pools.push(open(DEVICES[dice.roll(DEVICES.len())]));
                wh_pool_close(pool)
            }
            _ => wh_pool_maintain(pool, 1, ptr::null_mut()),
        }
    };
    let mut all = locked();
    if made != wh_buffer::default() {
        all.buffers.push(made);
    }
    if opened != wh_queue::default() {
        all.queues.push(opened);
    }
    if signalled != wh_ticket::default() {
        all.tickets.push(signalled);
    }
    status
}

#[test]
fn calls_in_any_order_from_many_threads_return_and_lose_nothing() {
    for (round, threads) in [1, 2, 3, 16, 64].into_iter().enumerate() {
        let known = Mutex::new(Known::default());
        let mut first = known.lock().unwrap();
        for device in DEVICES {
            let pool = open(device);
            first.pools.push(pool);
            let mut queue = wh_queue::default();
            // SAFETY: as above.
            assert_eq!(unsafe { wh_queue_open(pool, &mut queue) }, WH_OK);
            first.queues.push(queue);
        }
        drop(first);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let known = &known;
                scope.spawn(move || {
                    let mut dice = Dice(1 + thread + 1000 * round as u64);
                    let statuses: Vec<_> = (0..STEPS).map(|_| step(known, &mut dice)).collect();
                    assert!(!statuses.contains(&WH_INTERNAL), "a defect");
                    let done = statuses.iter().filter(|status| **status == WH_OK).count();
                    assert!(done > 50, "only {done} calls found what they need");
                });
            }
        });
        // SAFETY: no function is set.
        assert_eq!(unsafe { wh_set_log(None, ptr::null_mut(), 0) }, WH_OK);
        let all = known.into_inner().unwrap();
        for ticket in all.tickets {
            wh_queue_complete(ticket);
        }
        for buffer in all.buffers {
            while wh_unpin(buffer) == WH_OK {}
            wh_free(buffer);
        }
        for queue in all.queues {
            wh_queue_close(queue);
        }
        for pool in all.pools {
            let mut statistics = wh_statistics::default();
            // SAFETY: there is room for the result.
            if unsafe { wh_pool_statistics(pool, &mut statistics) } == WH_OK {
                let (alive, in_flight) = (statistics.active_allocations, statistics.in_flight_mb);
                assert_eq!((alive, in_flight), (0, 0.0), "{threads} threads");
                assert_eq!(wh_pool_close(pool), WH_OK);
            }
        }
    }
}
