//! Settings from environment variables. A variable is `WARMHEAP_` and the name of a key in capitals.

use std::ffi::OsStr;

use super::PoolConfig;
use super::assign::{Assignment, assign, nearest};
use super::error::{ConfigError, Fault, Place, Problem};
use super::input::{Entry, Input, shortened};
use super::key::{Key, keys};
use super::rule::Rule;

/// The prefix of every environment variable of Warmheap.
pub const VARIABLE_PREFIX: &str = "WARMHEAP_";

/// The variables with the prefix of Warmheap that are not settings of a pool: the path of a
/// configuration file, the log filter, and the file where statistics are written.
pub const RESERVED_VARIABLES: [&str; 3] = ["WARMHEAP_CONFIG", "WARMHEAP_LOG", "WARMHEAP_STATS"];

impl PoolConfig {
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
        let mut assignments = Vec::new();
        let mut problems = Vec::new();
        for (name, value) in variables {
            let name = name.as_ref().to_string_lossy();
            if !name.starts_with(VARIABLE_PREFIX) || RESERVED_VARIABLES.contains(&&*name) {
                continue;
            }
            let place = Place::Variable(shortened(&name));
            // Text that is not UTF-8 has replacement characters here, which no key accepts.
            let value = value.as_ref().to_string_lossy();
            match keys().iter().find(|key| key.variable() == name) {
                Some(key) => assignments.push(Assignment { key, place, input: input(key, &value) }),
                None => problems.push(Problem { place, fault: unknown(&name) }),
            }
        }
        assign(self, &assignments, problems)
    }
}

fn input(key: &Key, text: &str) -> Input {
    let plain = |text: &str| Input::Plain(text.trim().to_owned());
    let items = || text.split(',').filter(|_| !text.trim().is_empty());
    match key.rule {
        Rule::Sizes => Input::List(items().map(plain).collect()),
        Rule::Quotas => Input::Map(
            items()
                .map(|item| {
                    let (tag, size) = item.split_once(':').unwrap_or((item, ""));
                    Entry { key: tag.trim().to_owned(), line: 1, value: plain(size) }
                })
                .collect(),
        ),
        _ => plain(text),
    }
}

fn unknown(name: &str) -> Fault {
    // The prefix would make any two names similar, so the comparison leaves it out.
    let bare = |name: &str| name[VARIABLE_PREFIX.len()..].to_lowercase();
    let names: Vec<_> =
        keys().iter().map(Key::variable).chain(RESERVED_VARIABLES.map(str::to_owned)).collect();
    let bare_names: Vec<_> = names.iter().map(|name| bare(name)).collect();
    let known: Vec<_> = bare_names.iter().map(String::as_str).collect();
    let remedy = match nearest(&bare(name), &known) {
        Some(meant) => format!("did you mean {VARIABLE_PREFIX}{}?", meant.to_uppercase()),
        None => format!("known variables are {}", names.join(", ")),
    };
    Fault::UnknownVariable { remedy }
}
