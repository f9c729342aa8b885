//! Statistics as JSON that reads back the same, and as Prometheus text that keeps every rule of the format.

use std::collections::BTreeMap;

use warmheap::Statistics;

fn sample() -> Statistics {
    let mut s = Statistics::default();
    s.total_allocations = 1000;
    s.total_deallocations = 900;
    s.fallback_allocations = 25;
    s.failed_allocations = 2;
    s.active_allocations = 100;
    s.hit_rate = 0.975;
    s.total_heaps = 4;
    s.active_heaps = 3;
    s.utilization = 0.25;
    s.fragmentation = 0.125;
    s.largest_allocation_mb = 300.5;
    s.avg_allocation_mb = 1.5;
    s.total_capacity_mb = 1024.0;
    s.used_capacity_mb = 256.0;
    s.peak_used_mb = 512.0;
    s.fallback_mb = 8.0;
    s.cached_mb = 0.5;
    s.quarantined_mb = 0.25;
    s.device_calls = 30;
    s.device_objects = 8;
    s.device_object_limit = 450_000;
    s.in_flight_mb = 2.5;
    s.orphaned_mb = 0.5;
    s.soft_limit_crossings = 3;
    s.compactions = 5;
    s.moved_buffers = 70;
    s.moved_mb = 1.5;
    s.recovered_mb = 0.5;
    s.slow_path.retired.tried = 17;
    s.slow_path.callbacks.served = 4;
    s
}

#[derive(Debug, PartialEq)]
struct Sample {
    kind: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// A strict reader of text format 0.0.4. Every sample follows its own HELP and TYPE, each occurs once, and
/// names and labels are well formed.
fn parse(text: &str) -> BTreeMap<String, Sample> {
    assert!(text.ends_with('\n'));
    let mut samples = BTreeMap::new();
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, words) = help.strip_prefix("# HELP ").unwrap().split_once(' ').unwrap();
        assert!(!words.is_empty() && !words.contains('\\'), "{help}");
        let described = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
        let (typed, kind) = described.split_once(' ').unwrap();
        assert_eq!(typed, name);
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert!(lines.peek().is_some(), "{name} has no sample");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (sampled, mut rest) = line.split_once('{').unwrap();
            assert_eq!(sampled, name);
            let mut labels = Vec::new();
            loop {
                let (label, after) = parse_label(rest);
                labels.push(label);
                match after.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break rest = after,
                }
            }
            let value = rest.strip_prefix("} ").unwrap().parse().unwrap();
            let others: String = labels[1..].iter().map(|(_, value)| format!(" {value}")).collect();
            let sample = Sample { kind: kind.to_owned(), labels, value };
            assert!(samples.insert(format!("{name}{others}"), sample).is_none(), "{line} twice");
        }
    }
    samples
}

/// Returns the first label, unescaped, and what follows it.
fn parse_label(text: &str) -> ((String, String), &str) {
    let (name, quoted) = text.split_once("=\"").unwrap();
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    loop {
        match chars.next().unwrap() {
            (at, '"') => return ((name.to_owned(), value), &quoted[at + 1..]),
            (_, '\\') => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("no such escape: \\{c}"),
            }),
            (_, c) => value.push(c),
        }
    }
}

