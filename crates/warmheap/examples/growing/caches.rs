//! A load of key-value caches that grow token by token, among the other buffers of a decode step.

use warmheap::{AllocError, Buffer, Pool, Request};

/// The worst ratio is measured once every cache has this many device pages. Before that, the last page of
/// each cache and the few MiB in thread caches weigh more than the pool's decisions.
const PAGES: u64 = 16;
/// The most tokens of a prompt.
const PROMPT: u64 = 2000;

/// The work to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) caches: usize,
    pub(crate) tokens: u64,
    pub(crate) bytes_per_token: u64,
    /// Whether requests name the length that the caches may reach.
    pub(crate) hinted: bool,
}

/// What the run measured.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Outcome {
    /// The number of times that one cache grew by one token.
    pub(crate) steps: u64,
    /// The number of those steps that copied the cache.
    pub(crate) copies: u64,
    /// The highest ratio of reserved to live bytes, once all caches have [`PAGES`] pages.
    pub(crate) worst: f64,
    pub(crate) reserved: u64,
    pub(crate) live: u64,
    pub(crate) device_calls: u64,
}

/// Grows all caches to their full length.
pub(crate) fn run(pool: &Pool, load: Load) -> Result<Outcome, AllocError> {
    let Load { caches, tokens, bytes_per_token, hinted } = load;
    let mut random = fastrand::Rng::with_seed(5);
    let mut outcome = Outcome::default();
    let mut caches: Vec<Buffer> = (0..caches)
        .map(|_| {
            let prompt = Request::new(random.u64(1..PROMPT) * bytes_per_token).tag("kv-cache");
            pool.allocate(if hinted { prompt.growable(tokens * bytes_per_token) } else { prompt })
        })
        .collect::<Result<_, _>>()?;
    let mut others: Vec<Buffer> = Vec::new();
    let page = pool.device().limits().granularity;
    for token in 0..tokens {
        // A decode step needs scratch memory. Every 64 steps a buffer comes that stays for some time, such
        // as a prefix or an adapter.
        let scratch: Vec<_> =
            (0..2).map(|_| pool.allocate(random.u64(1..512 << 10))).collect::<Result<_, _>>()?;
        if token % 64 == 0 {
            others.push(pool.allocate(random.u64(1 << 20..3 << 20))?);
            if others.len() > 16 {
                others.swap_remove(random.usize(..16));
            }
        }
        for cache in caches.iter_mut().filter(|cache| cache.size() < tokens * bytes_per_token) {
            outcome.steps += 1;
            outcome.copies += u64::from(cache.grow_or_move(cache.size() + bytes_per_token)?.is_some());
        }
        let live = caches.iter().chain(&others).chain(&scratch).map(Buffer::size).sum::<u64>();
        if caches.iter().all(|cache| cache.size() >= PAGES * page) {
            outcome.worst = outcome.worst.max(pool.reserved_bytes() as f64 / live as f64);
        }
        (outcome.reserved, outcome.live) = (pool.reserved_bytes(), live);
    }
    outcome.device_calls = pool.statistics().device_calls;
    Ok(outcome)
}
