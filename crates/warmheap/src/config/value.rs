//! The value of a setting, for any key. Tables, findings and files use it.

use std::fmt;

/// The value of one configuration key, in the key's own unit (MiB, milliseconds, a ratio).
///
/// `Display` writes it as YAML does: `true`, `256`, `best-fit`, `[32, 128]`,
/// `{kv-cache: 4096}`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A count, a ratio, a time or a size.
    Number(f64),
    /// One of a few words, such as a strategy's name.
    Word(&'static str),
    /// Sizes in MiB.
    Sizes(Vec<f64>),
    /// Tags in order, each with a number of MiB.
    Quotas(Vec<(String, f64)>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(on) => write!(f, "{on}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
            Self::Sizes(sizes) => {
                f.write_str("[")?;
                for (i, size) in sizes.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{size}")?;
                }
                f.write_str("]")
            }
            Self::Quotas(quotas) => {
                f.write_str("{")?;
                for (i, (tag, size)) in quotas.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    write!(f, "{comma}{tag}: {size}")?;
                }
                f.write_str("}")
            }
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Value {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Switch(on) => serializer.serialize_bool(*on),
            Self::Number(number) => Figure(*number).serialize(serializer),
            Self::Word(word) => serializer.serialize_str(word),
            Self::Sizes(sizes) => serializer.collect_seq(sizes.iter().copied().map(Figure)),
            Self::Quotas(quotas) => {
                serializer.collect_map(quotas.iter().map(|(tag, size)| (tag, Figure(*size))))
            }
        }
    }
}

/// A number that JSON shows as `256`, not `256.0`, if it is whole.
#[cfg(feature = "serde")]
struct Figure(f64);

#[cfg(feature = "serde")]
impl serde::Serialize for Figure {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const EXACT: f64 = (1_u64 << 53) as f64;
        if self.0.fract() == 0.0 && self.0.abs() < EXACT {
            serializer.serialize_i64(self.0 as i64)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}
