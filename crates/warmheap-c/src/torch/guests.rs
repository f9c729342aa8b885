//! Freed buffers that other streams may still use.
//!
//! At such a free every guest stream is marked, and the buffer waits in each one's line until the
//! stream has passed its mark. Marks of a stream rise, so only the front of a line is looked at. A
//! stream that cannot be marked now (a graph is captured on it) is marked later; nothing is freed
//! before.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warmheap::Buffer;
use warmheap::device::cuda::{CudaDevice, CudaQueue};
use warmheap::device::{DeviceError, Queue};

/// See the module's essay.
#[derive(Debug, Default)]
pub(super) struct Guests {
    waiting: Mutex<Waiting>,
    /// Whether anybody stands in a line, to be read without the lock.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: HashMap<usize, Line>,
    /// Buffers whose streams are still to be marked.
    unmarked: Vec<(Arc<Buffer>, Vec<usize>)>,
}

/// A stream, and what waits for it.
#[derive(Debug)]
struct Line {
    queue: CudaQueue,
    /// Marks, each with a buffer that is freed when it has left all lines.
    waiting: VecDeque<(u64, Arc<Buffer>)>,
}

impl Guests {
    /// Frees `buffer` once the `streams` have done what they were given until now.
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
            // A lost device uses nothing any more.
            let passed = queue.completed().unwrap_or(u64::MAX);
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
