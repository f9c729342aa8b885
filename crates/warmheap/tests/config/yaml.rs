//! YAML with mistakes or malice in it. The error has a line for each fault, with its place and what is
//! allowed. The reader never panics and never hangs.

use std::fs;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use warmheap::PoolConfig;
use warmheap::config::{ConfigError, Document, HeapSizing, MAX_YAML_BYTES, MIB, Scrub};

fn refusal(yaml: &str) -> String {
    PoolConfig::from_yaml_str(yaml).unwrap_err().to_string()
}

#[test]
fn our_own_keys_load_beside_the_guides() {
    let yaml = "memory_pool:\n  heap_sizing: elastic\n  thread_cache_mb: 0\n  scrub: on_free\n";
    let config = PoolConfig::from_yaml_str(yaml).unwrap();
    assert_eq!(config.heaps, HeapSizing::Elastic);
    assert_eq!(config.thread_cache.max_bytes, 0);
    assert_eq!(config.scrub, Scrub::OnFree);
}

#[test]
fn off_in_either_section_is_off() {
    for (outer, inner, enabled) in [
        ("true", "true", true),
        ("true", "false", false),
        ("false", "true", false),
        ("false", "false", false),
    ] {
        let yaml =
            format!("metal_optimizations:\n  enabled: {outer}\n  memory_pool:\n    enabled: {inner}\n");
        let config = PoolConfig::from_yaml_str(&yaml).unwrap();
        assert_eq!(config.enabled, enabled, "{yaml}");
    }
    let order = "metal_optimizations:\n  memory_pool:\n    enabled: true\n  enabled: false\n";
    assert!(!PoolConfig::from_yaml_str(order).unwrap().enabled);
}

#[test]
fn a_bad_value_is_named_with_its_line_and_what_is_allowed() {
    let size = "it must be a number of MiB above 0 and at most 524288";
    let heaps = "it must be a whole number from 1 to 4096";
    let cases = [
        ("heap_size_mb: 0", format!("is `0`; {size}")),
        ("heap_size_mb: -256", format!("is `-256`; {size}")),
        ("heap_size_mb: 1e30", format!("is `1e30`; {size}")),
        ("heap_size_mb: 1e999", format!("is `1e999`; {size}")),
        ("heap_size_mb: .nan", format!("is `.nan`; {size}")),
        ("heap_size_mb: nan", format!("is `nan`; {size}")),
        ("heap_size_mb: 1e-9", format!("is `1e-9`; {size}; that is less than one byte")),
        ("heap_size_mb:", format!("is empty; {size}")),
        (
            "heap_size_mb: 256MB",
            format!("is `256MB`; {size}; write the figure alone, without unit or arithmetic"),
        ),
        ("heap_size_mb: '256'", format!("is the text '256'; {size}; leave the quotes out")),
        ("heap_size_mb: [256]", format!("is a list of 1; {size}")),
        ("heap_size_mb: {a: 1}", format!("is a section; {size}")),
        ("num_heaps: 0", format!("is `0`; {heaps}")),
        ("num_heaps: 2.5", format!("is `2.5`; {heaps}")),
        ("num_heaps: 4097", format!("is `4097`; {heaps}")),
        ("growth_trigger: 0", "is `0`; it must be a number above 0 and at most 1".to_owned()),
        ("growth_trigger: 90", "is `90`; it must be a number above 0 and at most 1".to_owned()),
        ("enabled: yes", "is `yes`; it must be true or false".to_owned()),
        ("enabled: 1", "is `1`; it must be true or false".to_owned()),
        (
            "allocation_strategy: worst-fit",
            "is `worst-fit`; it must be one of round-robin, best-fit, least-used".to_owned(),
        ),
        (
            "warmup_sizes: [32, -1]",
            "is a list with `-1`; it must be a list of at most 64 numbers of MiB, each above 0 and \
             at most 524288"
                .to_owned(),
        ),
        ("scrub: always", "is `always`; it must be one of never, on_free".to_owned()),
        ("thread_cache_mb: -1", "is `-1`; it must be a number of MiB from 0 to 524288".to_owned()),
    ];
    for (line, message) in cases {
        let key = line.split(':').next().unwrap();
        let yaml = format!("# a comment\nmax_heaps: 8\n{line}\n");
        assert_eq!(refusal(&yaml), format!("line 3: `{key}` {message}"));
    }
}

