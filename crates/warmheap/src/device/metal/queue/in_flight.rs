//! The submissions of a queue that have not ended, and the errors of those that failed.
//!
//! Metal starts the command buffers of a queue in order, and may end them in any order. So an event that a
//! later command buffer has signalled says nothing about an earlier one. This module therefore calls a
//! submission complete when its own command buffer has ended, and all before it have.
//!
//! The events are for waits on the GPU. A submission signals one of a ring, and each event of the ring rises
//! in order. A command buffer that fails signals nothing, so this module signals for it.
//!
//! No thread holds the lock while it waits, or while it releases a command buffer. Such a release may end a
//! buffer of the pool, which may ask this queue what has completed.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use objc2::rc::Retained;
use objc2::runtime::ProtocolObject;
use objc2_metal::{MTLCommandBuffer, MTLCommandBufferStatus, MTLDevice, MTLEvent, MTLSharedEvent};

use crate::device::DeviceError;
use crate::device::metal::autorelease::pooled;
use crate::device::metal::shared::Shared;

/// The events of a queue. With more submissions in flight than this, the end of a submission waits for the
/// one that used its event before.
const EVENTS: usize = 8;

/// The most errors that a queue keeps. It forgets the oldest first.
const FAILURES: usize = 1024;

/// The longest time that a thread waits for an event before it looks for failed submissions.
const SLICE: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(super) struct InFlight {
    events: [Shared<dyn MTLSharedEvent>; EVENTS],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last ticket handed out. The lock keeps tickets in the order of commits.
    last: u64,
    /// The highest ticket that has ended and before which all have.
    done: u64,
    /// The submissions after `done`, oldest first.
    buffers: VecDeque<Shared<dyn MTLCommandBuffer>>,
    /// The errors of failed submissions, by ticket.
    failures: BTreeMap<u64, String>,
}

/// Command buffers that have ended. Dropping this value releases them.
struct Ended(Vec<Shared<dyn MTLCommandBuffer>>);

impl Drop for Ended {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            pooled(|| self.0.clear());
        }
    }
}

impl InFlight {
    pub(super) fn new(device: &ProtocolObject<dyn MTLDevice>) -> Option<Self> {
        let events: Option<Vec<_>> = (0..EVENTS).map(|_| device.newSharedEvent().map(Shared)).collect();
        Some(Self { events: events?.try_into().ok()?, state: Mutex::default() })
    }

    /// Encodes the signal of the next ticket at the end of `buffer`, calls `then`, and returns the ticket.
    pub(super) fn add(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, then: impl FnOnce()) -> u64 {
        pooled(|| {
            let mut state = self.lock();
            let ended = self.take_ended(&mut state);
            let value = state.last + 1;
            let event = as_event(self.event(value));
            let before = value.saturating_sub(EVENTS as u64);
            if before > state.done {
                buffer.encodeWaitForEvent_value(event, before);
            }
            buffer.encodeSignalEvent_value(event, value);
            state.buffers.push_back(Shared::retain(buffer));
            state.last = value;
            then();
            drop(state);
            drop(ended);
            value
        })
    }

    /// Makes `buffer` wait on the GPU for all submissions up to `ticket`.
    pub(super) fn encode_wait(&self, buffer: &ProtocolObject<dyn MTLCommandBuffer>, ticket: u64) {
        let first = self.lock().done.max(ticket.saturating_sub(EVENTS as u64)) + 1;
        for value in first..=ticket {
            buffer.encodeWaitForEvent_value(as_event(self.event(value)), value);
        }
    }

    pub(super) fn last(&self) -> u64 {
        self.lock().last
    }

    /// Returns the highest ticket up to which all submissions have ended, and releases these.
    pub(super) fn poll(&self) -> u64 {
        let mut state = self.lock();
        let ended = self.take_ended(&mut state);
        let done = state.done;
        drop(state);
        drop(ended);
        done
    }

    /// Returns the error of a submission that failed.
    pub(super) fn failure(&self, ticket: u64) -> Option<DeviceError> {
        let reason = self.lock().failures.get(&ticket)?.clone();
        Some(failed(ticket, &reason))
    }

    /// Returns the error of the first submission after `ticket` that failed.
    pub(super) fn first_failure_after(&self, ticket: u64) -> Option<DeviceError> {
        let state = self.lock();
        let (ticket, reason) = state.failures.range(ticket + 1..).next()?;
        Some(failed(*ticket, reason))
    }

    /// Waits until all submissions up to `ticket` have ended, or until `timeout` has passed. Returns whether
    /// they have. After each slice of the wait, calls `meanwhile`.
    pub(super) fn wait(&self, ticket: u64, timeout: Duration, meanwhile: impl Fn()) -> bool {
        /// The pauses between an event's signal and the end of its command buffer.
        const PAUSES: [Duration; 2] = [Duration::from_micros(20), Duration::from_millis(1)];
        let start = Instant::now();
        let mut pause = PAUSES[0];
        loop {
            let done = self.poll();
            if done >= ticket {
                return true;
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return false;
            }
            let event = self.event(done + 1);
            if event.signaledValue() > done || self.last() == done {
                std::thread::sleep(pause.min(left));
                pause = (pause * 2).min(PAUSES[1]);
                continue;
            }
            let slice = left.min(SLICE).as_millis().max(1) as u64;
            if !event.waitUntilSignaledValue_timeoutMS(done + 1, slice) {
                meanwhile();
            }
            pause = PAUSES[0];
        }
    }

    /// Takes the command buffers that have ended from the front. Keeps the errors of those that failed, and
    /// signals for them.
    fn take_ended(&self, state: &mut State) -> Ended {
        let mut ended = Vec::new();
        while let Some(first) = state.buffers.front() {
            let failed = match first.status() {
                MTLCommandBufferStatus::Completed => false,
                MTLCommandBufferStatus::Error => true,
                _ => break,
            };
            state.done += 1;
            if failed {
                state.failures.insert(state.done, reason(first));
                if state.failures.len() > FAILURES {
                    state.failures.pop_first();
                }
                let event = self.event(state.done);
                if event.signaledValue() < state.done {
                    event.setSignaledValue(state.done);
                }
            }
            ended.extend(state.buffers.pop_front());
        }
        Ended(ended)
    }

    fn event(&self, ticket: u64) -> &ProtocolObject<dyn MTLSharedEvent> {
        &self.events[ticket as usize % EVENTS]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(ticket: u64, reason: &str) -> DeviceError {
    DeviceError::Failed { call: "a command buffer", reason: format!("submission {ticket} failed: {reason}") }
}

/// Returns the error text of a failed command buffer.
fn reason(buffer: &ProtocolObject<dyn MTLCommandBuffer>) -> String {
    pooled(|| {
        let error: Option<Retained<_>> = buffer.error();
        error.map_or_else(|| "Metal names no reason".into(), |error| error.localizedDescription().to_string())
    })
}

fn as_event(event: &ProtocolObject<dyn MTLSharedEvent>) -> &ProtocolObject<dyn MTLEvent> {
    ProtocolObject::from_ref(event)
}
