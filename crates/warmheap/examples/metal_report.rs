//! Prints facts that only a Mac can tell, as JSON: `cargo run --release --example metal_report`.
//!
//! The report has the real sizes and alignments, the cost of heaps, the effect of residency and purging,
//! and the time of each call. It takes some seconds and at most 1 GiB.

#[cfg(any(target_vendor = "apple", metal_double))]
mod report {
    use std::error::Error;
    use std::hint::black_box;
    use std::time::{Duration, Instant};

    use objc2_metal::{MTLDevice, MTLResourceOptions};
    use serde_json::{Value, json};
    use warmheap::device::metal::{binding, own_buffer};
    use warmheap::device::{Device, HeapRequest, Memory};
    use warmheap::metal::{
        Hazards, MetalDevice, MetalHeap, MetalMemoryPool, MetalOptions, ResidencyOptions, Storage,
    };
    use warmheap::{PoolConfig, Request};

    type Result<T> = std::result::Result<T, Box<dyn Error>>;
    const MIB: u64 = 1 << 20;

    pub(super) fn run() -> Result<()> {
        let device = MetalDevice::system_default(MetalOptions::default())?;
        // The report uses heaps of 256 MiB, or of half the largest heap on a small device.
        let size = (256 * MIB).min(device.limits().largest_heap / 2) / MIB * MIB;
        let report = json!({
            "device": device.name(),
            "limits": limits(&device),
            "size_and_align": sizes(&device),
            "heap": heap(&device, size)?,
            "volatile": volatile(&device, size)?,
            "fill_ms": fills(&device, size)?,
            "idle_ms": {
                "kept_alive": idle(Duration::from_secs(60), size)?,
                "left_alone": idle(Duration::ZERO, size)?,
            },
            "ns": costs(size)?,
        });
        println!("{report:#}");
        Ok(())
    }

    fn limits(device: &MetalDevice) -> Value {
        let limits = device.limits();
        json!({
            "alignment": limits.alignment,
            "granularity": limits.granularity,
            "largest_heap": limits.largest_heap,
            "largest_buffer": limits.largest_buffer,
            "budget": limits.budget,
            "available": limits.available,
        })
    }

    /// Shows whether a buffer ever takes more than its length rounded up to the alignment.
    fn sizes(device: &MetalDevice) -> Value {
        let ask = |length: usize| {
            let options =
                MTLResourceOptions::StorageModePrivate | MTLResourceOptions::HazardTrackingModeTracked;
            let answer = device.raw().heapBufferSizeAndAlignWithLength_options(length, options);
            json!({ "length": length, "size": answer.size, "align": answer.align })
        };
        let lengths = [1, 255, 257, 4096, 4097, 16384, 65537, 1 << 20, (1 << 20) + 1, 64 << 20];
        lengths.into_iter().map(ask).collect()
    }

    fn create(device: &MetalDevice, size: u64) -> Result<Box<dyn Memory>> {
        let request = HeapRequest::fixed(size, "metal_report");
        Ok(device.create_heap(&request)?)
    }

    /// Shows whether a heap takes its memory when it is created, or when it is touched.
    fn heap(device: &MetalDevice, size: u64) -> Result<Value> {
        let free = || device.limits().available;
        let mut steps = vec![json!({ "step": "before", "available": free() })];
        let memory = create(device, size)?;
        let usage = |step: &str| {
            let heap = memory.as_any().downcast_ref::<MetalHeap>().map(MetalHeap::usage);
            json!({ "step": step, "available": free(), "heap": format!("{heap:?}") })
        };
        steps.push(usage("created"));
        // SAFETY: nothing else uses the heap, here and below.
        unsafe { memory.warm(0..size) }?;
        steps.push(usage("warmed"));
        drop(memory);
        steps.push(json!({ "step": "dropped", "available": free() }));
        Ok(json!({ "size": size, "steps": steps }))
    }

