//! Decides which member goes into which residency set, and when sets are released. It is arithmetic without a
//! device.
//!
//! This module owns the plan: places, staged changes, and the time of the last use. It must never see a Metal
//! object. Callers pass the time in, so that tests of every rule need not wait.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::time::Duration;

/// The number of a member. It is never used twice.
pub(super) type Id = u64;

/// The bounds of the plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The most bytes in one set, unless one member alone is larger.
    pub(super) set_bytes: u64,
    pub(super) max_sets: usize,
    /// The most bytes in all sets.
    pub(super) total_bytes: u64,
}

/// The members that one set must add and remove in its next commit.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) add: Vec<Id>,
    pub(super) remove: Vec<Id>,
}

#[derive(Debug)]
pub(super) struct Policy {
    bounds: Bounds,
    /// The bytes in each set after the next commit.
    loads: Vec<u64>,
    members: BTreeMap<Id, Place>,
    /// The sets that need a commit.
    staged: BTreeMap<usize, Change>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    bytes: u64,
    /// The set, or `None` if the member is left out to keep the reserve.
    set: Option<usize>,
}

impl Policy {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, loads: Vec::new(), members: BTreeMap::new(), staged: BTreeMap::new() }
    }

    /// Stages a member. The member waits instead if it would take from the reserve.
    pub(super) fn add(&mut self, id: Id, bytes: u64) {
        let set =
            (self.resident_bytes() + bytes <= self.bounds.total_bytes).then(|| self.stage_add(id, bytes));
        self.members.insert(id, Place { bytes, set });
    }

    /// Stages the removal of a member. Waiting members may then enter, oldest first.
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

    /// Returns the changes since the last call, one for each set. Each needs one commit.
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

    /// Chooses the fullest set with room, else a new one, else the least loaded.
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

/// The action for all sets at a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tick {
    Nothing,
    /// Request residency again, before the system takes idle memory.
    Refresh,
    /// Release the memory to the system, because the program is idle, and was for too long.
    LetGo,
}

/// Tracks the last use. It is awake from the first use until the program has said that it is idle, and no use
/// came for too long. Without that word the memory may be in use by queues that are not ours.
#[derive(Debug)]
pub(super) struct KeepAlive {
    keep: Duration,
    last_use: Duration,
    resting: bool,
    pub(super) awake: bool,
}

impl KeepAlive {
    pub(super) fn new(keep: Duration) -> Self {
        Self { keep, last_use: Duration::ZERO, resting: false, awake: false }
    }

    /// Records a use. Returns whether residency must be requested for it.
    pub(super) fn used(&mut self, now: Duration) -> bool {
        self.last_use = now;
        self.resting = false;
        !std::mem::replace(&mut self.awake, true)
    }

    /// Records that the program is idle.
    pub(super) fn rest(&mut self) {
        self.resting = true;
    }

