//! Growing heaps settle: a load that repeats makes no device call.

use std::sync::Arc;

use warmheap::config::MIB;
use warmheap::device::Device;
use warmheap::device::sim::SimDevice;
use warmheap::{Buffer, Pool, PoolConfig};

const LAYERS: usize = 28;
const WIDTH: u64 = 3584;
const INNER: u64 = 18944;
const VOCABULARY: u64 = 152_064;
/// The bytes of a token's keys, or values, in one layer.
const CACHED: u64 = 512;
const BYTES: u64 = 2;

/// The bytes of a model's weights, of seven billion parameters.
fn weights(pool: &Pool) -> Vec<Buffer> {
    let square = WIDTH * WIDTH;
    let layer =
        [square, WIDTH, WIDTH * CACHED, CACHED, WIDTH * CACHED, CACHED, square, WIDTH * INNER, WIDTH * INNER]
            .into_iter()
            .chain([WIDTH * INNER, WIDTH, WIDTH]);
    let layers = std::iter::repeat_n(layer, LAYERS).flatten();
    let all = std::iter::once(VOCABULARY * WIDTH).chain(layers).chain([VOCABULARY * WIDTH, WIDTH]);
    all.map(|count| pool.allocate(count * BYTES).unwrap()).collect()
}

/// Serves requests of `prompt` tokens as one batch. Every layer gets a new cache for each token.
fn serve(pool: &Pool, batch: u64, prompt: u64, answer: u64) {
    let take = |count: u64| pool.allocate(batch * count * BYTES).unwrap();
    let mut caches: Vec<_> = (0..LAYERS).map(|_| None).collect();
    for step in 0..answer {
        let new = if step == 0 { prompt } else { 1 };
        for cache in &mut caches {
            let (hidden, query) = (take(new * WIDTH), take(new * WIDTH));
            let (key, value) = (take(new * CACHED), take(new * CACHED));
            let (old_keys, old_values) = cache.take().unzip();
            let keys = take((prompt + step) * CACHED);
            drop(old_keys);
            let values = take((prompt + step) * CACHED);
            drop(old_values);
            *cache = Some((keys, values));
            drop((key, value));
            let attended = take(new * WIDTH);
            drop(query);
            let residual = take(new * WIDTH);
            drop((attended, hidden));
            let (gate, up) = (take(new * INNER), take(new * INNER));
            let active = take(new * INNER);
            drop(gate);
            let inner = take(new * INNER);
            drop((active, up));
            let down = take(new * WIDTH);
            drop((inner, residual, down));
        }
        drop(take(VOCABULARY));
    }
}

#[test]
fn a_batch_like_the_one_before_moves_no_pages() {
    for page in [2 * MIB, 32 * MIB] {
        let device = SimDevice::new();
        let mut limits = Device::limits(&device);
        limits.granularity = page;
        let pool = Pool::new(Arc::new(device.limits(limits)), PoolConfig::elastic()).unwrap();
        let _weights = weights(&pool);
        serve(&pool, 32, 700, 40);
        let calls = pool.statistics().device_calls;
        (0..3).for_each(|_| serve(&pool, 32, 700, 40));
        let after = pool.statistics();
        assert_eq!(after.device_calls, calls, "pages of {page}");
        let peak = (pool.peak_reserved_bytes() / MIB) as f64;
        assert!(peak <= 1.02 * after.peak_used_mb, "{peak} MiB for {}, pages of {page}", after.peak_used_mb);
    }
}
