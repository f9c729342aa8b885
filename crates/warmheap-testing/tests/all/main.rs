//! The conformance suite, the soak, and replays with many threads. Sound devices and pools pass, and flawed
//! ones are found.

mod conformance;
mod flawed;
mod replay_threads;
mod soak;

use std::time::Duration;

use warmheap_trace::{Action, Compile, Event, Program};

/// Returns a program of so many buffers, a third of which live until `kept` more have come. `size` chooses
/// the bytes of each by its number.
fn churn(buffers: u64, kept: u64, size: impl Fn(u64) -> u64) -> Program {
    let event = |action, pointer| {
        let (thread, stream, time) = (0, 0, Duration::from_secs(pointer));
        Event { thread, time, action, pointer, size: size(pointer), stream }
    };
    let events = (0..buffers).flat_map(|buffer| {
        let freed = if buffer % 3 == 0 { buffer.checked_sub(kept) } else { Some(buffer) };
        let free = freed.map(|freed| event(Action::Free, freed));
        [event(Action::Allocate, buffer)].into_iter().chain(free)
    });
    let events: Vec<_> = events.collect();
    Program::from_events("churn", &events, Compile::default()).unwrap()
}
