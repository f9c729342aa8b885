//! Reads any text as a configuration: as YAML, and line by line as environment variables. A refused text
//! gets an error with a line for each problem. An accepted configuration is valid, and is the same after it
//! is written and read back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use warmheap::PoolConfig;
use warmheap::config::{ConfigError, keys};

fuzz_target!(|text: &str| {
    check(PoolConfig::from_yaml_str(text));
    check(PoolConfig::default().with_variables(text.lines().take(VARIABLES).map(variable)));
});

/// The most variables of an input. The search for similar names takes most of the time.
const VARIABLES: usize = 4;

/// Turns `name: value` into a variable. A number stands for the key at that place in the table, so that the
/// fuzzer need not guess names.
fn variable(line: &str) -> (String, &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    match name.parse::<usize>() {
        Ok(place) => (keys()[place % keys().len()].variable(), value),
        Err(_) => (format!("WARMHEAP_{name}"), value),
    }
}

fn check(read: Result<PoolConfig, ConfigError>) {
    match read {
        Ok(config) => {
            config.validate().expect("what was accepted is valid");
            let _ = config.warnings();
            let yaml = config.to_yaml();
            let again = PoolConfig::from_yaml_str(&yaml);
            assert_eq!(again.expect("what is written can be read"), config, "{yaml}");
        }
        Err(error) => {
            let problems = error.problems();
            assert!(!problems.is_empty());
            // Each problem has one line of bounded length, whatever the text was.
            let message = error.to_string();
            assert_eq!(message.lines().count(), problems.len(), "{message}");
            assert!(problems.iter().all(|problem| problem.to_string().len() < 2000), "{message}");
        }
    }
}
