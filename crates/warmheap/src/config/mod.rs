//! The settings of a pool.
//!
//! [`PoolConfig`] is plain data. It knows nothing of pools or devices. Values are checked in one place,
//! [`PoolConfig::validate`], against the table of [`keys`]. So files, the builder and the environment
//! accept and refuse the same things. This module never prints, logs or panics: faults come back as a
//! [`ConfigError`], and settings that work but are probably not meant as a [`Warning`].
//!
//! ```
//! use warmheap::config::{MIB, PoolConfig, Strategy};
//!
//! let config = PoolConfig::default()
//!     .with_heap_size(512 * MIB)
//!     .with_warmup_sizes([32 * MIB, 128 * MIB])
//!     .with_strategy(Strategy::BestFit);
//! assert!(config.validate().is_ok());
//! ```

#![forbid(unsafe_code)]

mod assign;
mod builder;
mod effect;
mod env;
mod error;
mod input;
mod key;
mod rule;
mod settings;
mod smaller;
mod suggest;
mod validate;
mod value;
#[cfg(feature = "yaml")]
mod yaml;

use std::ffi::OsStr;
#[cfg(feature = "yaml")]
use std::path::Path;

pub use env::{CONFIG_VARIABLE, RESERVED_VARIABLES};
pub use error::{ConfigError, Fault, Place, Problem, Warning};
pub use key::{Key, VARIABLE_PREFIX, keys};
pub use rule::{MAX_HEAP_SIZE, MAX_HEAPS};
pub use settings::{Compaction, HeapSizing, Limits, PoolConfig, Scrub, Strategy, ThreadCache};
pub(crate) use smaller::{leaves_room, smaller};
pub use value::Value;
#[cfg(feature = "yaml")]
pub use yaml::{Document, MAX_YAML_BYTES, OtherSetting, PassedOver};

/// One MiB: the unit of every `_mb` in configuration and statistics.
pub const MIB: u64 = 1 << 20;

/// Converts bytes to MiB. Returns the shortest decimal that means so many bytes: 100.6, not 100.60000038.
pub(crate) fn mib(bytes: u64) -> f64 {
    let exact = bytes as f64 / MIB as f64;
    let means_as_much = |mib: &f64| (mib * MIB as f64).round() == bytes as f64;
    let decimals = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7];
    decimals.iter().map(|scale| (exact * scale).round() / scale).find(means_as_much).unwrap_or(exact)
}

#[cfg(feature = "yaml")]
impl PoolConfig {
    /// Reads the settings in `text`: a document that starts at `metal_optimizations`, or a fragment that
    /// starts at `memory_pool` or with the pool's own keys. A key that is not set keeps the value of
    /// [`PoolConfig::default`]. The document may be a server's own: sections of other owners are passed over,
    /// see [`passed_over_in`](Self::passed_over_in).
    ///
    /// ```
    /// # use warmheap::config::{MIB, PoolConfig};
    /// let config = PoolConfig::from_yaml_str("heap_size_mb: 512\nnum_heaps: 2")?;
    /// assert_eq!((config.heap_size, config.num_heaps), (512 * MIB, 2));
    ///
    /// let error = PoolConfig::from_yaml_str("heap_size_bm: 512").unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "line 1: unknown key `heap_size_bm`; did you mean `heap_size_mb`?"
    /// );
    /// # Ok::<(), warmheap::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] if the text is not YAML, is empty, is longer than [`MAX_YAML_BYTES`], uses
    /// aliases or nests deeply; for unknown or repeated keys; for values that a key may not hold; and for
    /// settings that contradict each other. Every problem names its line.
    pub fn from_yaml_str(text: &str) -> Result<Self, ConfigError> {
        Document::from_text(text).map(|document| document.config)
    }

    /// Reads the settings in a file, as [`from_yaml_str`](Self::from_yaml_str) does.
    ///
    /// # Errors
    /// [`ConfigError::Read`] if the file cannot be read. Otherwise the errors of `from_yaml_str`, which
    /// then name the file.
    pub fn from_yaml_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Document::from_file(path).map(|document| document.config)
    }

    /// Applies the settings in `text` to this configuration. A key that is not set keeps its value here, where
    /// [`from_yaml_str`](Self::from_yaml_str) gives it that of [`PoolConfig::default`].
    ///
    /// If this configuration is of a pool that sizes itself, a text with one of `heap_size_mb`, `num_heaps`,
    /// `warmup_sizes`, `allocation_strategy`, `dynamic_growth`, `max_heaps` and `growth_trigger` asks for fixed
    /// heaps, unless it sets `heap_sizing`.
    ///
    /// ```
    /// # use warmheap::config::{HeapSizing, PoolConfig};
    /// let trimmed = PoolConfig::elastic().with_yaml_str("trim_after_ms: 200")?;
    /// assert_eq!(trimmed.heaps, HeapSizing::Elastic);
    /// let fixed = PoolConfig::elastic().with_yaml_str("num_heaps: 2")?;
    /// assert_eq!(fixed, PoolConfig::from_yaml_str("num_heaps: 2")?);
    /// # Ok::<(), warmheap::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`from_yaml_str`](Self::from_yaml_str).
    pub fn with_yaml_str(self, text: &str) -> Result<Self, ConfigError> {
        Document::from_text_over(self, text).map(|document| document.config)
    }

    /// Applies the settings in a file, as [`with_yaml_str`](Self::with_yaml_str) does.
    ///
    /// # Errors
    /// As [`from_yaml_file`](Self::from_yaml_file).
    pub fn with_yaml_file(self, path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Document::from_file_over(self, path).map(|document| document.config)
    }

    /// Returns the keys that [`from_yaml_str`](Self::from_yaml_str) passes over, because they are not
    /// Warmheap's: sections beside `metal_optimizations`, and other optimisations inside it. A key that is
    /// like one of Warmheap's is an error instead. Returns nothing for a text that cannot be read.
    #[must_use]
    pub fn passed_over_in(text: &str) -> Vec<PassedOver> {
        yaml::passed_over(text)
    }

    /// Returns every setting as a YAML document that starts at `metal_optimizations`. Reading it back
    /// gives an equal configuration, if this one is valid.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        yaml::write(self, |_| true)
    }

    /// Returns the settings that have an effect, given the others, as [`to_yaml`](Self::to_yaml) writes them.
    /// Reading it back gives a configuration that makes the same pool.
    #[must_use]
    pub fn to_effective_yaml(&self) -> String {
        yaml::write(self, |name| effect::idle(self, name).is_none())
    }

    /// Returns the settings in which this configuration differs from `before`, as a YAML document to paste. The
    /// values before stand beside them. Returns nothing if there is no difference.
    #[must_use]
    pub fn to_yaml_changes(&self, before: &Self) -> String {
        yaml::write_changes(before, self)
    }
}