    pub(super) fn tick(&mut self, now: Duration) -> Tick {
        if !self.awake {
            Tick::Nothing
        } else if !self.resting || now.saturating_sub(self.last_use) <= self.keep {
            Tick::Refresh
        } else {
            self.awake = false;
            Tick::LetGo
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { set_bytes: 100, max_sets: 3, total_bytes: 400 };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn changes_are_batched_into_one_commit_per_set() {
        let mut policy = Policy::new(BOUNDS);
        (0..4).for_each(|id| policy.add(id, 30));
        let changes = policy.take_changes();
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[0], (0, Change { add: vec![0, 1, 2], remove: vec![] }));
        assert_eq!(changes[1], (1, Change { add: vec![3], remove: vec![] }));
        assert!(policy.take_changes().is_empty());
        policy.remove(1);
        policy.add(4, 40);
        assert_eq!(policy.take_changes(), vec![(0, Change { add: vec![4], remove: vec![1] })]);
    }

    #[test]
    fn a_member_that_comes_and_goes_between_commits_costs_none() {
        let mut policy = Policy::new(BOUNDS);
        policy.add(0, 10);
        policy.remove(0);
        assert!(policy.take_changes().is_empty());
        policy.add(1, 10);
        policy.take_changes();
        policy.remove(1);
        policy.add(1, 10);
        assert!(policy.take_changes().is_empty());
        policy.remove(99);
        assert!(policy.take_changes().is_empty());
    }

    #[test]
    fn a_member_larger_than_a_set_gets_its_own() {
        let mut policy = Policy::new(BOUNDS);
        policy.add(0, 250);
        policy.add(1, 50);
        policy.add(2, 50);
        let sets: Vec<_> = policy.take_changes().into_iter().map(|(set, change)| (set, change.add)).collect();
        assert_eq!(sets, [(0, vec![0]), (1, vec![1, 2])]);
    }

    #[test]
    fn past_the_last_set_the_least_loaded_takes_more() {
        let mut policy = Policy::new(BOUNDS);
        [90, 80, 70, 60].into_iter().zip(0..).for_each(|(bytes, id)| policy.add(id, bytes));
        let changes = policy.take_changes();
        assert_eq!(changes.len(), 3);
        assert_eq!(changes[2], (2, Change { add: vec![2, 3], remove: vec![] }));
    }

    #[test]
    fn the_systems_reserve_is_kept_and_the_oldest_waiting_member_enters() {
        let mut policy = Policy::new(BOUNDS);
        (0..5).for_each(|id| policy.add(id, 100));
        assert_eq!((policy.resident_bytes(), policy.waiting_bytes()), (400, 100));
        policy.add(5, 50);
        policy.take_changes();
        policy.remove(5); // the member never had a place
        assert!(policy.take_changes().is_empty());
        policy.remove(0);
        let changes = policy.take_changes();
        let added: Vec<Id> = changes.iter().flat_map(|(_, change)| change.add.clone()).collect();
        assert_eq!(added, [4]);
        assert_eq!((policy.resident_bytes(), policy.waiting_bytes()), (400, 0));
    }

    #[test]
    fn idle_memory_is_refreshed_then_released_then_requested_again() {
        let mut alive = KeepAlive::new(seconds(180));
        assert_eq!(alive.tick(seconds(1)), Tick::Nothing);
        assert!(alive.used(seconds(2)));
        assert!(!alive.used(seconds(3)));
        assert_eq!(alive.tick(seconds(1000)), Tick::Refresh); // queues that are not ours may use it
        alive.rest();
        assert_eq!(alive.tick(seconds(183)), Tick::Refresh);
        assert_eq!(alive.tick(seconds(184)), Tick::LetGo);
        assert_eq!(alive.tick(seconds(185)), Tick::Nothing);
        assert!(alive.used(seconds(500)));
        assert_eq!(alive.tick(seconds(501)), Tick::Refresh);
    }

    /// Any history of adding, removing and committing keeps the bounds. The changes passed to the sets add up
    /// to the plan.
    #[test]
    fn any_history_keeps_the_bounds() {
        let mut state = 1_u64;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let mut policy = Policy::new(Bounds { set_bytes: 100, max_sets: 8, total_bytes: 600 });
            let mut sizes = BTreeMap::new();
            let mut told: BTreeMap<Id, usize> = BTreeMap::new();
            for id in 0..100 {
                if random(3) > 0 {
                    let bytes = 1 + random(100);
                    policy.add(id, bytes);
                    sizes.insert(id, bytes);
                } else {
                    let gone = random(id + 1);
                    policy.remove(gone);
                    sizes.remove(&gone);
                }
                if random(4) == 0 {
                    for (set, change) in policy.take_changes() {
                        for id in change.remove {
                            assert_eq!(told.remove(&id), Some(set));
                        }
                        for id in change.add {
                            assert_eq!(told.insert(id, set), None);
                        }
                    }
                    let resident: u64 = told.keys().map(|id| sizes[id]).sum();
                    assert_eq!(policy.resident_bytes(), resident);
                    assert_eq!(policy.resident_bytes() + policy.waiting_bytes(), sizes.values().sum::<u64>());
                    assert!(resident <= 600 && told.values().all(|set| *set < 8));
                }
            }
        }
    }
}
