//! Applies the plan to MTLResidencySets, or uses `useHeap:` where the system has none.
//!
//! This module owns the sets, the queues they are added to, and a reference to every member. One lock
//! serialises all calls on all sets. No thread holds it while it waits for the GPU.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use objc2::runtime::{NSObjectProtocol, ProtocolObject};
use objc2::sel;
use objc2_foundation::NSString;
use objc2_metal::{
    MTLAllocation, MTLBuffer, MTLCommandQueue, MTLComputeCommandEncoder, MTLDevice, MTLGPUFamily, MTLHeap,
    MTLResidencySet, MTLResidencySetDescriptor, MTLResourceUsage,
};

use super::policy::{Bounds, Id, KeepAlive, Policy, Tick};
use super::{ResidencyOptions, ResidencyUse};
use crate::device::metal::autorelease::pooled;
use crate::device::metal::shared::Shared;

/// The time between two requests that keep idle memory wired.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A set may hold this much, however small its share of the working set is. A set per small heap would use up
/// the sets of a queue.
const SMALLEST_SET: u64 = 64 << 20;

/// The residency of one device's memory. Clones share it.
#[derive(Debug, Clone)]
pub(in crate::device::metal) struct Residency(Arc<Inner>);

/// The thread that keeps memory wired between uses. It ends when this is dropped.
#[derive(Debug)]
pub(in crate::device::metal) struct Keeper {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    device: Shared<dyn MTLDevice>,
    start: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The plan, or `None` if the system has no sets.
    plan: Option<Plan>,
    members: BTreeMap<Id, Resident>,
    next: Id,
    queues: Vec<Shared<dyn MTLCommandQueue>>,
}

#[derive(Debug)]
struct Plan {
    policy: Policy,
    alive: KeepAlive,
    sets: Vec<Shared<dyn MTLResidencySet>>,
    commits: u64,
}

/// The Metal object of a member.
#[derive(Debug)]
enum Resident {
    Heap(Shared<dyn MTLHeap>),
    Buffer(Shared<dyn MTLBuffer>),
}

impl Resident {
    fn allocation(&self) -> &ProtocolObject<dyn MTLAllocation> {
        match self {
            Self::Heap(heap) => ProtocolObject::from_ref(&**heap),
            Self::Buffer(buffer) => ProtocolObject::from_ref(&**buffer),
        }
    }
}

/// The membership of one heap or buffer. Dropping it takes the memory out of its set.
#[derive(Debug)]
pub(in crate::device::metal) struct Member {
    residency: Residency,
    id: Id,
    bytes: u64,
}

impl Residency {
    pub(in crate::device::metal) fn new(
        device: &ProtocolObject<dyn MTLDevice>,
        options: &ResidencyOptions,
    ) -> Self {
        // The selector alone does not say so: some virtual GPUs have it.
        let supported = device.respondsToSelector(sel!(newResidencySetWithDescriptor:error:))
            && device.supportsFamily(MTLGPUFamily::Metal3);
        let working_set = device.recommendedMaxWorkingSetSize() as f64;
        let plan = (options.enabled && supported).then(|| Plan {
            policy: Policy::new(Bounds {
                set_bytes: ((working_set * options.set_share) as u64).max(SMALLEST_SET),
                max_sets: options.max_sets,
                total_bytes: (working_set * (1.0 - options.reserve_share)) as u64,
            }),
            alive: KeepAlive::new(options.keep_alive),
            sets: Vec::new(),
            commits: 0,
        });
        Self(Arc::new(Inner {
            device: Shared::retain(device),
            start: Instant::now(),
            state: Mutex::new(State { plan, members: BTreeMap::new(), next: 0, queues: Vec::new() }),
        }))
    }

    /// Starts the thread that refreshes idle memory, if the options want it and the system has sets.
    pub(in crate::device::metal) fn keeper(&self, options: &ResidencyOptions) -> Option<Keeper> {
        let wanted = self.0.lock().plan.is_some() && !options.keep_alive.is_zero();
        wanted.then(|| Keeper::start(&self.0)).flatten()
    }

    pub(in crate::device::metal) fn join_heap(
        &self,
        heap: &ProtocolObject<dyn MTLHeap>,
        bytes: u64,
    ) -> Member {
        self.join(Resident::Heap(Shared::retain(heap)), bytes)
    }

    pub(in crate::device::metal) fn join_buffer(
        &self,
        buffer: &ProtocolObject<dyn MTLBuffer>,
        bytes: u64,
    ) -> Member {
        self.join(Resident::Buffer(Shared::retain(buffer)), bytes)
    }

    fn join(&self, resident: Resident, bytes: u64) -> Member {
        let mut state = self.0.lock();
        let id = state.next;
        state.next += 1;
        state.members.insert(id, resident);
        if let Some(plan) = &mut state.plan {
            plan.policy.add(id, bytes);
        }
        Member { residency: self.clone(), id, bytes }
    }

    /// Adds all sets to a queue, and later ones when they are created.
    pub(in crate::device::metal) fn attach(&self, queue: &ProtocolObject<dyn MTLCommandQueue>) {
        let mut state = self.0.lock();
        for set in state.sets() {
            queue.addResidencySet(set);
        }
        state.queues.push(Shared::retain(queue));
    }

    pub(in crate::device::metal) fn detach(&self, queue: &ProtocolObject<dyn MTLCommandQueue>) {
        let mut state = self.0.lock();
        let Some(at) = state.queues.iter().position(|other| std::ptr::eq(&**other, queue)) else {
            return;
        };
        let queue = state.queues.swap_remove(at);
        for set in state.sets() {
            queue.removeResidencySet(set);
        }
    }