impl PoolConfig {
    /// Applies the file that the variable [`CONFIG_VARIABLE`] names, if it is set and not empty, for programs that
    /// name no configuration. It is read by [`with_yaml_file`](Self::with_yaml_file).
    ///
    /// # Errors
    /// As [`from_yaml_file`](Self::from_yaml_file).
    #[cfg(feature = "yaml")]
    pub fn with_environment_file(self) -> Result<Self, ConfigError> {
        match std::env::var_os(CONFIG_VARIABLE).filter(|name| !name.is_empty()) {
            Some(path) => self.with_yaml_file(path),
            None => Ok(self),
        }
    }

    /// Applies the environment of the process to this configuration:
    /// [`with_variables`](Self::with_variables) with [`std::env::vars_os`].
    ///
    /// # Errors
    /// As [`with_variables`](Self::with_variables).
    pub fn with_environment(self) -> Result<Self, ConfigError> {
        self.with_variables(std::env::vars_os())
    }

    /// Applies `variables` to this configuration. [`RESERVED_VARIABLES`] and names without
    /// [`VARIABLE_PREFIX`] are ignored. Commas separate the items of a list. A colon separates a tag
    /// from its quota (`kv-cache: 4096, weights: 8192`). An empty text is an empty list.
    ///
    /// ```
    /// # use warmheap::config::{MIB, PoolConfig};
    /// let variables = [("WARMHEAP_HEAP_SIZE_MB", "512"), ("WARMHEAP_WARMUP_SIZES", "32,64"), ("HOME", "/")];
    /// let config = PoolConfig::default().with_variables(variables)?;
    /// assert_eq!(config.heap_size, 512 * MIB);
    /// assert_eq!(config.warmup_sizes, [32 * MIB, 64 * MIB]);
    /// # Ok::<(), warmheap::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for an unknown name with the prefix, a value that the key may not hold,
    /// or settings that contradict each other. Every problem names its variable.
    pub fn with_variables<N, V>(
        self,
        variables: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, ConfigError>
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let (assignments, problems) = env::read(variables);
        assign::apply(self, &assignments, problems)
    }

    /// Checks every setting by itself, and the settings that depend on each other.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every fault, not only the first.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems: Vec<_> =
            validate::faults(self).map(|(_, fault)| Problem { place: Place::Code, fault }).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::invalid(problems)) }
    }

    /// Returns a warning for each setting that works but is probably not meant. The pool logs them when
    /// it starts.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        self.warnings_for(&[])
    }

    /// Returns [`warnings`](Self::warnings), and those for keys that a source has set to their defaults, such as
    /// the keys of a `Document`. A setting that has its default and no effect is otherwise not known from one
    /// that was never made.
    #[must_use]
    pub fn warnings_for(&self, set: &[&str]) -> Vec<Warning> {
        let is_set = |name: &str| set.contains(&name) || effect::differs(self, name);
        validate::warnings(self).into_iter().chain(effect::without_effect(self, is_set)).collect()
    }

    /// Returns the bytes of each heap that start-up commits. Buffers of the warm-up sizes, all alive at once, would
    /// lie side by side from the heap's start; a size larger than a heap is skipped.
    #[must_use]
    pub fn warmed_bytes(&self) -> u64 {
        let fitting = self.warmup_sizes.iter().filter(|size| **size <= self.heap_size);
        fitting.fold(0, |sum: u64, size| sum.saturating_add(*size)).min(self.heap_size)
    }

    /// Returns the value of a key, or `None` if there is no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        key::find(key).map(|key| (key.get)(self))
    }

    /// Sets a key by its name. [`PoolConfig::validate`] checks what depends on other keys.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for an unknown key, or for a value that the key may not hold. The
    /// configuration is unchanged then.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        assign::set(self, key, value)
    }
}
