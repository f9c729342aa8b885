//! Who holds what: one record per range handed out, outside the memory it describes.
//!
//! Records never move, so a buffer keeps a pointer to its own and writes it without any lock.
//! Fields are atomics only so that a leak report may read while holders write; nothing is ordered
//! by them.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::request::Tag;
use super::site::Site;

/// The record of one range.
#[derive(Debug, Default)]
pub(crate) struct Tenant {
    site: AtomicPtr<()>,
    size: AtomicU64,
    tag: AtomicU32,
    /// The range's block in its heap; fixed from the moment the heap hands it out.
    block: AtomicU32,
}

impl Tenant {
    #[inline(always)]
    pub(crate) fn moves_in(&self, size: u64, tag: Tag, site: Site) {
        self.site.store(site.into_word(), Relaxed);
        self.size.store(size, Relaxed);
        self.tag.store(tag.index(), Relaxed);
    }

    /// The holder of another range has moved here.
    pub(crate) fn takes_over(&self, other: &Self) {
        self.site.store(other.site.load(Relaxed), Relaxed);
        self.size.store(other.size(), Relaxed);
        self.tag.store(other.tag.load(Relaxed), Relaxed);
    }

    /// The holder has more, or less, than it asked for at first.
    pub(crate) fn resize(&self, size: u64) {
        self.size.store(size, Relaxed);
    }

    #[inline]
    pub(crate) fn block(&self) -> u32 {
        self.block.load(Relaxed)
    }

    pub(crate) fn tag(&self) -> Tag {
        Tag::from_index(self.tag.load(Relaxed))
    }

    pub(crate) fn size(&self) -> u64 {
        self.size.load(Relaxed)
    }

    /// Where the holder asked; `None` before the first.
    pub(crate) fn site(&self) -> Option<Site> {
        // SAFETY: the field is null or was stored from a site's word.
        unsafe { Site::from_word(self.site.load(Relaxed)) }
    }
}

/// log2 of the first chunk's records.
const FIRST_BITS: u32 = 6;
/// log2 of the chunks for each doubling: records made ahead are at most an eighth of those in use.
const SUB_BITS: u32 = 3;
const CHUNKS: usize = (32 - FIRST_BITS as usize + 1) << SUB_BITS;

/// Records by block number, in chunks that grow with their number, so that none ever moves.
#[derive(Debug)]
pub(crate) struct Ledger {
    chunks: Box<[OnceLock<Box<[Tenant]>>; CHUNKS]>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { chunks: Box::new([const { OnceLock::new() }; CHUNKS]) }
    }
}

impl Ledger {
    /// The record of `block`, made if it is the first of its chunk.
    #[inline]
    pub(crate) fn tenant(&self, block: u32) -> &Tenant {
        // The top bits of the shifted number name the chunk, the others the place in it.
        let place = u64::from(block) + (1 << FIRST_BITS);
        let low_bits = 63 - SUB_BITS - place.leading_zeros();
        let leading = (place >> low_bits) as u32 & ((1 << SUB_BITS) - 1);
        let chunk = ((low_bits + SUB_BITS - FIRST_BITS) << SUB_BITS) + leading;
        let chunk = self.chunks[chunk as usize]
            .get_or_init(|| (0..1usize << low_bits).map(|_| Tenant::default()).collect());
        let tenant = &chunk[(place & ((1 << low_bits) - 1)) as usize];
        tenant.block.store(block, Relaxed);
        tenant
    }

    /// Bytes of records kept.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.chunks.iter().filter_map(OnceLock::get).map(|c| size_of_val(&**c)).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ptr;

    use super::*;

    #[test]
    fn every_block_has_a_record_of_its_own_and_few_are_made_ahead() {
        let ledger = Ledger::default();
        let mut seen = HashSet::new();
        for block in 0..100_000 {
            let tenant = ledger.tenant(block);
            assert!(seen.insert(ptr::from_ref(tenant)), "{block}");
            assert_eq!(tenant.block(), block);
            let records = ledger.metadata_bytes() / size_of::<Tenant>();
            assert!(records <= block as usize + 8 + (block as usize + 64) / 8, "{records} for {block}");
        }
    }
}
