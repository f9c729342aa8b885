//! The documents name every key, variable, default, statistic and metric, and no others. Their links lead
//! somewhere, and what they say of devices and settings is true.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use warmheap::advice::{self, Grade};
use warmheap::config::{MIB, RESERVED_VARIABLES, Scrub, Strategy, keys};
use warmheap::device::Device;
use warmheap::device::host::HostDevice;
use warmheap::device::sim::{Call, SimDevice, SimQueue};
use warmheap::stats::Unit;
use warmheap::{CompactionBudget, Pool, PoolConfig, Statistics};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join("docs").join(name)).unwrap()
}

/// Returns the project's documents: those at the root, and everything in Markdown under `docs`.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    let names = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    found.extend(names.map(|name| root().join(name)));
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found
}

/// Returns the targets of a document's links to other files and to headings.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target).filter(|target| !target.contains("://"))
}

/// Returns the names by which a forge links to a document's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
    let name = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase();
    headings.map(|heading| name(heading).chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

/// Returns the cells of every table row whose first cell is one name in code style.
fn rows(document: &str) -> Vec<Vec<String>> {
    document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

fn first_cells(rows: &[Vec<String>]) -> BTreeSet<&str> {
    rows.iter().map(|row| row[0].trim_matches('`')).collect()
}

#[test]
fn configuration_lists_every_key_with_its_default_range_and_variable() {
    let text = document("configuration.md");
    let rows = rows(&text);
    let names: BTreeSet<_> = keys().iter().map(|key| key.name()).collect();
    let reserved: BTreeSet<_> = RESERVED_VARIABLES.into();
    let listed = first_cells(&rows);
    assert_eq!(listed, &names | &reserved);

    let defaults = PoolConfig::default();
    for key in keys() {
        let row = rows.iter().find(|row| row[0] == format!("`{}`", key.name())).unwrap();
        assert_eq!(row[1], format!("`{}`", defaults.get(key.name()).unwrap()));
        assert_eq!(row[2], key.allowed());
        assert_eq!(row[3], format!("`{}`", key.variable()));
        assert!(text.contains(&format!("### `{}`", key.name())), "a section on {}", key.name());
    }
}

#[test]
fn statistics_lists_every_figure_and_metric() {
    let text = document("statistics.md");
    let rows = rows(&text);
    let listed = first_cells(&rows);
    let statistics = Statistics::default();
    let json: serde_json::Value = serde_json::from_str(&statistics.to_json()).unwrap();
    let figures: BTreeSet<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(listed, figures);

    let metrics: BTreeSet<_> = statistics
        .to_prometheus("")
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| format!("`{}`", line.split(' ').next().unwrap()))
        .collect();
    let named: BTreeSet<_> = rows.iter().map(|row| row.last().unwrap().clone()).collect();
    assert_eq!(named, metrics);
}

#[test]
fn statistics_describes_each_figure_as_the_library_does() {
    let text = document("statistics.md");
    let rows = rows(&text);
    for (figure, row) in Statistics::figures().iter().zip(&rows) {
        assert_eq!(row[0], format!("`{}`", figure.name), "the rows have the order of the fields");
        assert_eq!(row[2], figure.help.trim(), "{}", figure.name);
        let unit = match figure.unit {
            Unit::Mib => Some("MiB"),
            Unit::Ratio => Some("0 to 1"),
            _ => None,
        };
        assert!(unit.is_none_or(|unit| unit == row[1]), "{}: {}", figure.name, row[1]);
    }
}

#[test]
fn statistics_describes_each_stage_as_the_library_does() {
    let text = document("statistics.md");
    let declared = include_str!("../../src/stats/slow_path.rs");
    for (stage, _) in Statistics::default().slow_path.stages() {
        let (before, _) = declared.split_once(&format!("pub {stage}: Stage,")).unwrap();
        let sentence = before.trim_end().rsplit("/// ").next().unwrap();
        assert!(text.contains(&format!("| {stage} | {sentence}")), "{stage}: {sentence}");
    }
}

/// Returns the figures of a pool that does not count, after requests of every kind. The simulated device has
/// no driver objects.
fn everything_that_can_happen(scrub: Scrub) -> Statistics {
    let config = PoolConfig::default().with_heap_size(8 * MIB).with_num_heaps(2).with_warmup_sizes([]);
    let mut config = config.with_log_exhaustion(false).with_track_statistics(false).with_scrub(scrub);
    config.limits.soft_bytes = Some(16 * MIB);
    let sim = SimDevice::new().budget(64 * MIB);
    let pool = Pool::new(Arc::new(sim.clone()), config).unwrap();
    let work = Arc::new(SimQueue::new());
    let queue = pool.queue(work.clone());
    let (_small, _fallback) = (pool.allocate(MIB).unwrap(), pool.allocate(20 * MIB).unwrap());
    pool.allocate(MIB).unwrap().retire(&queue.ticket(work.submit()));
    // The queue's last handle goes.
    drop(queue);
    pool.allocate(100 * MIB).unwrap_err();
    pool.compact(CompactionBudget::unlimited()).unwrap();
    sim.fail_always(Call::Fill);
    drop(pool.allocate(MIB / 1024).unwrap());
    let seen = pool.statistics();
    work.complete_all();
    seen
}

#[test]
fn statistics_names_the_figures_that_remain_when_nothing_is_counted() {
    let text = document("statistics.md");
    let (_, rest) = text.split_once("These figures remain:").unwrap();
    let listed: BTreeSet<_> = rest.split_once(".\n").unwrap().0.split('`').skip(1).step_by(2).collect();

    let mut remain = BTreeSet::from(["device_objects", "device_object_limit"]);
    for scrub in [Scrub::Never, Scrub::OnFree] {
        let seen = everything_that_can_happen(scrub);
        assert_eq!(seen.hit_rate, 1.0);
        let moved = Statistics::figures().iter().filter(|figure| figure.value(&seen) != 0.0);
        remain.extend(moved.map(|figure| figure.name).filter(|name| *name != "hit_rate"));
    }
    assert_eq!(listed, remain);
}

#[test]
fn statistics_grades_as_the_advice_does() {
    let text = document("statistics.md");
    let grades: [fn(f64) -> Grade; 3] = [advice::hit_rate, advice::utilization, advice::fallback_rate];
    for (figure, grade) in ["Hit rate", "Utilisation", "Fallback rate"].into_iter().zip(grades) {
        let (_, rest) = text.split_once(&format!("- **{figure}**")).unwrap();
        let sentence = rest.split_once(".\n").unwrap().0.replace('\n', " ");
        let list = sentence.rsplit_once(": ").unwrap().1;
        let mut bound = 0.0;
        for part in list.split(", ") {
            let words: Vec<&str> = part.split_whitespace().collect();
            bound = words.iter().find_map(|word| word.parse().ok()).unwrap_or(bound);
            let share = match words[0] {
                "above" => bound + 0.1,
                "below" => bound - 0.1,
                _ => bound,
            };
            assert_eq!(grade(share / 100.0).label, *words.last().unwrap(), "{figure}: {part}");
        }
    }
}

#[test]
fn statistics_lists_the_findings_of_the_advice() {
    let text = document("statistics.md");
    let (_, table) = text.split_once("| Finding | When | Advice |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| "));
    let listed: BTreeSet<&str> = rows.map(|row| row[2..].split(" | ").next().unwrap()).collect();
    let sources = [include_str!("../../src/advice/scenario.rs"), include_str!("../../src/advice/trouble.rs")];
    let titles = sources.iter().flat_map(|source| source.split("Finding::new(").skip(1));
    let made: BTreeSet<&str> = titles.map(|rest| rest.split('"').nth(1).unwrap()).collect();
    // Those of a start that failed and of a pool that has ended are not among `findings`.
    let elsewhere = BTreeSet::from(["Initialization Failure", "Memory Leak Detection"]);
    assert_eq!(listed, &made - &elsewhere);
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    let mut followed = 0;
    for path in documents() {
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name("").join(file) };
            let leads = target.exists() && (heading.is_empty() || has_heading(&target, heading));
            if !leads {
                broken.push(format!("{}: {link}", path.display()));
            }
            followed += 1;
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert!(followed > 50, "only {followed} links were found");
}

