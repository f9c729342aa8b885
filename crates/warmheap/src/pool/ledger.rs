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

const FIRST_BITS: u32 = 6;
const CHUNKS: usize = 32 - FIRST_BITS as usize + 1;

/// Records by block number, in chunks that double so that none ever moves.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    chunks: [OnceLock<Box<[Tenant]>>; CHUNKS],
}

impl Ledger {
    /// The record of `block`, made if it is the first of its chunk.
    #[inline]
    pub(crate) fn tenant(&self, block: u32) -> &Tenant {
        let place = u64::from(block) + (1 << FIRST_BITS);
        let bits = 63 - place.leading_zeros();
        let chunk = self.chunks[(bits - FIRST_BITS) as usize]
            .get_or_init(|| (0..1usize << bits).map(|_| Tenant::default()).collect());
        let tenant = &chunk[(place - (1 << bits)) as usize];
        tenant.block.store(block, Relaxed);
        tenant
    }

    /// Bytes of records kept.
    pub(crate) fn metadata_bytes(&self) -> usize {
        self.chunks.iter().filter_map(OnceLock::get).map(|c| size_of_val(&**c)).sum()
    }
}
