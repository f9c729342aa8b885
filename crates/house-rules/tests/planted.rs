//! Every planted bug still applies to the sources, and says which test must find it.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn every_planted_bug_applies_and_names_what_finds_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut seen = 0;
    for folder in ["scripts/planted", "scripts/metal/planted"] {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let patch = entry.unwrap().path();
            if patch.extension().is_none_or(|extension| extension != "patch") {
                continue;
            }
            let text = fs::read_to_string(&patch).unwrap();
            let says = |key: &str| text.lines().any(|line| line.starts_with(key));
            assert!(says("expect: "), "{} says no error to expect", patch.display());
            // All planted bugs of Metal are for the same tests.
            assert!(says("found by: ") || folder.contains("metal"), "{} names no test", patch.display());
            let checked =
                Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(&root).output();
            let output = checked.unwrap();
            let words = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{} does not apply: {words}", patch.display());
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} planted bugs");
}