fn has_heading(document: &Path, heading: &str) -> bool {
    anchors(&fs::read_to_string(document).unwrap()).contains(heading)
}

#[test]
fn the_glossary_names_the_page_of_each_device_whose_heaps_grow() {
    let glossary = document("glossary.md");
    let mib = |device: &dyn Device| device.limits().granularity / MIB;
    let (host, sim) = (mib(&HostDevice::new()), mib(&SimDevice::new()));
    assert_eq!(host, sim);
    assert!(glossary.contains(&format!("{host} MiB on `host` and `sim`")), "{host} MiB");
}

/// Returns the addresses of buffers in a pool that sizes itself, after others were freed.
fn addresses(device: SimDevice, strategy: Strategy) -> Vec<u64> {
    let pool = Pool::new(Arc::new(device), PoolConfig::elastic().with_strategy(strategy)).unwrap();
    let mut buffers: Vec<_> = (0..24).map(|_| pool.allocate(12 * MIB).unwrap()).collect();
    let mut number = 0;
    buffers.retain(|_| {
        number += 1;
        number % 3 == 0
    });
    let more: Vec<_> = (0..16).map(|_| pool.allocate(2 * MIB).unwrap()).collect();
    more.iter().map(warmheap::Buffer::device_address).collect()
}

#[test]
fn a_pool_that_sizes_itself_ignores_the_strategy_as_the_document_says() {
    assert!(document("configuration.md").contains("`heap_sizing: elastic` ignores this key."));
    for device in [SimDevice::new, || SimDevice::new().discrete()] {
        let packed = addresses(device(), Strategy::BestFit);
        for strategy in [Strategy::RoundRobin, Strategy::LeastUsed] {
            assert_eq!(addresses(device(), strategy), packed, "{strategy:?}");
        }
    }
}