#[test]
fn compaction_is_checked_in_its_section() {
    assert_eq!(
        refusal("memory_pool:\n  compaction:\n    threshold: 1.5\n    interval_ms: 0\n    treshold: 1\n"),
        "line 3: `compaction.threshold` is `1.5`; it must be a number above 0 and at most 1\n\
         line 4: `compaction.interval_ms` is `0`; it must be a whole number from 1 to 86400000\n\
         line 5: unknown key `treshold`; did you mean `threshold`?"
    );
}

#[test]
fn unknown_keys_get_the_nearest_name_or_the_list() {
    assert_eq!(refusal("heapSizeMb: 512"), "line 1: unknown key `heapSizeMb`; did you mean `heap_size_mb`?");
    assert_eq!(
        refusal("metal_optimisations:\n  enabled: true"),
        "line 1: unknown key `metal_optimisations`; did you mean `metal_optimizations`?"
    );
    assert_eq!(
        refusal("metal_optimizations:\n  memroy_pool: {num_heaps: 1}"),
        "line 2: unknown key `memroy_pool`; did you mean `memory_pool`?"
    );
    assert!(refusal("memory_pool:\n  model_size_mb: 1").starts_with("line 2: unknown key"));
    assert!(refusal("server: {port: 1}\nnum_heaps: 1").starts_with("line 1: unknown key"));
    assert!(refusal("compaction.enabled: true").starts_with("line 1: unknown key"));
}

#[test]
fn a_servers_own_file_is_read_and_what_is_not_warmheaps_is_named() {
    let file = "\
defaults: &defaults {timeout: 5, deep: [[[[[[[[[[1]]]]]]]]]]}
server: {<<: *defaults, port: 8080, tls: !secret key}
model: qwen
metal_optimizations:
  blit_queue: {enabled: true, depth: 4}
  command_buffer_ring: 8
  memory_pool:
    heap_size_mb: 64
    num_heaps: 2
logging:
  - level: info
";
    let config = PoolConfig::from_yaml_str(file).unwrap();
    assert_eq!((config.heap_size, config.num_heaps), (64 * MIB, 2));
    let passed: Vec<_> =
        PoolConfig::passed_over_in(file).into_iter().map(|passed| (passed.key, passed.line)).collect();
    let expected = [
        ("defaults", 1),
        ("server", 2),
        ("model", 3),
        ("blit_queue", 5),
        ("command_buffer_ring", 6),
        ("logging", 10),
    ];
    assert_eq!(passed, expected.map(|(key, line)| (key.to_owned(), line)));
    // A file may have a thousand keys of other owners, and each more is an error, found soon.
    let many: String = (0..50_000).map(|key| format!("other{key}: 1\n")).collect();
    let error = refusal(&format!("{many}memory_pool: {{num_heaps: 2}}"));
    assert!(error.starts_with("line 1001: unknown key `other1000`"), "{error}");
    // What a reader of another part may use is an error in ours.
    let aliased = file.replace("num_heaps: 2", "num_heaps: *defaults");
    assert_eq!(refusal(&aliased), "line 9: YAML aliases (`*name`) are not accepted; write the value itself");
    let misspelt = file.replace("metal_optimizations", "metal_optimisations");
    assert!(refusal(&misspelt).contains("did you mean `metal_optimizations`?"), "{}", refusal(&misspelt));
}

