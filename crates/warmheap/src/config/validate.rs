//! The checks of settings, each alone and together. Builder, file and environment all use them.

use super::assign::remedy;
use super::error::{ConfigError, Fault, Place, Problem, Warning};
use super::key::{Key, find, keys};
use super::value::Value;
use super::{HeapSizing, PoolConfig};

impl PoolConfig {
    /// Checks every setting by itself, and the settings that depend on each other.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every fault, not only the first.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let problems: Vec<_> =
            self.faults().map(|(_, fault)| Problem { place: Place::Code, fault }).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::invalid(problems)) }
    }

    /// Returns a warning for each setting that works but is probably not meant. The pool logs them when
    /// it starts.
    #[must_use]
    pub fn warnings(&self) -> Vec<Warning> {
        if self.heaps == HeapSizing::Elastic {
            return Vec::new();
        }
        self.warmup_sizes
            .iter()
            .filter(|size| **size > self.heap_size)
            .map(|&size| Warning::WarmupLargerThanHeap { size, heap_size: self.heap_size })
            .collect()
    }

    /// Returns the value of a key, or `None` if there is no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value> {
        find(key).map(|key| (key.get)(self))
    }

    /// Sets a key by its name. [`PoolConfig::validate`] checks what depends on other keys.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] for an unknown key, or for a value that the key may not hold. The
    /// configuration is unchanged then.
    pub fn set(&mut self, key: &str, value: &Value) -> Result<(), ConfigError> {
        let fault = match find(key) {
            None => Fault::UnknownKey {
                key: key.to_owned(),
                remedy: remedy(key, &keys().iter().map(Key::name).collect::<Vec<_>>()),
            },
            Some(key) if key.rule.accepts(value) => {
                (key.set)(self, value);
                return Ok(());
            }
            Some(key) => bad_value(key, value),
        };
        Err(ConfigError::invalid(vec![Problem { place: Place::Code, fault }]))
    }

    /// Returns every fault with the keys that may have caused it, the likeliest first.
    pub(crate) fn faults(&self) -> impl Iterator<Item = (Vec<&'static str>, Fault)> {
        let single = keys().iter().filter_map(|key| {
            let value = (key.get)(self);
            (!key.rule.accepts(&value)).then(|| (vec![key.name()], bad_value(key, &value)))
        });
        let crowded =
            self.heaps == HeapSizing::Fixed && self.dynamic_growth && self.num_heaps > self.max_heaps;
        let joint = crowded.then_some((
            vec!["num_heaps", "max_heaps", "dynamic_growth"],
            Fault::HeapsPastMaximum { num_heaps: self.num_heaps, max_heaps: self.max_heaps },
        ));
        let limits = [("limits.soft_mb", "limits.hard_mb"), ("limits.soft_objects", "limits.hard_objects")];
        let crossed = limits.into_iter().filter_map(|(soft_key, hard_key)| {
            let (soft, hard) = (self.get(soft_key)?, self.get(hard_key)?);
            let (Value::Number(low), Value::Number(high)) = (&soft, &hard) else { return None };
            let fault =
                Fault::SoftPastHard { soft_key, soft: soft.to_string(), hard_key, hard: hard.to_string() };
            (*high > 0.0 && low > high).then_some((vec![soft_key, hard_key], fault))
        });
        single.chain(joint).chain(crossed)
    }
}

fn bad_value(key: &Key, value: &Value) -> Fault {
    Fault::BadValue { key: key.name(), found: format!("`{value}`"), allowed: key.allowed(), hint: "" }
}
