//! Freed buffers that other streams may still use. Those streams are the buffer's guests.
//!
//! When such a buffer is freed, every guest stream is marked. The buffer waits in each stream's line until
//! that stream has passed its mark. The marks of a stream rise, so only the front of a line is looked at. A
//! stream on which a graph is captured cannot be marked, so it is marked later. No buffer is freed before
//! then.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warmheap::Buffer;
use warmheap::device::cuda::{CudaDevice, CudaQueue};
use warmheap::device::{DeviceError, Queue};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Guests {
    waiting: Mutex<Waiting>,
    /// Whether a buffer waits in any line. Threads read it without the lock.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: HashMap<usize, Line>,
    /// Buffers whose streams are not marked yet.
    unmarked: Vec<(Arc<Buffer>, Vec<usize>)>,
}

/// A stream, and the buffers that wait for it.
#[derive(Debug)]
struct Line {
    queue: CudaQueue,
    /// Marks, each with a buffer. The buffer is freed when it has left all lines.
    waiting: VecDeque<(u64, Arc<Buffer>)>,
}

impl Guests {
    /// Frees `buffer` once the `streams` have done all work submitted until now.
    pub(super) fn outlive(&self, device: &CudaDevice, buffer: Buffer, streams: Vec<usize>) {
        self.lock().mark(device, Arc::new(buffer), streams);
        self.any.store(true, Ordering::Relaxed);
    }

    /// Marks the streams that could not be marked before.
    pub(super) fn mark_again(&self, device: &CudaDevice) {
        let mut waiting = self.lock();
        for (buffer, streams) in std::mem::take(&mut waiting.unmarked) {
            waiting.mark(device, buffer, streams);
        }
        self.any.store(true, Ordering::Relaxed);
    }

    /// Frees the buffers whose streams are done with them.
    pub(super) fn let_go(&self) {
        if !self.any.load(Ordering::Relaxed) {
            return;
        }
        let mut waiting = self.lock();
        let mut any = false;
        for Line { queue, waiting } in waiting.lines.values_mut().filter(|line| !line.waiting.is_empty()) {
            let passed = match queue.completed() {
                Ok(passed) => passed,
                // A lost device uses no memory any more.
                Err(DeviceError::Lost { .. }) => u64::MAX,
                Err(_) => 0,
            };
            while waiting.front().is_some_and(|(mark, _)| *mark <= passed) {
                waiting.pop_front();
            }
            any |= !waiting.is_empty();
        }
        self.any.store(any, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn mark(&mut self, device: &CudaDevice, buffer: Arc<Buffer>, streams: Vec<usize>) {
        let marked = streams.iter().try_for_each(|&stream| {
            let Line { queue, waiting } = self.line(device, stream)?;
            waiting.push_back((queue.signal()?, Arc::clone(&buffer)));
            Ok::<_, DeviceError>(())
        });
        if marked.is_err() {
            self.unmarked.push((buffer, streams));
        }
    }

    fn line(&mut self, device: &CudaDevice, stream: usize) -> Result<&mut Line, DeviceError> {
        Ok(match self.lines.entry(stream) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                // SAFETY: PyTorch never destroys the streams it hands out.
                let queue = unsafe { device.queue(stream as *mut c_void) }?;
                place.insert(Line { queue, waiting: VecDeque::new() })
            }
        })
    }
}