#[test]
fn a_section_like_one_of_ours_may_stand_beside_it() {
    let engine = "\
metal_optimizations:
  memory_pool: {num_heaps: 2}
  memory_pools: {old: true}
cpu_optimizations: {enabled: true}
";
    let document = Document::from_text(engine).unwrap();
    assert_eq!(document.config.num_heaps, 2);
    let passed: Vec<_> = document.passed_over.iter().map(|passed| passed.key.as_str()).collect();
    assert_eq!(passed, ["memory_pools", "cpu_optimizations"]);
    // Without ours beside it, it is ours misspelt.
    let alone = "memory_pool: {num_heaps: 2}\ncpu_optimizations: {enabled: true}";
    assert_eq!(
        refusal(alone),
        "line 2: unknown key `cpu_optimizations`; did you mean `metal_optimizations`?"
    );
    // A key is no section.
    let key = "metal_optimizations: {enabled: true, enable: true}";
    assert_eq!(refusal(key), "line 1: unknown key `enable`; did you mean `enabled`?");
}

#[test]
fn what_other_owners_set_is_there_for_them_to_read() {
    let file = "\
metal_optimizations:
  enabled: false
  memory_pool: {num_heaps: 2}
  blit_queue:
    max_pending_ops: 8
    label: 'x'
    sizes: [1, 2]
    none:
  command_ring: 5
";
    let document = Document::from_text(file).unwrap();
    assert!(document.switched_off && !document.config.enabled);
    let [blit, ring] = &document.passed_over[..] else { panic!("{document:?}") };
    let settings = blit.settings.as_deref().unwrap();
    let settings: Vec<_> =
        settings.iter().map(|set| (set.key.as_str(), set.line, set.value.as_str())).collect();
    let expected = [
        ("max_pending_ops", 5, "8"),
        ("label", 6, "the text 'x'"),
        ("sizes", 7, "a list of 2"),
        ("none", 8, "empty"),
    ];
    assert_eq!(settings, expected);
    assert_eq!(ring.settings, None);
    assert!(!Document::from_text("memory_pool: {enabled: false}").unwrap().switched_off);
}

#[test]
fn more_heaps_than_growth_may_reach_is_an_error_only_with_growth() {
    let pair = "num_heaps: 9\nmax_heaps: 8\n";
    assert!(PoolConfig::from_yaml_str(pair).is_ok());
    assert_eq!(
        refusal(&format!("dynamic_growth: true\n{pair}")),
        "line 2: `num_heaps` is 9, more than `max_heaps` 8, which `dynamic_growth: true` does not allow: \
         lower `num_heaps` or raise `max_heaps`"
    );
}

