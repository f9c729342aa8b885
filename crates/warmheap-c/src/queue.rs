//! Queues and tickets: memory that work in flight still uses.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use warmheap::device::Spec;
use warmheap::device::cuda::CudaDevice;
use warmheap::device::sim::SimQueue;

use crate::buffer::{allocate, wh_buffer, wh_request};
use crate::pool::wh_pool;
use crate::status::{Failure, guarded, put, wh_status};
use crate::tables::{self, Held, OpenQueue, Order};
use crate::text::given;

/// The handle of a queue: an order of work that uses a pool's memory. All zeros is the handle of no queue.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_queue {
    /// The number has no meaning to callers.
    pub id: u64,
}

/// A position in a queue: all work up to one signal. A plain value, which need not be freed.
/// Since 0.2, as are the fields without another version.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(non_camel_case_types)]
pub struct wh_ticket {
    /// The queue.
    pub queue: wh_queue,
    /// The position, counted from 1.
    pub value: u64,
}

/// Opens a queue that the program itself moves: for a worker thread, or for a driver that tells when work is
/// done. A pool stays open until its queues are closed. Since 0.2.
///
/// # Safety
/// `queue` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_open(pool: wh_pool, queue: *mut wh_queue) -> wh_status {
    guarded(|| {
        let library = tables::pool(pool.id)?;
        let order = Arc::new(SimQueue::new());
        // SAFETY: the caller keeps this function's contract.
        unsafe { add(pool, queue, || Ok((library.queue(order.clone()), Order::Program(order)))) }
    })
}

/// Opens the queue of a CUDA stream, which the GPU moves. `stream` is a `CUstream` of the pool's GPU; null is
/// the default stream. Since 0.2.
///
/// # Safety
/// The stream exists until the queue is closed and its work is done. `queue` is null or has room for the
/// result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_open_stream(
    pool: wh_pool,
    stream: *mut c_void,
    queue: *mut wh_queue,
) -> wh_status {
    guarded(|| {
        let library = tables::pool(pool.id)?;
        // The name of a GPU begins with its device: `cuda:0 NVIDIA H100`.
        let name = library.device().name().to_owned();
        let gpu = name.split_whitespace().next().and_then(|name| name.parse::<Spec>().ok()?.gpu());
        let gpu = gpu.ok_or_else(|| {
            Failure::argument(format!("{name} has no streams; open its queues with wh_queue_open"))
        })?;
        let open = || {
            // SAFETY: the caller promises that the stream exists.
            let order = Arc::new(unsafe { CudaDevice::open(gpu)?.queue(stream) }?);
            Ok((library.queue(order.clone()), Order::Stream(order)))
        };
        // SAFETY: the caller keeps this function's contract.
        unsafe { add(pool, queue, open) }
    })
}

/// # Safety
/// `out` is null or has room for the result.
unsafe fn add(
    pool: wh_pool,
    out: *mut wh_queue,
    open: impl FnOnce() -> Result<(warmheap::PoolQueue, Order), Failure>,
) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument("queue is null"));
    }
    let process = tables::pool(pool.id)?.process();
    let (queue, order) = open()?;
    let id = tables::add_queue(OpenQueue::new(queue, order, pool.id, process));
    // SAFETY: the caller keeps this function's contract.
    unsafe { put(out, "queue", wh_queue { id }) }
}

/// Writes the position after all work submitted so far to `ticket`. On a CUDA stream this submits a mark.
/// Since 0.2.
///
/// # Safety
/// `ticket` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_signal(queue: wh_queue, ticket: *mut wh_ticket) -> wh_status {
    guarded(|| {
        let open = tables::queue(queue.id)?;
        if ticket.is_null() {
            return Err(Failure::argument("ticket is null"));
        }
        let value = open.signal()?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(ticket, "ticket", wh_ticket { queue, value }) }
    })
}

/// Notes that all work up to `ticket` is done, on a queue that the program moves. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_queue_complete(ticket: wh_ticket) -> wh_status {
    guarded(|| match &resolve(ticket)?.order {
        Order::Program(order) => {
            order.complete(ticket.value);
            Ok(())
        }
        Order::Stream(_) => {
            Err(Failure::argument("the GPU completes the work of a stream; the program does not"))
        }
    })
}

/// Notes that the queue makes no more progress, on a queue that the program moves: its worker died. Memory
/// retired to it stays taken until the queue is closed. Since 0.2.
///
/// # Safety
/// `reason` is null or ends with a zero byte.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_lose(queue: wh_queue, reason: *const c_char) -> wh_status {
    guarded(|| {
        let open = tables::queue(queue.id)?;
        // SAFETY: the caller keeps this function's contract.
        let reason = unsafe { given(reason, "reason") }?;
        match &open.order {
            Order::Program(order) => {
                order.lose(reason);
                Ok(())
            }
            Order::Stream(_) => Err(Failure::argument("the GPU tells whether a stream is lost")),
        }
    })
}

/// Writes to `done` whether all work up to `ticket` is done. Waits for at most `timeout_ms` milliseconds
/// until it is; 0 only looks. Since 0.2.
///
/// # Safety
/// `done` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_ticket_wait(ticket: wh_ticket, timeout_ms: u64, done: *mut bool) -> wh_status {
    guarded(|| {
        let queue = resolve(ticket)?;
        if done.is_null() {
            return Err(Failure::argument("done is null"));
        }
        // More than a century is for ever, and the system's clocks do not reach as far as 64 bits.
        let timeout = Duration::from_millis(timeout_ms.min(1 << 42));
        let is_done = queue.wait(ticket.value, timeout)?;
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(done, "done", is_done) }
    })
}

