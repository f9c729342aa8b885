//! Devices that are always available pass the conformance suite. Devices that break one rule fail it.

use std::sync::Arc;

use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::device::{Device, DeviceError};
use warmheap::{Pool, PoolConfig, StartError};
use warmheap_testing::conformance::{self, Check};

use crate::flawed::{Flaw, Flawed};

const BUDGET: u64 = 96 << 20;

#[test]
fn the_host_conforms_and_gets_everything_back() {
    conformance::run(&HostDevice::new()).unwrap();
    let host = HostDevice::with_budget(BUDGET);
    conformance::run(&host).unwrap();
    assert_eq!(host.limits().available, Some(BUDGET));
}

#[test]
fn every_simulated_device_conforms_and_gets_everything_back() {
    let usual = Device::limits(&SimDevice::new());
    let (mut coarse, mut small) = (usual, usual);
    (coarse.alignment, coarse.granularity) = (1 << 16, 1 << 16);
    (small.largest_heap, small.largest_buffer) = (32 << 20, 3 << 20);
    for sim in [
        SimDevice::new(),
        SimDevice::new().discrete(),
        SimDevice::new().budget(BUDGET),
        SimDevice::new().discrete().budget(BUDGET),
        SimDevice::new().limits(coarse),
        SimDevice::new().limits(small),
    ] {
        conformance::run(&sim).unwrap_or_else(|failures| panic!("{sim:?}: {failures}"));
        assert_eq!((sim.live_bytes(), sim.live_objects()), (0, 0), "{sim:?}");
    }
}

/// Returns the checks that fail on a device with one flaw.
fn caught(device: &dyn Device) -> Vec<Check> {
    let Err(failures) = conformance::run(device) else { return Vec::new() };
    let text = failures.to_string();
    for failure in &failures.failures {
        assert!(text.contains(&failure.to_string()), "{text}");
        assert!(failure.to_string().starts_with(&format!("{:?}: ", failure.check)));
    }
    failures.failures.iter().map(|failure| failure.check).collect()
}

#[test]
fn a_wrapper_without_a_flaw_conforms() {
    conformance::run(&Flawed::new(SimDevice::new().budget(BUDGET), Flaw::None)).unwrap();
    conformance::run(&Flawed::new(HostDevice::new(), Flaw::None)).unwrap();
}

#[test]
fn a_flaw_is_found_by_the_check_of_its_name() {
    use Check::*;
    let mut wrong = Vec::new();
    for (flaw, checks) in [
        (
            Flaw::OddAlignment,
            &[Limits, FixedHeap, ElasticHeap, Fallback, TooLarge, Bounds, Disjoint, Threads][..],
        ),
        (Flaw::LimitsWander, &[Limits, TooLarge]),
        (Flaw::HeapTooShort, &[FixedHeap, Warm, Fill, Copy, OutOfMemory, Bounds, Threads]),
        (Flaw::HeapOffAlignment, &[FixedHeap, ElasticHeap]),
        (Flaw::DenyElastic, &[ElasticHeap]),
        (Flaw::DecommitDoesNothing, &[ElasticHeap, Bounds, Threads]),
        (Flaw::BufferOffAlignment, &[Fallback]),
        (Flaw::WarmWorksOnce, &[Warm, Bounds, Threads]),
        (Flaw::TooLargeAsOutOfMemory, &[TooLarge]),
        (Flaw::LoseEveryFourthHeap, &[OutOfMemory]),
        (Flaw::KeepRefused, &[OutOfMemory]),
        (Flaw::SameAddress, &[Disjoint, Threads]),
        (Flaw::OneCallAtATime, &[Threads]),
    ] {
        let flawed = Flawed::new(SimDevice::new().budget(BUDGET), flaw);
        let seen = caught(&flawed);
        if seen != checks {
            wrong.push((flaw, seen));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_flaw_in_the_contents_is_found_where_the_cpu_sees_them() {
    use Check::*;
    for (flaw, checks) in [
        (Flaw::FillOneTooFew, &[ElasticHeap, Fallback, Warm, Fill, Copy, Bounds, Threads][..]),
        (Flaw::FillOneTooMany, &[Fill, Bounds]),
        (Flaw::FillWhatIsInside, &[Bounds]),
        (Flaw::CopyOneTooFew, &[Copy, Bounds]),
        (Flaw::CopyToTheStart, &[Copy, Bounds]),
        (Flaw::DirtyButZeroed, &[Zeroed]),
    ] {
        assert_eq!(caught(&Flawed::new(HostDevice::new(), flaw)), checks, "{flaw:?}");
    }
}

#[test]
fn a_device_that_panics_is_reported_and_does_not_take_the_caller_with_it() {
    let flawed = Flawed::new(SimDevice::new(), Flaw::PanicOnAllocate);
    let failures = conformance::run(&flawed).unwrap_err();
    assert!(failures.failures.iter().any(|failure| failure.check == Check::Fallback));
    assert!(failures.to_string().contains("the device panicked: no buffers here"), "{failures}");
}

#[test]
fn one_check_can_be_made_alone() {
    let flawed = Flawed::new(SimDevice::new().budget(BUDGET), Flaw::BufferOffAlignment);
    assert_eq!(Check::FixedHeap.run(&flawed), Ok(()));
    let failure = Check::Fallback.run(&flawed).unwrap_err();
    assert_eq!(failure.check, Check::Fallback);
    assert!(failure.seen.contains("is not at a multiple of 16"), "{failure}");
}

#[test]
fn a_device_that_gives_less_than_was_asked_for_is_found_before_a_buffer_ends_past_it() {
    let mut config = PoolConfig::default();
    config.heap_size = 8 << 20;
    config.num_heaps = 1;
    config.warmup_sizes.clear();
    let device = Flawed::new(HostDevice::new(), Flaw::HeapTooShort);
    let error = Pool::new(Arc::new(device), config).unwrap_err();
    assert!(matches!(error, StartError::Heap { source: DeviceError::Failed { .. }, .. }), "{error}");
    assert!(error.to_string().contains("bytes came where 8388608 were asked for"), "{error}");
}
