//! Who goes into which residency set, and when sets are let go: arithmetic without a device.
//!
//! Owns the plan: places, what is staged, and the clock of use. Must never see a Metal object; time
//! is handed in, so that every rule is tested without waiting.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

/// A member's number; never used twice.
pub(super) type Id = u64;

/// The bounds the plan keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes in one set, unless one member alone is larger.
    pub(super) set_bytes: u64,
    pub(super) max_sets: usize,
    /// Bytes in all sets.
    pub(super) total_bytes: u64,
}

/// What one set must add and remove in its next commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) add: Vec<Id>,
    pub(super) remove: Vec<Id>,
}

#[derive(Debug)]
pub(super) struct Policy {
    bounds: Bounds,
    /// Bytes in each set, as of the next commit.
    loads: Vec<u64>,
    members: BTreeMap<Id, Place>,
    /// Sets to commit.
    staged: BTreeMap<usize, Change>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    bytes: u64,
    /// None: left out to keep the reserve.
    set: Option<usize>,
}

impl Policy {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, loads: Vec::new(), members: BTreeMap::new(), staged: BTreeMap::new() }
    }

    /// Stages a member, or leaves it waiting while it would eat into the reserve.
    pub(super) fn add(&mut self, id: Id, bytes: u64) {
        let set =
            (self.resident_bytes() + bytes <= self.bounds.total_bytes).then(|| self.stage_add(id, bytes));
        self.members.insert(id, Place { bytes, set });
    }

    /// Stages a member's removal; those waiting move up, oldest first.
    pub(super) fn remove(&mut self, id: Id) {
        let Some(Place { bytes, set }) = self.members.remove(&id) else {
            return;
        };
        if let Some(set) = set {
            self.loads[set] -= bytes;
            let change = self.staged.entry(set).or_default();
            match change.add.iter().position(|added| *added == id) {
                Some(at) => drop(change.add.remove(at)),
                None => change.remove.push(id),
            }
        }
        let waiting: Vec<(Id, u64)> = self
            .members
            .iter()
            .filter(|(_, place)| place.set.is_none())
            .map(|(id, place)| (*id, place.bytes))
            .collect();
        for (id, bytes) in waiting {
            self.add(id, bytes);
        }
    }

    /// The changes since the last call, one per set: one commit each.
    pub(super) fn take_changes(&mut self) -> Vec<(usize, Change)> {
        std::mem::take(&mut self.staged)
            .into_iter()
            .filter(|(_, change)| *change != Change::default())
            .collect()
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.loads.iter().sum()
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        let waiting = self.members.values().filter(|place| place.set.is_none());
        waiting.map(|place| place.bytes).sum()
    }

    fn stage_add(&mut self, id: Id, bytes: u64) -> usize {
        let set = self.choose(bytes);
        self.loads[set] += bytes;
        let change = self.staged.entry(set).or_default();
        match change.remove.iter().position(|removed| *removed == id) {
            Some(at) => drop(change.remove.remove(at)),
            None => change.add.push(id),
        }
        set
    }

    /// The fullest set with room, else a new one, else the least loaded.
    fn choose(&mut self, bytes: u64) -> usize {
        let fits = |load: u64| load == 0 || load + bytes <= self.bounds.set_bytes;
        let sets = || self.loads.iter().copied().enumerate();
        if let Some((set, _)) = sets().filter(|(_, load)| fits(*load)).max_by_key(|(_, l)| *l) {
            return set;
        }
        if self.loads.len() < self.bounds.max_sets.max(1) {
            self.loads.push(0);
            return self.loads.len() - 1;
        }
        sets().min_by_key(|(_, load)| *load).map_or(0, |(set, _)| set)
    }
}

/// What to do with all sets at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    /// Ask for residency again, before the system takes idle memory away.
    Refresh,
    /// Idle for too long: let the system have it.
    LetGo,
}

/// The clock of use: awake from the first use until idle for too long.
#[derive(Debug)]
pub(super) struct KeepAlive {
    keep: Duration,
    last_use: Duration,
    pub(super) awake: bool,
}

impl KeepAlive {
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, last_use: Duration::ZERO, awake: false }
    }

    /// Notes a use and says whether the sets must be woken for it.
    pub(super) fn used(&mut self, now: Duration) -> bool {
        self.last_use = now;
        !std::mem::replace(&mut self.awake, true)
    }

    pub(super) fn tick(&mut self, now: Duration) -> Tick {
        if !self.awake {
            Tick::Nothing
        } else if now.saturating_sub(self.last_use) <= self.keep {
            Tick::Refresh
        } else {
            self.awake = false;
            Tick::LetGo
        }
    }
}
