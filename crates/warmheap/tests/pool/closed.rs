//! Buffers that outlive their pool. Any number of threads grow, move, free and hand them over after the last
//! handle is gone. Every byte comes back with the last of them.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use fastrand::Rng;
use warmheap::config::MIB;
use warmheap::device::sim::{Call, SimDevice};
use warmheap::{Buffer, Pool, PoolConfig, Request};

use crate::support::watchdog::within_patience;
use crate::support::{assert_all_back, assert_apart, fixed, ways};

/// Miri takes a thousand times as long, so it gets less of everything.
const THREADS: &[usize] = if cfg!(miri) { &[2] } else { &[1, 3, 16] };

/// The buffers of each kind that the test of overlaps makes in all.
const BUFFERS: usize = if cfg!(miri) { 24 } else { 6_000 };
/// The buffers that each thread makes in the test of every call, the movable ones among them, and its steps.
const HELD: usize = if cfg!(miri) { 6 } else { 200 };
const MOVABLE: usize = if cfg!(miri) { 2 } else { 20 };
const STEPS: usize = if cfg!(miri) { 20 } else { 600 };

/// Runs a program once for each sizing and number of threads, under a clock.
fn everywhere(program: impl Fn(SimDevice, PoolConfig, usize) + Copy + Send + 'static) {
    for &threads in THREADS {
        for (way, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), fixed(16, 4096 * MIB)) {
            within_patience(&format!("{way} heaps, {threads} threads"), move || {
                program(sim, config, threads)
            });
        }
    }
}

/// What a thread makes before the pool closes: buffers to grow, each with a free block behind it, and buffers
/// around those blocks, which another thread frees meanwhile.
struct Row {
    growing: Vec<Buffer>,
    around: Vec<Buffer>,
}

fn row(pool: &Pool, len: usize) -> Row {
    let make = |size: u64| pool.allocate(size).unwrap();
    let mut row = Row { growing: vec![], around: vec![] };
    let mut holes = vec![];
    for i in 0..len as u64 {
        row.growing.push(make(MIB + 256));
        holes.push(make(2 * MIB + 256 * (i % 7)));
        row.around.push(make(MIB + 512));
    }
    row
}

/// Grows buffers while another thread frees what lies around them.
fn grow_amid_frees(Row { mut growing, around }: Row, rng: &mut Rng) -> Vec<Buffer> {
    let (freed, last) = (&AtomicUsize::new(0), around.len());
    thread::scope(|scope| {
        scope.spawn(move || {
            for buffer in around {
                drop(buffer);
                freed.fetch_add(1, Relaxed);
            }
        });
        let mut turn = 0;
        while freed.load(Relaxed) < last {
            turn ^= 1;
            // This buffer lies beside the one that the other thread frees now.
            let place = (freed.load(Relaxed) + turn).min(growing.len() - 1);
            let size = growing[place].size() + 256 * rng.u64(1..3);
            let _ = growing[place].grow(size.min(3 * MIB));
        }
    });
    growing
}

#[test]
fn buffers_that_grow_on_a_closed_pool_never_overlap() {
    everywhere(|sim, config, threads| {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let closed = Arc::new(Barrier::new(threads));
        let work = |number: usize| {
            let (pool, closed) = (pool.clone(), Arc::clone(&closed));
            thread::spawn(move || {
                let row = row(&pool, BUFFERS / threads);
                drop(pool);
                closed.wait();
                grow_amid_frees(row, &mut Rng::with_seed(number as u64))
            })
        };
        let threads: Vec<_> = (0..threads).map(work).collect();
        drop(pool);
        let mut grown: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        // Buffers now take all the memory that the metadata has as free.
        for call in [Call::Commit, Call::Allocate, Call::CreateHeap] {
            sim.fail_always(call);
        }
        for buffer in &mut grown {
            for step in [MIB, 64 << 10, 4096, 256] {
                while buffer.grow(buffer.size() + step).is_ok() {}
            }
        }
        assert_apart(grown.iter());
        drop(grown);
        assert_all_back(&sim);
    });
}

/// Makes every public call of a buffer, from the thread that had heaps of its own and from others.
#[test]
fn whatever_is_done_with_the_buffers_of_a_closed_pool_every_byte_comes_back() {
    everywhere(|sim, config, threads| {
        let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
        let closed = Arc::new(Barrier::new(threads));
        let (pass, passed) = channel::<Buffer>();
        let passed = Arc::new(Mutex::new(passed));
        let work = |number: usize| {
            let (pool, closed) = (pool.clone(), Arc::clone(&closed));
            let (pass, passed) = (pass.clone(), Arc::clone(&passed));
            thread::spawn(move || {
                let mut rng = Rng::with_seed(number as u64);
                let mut some = |most: u32| {
                    let bits = rng.u32(8..most);
                    1 + rng.u64(0..1 << bits)
                };
                let mut held: Vec<_> = (0..HELD).map(|_| pool.allocate(some(23)).unwrap()).collect();
                let movable: Vec<_> =
                    (0..MOVABLE).map(|_| pool.allocate_movable(some(22)).unwrap()).collect();
                drop(pool);
                closed.wait();
                let mut moved = movable.into_iter();
                for _ in 0..STEPS {
                    if held.is_empty() {
                        break;
                    }
                    let place = rng.usize(0..held.len());
                    let size = held[place].size() + rng.u64(1..MIB);
                    match rng.u8(0..8) {
                        0 | 1 => _ = held[place].grow(size),
                        2 | 3 => {
                            if let Ok(Some(left)) = held[place].grow_or_move(Request::new(size)) {
                                held.push(left);
                            }
                        }
                        4 => drop(held.swap_remove(place)),
                        5 => pass.send(held.swap_remove(place)).unwrap(),
                        6 => held.extend(passed.lock().unwrap().try_recv()),
                        _ => held.extend(moved.next().map(|movable| movable.into_buffer())),
                    }
                }
                assert_apart(held.iter());
                (held, moved.collect::<Vec<_>>())
            })
        };
        let threads: Vec<_> = (0..threads).map(work).collect();
        drop((pool, pass));
        let held: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let on_its_way: Vec<_> = passed.lock().unwrap().try_iter().collect();
        assert_apart(held.iter().flat_map(|(held, ..)| held).chain(&on_its_way));
        thread::spawn(move || drop((held, on_its_way))).join().unwrap();
        assert_all_back(&sim);
    });
}
