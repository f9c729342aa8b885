//! The allocation records: one for each span that is handed out, outside the memory that it describes.
//!
//! A record must never move. A buffer therefore keeps a pointer to its record and writes it without any lock.
//! The fields are atomic only so that a leak report may read while holders write. They order nothing.
#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64};

use crate::pool::interface::call_site::CallSite;
use crate::pool::interface::request::Tag;

/// The record of one span.
#[derive(Debug, Default)]
pub(crate) struct AllocRecord {
    site: AtomicPtr<()>,
    size: AtomicU64,
    tag: AtomicU32,
    /// The span's block in its heap.
    block: u32,
}

impl AllocRecord {
    #[inline(always)]
    pub(crate) fn fill(&self, size: u64, tag: Tag, site: CallSite) {
        self.site.store(site.into_word(), Relaxed);
        self.size.store(size, Relaxed);
        self.tag.store(tag.index(), Relaxed);
    }

    /// Copies the record of another span, whose holder has moved to this one.
    pub(crate) fn copy_from(&self, other: &Self) {
        self.site.store(other.site.load(Relaxed), Relaxed);
        self.size.store(other.size(), Relaxed);
        self.tag.store(other.tag.load(Relaxed), Relaxed);
    }

    /// Notes that the holder now has more, or less, than it first asked for.
    pub(crate) fn resize(&self, size: u64) {
        self.size.store(size, Relaxed);
    }

    #[inline]
    pub(crate) fn block(&self) -> u32 {
        self.block
    }

    pub(crate) fn tag(&self) -> Tag {
        Tag::from_index(self.tag.load(Relaxed))
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    /// The call site of the holder's request. Returns `None` before the first holder.
    pub(crate) fn site(&self) -> Option<CallSite> {
        // SAFETY: the field is null or was stored from a call site's word.
        unsafe { CallSite::from_word(self.site.load(Relaxed)) }
    }
}

/// The record of a buffer that has no memory.
pub(crate) static UNUSED: AllocRecord = AllocRecord {
    site: AtomicPtr::new(ptr::null_mut()),
    size: AtomicU64::new(0),
    tag: AtomicU32::new(0),
    block: 0,
};

/// log2 of the records in a chunk.
const CHUNK_BITS: u32 = 8;
const CHUNK: usize = 1 << CHUNK_BITS;

/// Records by block number, in chunks, so that none ever moves.
#[derive(Debug, Default)]
pub(crate) struct RecordTable {
    chunks: Vec<Box<[AllocRecord; CHUNK]>>,
}

impl RecordTable {
    /// The record of `block`. Makes it if it is the first of its chunk.
    #[inline(always)]
    pub(crate) fn record(&mut self, block: u32) -> &AllocRecord {
        let (chunk, place) = place(block);
        if chunk >= self.chunks.len() {
            self.lengthen(chunk);
        }
        &self.chunks[chunk][place]
    }

    /// The record of `block`. Returns `None` if no chunk reaches that far.
    pub(crate) fn get(&self, block: u32) -> Option<&AllocRecord> {
        let (chunk, place) = place(block);
        self.chunks.get(chunk).map(|chunk| &chunk[place])
    }

    /// Makes the records of all chunks up to this one.
    #[cold]
    #[inline(never)]
    fn lengthen(&mut self, chunk: usize) {
        while self.chunks.len() <= chunk {
            let first = self.chunks.len() << CHUNK_BITS;
            let record = |place| AllocRecord { block: (first + place) as u32, ..AllocRecord::default() };
            self.chunks.push(Box::new(std::array::from_fn(record)));
        }
    }

    /// The bytes of all records.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.chunks.len() * size_of::<[AllocRecord; CHUNK]>() + self.chunks.capacity() * size_of::<usize>()
    }
}

/// The chunk of a block's record, and its index in that chunk.
#[inline(always)]
fn place(block: u32) -> (usize, usize) {
    ((block >> CHUNK_BITS) as usize, block as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ptr;

    use super::*;

    #[test]
    fn every_block_has_a_record_of_its_own_and_few_are_made_ahead() {
        let mut records = RecordTable::default();
        let mut seen = HashSet::new();
        for block in 0..100_000 {
            let record = records.record(block);
            assert!(seen.insert(ptr::from_ref(record)), "{block}");
            assert_eq!(record.block(), block);
            let records = records.chunks.len() * CHUNK;
            assert!(records <= block as usize + CHUNK, "{records} for {block}");
        }
    }
}
