//! Findings of the advice, as text.

use std::fmt::Write;

use warmheap::advice::{Evidence, Finding};

/// Returns the findings with their evidence and the settings to change, or says that there are none.
pub(crate) fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "Nothing to change.".to_owned();
    }
    let paragraphs: Vec<_> = findings.iter().map(finding).collect();
    paragraphs.join("\n")
}

fn finding(finding: &Finding) -> String {
    let mut text = format!("{} {}", finding.severity.mark(), finding.title);
    let evidence: Vec<_> = finding.evidence.iter().map(evidence).collect();
    // Writing to a string does not fail.
    if !evidence.is_empty() {
        let _ = write!(text, " ({})", evidence.join(", "));
    }
    let _ = write!(text, ": {}", finding.explanation);
    for change in &finding.change {
        let _ = write!(text, "\n     {}: {} -> {}", change.key, change.from, change.to);
    }
    text
}

fn evidence(evidence: &Evidence) -> String {
    format!("{} {}", evidence.name, (evidence.value * 1000.0).round() / 1000.0)
}
