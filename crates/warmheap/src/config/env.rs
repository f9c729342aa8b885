//! Settings from environment variables. A variable is `WARMHEAP_` and the name of a key in capitals.

use std::ffi::OsStr;

use super::assign::Assignment;
use super::error::{Fault, Place, Problem};
use super::input::{Entry, Input, shortened};
use super::key::{Key, VARIABLE_PREFIX, keys};
use super::rule::Rule;
use super::suggest::nearest;

/// The variable that names a configuration file, for programs that name none.
pub const CONFIG_VARIABLE: &str = "WARMHEAP_CONFIG";

/// The variables with the prefix of Warmheap that are not settings of a pool: the path of a
/// configuration file, the log filter, and the file where statistics are written.
pub const RESERVED_VARIABLES: [&str; 3] = [CONFIG_VARIABLE, "WARMHEAP_LOG", "WARMHEAP_STATS"];

/// Reads the settings in `variables`, and the faults that their names have.
pub(crate) fn read<N: AsRef<OsStr>, V: AsRef<OsStr>>(
    variables: impl IntoIterator<Item = (N, V)>,
) -> (Vec<Assignment>, Vec<Problem>) {
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
    (assignments, problems)
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