    fn volatile(device: &MetalDevice, size: u64) -> Result<Value> {
        let memory = create(device, size)?;
        // SAFETY: as above.
        let (there, back) = unsafe {
            memory.fill(0..size, 1)?;
            (memory.set_volatile(true)?, memory.set_volatile(false)?)
        };
        Ok(json!({ "made": format!("{there:?}"), "taken_back": format!("{back:?}") }))
    }

    fn ms(work: impl FnOnce() -> Result<()>) -> Result<f64> {
        let start = Instant::now();
        work()?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    /// Measures fills. The first one pays for the pages, the others do not.
    fn fills(device: &MetalDevice, size: u64) -> Result<Value> {
        let memory = create(device, size)?;
        let created = ms(|| create(device, size).map(drop))?;
        // SAFETY: as above.
        let fill = || ms(|| Ok(unsafe { memory.fill(0..size, 0) }?));
        Ok(json!({ "create_and_drop": created, "first": fill()?, "second": fill()?, "third": fill()? }))
    }

    /// Measures a fill after two idle seconds. `keep_alive` is how long residency is refreshed.
    fn idle(keep_alive: Duration, size: u64) -> Result<Value> {
        let residency = ResidencyOptions::default().with_keep_alive(keep_alive);
        let device = MetalDevice::system_default(MetalOptions::default().with_residency(residency))?;
        let memory = create(&device, size)?;
        // SAFETY: as above.
        let fill = || ms(|| Ok(unsafe { memory.fill(0..size, 0) }?));
        fill()?;
        let before = fill()?;
        std::thread::sleep(Duration::from_secs(2));
        let after = fill()?;
        Ok(json!({ "before": before, "after_2_s": after, "residency": format!("{:?}", device.residency()) }))
    }

    /// Returns the nanoseconds of a call: the median of 51 samples of `calls` calls each.
    fn median<T>(calls: u32, mut call: impl FnMut() -> Result<T>) -> Result<f64> {
        let mut samples = Vec::new();
        for _ in 0..51 {
            let start = Instant::now();
            for _ in 0..calls {
                drop(call()?);
            }
            samples.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
        }
        samples.sort_unstable_by(f64::total_cmp);
        Ok(samples[25])
    }

    fn costs(size: u64) -> Result<Value> {
        let options = MetalOptions::default().with_hazards(Hazards::Untracked).with_storage(Storage::Private);
        let device = MetalDevice::system_default(options)?;
        let mut config = PoolConfig::default();
        (config.heap_size, config.num_heaps, config.warmup_sizes) = (size, 1, vec![size]);
        let pool = MetalMemoryPool::on(device, config)?;
        let device = pool.metal();
        let whole = pool.allocate(size / 2)?;
        let memory = whole.memory().ok_or("no memory")?;
        let start = memory.offset();
        let fallback = |bytes| median(10, || Ok(device.allocate(bytes, 16)?));
        let mut next = 0;
        Ok(json!({
            "device_buffer_4_kib": fallback(4096)?,
            "device_buffer_1_mib": fallback(MIB)?,
            "device_buffer_64_mib": fallback((64 * MIB).min(size / 4))?,
            "pool_hit_64_kib": median(10_000, || Ok(black_box(pool.allocate(Request::new(64 << 10))?)))?,
            "binding": median(10_000, || binding(black_box(&*memory), start).map(|place| place.offset).ok_or_else(|| "not Metal".into()))?,
            "own_buffer_reused": median(1000, || Ok(own_buffer(&*memory, start..start + 65536, None)?))?,
            "own_buffer_new": median(10, || {
                next = (next + 65536) % (size / 4);
                Ok(own_buffer(&*memory, start + next..start + next + 65536, None)?)
            })?,
        }))
    }
}

#[cfg(any(target_vendor = "apple", metal_double))]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    report::run()
}

#[cfg(not(any(target_vendor = "apple", metal_double)))]
fn main() {
    eprintln!("this report needs Metal: run it on a Mac");
}
