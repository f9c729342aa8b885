//! The peak of live bytes lies between what was alive and what was held, whichever threads allocate and free,
//! and never falls without a reset. What a reset leaves alive is in no figure twice.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use warmheap::advice::at_shutdown;
use warmheap::config::MIB;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig};

use crate::support::{fixed, start, ways};

/// What a thread that only allocates, or only frees, may add to the peak.
const ONE_WAY: u64 = 3 * MIB;

fn peak(pool: &Pool) -> u64 {
    (pool.statistics().peak_used_mb * MIB as f64) as u64
}

/// Bytes alive, counted from before a request until after its free, and the most of them.
#[derive(Default)]
struct Alive {
    now: AtomicU64,
    most: AtomicU64,
}

impl Alive {
    fn rise(&self, bytes: u64) {
        self.most.fetch_max(self.now.fetch_add(bytes, SeqCst) + bytes, SeqCst);
    }

    fn fall(&self, bytes: u64) {
        self.now.fetch_sub(bytes, SeqCst);
    }
}

/// Lets `producers` threads allocate `count` buffers each, which one more thread frees. Compares the peak
/// while the threads live and after they have ended.
fn pass_on(pool: &Pool, producers: u64, count: u64, size: u64) {
    let alive = Alive::default();
    let (sender, receiver) = mpsc::sync_channel::<Buffer>(1);
    let (done, end) = (Barrier::new(producers as usize + 2), Barrier::new(producers as usize + 2));
    let check = |what: &str| {
        let (seen, most) = (peak(pool), alive.most.load(SeqCst));
        let name = format!("{what}: {producers} producers of {count} x {size}: {seen} for {most}");
        // One buffer that was alive is the least that is certain.
        assert!(seen >= size, "{name}");
        assert!(seen <= most + (producers + 1) * (ONE_WAY + size), "{name}");
        assert!(seen <= pool.peak_reserved_bytes(), "{name}, {} held", pool.peak_reserved_bytes());
        seen
    };
    let meanwhile = thread::scope(|scope| {
        let (alive, done, end) = (&alive, &done, &end);
        for _ in 0..producers {
            let sender = sender.clone();
            scope.spawn(move || {
                for _ in 0..count {
                    alive.rise(size);
                    sender.send(pool.allocate(size).unwrap()).unwrap();
                }
                drop(sender);
                done.wait();
                end.wait();
            });
        }
        drop(sender);
        scope.spawn(move || {
            for buffer in receiver {
                drop(buffer);
                alive.fall(size);
            }
            done.wait();
            end.wait();
        });
        done.wait();
        let seen = check("while the threads live");
        end.wait();
        seen
    });
    assert!(check("after the threads") >= meanwhile, "the peak has fallen");
}

#[test]
fn the_peak_is_near_what_was_alive_when_one_thread_frees_what_others_allocate() {
    for (producers, count, size) in
        [(1, 1000, 64 << 10), (1, 1100, 64 << 10), (1, 200, MIB), (1, 50, 5 * MIB), (1, 6_000, 592)]
            .into_iter()
            .chain([2, 3, 16, 64].map(|producers| (producers, 6_000 / producers, 592)))
            .chain([(16, 60, MIB)])
    {
        for (_, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), fixed(4, 256 * MIB)) {
            pass_on(&start(&sim, config), producers, count, size);
        }
    }
}

#[test]
fn the_peak_holds_what_all_threads_held_at_once_after_they_have_ended() {
    for threads in [1_u64, 2, 3, 16, 64] {
        for size in [592, 64 << 10, 3 * MIB] {
            for (name, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), fixed(8, 256 * MIB)) {
                let pool = start(&sim, config);
                let count = (40 * MIB / size / threads).max(1);
                let (all, freed) = (Barrier::new(threads as usize), Barrier::new(threads as usize + 1));
                let seen = thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            let held: Vec<_> = (0..count).map(|_| pool.allocate(size).unwrap()).collect();
                            all.wait();
                            drop(held);
                            freed.wait();
                            freed.wait();
                        });
                    }
                    freed.wait();
                    let seen = peak(&pool);
                    freed.wait();
                    seen
                });
                let held = threads * count * size;
                let after = peak(&pool);
                assert!(held <= seen && seen <= after, "{threads} threads on {name}: {held} {seen} {after}");
                assert!(after <= pool.peak_reserved_bytes());
                if threads == 1 {
                    assert_eq!(after, held, "{name}");
                }
            }
        }
    }
}

#[test]
fn the_peak_of_one_thread_is_exact_whatever_it_does() {
    let mut rng = fastrand::Rng::with_seed(5);
    for (name, sim, config) in ways(SimDevice::new, PoolConfig::elastic(), fixed(4, 256 * MIB)) {
        let pool = start(&sim, config);
        let mut held: Vec<Buffer> = Vec::new();
        let (mut now, mut most) = (0, 0);
        for step in 0..30_000 {
            // The swing is wide at times and narrow at others.
            let room = [2, 40, 400][step / 500 % 3];
            if held.len() < room && rng.bool() {
                let limit = 1 << rng.u32(4..22);
                let size = rng.u64(1..=limit);
                held.push(pool.allocate(size).unwrap());
                now += size;
                most = most.max(now);
            } else if !held.is_empty() {
                now -= held.swap_remove(rng.usize(..held.len())).size();
            }
            if step % 997 == 0 {
                assert_eq!(peak(&pool), most, "step {step} on {name}");
            }
            if step % 7001 == 0 {
                pool.reset_statistics();
                most = now;
                assert_eq!(peak(&pool), now, "step {step} on {name}");
            }
        }
    }
}

#[test]
fn allocations_less_deallocations_are_never_negative_after_a_reset() {
    let pool = Pool::new(Arc::new(SimDevice::new()), PoolConfig::elastic()).unwrap();
    let early: Vec<_> = (0..5).map(|_| pool.allocate(4096).unwrap()).collect();
    pool.reset_statistics();
    let leaked = |pool: &Pool| {
        let seen = pool.statistics();
        (seen.total_allocations - seen.total_deallocations, seen.active_allocations)
    };
    assert_eq!(leaked(&pool), (0, 5));
    let late = pool.allocate(4096).unwrap();
    assert_eq!(leaked(&pool), (1, 6));
    drop(early);
    assert_eq!(leaked(&pool), (1, 1));
    let report = pool.leaks();
    assert_eq!((report.acquired, report.released, report.leaks.len()), (6, 5, 1));
    drop(late);
    assert_eq!(leaked(&pool), (0, 0));
    // What is alive at a reset and at the end is acquired and leaked.
    let kept = pool.allocate(4096).unwrap();
    pool.reset_statistics();
    let report = pool.leaks();
    assert_eq!((report.acquired, report.released, report.leaks.len()), (1, 0, 1));
    let finding = at_shutdown(&pool.statistics()).unwrap();
    assert!(finding.explanation.starts_with("Acquired: 1, Released: 0, Leaked: 1"), "{finding:?}");
    assert!(report.to_string().starts_with("Acquired: 1, Released: 0, Leaked: 1 buffers"), "{report}");
    drop(kept);
}
