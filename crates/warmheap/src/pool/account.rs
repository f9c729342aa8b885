//! What is held from the device, and how much may be.
//!
//! Bytes and objects are claimed before the device is asked and given back after the device has
//! them again, so the account is never below what is held and a hard limit is never exceeded, at no
//! moment and by no interleaving. Only calls of the device move it: hits never come here.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::config::Limits;
use crate::device::DeviceError;

/// How far a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpTo {
    /// The soft limits: what is free should make way first.
    Soft,
    /// The hard limits.
    Hard,
}

/// A figure and its limits.
#[derive(Debug)]
struct Gauge {
    held: AtomicU64,
    soft: Limit,
    hard: Limit,
}

/// At most so much, by this key.
#[derive(Debug, Clone, Copy)]
struct Limit {
    key: &'static str,
    most: u64,
}

/// See the module's essay.
#[derive(Debug)]
pub(crate) struct Account {
    bytes: Gauge,
    objects: Gauge,
    peak_bytes: AtomicU64,
    /// More is held than a soft limit says.
    above: AtomicBool,
    /// It has become so and nobody has been told.
    untold: AtomicBool,
    crossings: AtomicU64,
}

/// Bytes and objects that a call is about to take. Dropped, they are given back.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    account: &'a Account,
    bytes: u64,
    objects: u64,
}

impl Account {
    /// `budget` is the device's, for settings that want it kept.
    pub(crate) fn new(limits: &Limits, budget: Option<u64>) -> Self {
        let limit = |key, most: Option<u64>| Limit { key, most: most.unwrap_or(u64::MAX) };
        let budget = limit("limits.device_budget", budget.filter(|_| limits.device_budget));
        let hard = limit("limits.hard_mb", limits.hard_bytes);
        Self {
            bytes: Gauge {
                held: AtomicU64::new(0),
                soft: limit("limits.soft_mb", limits.soft_bytes),
                hard: if budget.most < hard.most { budget } else { hard },
            },
            objects: Gauge {
                held: AtomicU64::new(0),
                soft: limit("limits.soft_objects", limits.soft_objects),
                hard: limit("limits.hard_objects", limits.hard_objects),
            },
            peak_bytes: AtomicU64::new(0),
            above: AtomicBool::new(false),
            untold: AtomicBool::new(false),
            crossings: AtomicU64::new(0),
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.held.load(Relaxed)
    }

    pub(crate) fn objects(&self) -> u64 {
        self.objects.held.load(Relaxed)
    }

    /// The most bytes that may be held, if there is such a limit.
    pub(crate) fn most_bytes(&self) -> Option<u64> {
        Some(self.bytes.hard.most).filter(|most| *most < u64::MAX)
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes.load(Relaxed)
    }

    /// How often a soft limit has been crossed.
    pub(crate) fn crossings(&self) -> u64 {
        self.crossings.load(Relaxed)
    }

    /// Whether a soft limit has been crossed since this was last asked.
    pub(crate) fn crossed(&self) -> bool {
        self.untold.load(Relaxed) && self.untold.swap(false, Relaxed)
    }

    /// Peak and crossings start from now.
    pub(crate) fn reset(&self) {
        self.peak_bytes.store(self.bytes(), Relaxed);
        self.crossings.store(0, Relaxed);
    }

    /// Sets bytes and objects aside for a call of the device.
    ///
    /// # Errors
    /// [`DeviceError::PastLimit`], and nothing is set aside.
    pub(crate) fn claim(&self, bytes: u64, objects: u64, up_to: UpTo) -> Result<Claim<'_>, DeviceError> {
        self.bytes.take(bytes, up_to)?;
        // From here on dropping the claim gives back what it has.
        let mut claim = Claim { account: self, bytes, objects: 0 };
        self.objects.take(objects, up_to)?;
        claim.objects = objects;
        Ok(claim)
    }

    /// The device has these back.
    pub(crate) fn give(&self, bytes: u64, objects: u64) {
        self.bytes.held.fetch_sub(bytes, Relaxed);
        self.objects.held.fetch_sub(objects, Relaxed);
        if self.above.load(Relaxed) && !self.is_above() {
            self.above.store(false, Relaxed);
        }
    }

    fn is_above(&self) -> bool {
        self.bytes.is_above() || self.objects.is_above()
    }
}

impl Gauge {
    fn take(&self, more: u64, up_to: UpTo) -> Result<(), DeviceError> {
        let limit = match up_to {
            UpTo::Soft if self.soft.most < self.hard.most => self.soft,
            _ => self.hard,
        };
        let fits = |held: u64| held.checked_add(more).filter(|sum| more == 0 || *sum <= limit.most);
        self.held.fetch_update(Relaxed, Relaxed, fits).map(drop).map_err(|held| DeviceError::PastLimit {
            key: limit.key,
            requested: more,
            held,
            limit: limit.most,
        })
    }

    fn is_above(&self) -> bool {
        self.held.load(Relaxed) > self.soft.most
    }
}

impl Claim<'_> {
    /// The device has given `bytes`, which may be more than was asked of it.
    ///
    /// # Errors
    /// [`DeviceError::PastLimit`] if that is too much; the claim is given back, and the caller gives
    /// the memory back.
    pub(crate) fn settle(mut self, bytes: u64) -> Result<(), DeviceError> {
        let account = self.account;
        account.bytes.take(bytes.saturating_sub(self.bytes), UpTo::Hard)?;
        account.give(self.bytes.saturating_sub(bytes), 0);
        (self.bytes, self.objects) = (0, 0);
        account.peak_bytes.fetch_max(account.bytes(), Relaxed);
        if account.is_above() && !account.above.swap(true, Relaxed) {
            account.crossings.fetch_add(1, Relaxed);
            account.untold.store(true, Relaxed);
        }
        Ok(())
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.account.give(self.bytes, self.objects);
    }
}
