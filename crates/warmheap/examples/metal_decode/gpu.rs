//! The toy model on the GPU. Its memory has shared storage, so the CPU reads results without a copy.

use std::error::Error;
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::{Duration, Instant};

use objc2::rc::{Retained, autoreleasepool};
use objc2::runtime::ProtocolObject;
use objc2_foundation::NSString;
use objc2_metal::{
    MTLCommandBuffer, MTLCommandEncoder, MTLCommandQueue, MTLComputeCommandEncoder, MTLComputePipelineState,
    MTLDevice, MTLLibrary, MTLSize,
};
use warmheap::device::Queue;
use warmheap::metal::{AsMetal, MetalDevice, MetalMemoryPool, MetalOptions, MetalQueue, Storage};
use warmheap::{Buffer, PoolConfig, PoolQueue, Request, Ticket};

use crate::model::{self, STEPS, WIDTH};

type Pipeline = Retained<ProtocolObject<dyn MTLComputePipelineState>>;
type Result<T> = std::result::Result<T, Box<dyn Error>>;

const STATE: usize = WIDTH * size_of::<f32>();
const TOLERANCE: f32 = 1e-4;

pub(crate) fn run() -> Result<()> {
    let options = MetalOptions::default().with_storage(Storage::Shared);
    let device = MetalDevice::system_default(options)?;
    let mut config = PoolConfig::default();
    (config.heap_size, config.num_heaps, config.warmup_sizes) = (16 << 20, 2, vec![8 << 20]);
    let pool = MetalMemoryPool::on(device, config)?;
    let gpu = Gpu::new(&pool)?;

    let weights = model::weights();
    let on_gpu = gpu.upload(&weights, "weights")?;
    let mut x = gpu.upload(&model::first_state(), "state")?;
    let mut cache: Vec<f32> = Vec::new();
    let (mut worst, start) = (0_f32, Instant::now());
    for step in 1..=STEPS {
        let before = read(&x, WIDTH)?;
        let hidden = pool.allocate(Request::new(STATE as u64).tag("hidden"))?;
        gpu.wait(gpu.submit(&gpu.layer, [&on_gpu, &x, &hidden], None)?)?;
        cache.extend(read(&hidden, WIDTH)?);
        // The cache grows by one token each step. It gets a new buffer, as in engines without paging.
        let states = gpu.upload(&cache, "kv-cache")?;
        let next = pool.allocate(Request::new(STATE as u64).tag("state"))?;
        let attended = gpu.submit(&gpu.attend, [&states, &hidden, &next], Some(step as u32))?;
        // The GPU still uses these buffers. The pool frees them when the GPU is done.
        let ticket = gpu.ticket(attended);
        [states, hidden, std::mem::replace(&mut x, next)].into_iter().for_each(|used| used.retire(&ticket));

        // Meanwhile the CPU computes the same step.
        let expected = model::layer(&weights, &before);
        worst = worst.max(distance(&expected, &cache[cache.len() - WIDTH..]));
        let expected = model::attend(&cache, &expected);
        gpu.wait(attended)?;
        worst = worst.max(distance(&expected, &read(&x, WIDTH)?));
    }
    let statistics = pool.statistics();
    println!("{STEPS} tokens in {:?} on {}", start.elapsed(), pool.device().name());
    println!(
        "{} buffers, hit rate {:.1} %, {} device objects, largest difference from the CPU {worst:e}",
        statistics.total_allocations,
        statistics.hit_rate * 100.0,
        statistics.device_objects,
    );
    if worst > TOLERANCE {
        return Err(format!("GPU and CPU differ by {worst}, more than {TOLERANCE}").into());
    }
    Ok(())
}

struct Gpu<'a> {
    pool: &'a MetalMemoryPool,
    queue: Arc<MetalQueue>,
    /// The same queue, as the pool knows it.
    work: PoolQueue,
    layer: Pipeline,
    attend: Pipeline,
}

impl<'a> Gpu<'a> {
    fn new(pool: &'a MetalMemoryPool) -> Result<Self> {
        let raw = pool.metal().raw();
        let source = NSString::from_str(include_str!("kernels.metal"));
        let library = raw.newLibraryWithSource_options_error(&source, None);
        let library = library.map_err(|error| error.localizedDescription().to_string())?;
        let pipeline = |name| -> Result<Pipeline> {
            let function = library.newFunctionWithName(&NSString::from_str(name));
            let function = function.ok_or_else(|| format!("no kernel named {name}"))?;
            let pipeline = raw.newComputePipelineStateWithFunction_error(&function);
            Ok(pipeline.map_err(|error| error.localizedDescription().to_string())?)
        };
        let (layer, attend) = (pipeline("layer")?, pipeline("attend")?);
        let queue = Arc::new(pool.metal().new_queue()?);
        Ok(Self { pool, work: pool.queue(queue.clone()), queue, layer, attend })
    }

    fn upload(&self, values: &[f32], tag: &str) -> Result<Buffer> {
        let buffer = self.pool.allocate(Request::new(size_of_val(values) as u64).tag(tag))?;
        let host = buffer.host_ptr().ok_or("the memory is not shared")?.cast::<f32>();
        // SAFETY: the buffer has that length and the device's alignment, and is not in use yet.
        unsafe { host.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
        Ok(buffer)
    }

    /// Submits one kernel over a state. Returns the value that the queue has reached once it completes.
    fn submit(&self, kernel: &Pipeline, buffers: [&Buffer; 3], states: Option<u32>) -> Result<u64> {
        autoreleasepool(|_| {
            let commands = self.queue.raw().commandBuffer().ok_or("no command buffer")?;
            let encoder = commands.computeCommandEncoder().ok_or("no encoder")?;
            encoder.setComputePipelineState(kernel);
            for (index, buffer) in buffers.into_iter().enumerate() {
                let place = buffer.metal().ok_or("not in Metal memory")?;
                // SAFETY: the kernels stay within the buffers. The caller keeps the buffers until the work
                // is done, or retires them under its ticket.
                unsafe { encoder.setBuffer_offset_atIndex(Some(place.buffer), place.offset, index) };
            }
            if let Some(states) = states {
                // SAFETY: Metal copies the four bytes during the call.
                unsafe { encoder.setBytes_length_atIndex(NonNull::from(&states).cast(), 4, 3) };
            }
            let one = |width| MTLSize { width, height: 1, depth: 1 };
            encoder.dispatchThreadgroups_threadsPerThreadgroup(one(WIDTH / 64), one(64));
            encoder.endEncoding();
            Ok(self.queue.submit(&commands))
        })
    }

    /// Returns the ticket under which buffers are retired.
    fn ticket(&self, value: u64) -> Ticket {
        self.work.ticket(value)
    }

    fn wait(&self, value: u64) -> Result<()> {
        if self.queue.wait(value, Duration::from_secs(10))? {
            Ok(())
        } else {
            Err("the GPU did not finish".into())
        }
    }
}

fn read(buffer: &Buffer, count: usize) -> Result<Vec<f32>> {
    let host = buffer.host_ptr().ok_or("the memory is not shared")?.cast::<f32>();
    // SAFETY: the GPU wrote `count` floats and has finished.
    Ok(unsafe { std::slice::from_raw_parts(host.as_ptr(), count) }.to_vec())
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