#[test]
fn what_is_no_configuration_is_refused_in_one_line() {
    let nothing = "line 1: no settings here; start with `metal_optimizations:`, `memory_pool:` or a \
                   key such as `heap_size_mb: 256`";
    for yaml in ["", "\n\n", "# only a comment\n", "---\n", "~"] {
        assert_eq!(refusal(yaml), nothing, "{yaml:?}");
    }
    let cases = [
        ("just words", "line 1: `the configuration` is `just words`; it must be a section"),
        ("- 1\n- 2", "line 1: `the configuration` is a list of 2; it must be a section"),
        ("memory_pool:\nnum_heaps: 4", "line 1: `memory_pool` is empty; it must be a section"),
        ("memory_pool: 5", "line 1: `memory_pool` is `5`; it must be a section"),
        ("num_heaps: 4\n---\nnum_heaps: 5", "line 3: a second YAML document"),
        ("num_heaps: !!int 4", "line 1: a configuration has no YAML tags"),
        ("? [a]\n: 1", "line 1: a list of 1 cannot be a key"),
        ("enabled: true\nnum_heaps: ]", "line 2: not valid YAML"),
        ("a: b: c", "line 1: not valid YAML"),
        ("num_heaps: \"\0", "line 1: not valid YAML"),
    ];
    for (yaml, start) in cases {
        let error = refusal(yaml);
        assert!(error.starts_with(start), "{yaml:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn a_yaml_bomb_never_expands() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = level - 1;
        bomb += &format!("a{level}: &a{level} [*a{below}, *a{below}, *a{below}, *a{below}]\n");
    }
    let beside = PoolConfig::from_yaml_str(&format!("{bomb}memory_pool: {{num_heaps: 2}}"));
    assert_eq!(beside.unwrap().num_heaps, 2);
    assert_eq!(
        refusal(&format!("{bomb}memory_pool: {{num_heaps: *a29}}")),
        "line 31: YAML aliases (`*name`) are not accepted; write the value itself"
    );
}

#[test]
fn hostile_sizes_end_soon_in_a_short_message() {
    let cases = [
        "[".repeat(500_000),
        "{a: ".repeat(200_000),
        "- ".repeat(500_000),
        "num_heapz: 1\n".repeat(70_000),
        format!("num_heaps: {}", "9".repeat(900_000)),
        format!("{}: 1", "x".repeat(1000)),
        format!("{}: 1", "x".repeat(900_000)),
        format!("warmup_sizes: [{}]", "1, ".repeat(300_000)),
        format!("num_heaps: '{}'", "\u{1}x\n".repeat(300_000)),
        "heap_size_mb: 1 #".to_owned() + &"x".repeat(MAX_YAML_BYTES),
    ];
    for yaml in cases {
        let start = Instant::now();
        let error = refusal(&yaml);
        let head = &yaml[..20];
        assert!(error.len() < 10_000, "{head}: {} bytes", error.len());
        assert!(error.lines().count() <= 20, "{head}");
        assert!(start.elapsed() < Duration::from_secs(20), "{head}");
    }
}

#[test]
fn files_that_cannot_be_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &std::path::Path| PoolConfig::from_yaml_file(path).unwrap_err();

    let error = load(folder.path());
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    let missing = folder.path().join("missing.yaml");
    let error = load(&missing).to_string();
    assert!(error.starts_with(&missing.display().to_string()), "{error}");
    assert!(error.ends_with("give the path of a YAML file"), "{error}");

    let file = folder.path().join("pool.yaml");
    let name = file.display();
    fs::write(&file, b"num_heaps: 4\n# caf\xe9\n").unwrap();
    assert_eq!(load(&file).to_string(), format!("{name}: line 2: not UTF-8 text; save the file as UTF-8"));
    // The limit cuts the text within a character.
    fs::write(&file, "#".to_owned() + &"\u{e9}".repeat(MAX_YAML_BYTES)).unwrap();
    assert!(load(&file).to_string().contains("has more than 1048576 bytes"));
    fs::write(&file, "num_heaps: 0\nnum_heeps: 1\n").unwrap();
    let error = load(&file);
    assert_eq!(error.problems().len(), 2);
    assert!(error.to_string().lines().all(|line| line.starts_with(&format!("{name}: line "))));
}