    /// Commits the staged changes and records the use. A submission calls this first.
    pub(in crate::device::metal) fn before_work(&self) {
        self.0.lock().carry_out(&self.0, true);
    }

    /// Commits the staged changes and requests residency now. Returns false if the system has no sets.
    pub(in crate::device::metal) fn commit_now(&self) -> bool {
        let mut state = self.0.lock();
        state.carry_out(&self.0, true);
        state.plan.is_some()
    }

    pub(in crate::device::metal) fn use_memory(
        &self,
        encoder: &ProtocolObject<dyn MTLComputeCommandEncoder>,
    ) {
        let state = self.0.lock();
        if state.plan.is_some() {
            return;
        }
        for member in state.members.values() {
            match member {
                Resident::Heap(heap) => encoder.useHeap(heap),
                Resident::Buffer(buffer) => encoder.useResource_usage(
                    ProtocolObject::from_ref(&**buffer),
                    MTLResourceUsage::Read | MTLResourceUsage::Write,
                ),
            }
        }
    }

    pub(in crate::device::metal) fn usage(&self) -> ResidencyUse {
        let state = self.0.lock();
        state.plan.as_ref().map_or_else(ResidencyUse::default, |plan| ResidencyUse {
            supported: true,
            sets: plan.sets.len(),
            resident_bytes: plan.policy.resident_bytes(),
            waiting_bytes: plan.policy.waiting_bytes(),
            commits: plan.commits,
        })
    }
}

impl Member {
    /// Takes the memory out of its set at once, so that the system may take its pages.
    pub(in crate::device::metal) fn leave(&self) {
        let mut state = self.residency.0.lock();
        if let Some(plan) = &mut state.plan {
            plan.policy.remove(self.id);
        }
        state.carry_out(&self.residency.0, false);
    }

    /// As [`Member::leave`], because the program has become idle.
    pub(in crate::device::metal) fn rest(&self) {
        self.leave();
        if let Some(plan) = &mut self.residency.0.lock().plan {
            plan.alive.rest();
        }
    }

    /// Puts the memory back into a set at the next commit.
    pub(in crate::device::metal) fn rejoin(&self) {
        if let Some(plan) = &mut self.residency.0.lock().plan {
            plan.policy.add(self.id, self.bytes);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
        self.residency.0.lock().members.remove(&self.id);
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn new_set(&self, index: usize) -> Option<Shared<dyn MTLResidencySet>> {
        let descriptor = MTLResidencySetDescriptor::new();
        descriptor.setLabel(Some(&NSString::from_str(&format!("warmheap {index}"))));
        match self.device.newResidencySetWithDescriptor_error(&descriptor) {
            Ok(set) => Some(Shared(set)),
            Err(error) => {
                let reason = error.localizedDescription().to_string();
                tracing::warn!(%reason, "no residency set; memory is wired as it is used");
                None
            }
        }
    }

    fn tick(&self) {
        let mut state = self.lock();
        let Some(plan) = &mut state.plan else { return };
        match plan.alive.tick(self.start.elapsed()) {
            Tick::Nothing => {}
            Tick::Refresh => plan.sets.iter().for_each(|set| set.requestResidency()),
            Tick::LetGo => plan.sets.iter().for_each(|set| set.endResidency()),
        }
    }
}

impl State {
    fn sets(&self) -> &[Shared<dyn MTLResidencySet>] {
        self.plan.as_ref().map_or(&[], |plan| &plan.sets)
    }

    /// Applies the changes of each set and commits the set once. With `used`, work needs the memory now.
    fn carry_out(&mut self, inner: &Inner, used: bool) {
        let Some(plan) = &mut self.plan else { return };
        let done = pooled(|| {
            let wake = used && plan.alive.used(inner.start.elapsed());
            for (index, change) in plan.policy.take_changes() {
                while plan.sets.len() <= index {
                    let set = inner.new_set(plan.sets.len())?;
                    for queue in &self.queues {
                        queue.addResidencySet(&set);
                    }
                    plan.sets.push(set);
                }
                let set = &plan.sets[index];
                let allocation = |id| self.members.get(id).map(Resident::allocation);
                for member in change.remove.iter().filter_map(allocation) {
                    set.removeAllocation(member);
                }
                for member in change.add.iter().filter_map(allocation) {
                    set.addAllocation(member);
                }
                set.commit();
                plan.commits += 1;
                if plan.alive.awake && !wake && !change.add.is_empty() {
                    set.requestResidency();
                }
            }
            if wake {
                plan.sets.iter().for_each(|set| set.requestResidency());
            }
            Some(())
        });
        if done.is_none() {
            self.give_up();
        }
    }

    /// Removes all sets, and goes on as on a system without sets.
    fn give_up(&mut self) {
        for set in self.sets() {
            for queue in &self.queues {
                queue.removeResidencySet(set);
            }
        }
        self.plan = None;
    }
}

impl Keeper {
    fn start(inner: &Arc<Inner>) -> Option<Self> {
        let inner = Arc::downgrade(inner);
        let (stop, stopped) = channel();
        let run = move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                let Some(inner) = Weak::upgrade(&inner) else {
                    return;
                };
                pooled(|| inner.tick());
            }
        };
        // If the thread cannot start, idle memory is not refreshed. Nothing else changes.
        let thread = std::thread::Builder::new().name("warmheap-residency".into()).spawn(run).ok()?;
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        // The thread ends at once and returns nothing.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
