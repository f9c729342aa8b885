//! The account: what the pool holds from the device, and how much it may hold.
//!
//! The account claims bytes and objects before the device is asked, and returns them after the device has
//! them again. What is claimed is therefore never below what is held, and a hard limit must never be
//! exceeded, at any moment or by any interleaving. Limits go by what is claimed, and nothing else does. The
//! device may still refuse a claim.
//!
//! What the device has given is a figure of its own. It is shown, makes the peak and guides policy. Only
//! device calls change either figure: hits never come here.
#![forbid(unsafe_code)]

use crate::config::Limits;
use crate::device::DeviceError;
use crate::sync::Ordering::Relaxed;
use crate::sync::{AtomicBool, AtomicU64, Mutex, lock};

/// How far a call may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UpTo {
    /// Up to the soft limits. The pool should first give back what is free.
    Soft,
    /// Up to the hard limits.
    Hard,
}

/// A figure and its limits.
#[derive(Debug)]
struct Gauge {
    /// What calls have set aside: what is held, or asked of the device at this moment.
    claimed: AtomicU64,
    /// What the device has given.
    held: AtomicU64,
    soft: Limit,
    hard: Limit,
}

/// A limit and its configuration key.
#[derive(Debug, Clone, Copy)]
struct Limit {
    key: &'static str,
    most: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Account {
    bytes: Gauge,
    objects: Gauge,
    peak_bytes: AtomicU64,
    /// Every change of what is held takes this lock, so that no thread sees the peak below what is held.
    settling: Mutex<()>,
    /// Whether a soft limit has been crossed and the program has not been told.
    untold: AtomicBool,
    crossings: AtomicU64,
    /// How often memory went back to the device.
    returns: AtomicU64,
}

/// Bytes and objects that a call is about to take. Dropping the claim gives them back.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    account: &'a Account,
    bytes: u64,
    objects: u64,
}

impl Account {
    /// `budget` is the device's budget. It counts if the settings want it kept.
    pub(crate) fn new(limits: &Limits, budget: Option<u64>) -> Self {
        let limit = |key, most: Option<u64>| Limit { key, most: most.unwrap_or(u64::MAX) };
        let budget = limit("limits.device_budget", budget.filter(|_| limits.device_budget));
        let hard = limit("limits.hard_mb", limits.hard_bytes);
        Self {
            bytes: Gauge {
                claimed: AtomicU64::new(0),
                held: AtomicU64::new(0),
                soft: limit("limits.soft_mb", limits.soft_bytes),
                hard: if budget.most < hard.most { budget } else { hard },
            },
            objects: Gauge {
                claimed: AtomicU64::new(0),
                held: AtomicU64::new(0),
                soft: limit("limits.soft_objects", limits.soft_objects),
                hard: limit("limits.hard_objects", limits.hard_objects),
            },
            peak_bytes: AtomicU64::new(0),
            settling: Mutex::new(()),
            untold: AtomicBool::new(false),
            crossings: AtomicU64::new(0),
            returns: AtomicU64::new(0),
        }
    }

