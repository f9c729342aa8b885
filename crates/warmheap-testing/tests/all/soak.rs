//! Pools survive a soak. Pools on devices and queues that break their promises do not.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use warmheap::config::HeapSizing;
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap_testing::soak::{Soak, Survived};
use warmheap_trace::Program;

use crate::churn;
use crate::flawed::{Flaw, Flawed};

/// Buffers of many sizes. Half of them are whole granules, and a third live long.
fn program() -> Program {
    let size = |i: u64| 1 + (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % (1 << (8 + i % 15));
    let size = |i: u64| if i.is_multiple_of(2) { size(i).next_multiple_of(256) } else { size(i) };
    churn(20_000, 600, size)
}

/// `WARMHEAP_SOAK_SECONDS` sets another time.
fn soak() -> Soak {
    let seconds = std::env::var("WARMHEAP_SOAK_SECONDS").map_or(1, |seconds| seconds.parse().unwrap());
    Soak { time: Duration::from_secs(seconds), ..Soak::default() }
}

/// Soaks pools of a device until each hardship has occurred.
fn survive(soak: &Soak, device: impl Device + 'static) {
    let devices: [Arc<dyn Device>; 1] = [Arc::new(device)];
    let mut all = [0; 12];
    for seed in (1..50_000).step_by(1000) {
        // The first soak lasts the set time. Further ones wait for hardships that did not occur in it.
        let time = if seed == 1 { soak.time } else { Duration::from_secs(1) };
        let (survived, outcome) =
            Soak { seed, time, ..soak.clone() }.run(&[program()], &devices, &|_| ControlFlow::Continue(()));
        outcome.unwrap_or_else(|broken| panic!("{broken}\n{survived:#?}"));
        assert_eq!(survived.heaps_made, survived.heaps_destroyed);
        let Survived { comparisons, retired, freed_elsewhere, grown, moved, movable, .. } = survived;
        let Survived { lent, compactions, failures_injected, .. } = survived;
        let Survived { closed_in_play, threads_replaced, panics, .. } = survived;
        let buffers = [comparisons, retired, freed_elsewhere, grown, moved, movable];
        let others = [lent, compactions, failures_injected, closed_in_play, threads_replaced, panics];
        all.iter_mut().zip(buffers.into_iter().chain(others)).for_each(|(all, seen)| *all += seen);
        if all.iter().all(|count| *count > 0) {
            return;
        }
    }
    panic!("a hardship has not come up: {all:?}");
}

#[test]
fn pools_whose_heaps_grow_in_place_survive() {
    survive(&Soak { heaps: Some(HeapSizing::Elastic), ..soak() }, SimDevice::new());
}

#[test]
fn pools_of_discrete_heaps_survive() {
    let heaps = Some(HeapSizing::Elastic);
    survive(&Soak { heaps, ..soak() }, SimDevice::new().discrete().purgeable());
}

#[test]
fn pools_of_fixed_heaps_survive() {
    survive(&Soak { heaps: Some(HeapSizing::Fixed), ..soak() }, SimDevice::new());
}

#[test]
fn pools_on_host_memory_survive() {
    survive(&soak(), HostDevice::new());
}

#[test]
fn pools_survive_64_threads() {
    survive(&Soak { threads: 64, ..soak() }, SimDevice::new());
}

/// Returns what a soak finds on a device that breaks a rule.
fn finding(device: impl Device + 'static, flaw: Flaw) -> String {
    let devices: [Arc<dyn Device>; 1] = [Arc::new(Flawed::new(device, flaw))];
    let soak = Soak { time: Duration::from_secs(60), ..Soak::default() };
    let (_, outcome) = soak.run(&[program()], &devices, &|_| ControlFlow::Continue(()));
    outcome.expect_err("the flaw is not found").to_string()
}

#[test]
fn buffers_in_one_place_are_found() {
    let finding = finding(SimDevice::new(), Flaw::SameAddress);
    assert!(finding.contains("overlaps a live one") || finding.contains("was handed out while"), "{finding}");
    assert!(finding.contains("--seed "), "{finding}");
}

#[test]
fn contents_that_change_are_found() {
    let finding = finding(HostDevice::new(), Flaw::FillOneTooMany);
    assert!(finding.contains("changed while the buffer was alive"), "{finding}");
}

#[test]
fn a_device_that_panics_is_found() {
    let finding = finding(SimDevice::new(), Flaw::PanicOnAllocate);
    assert!(finding.contains("it panicked: no buffers here"), "{finding}");
}

#[test]
fn a_panic_in_one_thread_is_found_and_the_others_do_not_wait_for_it() {
    let heard = AtomicU64::new(0);
    let listen = |_: &Survived| {
        assert!(heard.fetch_add(1, SeqCst) != 10, "enough heard");
        ControlFlow::Continue(())
    };
    let devices: [Arc<dyn Device>; 1] = [Arc::new(SimDevice::new())];
    let (_, outcome) = soak().run(&[program()], &devices, &listen);
    let finding = outcome.unwrap_err().to_string();
    assert!(finding.contains("a thread panicked: enough heard"), "{finding}");
}

#[test]
fn memory_that_is_not_cleared_is_found() {
    let finding = finding(HostDevice::new(), Flaw::FillOneTooFew);
    assert!(finding.contains("was not cleared"), "{finding}");
}