#[test]
fn prometheus_text_reads_back_in_bytes_and_ratios() {
    let samples = parse(&sample().to_prometheus("main"));
    let expected = [
        ("warmheap_allocations_total", 1000.0),
        ("warmheap_deallocations_total", 900.0),
        ("warmheap_fallback_allocations_total", 25.0),
        ("warmheap_failed_allocations_total", 2.0),
        ("warmheap_active_allocations", 100.0),
        ("warmheap_hit_ratio", 0.975),
        ("warmheap_heaps", 4.0),
        ("warmheap_active_heaps", 3.0),
        ("warmheap_utilization_ratio", 0.25),
        ("warmheap_fragmentation_ratio", 0.125),
        ("warmheap_largest_allocation_bytes", 315_097_088.0),
        ("warmheap_mean_allocation_bytes", 1_572_864.0),
        ("warmheap_heap_capacity_bytes", 1_073_741_824.0),
        ("warmheap_heap_used_bytes", 268_435_456.0),
        ("warmheap_peak_used_bytes", 536_870_912.0),
        ("warmheap_fallback_bytes", 8_388_608.0),
        ("warmheap_cached_bytes", 524_288.0),
        ("warmheap_quarantined_bytes", 262_144.0),
        ("warmheap_device_calls_total", 30.0),
        ("warmheap_device_objects", 8.0),
        ("warmheap_device_object_limit", 450_000.0),
        ("warmheap_in_flight_bytes", 2_621_440.0),
        ("warmheap_orphaned_bytes", 524_288.0),
        ("warmheap_soft_limit_crossings_total", 3.0),
        ("warmheap_compactions_total", 5.0),
        ("warmheap_moved_buffers_total", 70.0),
        ("warmheap_moved_bytes_total", 1_572_864.0),
        ("warmheap_recovered_bytes_total", 524_288.0),
        ("warmheap_slow_path_stages_total retired tried", 17.0),
        ("warmheap_slow_path_stages_total retired served", 0.0),
        ("warmheap_slow_path_stages_total callbacks served", 4.0),
    ];
    // The list leaves out both outcomes of most stages.
    let steps = 2 * sample().slow_path.stages().len();
    assert_eq!(samples.len(), expected.len() - 3 + steps);
    for (name, value) in expected {
        let sample = &samples[name];
        assert_eq!(sample.value, value, "{name}");
        let counts = name.contains("_total");
        assert_eq!(sample.kind, if counts { "counter" } else { "gauge" }, "{name}");
        assert_eq!(sample.labels[0], ("pool".to_owned(), "main".to_owned()));
    }
}

#[test]
fn any_label_survives() {
    for label in ["", "a\"b", "back\\slash", "two\nlines", "\\n\"}", "größer 💾"] {
        for sample in parse(&sample().to_prometheus(label)).values() {
            assert_eq!(sample.labels[0].1, label);
        }
    }
}

#[test]
fn json_reads_back_the_same() {
    let json = sample().to_json();
    assert!(json.starts_with("{\"total_allocations\":1000,"), "{json}");
    assert_eq!(serde_json::from_str::<Statistics>(&json).unwrap(), sample());
}

#[test]
fn findings_are_json_with_typed_values() {
    let found = warmheap::advice::findings(&sample(), &warmheap::PoolConfig::default());
    let json = serde_json::to_value(&found).unwrap();
    assert_eq!(json[0]["title"], "Pool Exhaustion Warnings");
    assert_eq!(json[0]["severity"], "error");
    assert_eq!(json[0]["change"][0]["key"], "heap_size_mb");
    assert_eq!(json[0]["change"][0]["from"], 256);
    assert_eq!(json[0]["change"][0]["to"], 512);
}

#[test]
fn settings_are_json_by_key() {
    let json = serde_json::to_value(warmheap::PoolConfig::default()).unwrap();
    assert_eq!(json["warmup_sizes"], serde_json::json!([32, 128, 512]));
    assert_eq!(json["growth_trigger"], 0.9);
    assert_eq!(json["allocation_strategy"], "round-robin");
    assert_eq!(json["compaction.enabled"], false);
}

#[test]
fn the_pools_of_a_process_are_one_valid_page() {
    let (one, mut other) = (sample(), sample());
    other.total_allocations = 7;
    let page = warmheap::stats::to_prometheus([("one", &one), ("other", &other)]);
    for kind in ["# HELP ", "# TYPE "] {
        let heads: Vec<_> =
            page.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next()).collect();
        let once: std::collections::BTreeSet<_> = heads.iter().collect();
        assert_eq!(heads.len(), once.len(), "{heads:?}");
        assert_eq!(heads.len(), Statistics::figures().len() + 1);
    }
    // Every sample of each pool is there, once, and under the head of its own metric.
    let mut current = String::new();
    for line in page.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(typed) => current = typed.split(' ').next().unwrap().to_owned(),
            None if line.starts_with('#') => (),
            None => assert_eq!(line.split('{').next().unwrap(), current),
        }
    }
    let samples = |text: &str| -> Vec<String> {
        let mut samples: Vec<_> =
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect();
        samples.sort();
        samples
    };
    assert_eq!(samples(&page), samples(&(one.to_prometheus("one") + &other.to_prometheus("other"))));
    assert_eq!(warmheap::stats::to_prometheus([]), "");
}
