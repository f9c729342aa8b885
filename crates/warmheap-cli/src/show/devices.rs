//! Devices as a table.

use super::{mib, table};
use crate::commands::devices::Entry;

pub(crate) fn text(entries: &[Entry]) -> String {
    let here = entries.iter().filter_map(|entry| {
        let limits = entry.limits.as_ref()?;
        let known = |bytes: Option<u64>| bytes.map_or_else(|| "not told".to_owned(), mib);
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
    let header = ["Device", "Name", "Free", "Budget", "Largest heap", "Alignment", "Step", "Grows in place"];
    let mut text = table(header, here);
    for entry in entries.iter().filter(|entry| !entry.available) {
        text += &format!("\n{}: {}", entry.name, entry.description);
    }
    text
}
