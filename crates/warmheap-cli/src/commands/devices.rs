//! `warmheap devices` lists the devices and what they can give, or the reason that they are missing.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use warmheap::config::MIB;
use warmheap::device::{Device, SpecError};

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
    limits: Limits,
}

/// The limits of a device, in bytes. All are absent for a device that cannot be used.
#[derive(Debug, Default, Serialize)]
struct Limits {
    alignment: Option<u64>,
    granularity: Option<u64>,
    largest_heap: Option<u64>,
    largest_buffer: Option<u64>,
    budget: Option<u64>,
    free: Option<u64>,
    grows_in_place: Option<bool>,
    host_visible: Option<bool>,
    /// What bounds the free memory, on a device that knows of several bounds.
    bounds: Vec<Bound>,
}

/// A bound on the memory that this process may take.
#[derive(Debug, Serialize)]
struct Bound {
    name: &'static str,
    /// The most bytes that may be in use; absent if no bound is set.
    limit: Option<u64>,
    /// The bytes that it leaves.
    free: Option<u64>,
    /// Whether no other bound leaves less.
    binds: bool,
}

pub(crate) fn run(json: bool) -> Result<ExitCode, Failure> {
    show::print(json, "devices", &Output(device::names().iter().map(|name| entry(name)).collect()))?;
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
                limits: Limits {
                    alignment: Some(limits.alignment),
                    granularity: Some(limits.granularity),
                    largest_heap: Some(limits.largest_heap),
                    largest_buffer: Some(limits.largest_buffer),
                    budget: limits.budget,
                    free: limits.available,
                    grows_in_place: Some(limits.elastic),
                    host_visible: Some(limits.host_visible),
                    bounds: bounds(&*device),
                },
            }
        }
        Err(failure) => Entry {
            name: name.to_owned(),
            description: failure.to_string(),
            available: false,
            limits: Limits::default(),
        },
    }
}

fn bounds(device: &dyn Device) -> Vec<Bound> {
    let bounds = device.bounds();
    let tightest = bounds.iter().filter_map(|bound| bound.bytes).map(|bytes| bytes.free).min();
    let shown = bounds.iter().map(|bound| Bound {
        name: bound.name,
        limit: bound.bytes.map(|bytes| bytes.limit),
        free: bound.bytes.map(|bytes| bytes.free),
        binds: bound.bytes.is_some_and(|bytes| Some(bytes.free) == tightest),
    });
    shown.collect()
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binds = if self.binds { ", which binds" } else { "" };
        match self.limit.zip(self.free) {
            Some((limit, free)) => {
                write!(f, "{:<13}  {} of {} free{binds}", self.name, mib(free), mib(limit))
            }
            None => write!(f, "{:<13}  no limit", self.name),
        }
    }
}

fn step(bytes: u64) -> String {
    if bytes.is_multiple_of(MIB) { format!("{} MiB", bytes / MIB) } else { format!("{bytes} B") }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let here = self.0.iter().filter(|entry| entry.available).map(|entry| {
            let limits = &entry.limits;
            let shown = |bytes: Option<u64>, text: fn(u64) -> String| bytes.map_or("-".to_owned(), text);
            [
                entry.name.clone(),
                shown(limits.free, mib),
                shown(limits.budget, mib),
                shown(limits.largest_heap, |bytes| format!("{} MiB", bytes / MIB)),
                shown(limits.alignment, |bytes| format!("{bytes} B")),
                shown(limits.granularity, step),
                if limits.grows_in_place == Some(true) { "yes" } else { "no" }.to_owned(),
            ]
        });
        let header = ["Device", "Free", "Budget", "Largest", "Align", "Step", "Grows"];
        f.write_str(&table(header, here))?;
        for entry in self.0.iter().filter(|entry| entry.available && !entry.name.contains(&entry.description))
        {
            write!(f, "\n{}: {}", entry.name, entry.description)?;
        }
        for entry in &self.0 {
            let bounds = &entry.limits.bounds;
            if !bounds.is_empty() {
                write!(f, "\n{}, what this process may take:", entry.name)?;
            }
            bounds.iter().try_for_each(|bound| write!(f, "\n  {bound}"))?;
        }
        let missing = self.0.iter().filter(|entry| !entry.available);
        for entry in missing {
            write!(f, "\n{}: {}", entry.name, entry.description)?;
        }
        Ok(())
    }
}