#[test]
fn a_byte_order_mark_and_windows_lines_are_no_obstacle() {
    let config = PoolConfig::from_yaml_str("\u{feff}num_heaps: 2\r\nheap_size_mb: 0.5\r\n").unwrap();
    assert_eq!((config.num_heaps, config.heap_size), (2, MIB / 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_panics(text in "\\PC{0,200}|([a-z_]{1,12}|[-:\\[\\]{}&*!|>'\"%@`#,? \n0-9.]){0,60}") {
        let _ = PoolConfig::from_yaml_str(&text);
    }
}

#[test]
fn limits_and_quotas_have_their_places() {
    let yaml = "memory_pool:\n  limits:\n    hard_mb: 512\n    soft_mb: 0\n  quotas: {kv-cache: 64, weights: 0.5}\n  wait_ms: 20";
    let config = PoolConfig::from_yaml_str(yaml).unwrap();
    assert_eq!((config.limits.hard_bytes, config.limits.soft_bytes), (Some(512 * MIB), None));
    assert_eq!(
        config.quotas.iter().map(|(tag, most)| (tag.as_str(), *most)).collect::<Vec<_>>(),
        [("kv-cache", 64 * MIB), ("weights", MIB / 2)]
    );
    assert_eq!(config.wait.as_millis(), 20);
    let variables = [("WARMHEAP_QUOTAS", "kv-cache: 64, weights: 0.5"), ("WARMHEAP_LIMITS_HARD_MB", "512")];
    let same = PoolConfig::default().with_variables(variables).unwrap();
    assert_eq!((same.quotas, same.limits), (config.quotas, config.limits));
    assert!(PoolConfig::default().with_variables([("WARMHEAP_QUOTAS", "")]).unwrap().quotas.is_empty());
    for wrong in ["{a: 1, a: 2}", "{a: none}", "{a: 0}", "{1a: 5}", "{'a b': 5}", "5", "[a]", "{a: [1]}"] {
        let text = refusal(&format!("quotas: {wrong}"));
        assert!(text.contains("`quotas` is ") && text.contains("at most 64 tags"), "{wrong}: {text}");
    }
    let text = refusal("limits: {soft_mb: 20, hard_mb: 10}");
    assert_eq!(
        text,
        "line 1: `limits.soft_mb` is 20, more than `limits.hard_mb` 10; a soft limit must not exceed the \
         hard one: lower it"
    );
}

#[test]
fn a_quota_that_is_wrong_is_named_by_its_tag() {
    for (quotas, words) in [
        ("{kv: 0, b: 5}", "a section with `kv`: `0`; it must be"),
        ("{b: 5, 9x: 5}", "a section with `9x`: `5`"),
        ("{a: x}", "a section with `a`: `x`"),
        ("{a: 1, a: 2}", "a section with `a` twice"),
        ("{kv: 1e-9}", "a section with `kv`: `1e-9`"),
    ] {
        let words_found = refusal(&format!("quotas: {quotas}"));
        assert!(words_found.contains(words), "{words_found}");
    }
    let many: String = (0..70).map(|i| format!("t{i}: 1, ")).collect();
    assert!(refusal(&format!("quotas: {{{many}}}")).contains("a section of 70 tags"));
}

#[test]
fn a_size_below_a_byte_is_refused_as_written() {
    for (text, found) in [
        ("heap_size_mb: 0.0000001", "`0.0000001`"),
        ("limits: {hard_mb: 1e-7}", "`1e-7`"),
        ("warmup_sizes: [5, 1e-9]", "a list with `1e-9`"),
        ("quotas: {kv: 1e-9}", "`1e-9`"),
    ] {
        let words = refusal(text);
        assert!(words.contains(found) && words.ends_with("less than one byte"), "{words}");
    }
    assert_eq!(PoolConfig::from_yaml_str("heap_size_mb: 1e-6").unwrap().heap_size, 1);
}

#[test]
fn sizes_read_back_as_they_were_written() {
    for size in ["100.6", "0.1", "3.7", "63.9999", "1.3", "0.000001", "1e-6", "524287.9"] {
        let config = PoolConfig::from_yaml_str(&format!("heap_size_mb: {size}\nwarmup_sizes: []")).unwrap();
        let shown = config.get("heap_size_mb").unwrap().to_string();
        assert_eq!(shown.parse::<f64>(), size.parse::<f64>());
        assert_eq!(PoolConfig::from_yaml_str(&config.to_yaml()).unwrap(), config);
    }
}

#[test]
fn a_models_size_is_no_setting_and_the_error_says_where_it_goes() {
    let words = refusal("memory_pool:\n  model_size_mb: 8192");
    assert!(words.contains("`warmheap check FILE --model-mb MIB`"), "{words}");
}