    /// The bytes that the device has given.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.held.load(Relaxed)
    }

    /// The objects that the device has given.
    pub(crate) fn objects(&self) -> u64 {
        self.objects.held.load(Relaxed)
    }

    /// The most bytes that may be held, if there is such a limit.
    pub(crate) fn most_bytes(&self) -> Option<u64> {
        Some(self.bytes.hard.most).filter(|most| *most < u64::MAX)
    }

    /// The most bytes held at once since the last reset. It is no less than any result of [`Account::bytes`]
    /// in that time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        let _settling = lock(&self.settling);
        self.peak_bytes.load(Relaxed)
    }

    /// How often memory went back to the device. If this has changed, a call that failed for want of memory
    /// is worth another try. The held bytes say less, because other threads move them both ways.
    pub(crate) fn returns(&self) -> u64 {
        self.returns.load(Relaxed)
    }

    /// How often a soft limit has been crossed.
    pub(crate) fn crossings(&self) -> u64 {
        self.crossings.load(Relaxed)
    }

    /// Whether [`Account::crossed`] would return `true`.
    pub(crate) fn has_crossed(&self) -> bool {
        self.untold.load(Relaxed)
    }

    /// Whether a soft limit has been crossed since the last call.
    pub(crate) fn crossed(&self) -> bool {
        self.untold.load(Relaxed) && self.untold.swap(false, Relaxed)
    }

    /// Restarts the peak and the crossings from now.
    pub(crate) fn reset(&self) {
        let _settling = lock(&self.settling);
        self.peak_bytes.store(self.bytes(), Relaxed);
        self.crossings.store(0, Relaxed);
    }

    /// Sets bytes and objects aside for a device call.
    ///
    /// # Errors
    /// [`DeviceError::PastLimit`]; the claim then sets nothing aside.
    pub(crate) fn claim(&self, bytes: u64, objects: u64, up_to: UpTo) -> Result<Claim<'_>, DeviceError> {
        self.bytes.claim(bytes, up_to)?;
        // From here on, dropping the claim gives back what it has.
        let mut claim = Claim { account: self, bytes, objects: 0 };
        self.objects.claim(objects, up_to)?;
        claim.objects = objects;
        Ok(claim)
    }

    /// Returns bytes and objects that the device has back.
    pub(crate) fn give(&self, bytes: u64, objects: u64) {
        {
            let _settling = lock(&self.settling);
            self.bytes.held.fetch_sub(bytes, Relaxed);
            self.objects.held.fetch_sub(objects, Relaxed);
        }
        self.bytes.claimed.fetch_sub(bytes, Relaxed);
        self.objects.claimed.fetch_sub(objects, Relaxed);
        self.returns.fetch_add(1, Relaxed);
    }
}

impl Gauge {
    fn claim(&self, more: u64, up_to: UpTo) -> Result<(), DeviceError> {
        let limit = match up_to {
            UpTo::Soft if self.soft.most < self.hard.most => self.soft,
            _ => self.hard,
        };
        let fits = |claimed: u64| claimed.checked_add(more).filter(|sum| more == 0 || *sum <= limit.most);
        self.claimed.fetch_update(Relaxed, Relaxed, fits).map(drop).map_err(|held| match limit.most {
            // No setting is in the way, only that no device has so much.
            u64::MAX => DeviceError::TooLarge { requested: more, largest: u64::MAX - held },
            most => DeviceError::PastLimit { key: limit.key, requested: more, held, limit: most },
        })
    }

    /// Adds what the device has given of a claim. Returns `true` if that takes the figure past the soft
    /// limit.
    fn settle(&self, more: u64) -> bool {
        let before = self.held.fetch_add(more, Relaxed);
        before <= self.soft.most && before + more > self.soft.most
    }
}

impl Claim<'_> {
    /// Settles the claim for the `bytes` that the device has given, which may be more than was asked of it.
    ///
    /// # Errors
    /// [`DeviceError::PastLimit`] if that is too much. The claim is then given back, and the caller gives the
    /// memory back.
    pub(crate) fn settle(mut self, bytes: u64) -> Result<(), DeviceError> {
        let account = self.account;
        account.bytes.claim(bytes.saturating_sub(self.bytes), UpTo::Hard)?;
        account.bytes.claimed.fetch_sub(self.bytes.saturating_sub(bytes), Relaxed);
        let objects = std::mem::take(&mut self.objects);
        self.bytes = 0;
        let _settling = lock(&account.settling);
        let crossed = [account.bytes.settle(bytes), account.objects.settle(objects)];
        account.peak_bytes.fetch_max(account.bytes(), Relaxed);
        if crossed.contains(&true) {
            account.crossings.fetch_add(1, Relaxed);
            account.untold.store(true, Relaxed);
        }
        Ok(())
    }
}

impl Drop for Claim<'_> {
    /// Gives back the claim of a failed call. A claim that has settled holds nothing any more.
    fn drop(&mut self) {
        self.account.bytes.claimed.fetch_sub(self.bytes, Relaxed);
        self.account.objects.claimed.fetch_sub(self.objects, Relaxed);
    }
}