/// Frees the retired buffers whose work is done, and writes their number to `freed`, which may be null.
/// Since 0.2.
///
/// # Safety
/// `freed` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_poll(queue: wh_queue, freed: *mut u64) -> wh_status {
    guarded(|| {
        let number = tables::queue(queue.id)?.queue.poll()? as u64;
        if freed.is_null() {
            return Ok(());
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(freed, "freed", number) }
    })
}

/// Writes the requested bytes that wait for this queue to `bytes`. Since 0.2.
///
/// # Safety
/// `bytes` is null or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_retired_bytes(queue: wh_queue, bytes: *mut u64) -> wh_status {
    guarded(|| {
        let retired = tables::queue(queue.id)?.queue.retired_bytes();
        // SAFETY: the caller keeps this function's contract.
        unsafe { put(bytes, "bytes", retired) }
    })
}

/// Allocates a buffer for work that will be submitted to this queue. The buffer may be one that the queue has
/// retired, even before its ticket completes, because the queue's later work comes after it. The CPU must not
/// write to it before that. Since 0.2.
///
/// # Safety
/// `request` is null or points to a request, whose texts are null or end with a zero byte. `buffer` is null
/// or has room for the result.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wh_queue_allocate(
    queue: wh_queue,
    request: *const wh_request,
    buffer: *mut wh_buffer,
) -> wh_status {
    guarded(|| {
        let open = tables::queue(queue.id)?;
        // SAFETY: the caller keeps this function's contract.
        let asked = unsafe { wh_request::read(request) }?;
        if asked.movable {
            return Err(Failure::argument(
                "WH_MOVABLE is for wh_allocate_with; a queue reuses fixed buffers",
            ));
        }
        // SAFETY: the caller keeps this function's contract.
        unsafe {
            allocate(open.pool, buffer, |_, recorder| Held::from_queue(&open.queue, recorder, asked.request))
        }
    })
}

/// Closes a queue. Its tickets name nothing from then on, and threads that wait for one get `WH_QUEUE_LOST`, if
/// the program moves the queue. Memory that a CUDA stream still uses goes back when the stream's work is done.
/// A queue that the program moves returns `WH_WRONG_ORDER` while memory waits for work that is not done:
/// retired memory, memory that the queue reused early, and movable buffers in flight. Complete that work first,
/// or lose the queue. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_queue_close(queue: wh_queue) -> wh_status {
    guarded(|| {
        let closed = tables::close_queue(queue.id)?;
        if let Order::Program(order) = &closed.order {
            // A thread that waits for a ticket goes on.
            order.lose("it was closed");
        }
        Ok(())
    })
}

/// Frees a buffer once the work up to `ticket` is done. Does not wait for that work; if compaction is moving the
/// buffer, it waits for the end of the move. The handle names nothing from then on. Any thread may call it,
/// completion handlers included. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_retire(buffer: wh_buffer, ticket: wh_ticket) -> wh_status {
    guarded(|| {
        let queue = resolve(ticket)?;
        let (held, position) = tables::remove_buffer(buffer.id, |entry| {
            same_pool(entry.pool, &queue)?;
            queue.ticket(ticket.value)
        })?;
        held.retire(&position);
        Ok(())
    })
}

/// Notes that work up to `ticket` uses a movable buffer. Compaction does not move the buffer before that work
/// is done, and no other use gets its memory, also if it is freed or retired. Work of several queues may be
/// noted. Call it while the buffer is pinned. A buffer that is not movable stays where it is anyway, and
/// `wh_retire` keeps its memory. Since 0.2.
#[unsafe(no_mangle)]
pub extern "C" fn wh_in_flight_until(buffer: wh_buffer, ticket: wh_ticket) -> wh_status {
    guarded(|| {
        let queue = resolve(ticket)?;
        let used = tables::with_buffer(buffer.id, |entry| {
            same_pool(entry.pool, &queue)?;
            match entry.held()? {
                Held::Fixed(_) => Ok(None),
                Held::Movable(movable) if movable.is_pinned() => {
                    Ok(Some((movable.share(), queue.ticket(ticket.value)?)))
                }
                Held::Movable(_) => Err(Failure::order("the buffer may move; pin it before work uses it")),
            }
        })?;
        // A queue that nothing else keeps may end here, and wait for its device. No table is locked.
        if let Some((movable, position)) = used {
            movable.buffer().in_flight_until(&position);
        }
        Ok(())
    })
}

/// Returns the queue of a ticket.
fn resolve(ticket: wh_ticket) -> Result<Arc<OpenQueue>, Failure> {
    let queue = tables::queue(ticket.queue.id)?;
    if !queue.has_signalled(ticket.value) {
        let text =
            format!("the queue has signalled no position {}; wh_queue_signal makes tickets", ticket.value);
        return Err(Failure::argument(text));
    }
    Ok(queue)
}

/// A buffer can wait only for a queue of its own pool.
fn same_pool(pool: u64, queue: &OpenQueue) -> Result<(), Failure> {
    if pool == queue.pool {
        return Ok(());
    }
    Err(Failure::argument("the queue belongs to another pool than the buffer; open one on the buffer's pool"))
}
