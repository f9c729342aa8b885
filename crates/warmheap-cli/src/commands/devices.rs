//! `warmheap devices` lists the devices and what they can give, or the reason that they are missing.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use warmheap::device::SpecError;

use crate::failure::Failure;
use crate::show::{mib, table};
use crate::{device, show};

/// The devices, as `--json` prints them.
#[derive(Debug, Serialize)]
struct Output(Vec<Entry>);

/// One device.
#[derive(Debug, Serialize)]
struct Entry {
    /// The name that `--device` takes.
    name: String,
    /// The device's own name, or the reason that it cannot be used.
    description: String,
    available: bool,
    #[serde(flatten)]
    limits: Option<Limits>,
}

/// The limits of a device, in bytes.
#[derive(Debug, Serialize)]
struct Limits {
    alignment: u64,
    granularity: u64,
    largest_heap: u64,
    largest_buffer: u64,
    budget: Option<u64>,
    free: Option<u64>,
    grows_in_place: bool,
    host_visible: bool,
}

pub(crate) fn run(json: bool) -> Result<ExitCode, Failure> {
    show::print(json, &Output(device::names().iter().map(|name| entry(name)).collect()))?;
    Ok(ExitCode::SUCCESS)
}

fn entry(name: &str) -> Entry {
    let spec = name.parse().map_err(|error: SpecError| Failure::Usage(error.to_string()));
    match spec.and_then(|spec| device::open(&spec)) {
        Ok(device) => {
            let limits = device.limits();
            Entry {
                name: name.to_owned(),
                description: device.name().to_owned(),
                available: true,
                limits: Some(Limits {
                    alignment: limits.alignment,
                    granularity: limits.granularity,
                    largest_heap: limits.largest_heap,
                    largest_buffer: limits.largest_buffer,
                    budget: limits.budget,
                    free: limits.available,
                    grows_in_place: limits.elastic,
                    host_visible: limits.host_visible,
                }),
            }
        }
        Err(failure) => {
            Entry { name: name.to_owned(), description: failure.to_string(), available: false, limits: None }
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.0.iter().filter_map(|entry| {
            let limits = entry.limits.as_ref()?;
            let known = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), mib);
            Some([
                entry.name.clone(),
                entry.description.clone(),
                known(limits.free),
                known(limits.budget),
                mib(limits.largest_heap),
                format!("{} B", limits.alignment),
                format!("{} KiB", limits.granularity >> 10),
                if limits.grows_in_place { "yes" } else { "no" }.to_owned(),
            ])
        });
        let header =
            ["Device", "Name", "Free", "Budget", "Largest heap", "Alignment", "Step", "Grows in place"];
        f.write_str(&table(header, here))?;
        let missing = self.0.iter().filter(|entry| !entry.available);
        for entry in missing {
            write!(f, "\n{}: {}", entry.name, entry.description)?;
        }
        Ok(())
    }
}
