//! The version of the JSON that commands print.

/// The version of all commands together. It rises when a key goes or changes its meaning; keys may be added at
/// any time. `docs/json.md` describes them.
pub(crate) const SCHEMA_VERSION: u32 = 1;
