//! Findings of the advice, as text.

use std::fmt::Write;

use warmheap::advice::{Evidence, Finding, Grades, Severity};

/// Returns the findings with their evidence, and `change`, the settings to paste. Says so if there are none.
pub(crate) fn findings(findings: &[Finding], change: &str) -> String {
    if findings.is_empty() {
        return "Nothing to change.".to_owned();
    }
    let mut paragraphs: Vec<_> = findings.iter().map(finding).collect();
    if !change.is_empty() {
        paragraphs.push(format!("\nTo change, all together:\n\n{}", change.trim_end()));
    }
    paragraphs.join("\n")
}

/// Returns the grades, a line each.
pub(crate) fn grades(grades: &Grades) -> String {
    let Grades { hit_rate, utilization, fallback_rate, .. } = grades;
    format!("Hit rate: {hit_rate}\nUtilization: {utilization}\nFallback rate: {fallback_rate}")
}

fn finding(finding: &Finding) -> String {
    // A finding that is worth knowing only is no praise, as it is in a grade.
    let mark = if finding.severity == Severity::Info { "ℹ️" } else { finding.severity.mark() };
    let mut text = format!("{mark} {}", finding.title);
    let evidence: Vec<_> = finding.evidence.iter().map(evidence).collect();
    // Writing to a string does not fail.
    if !evidence.is_empty() {
        let _ = write!(text, " ({})", evidence.join(", "));
    }
    let _ = write!(text, ": {}", finding.explanation);
    // What is not among the changes to paste stands with its reason.
    for change in finding.change.iter().filter(|_| finding.severity == Severity::Info) {
        let _ = write!(text, "\n     {}: {} -> {}", change.key, change.from, change.to);
    }
    text
}

fn evidence(evidence: &Evidence) -> String {
    format!("{} {}", evidence.name, (evidence.value * 1000.0).round() / 1000.0)
}
