//! Pools survive a soak; pools on devices and queues that break their promises do not.
#![cfg(feature = "trace")]

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::SimDevice;
use warmheap::trace::soak::Soak;
use warmheap::trace::{Compile, Program, TraceReader};

/// Buffers of many sizes, a third of them alive for long.
fn churn() -> Program {
    let mut text = String::from("Thread,Time,Action,Pointer,Size,Stream\n");
    let size = |i: u64| 1 + (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % (1 << (8 + i % 15));
    for i in 0..20_000_u64 {
        text += &format!("0,{i},allocate,{i:#x},{},0\n", size(i));
        if i % 3 != 0 {
            text += &format!("0,{i},free,{i:#x},{},0\n", size(i));
        } else if i >= 600 {
            let old = i - 600;
            text += &format!("0,{i},free,{old:#x},{},0\n", size(old));
        }
    }
    let reader = TraceReader::new("churn", Cursor::new(text.into_bytes())).unwrap();
    Program::compile(reader, Compile::default()).unwrap()
}

fn devices() -> [Arc<dyn Device>; 3] {
    [
        Arc::new(SimDevice::new()),
        Arc::new(SimDevice::new().discrete().purgeable()),
        Arc::new(HostDevice::new()),
    ]
}

/// `WARMHEAP_SOAK_SECONDS` sets another time.
fn time() -> Duration {
    let seconds = std::env::var("WARMHEAP_SOAK_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
fn pools_survive() {
    let soak = Soak { time: time(), ..Soak::default() };
    let (survived, outcome) = soak.run(&[churn()], &devices(), &|_| ());
    outcome.unwrap_or_else(|broken| panic!("{broken}\n{survived:#?}"));
    eprintln!("{survived:#?}");
}
