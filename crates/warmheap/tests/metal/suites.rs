//! The conformance suite.

use warmheap::metal::{MetalOptions, Placement, Storage, WarmUp};
use warmheap_testing::conformance;

use crate::support::with_options;

#[test]
fn every_kind_of_heap_conforms() {
    for storage in [Storage::Private, Storage::Shared] {
        for placement in [Placement::Placement, Placement::Automatic] {
            for warm_up in [WarmUp::Fill { wait: true }, WarmUp::Residency] {
                let options = MetalOptions::default()
                    .with_storage(storage)
                    .with_placement(placement)
                    .with_warm_up(warm_up);
                with_options(options, |device| conformance::run(&device).unwrap());
            }
        }
    }
}
