//! Every YAML sample of the guide, unchanged. A sample loads with the values that a reader expects, or the
//! error says what to change.

use std::fs;
use std::path::PathBuf;

use warmheap::PoolConfig;
use warmheap::config::{MIB, Strategy};

fn samples() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/guide_yaml");
    let mut samples: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy();
            (name[..2].to_owned(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    samples.sort();
    samples
}

fn sample(number: &str) -> String {
    let found = samples().into_iter().find(|(name, _)| name == number);
    found.unwrap().1
}

fn loaded(yaml: &str) -> PoolConfig {
    PoolConfig::from_yaml_str(yaml).unwrap_or_else(|error| panic!("{error}\nin\n{yaml}"))
}

fn refusal(yaml: &str) -> String {
    PoolConfig::from_yaml_str(yaml).unwrap_err().to_string()
}

fn mib(sizes: &[u64]) -> Vec<u64> {
    sizes.iter().map(|size| size * MIB).collect()
}

/// The samples that set one key several times, as alternatives, or contain arithmetic.
const REFUSED: [&str; 5] = ["02", "03", "05", "06", "07"];

#[test]
fn every_other_sample_loads_and_sets_what_it_says() {
    let default = PoolConfig::default;
    let expected = [
        ("01", default()),
        ("04", default().with_warmup_sizes(mib(&[64, 256, 1024]))),
        ("08", default().with_heap_size(512 * MIB)),
        ("09", default().with_num_heaps(6)),
        ("10", default().with_warmup_sizes(mib(&[32, 64, 128, 256, 512, 1024]))),
        ("11", default().with_num_heaps(3)),
        ("12", default().with_heap_size(128 * MIB)),
        ("13", default().with_warmup_sizes(mib(&[32, 128]))),
        ("14", default().with_num_heaps(8)),
        ("15", default().with_heap_size(2048 * MIB)),
        ("16", default().with_warmup_sizes(mib(&[32, 128, 512, 1024, 2048]))),
        ("17", default().with_num_heaps(2).with_heap_size(128 * MIB)),
        ("18", default().with_heap_size(1024 * MIB)),
        ("19", default().with_strategy(Strategy::BestFit)),
        ("20", default().with_dynamic_growth(true)),
        ("21", {
            let mut config = default();
            config.compaction.enabled = true;
            config
        }),
    ];
    for (number, config) in &expected {
        assert_eq!(loaded(&sample(number)), *config, "sample {number}");
    }
    let tested: Vec<_> = expected.iter().map(|(number, _)| *number).collect();
    for (number, _) in samples() {
        let refused = REFUSED.contains(&number.as_str());
        assert!(refused != tested.contains(&number.as_str()), "sample {number} is tested once");
    }
}

#[test]
fn the_formula_written_as_a_value_is_refused_with_both_faults() {
    assert_eq!(
        refusal(&sample("02")),
        "line 2: unknown key `model_size_mb`; a model's size is no setting: `warmheap check FILE --model-mb MIB` \
         recommends heaps for it\n\
         line 4: `heap_size_mb` is `(8192 / 4) × 1.5 = 3072MB`; it must be a number of MiB above 0 \
         and at most 524288; write the figure alone, without unit or arithmetic"
    );
}

#[test]
fn alternatives_in_one_sample_are_refused_by_the_line_of_the_second() {
    let first = |number| refusal(&sample(number)).lines().next().unwrap().to_owned();
    let twice = |key: &str, line, first| {
        format!("line {line}: `{key}` was already set on line {first}; keep one of the two")
    };
    assert_eq!(first("03"), twice("num_heaps", 6, 2));
    assert_eq!(first("05"), twice("warmup_sizes", 5, 2));
    assert_eq!(first("06"), twice("track_statistics", 5, 2));
    assert_eq!(first("07"), twice("log_exhaustion", 5, 2));
}

#[test]
fn each_alternative_loads_by_itself() {
    let mut alternatives = 0;
    for number in ["03", "05", "06", "07"] {
        for alternative in sample(number).split("\n\n") {
            loaded(alternative);
            alternatives += 1;
        }
    }
    assert_eq!(alternatives, 10);
    let m3_max = loaded(sample("03").split("\n\n").nth(2).unwrap());
    assert_eq!((m3_max.num_heaps, m3_max.heap_size), (6, 1024 * MIB));
}

#[test]
fn the_guides_own_default_warns_of_the_size_no_heap_holds() {
    let warnings = loaded(&sample("01")).warnings();
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        ["warm-up size 512 MiB is larger than a heap (`heap_size_mb` 256) and is skipped; remove \
             it from `warmup_sizes` or raise `heap_size_mb`"]
    );
}
