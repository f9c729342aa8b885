//! Quotas: how many requested bytes may be alive under a tag.
//!
//! Only requests whose tag has a quota are metered, and only they pay: they are kept off the quick
//! path, and their ranges carry a mark that keeps their frees off it. For all others a quota costs a
//! look at one word, and nothing at all where the tag is known to be none.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::boxed::Boxed;
use super::error::{AllocError, QuotaExceeded};
use super::lock;
use super::request::Tag;

/// See the module's essay.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// One bit for each tag with a quota. Tags may share bits: those of a metered one go the long
    /// way for nothing.
    metered: AtomicU64,
    meters: Mutex<BTreeMap<Tag, Meter>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Meter {
    /// `None` once the quota was lifted; what was charged is still to be given back.
    quota: Option<u64>,
    used: u64,
}

impl Quotas {
    pub(crate) fn new(quotas: &BTreeMap<String, u64>) -> Self {
        let made = Self::default();
        quotas.iter().for_each(|(tag, most)| made.set(Tag::new(tag), Some(*most)));
        made
    }

    /// Whether requests under `tag` may be metered.
    #[inline(always)]
    pub(crate) fn cover(&self, tag: Tag) -> bool {
        tag != Tag::NONE && self.metered.load(Relaxed) >> (tag.index() % 64) & 1 != 0
    }

    pub(crate) fn set(&self, tag: Tag, quota: Option<u64>) {
        let mut meters = lock(&self.meters);
        meters.entry(tag).or_default().quota = quota;
        meters.retain(|_, meter| meter.quota.is_some() || meter.used > 0);
        let with_quota = meters.iter().filter(|(_, meter)| meter.quota.is_some());
        let bits = with_quota.fold(0, |bits, (tag, _)| bits | 1 << (tag.index() % 64));
        self.metered.store(bits, Relaxed);
    }

    /// The quota of a tag, and what of it is used.
    pub(crate) fn get(&self, tag: Tag) -> Option<(u64, u64)> {
        let meter = lock(&self.meters).get(&tag).copied()?;
        Some((meter.quota?, meter.used))
    }

    /// Charges a request for `size` bytes, in exchange for `returned` bytes charged before. `false`
    /// if its tag has no quota, and nothing is charged; what was returned is given back anyway.
    ///
    /// # Errors
    /// [`AllocError::QuotaExceeded`]; nothing has changed.
    pub(crate) fn charge(&self, tag: Tag, size: u64, returned: u64) -> Result<bool, AllocError> {
        let mut meters = lock(&self.meters);
        let Some(meter) = meters.get_mut(&tag) else { return Ok(false) };
        let used = meter.used - returned;
        match meter.quota {
            Some(quota) if used.checked_add(size).is_none_or(|sum| sum > quota) => {
                let exceeded = QuotaExceeded { tag, quota, used: meter.used, requested: size };
                Err(AllocError::QuotaExceeded(Boxed::new(exceeded)))
            }
            quota => {
                meter.used = if quota.is_some() { used + size } else { used };
                Ok(quota.is_some())
            }
        }
    }

    /// Gives back what was charged.
    pub(crate) fn give(&self, tag: Tag, size: u64) {
        if let Some(meter) = lock(&self.meters).get_mut(&tag) {
            meter.used -= size;
        }
    }
}
