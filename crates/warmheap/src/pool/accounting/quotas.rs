//! Quotas: how many requested bytes may be alive under a tag.
//!
//! Only requests whose tag has a quota are quota-charged, and only they pay for it: they must never take the
//! quick path. Their spans carry a mark that keeps their frees off it, too. For all other requests a quota
//! costs a look at one word, and nothing at all where the tag is known to be none.
//!
//! A quota goes by what is charged: what is used, and what requests under way ask for, which may still be
//! refused. What is used is a figure of its own, and the one that is shown.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;

use crate::pool::interface::error::{AllocError, PastQuota, QuotaExceeded};
use crate::pool::interface::request::Tag;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicU64, Mutex, lock};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// One bit for each tag with a quota. Tags may share bits. A tag that shares the bit of a tag with a
    /// quota goes the long way for nothing.
    metered: AtomicU64,
    meters: Mutex<BTreeMap<Tag, Meter>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Meter {
    /// `None` once the quota was lifted; what was charged is still to be given back.
    quota: Option<u64>,
    charged: u64,
    used: u64,
}

/// Bytes charged for a request that is under way. Dropping the charge gives them back.
#[derive(Debug)]
#[must_use]
pub(crate) struct Charge<'a> {
    quotas: &'a Quotas,
    tag: Tag,
    /// The bytes to be used.
    size: u64,
    /// The bytes given in exchange.
    returned: u64,
}

impl Charge<'_> {
    /// Makes the bytes of a served request used until they are given back.
    pub(crate) fn settle(self) {
        if let Some(meter) = lock(&self.quotas.meters).get_mut(&self.tag) {
            meter.used = meter.used - self.returned + self.size;
        }
        std::mem::forget(self);
    }
}

impl Drop for Charge<'_> {
    fn drop(&mut self) {
        if let Some(meter) = lock(&self.quotas.meters).get_mut(&self.tag) {
            meter.charged = meter.charged - self.size + self.returned;
        }
    }
}

impl Quotas {
    pub(crate) fn new(quotas: &BTreeMap<String, u64>) -> Self {
        let made = Self::default();
        quotas.iter().for_each(|(tag, most)| made.set(Tag::new(tag), Some(*most)));
        made
    }

    /// Whether requests under `tag` may be quota-charged.
    #[inline(always)]
    pub(crate) fn cover(&self, tag: Tag) -> bool {
        tag != Tag::NONE && self.metered.load(Relaxed) >> (tag.index() % 64) & 1 != 0
    }

    pub(crate) fn set(&self, tag: Tag, quota: Option<u64>) {
        let mut meters = lock(&self.meters);
        meters.entry(tag).or_default().quota = quota;
        meters.retain(|_, meter| meter.quota.is_some() || meter.charged.max(meter.used) > 0);
        let with_quota = meters.iter().filter(|(_, meter)| meter.quota.is_some());
        let bits = with_quota.fold(0, |bits, (tag, _)| bits | 1 << (tag.index() % 64));
        self.metered.store(bits, Relaxed);
    }

    /// The quota of a tag, and how much of it is used.
    pub(crate) fn get(&self, tag: Tag) -> Option<(u64, u64)> {
        let meter = lock(&self.meters).get(&tag).copied()?;
        Some((meter.quota?, meter.used))
    }

    /// Charges a request for `size` bytes, in exchange for `returned` bytes that are used. Returns `None`,
    /// and charges nothing, if the tag has no quota. The returned bytes are given back anyway.
    ///
    /// # Errors
    /// [`AllocError::QuotaExceeded`]; nothing has changed.
    pub(crate) fn charge(
        &self,
        tag: Tag,
        size: u64,
        returned: u64,
    ) -> Result<Option<Charge<'_>>, AllocError> {
        let mut meters = lock(&self.meters);
        let Some(meter) = meters.get_mut(&tag) else { return Ok(None) };
        let Some(quota) = meter.quota else {
            meter.charged -= returned;
            meter.used -= returned;
            return Ok(None);
        };
        match (meter.charged - returned).checked_add(size).filter(|sum| *sum <= quota) {
            Some(sum) => {
                meter.charged = sum;
                Ok(Some(Charge { quotas: self, tag, size, returned }))
            }
            None => {
                let past = PastQuota { tag, quota, used: meter.charged, requested: size };
                Err(AllocError::QuotaExceeded(QuotaExceeded::new(past)))
            }
        }
    }

    /// Gives back bytes that are used.
    pub(crate) fn give(&self, tag: Tag, size: u64) {
        if let Some(meter) = lock(&self.meters).get_mut(&tag) {
            meter.charged -= size;
            meter.used -= size;
        }
    }
}
