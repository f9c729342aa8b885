//! `warmheap devices`: what is here, what it can give, or why it is not.

use std::process::ExitCode;

use serde::Serialize;

use crate::failure::Failure;
use crate::{device, show};

/// One device.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// What `--device` calls it.
    pub(crate) name: String,
    /// The device's own name, or why it cannot be used.
    pub(crate) description: String,
    pub(crate) available: bool,
    #[serde(flatten)]
    pub(crate) limits: Option<Limits>,
}

/// What a device can give, in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Limits {
    pub(crate) alignment: u64,
    pub(crate) granularity: u64,
    pub(crate) largest_heap: u64,
    pub(crate) largest_buffer: u64,
    pub(crate) budget: Option<u64>,
    pub(crate) free: Option<u64>,
    pub(crate) grows_in_place: bool,
    pub(crate) host_visible: bool,
}

pub(crate) fn run(json: bool) -> Result<ExitCode, Failure> {
    let entries: Vec<_> = device::names().iter().map(|name| entry(name)).collect();
    show::print(json, &entries, |entries| show::devices::text(entries))?;
    Ok(ExitCode::SUCCESS)
}

fn entry(name: &str) -> Entry {
    match name.parse().map_err(Failure::Usage).and_then(|spec| device::open(&spec)) {
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
