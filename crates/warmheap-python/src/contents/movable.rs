//! What a movable buffer's object holds, and its pins.
//!
//! The program pins a movable buffer to use it. A pin is a `Buffer` object, whose views keep the pin. The
//! library holds the buffer in its place for each pin. The memory goes back when the program has freed the
//! movable buffer and the last pin is gone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use warmheap::{Buffer, MovableBuffer, Ticket};
use warmheap_trace::Recorded;

/// A movable buffer, whose free may be recorded.
#[derive(Debug)]
pub(crate) enum HeldMovable {
    Plain(MovableBuffer),
    Recorded(Recorded<MovableBuffer>),
}

impl HeldMovable {
    pub(crate) fn buffer(&self) -> &MovableBuffer {
        match self {
            Self::Plain(buffer) => buffer,
            Self::Recorded(buffer) => buffer,
        }
    }

    pub(crate) fn retire(self, ticket: &Ticket) {
        match self {
            Self::Plain(buffer) => buffer.retire(ticket),
            Self::Recorded(buffer) => buffer.retire(ticket),
        }
    }
}

/// A movable buffer that its object and its pins share.
#[derive(Debug)]
pub(crate) struct Movable {
    /// The lock is held for moments. Meanwhile no Python code runs and nothing waits.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` once the program has freed the buffer and no pin is left.
    held: Option<Arc<HeldMovable>>,
    pins: usize,
    freed: bool,
}

/// The reason why a movable buffer cannot be used.
pub(crate) enum Unusable {
    Freed,
    /// This many pins are alive.
    Pinned(usize),
}

/// Keeps a movable buffer in its place until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    // This field is dropped first, so that the last pin to end has the only reference.
    held: Arc<HeldMovable>,
    end: PinEnd,
}

#[derive(Debug)]
struct PinEnd {
    movable: Arc<Movable>,
    /// The work that ended the pin, for a recording. The library waits for all work.
    until: Option<Ticket>,
}

impl Movable {
    pub(crate) fn new(held: HeldMovable) -> Arc<Self> {
        let state = State { held: Some(Arc::new(held)), pins: 0, freed: false };
        Arc::new(Self { state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `look` with the buffer, unless the program has freed it.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&MovableBuffer) -> R) -> Result<R, Unusable> {
        let state = self.state();
        let held = state.held.as_ref().filter(|_| !state.freed).ok_or(Unusable::Freed)?;
        Ok(look(held.buffer()))
    }

    /// The number of pins, and whether the program has freed the buffer.
    pub(crate) fn pins(&self) -> (usize, bool) {
        let state = self.state();
        (state.pins, state.freed)
    }

    /// Pins the buffer. Waits for the end of a move.
    pub(crate) fn pin(self: Arc<Self>) -> Result<Pin, Unusable> {
        let held = {
            let mut state = self.state();
            let held = state.held.clone().filter(|_| !state.freed).ok_or(Unusable::Freed)?;
            state.pins += 1;
            held
        };
        held.buffer().hold();
        Ok(Pin { held, end: PinEnd { movable: self, until: None } })
    }

    /// Frees the buffer, or lets its last pin do that. Returns what the caller drops, without a lock.
    pub(crate) fn free(&self) -> Option<Arc<HeldMovable>> {
        let mut state = self.state();
        state.freed = true;
        if state.pins == 0 { state.held.take() } else { None }
    }

    /// Takes the buffer out for good, unless it is pinned.
    pub(crate) fn take(&self) -> Result<HeldMovable, Unusable> {
        let mut state = self.state();
        if state.freed {
            return Err(Unusable::Freed);
        }
        if state.pins > 0 {
            return Err(Unusable::Pinned(state.pins));
        }
        state.freed = true;
        // Only pins share it.
        state.held.take().and_then(Arc::into_inner).ok_or(Unusable::Freed)
    }
}

impl Pin {
    /// Calls `look` with the buffer in its place. This never waits, because nothing moves the buffer.
    pub(crate) fn look<R>(&self, look: impl FnOnce(&Buffer) -> R) -> R {
        look(&self.held.buffer().pin())
    }

    /// Keeps the buffer in its place until the ticket's work is done.
    pub(crate) fn in_flight_until(&self, ticket: &Ticket) {
        self.held.buffer().in_flight_until(ticket);
    }

    /// Ends the pin, and keeps the buffer in its place until the ticket's work is done.
    pub(crate) fn end_after(mut self, ticket: &Ticket) {
        self.in_flight_until(ticket);
        self.end.until = Some(ticket.clone());
    }
}

impl Drop for PinEnd {
    /// Ends the pin. If the program has freed the buffer and this was the last pin, ends the buffer.
    fn drop(&mut self) {
        let last = {
            let mut state = self.movable.state();
            state.held.iter().for_each(|held| held.buffer().release());
            state.pins -= 1;
            if state.freed && state.pins == 0 { state.held.take() } else { None }
        };
        if let (Some(held), Some(ticket)) = (last.and_then(Arc::into_inner), &self.until) {
            held.retire(ticket);
        }
    }
}
