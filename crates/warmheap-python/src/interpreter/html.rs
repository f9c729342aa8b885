//! Tables for notebooks.

/// Returns a table of names and values as HTML.
pub(crate) fn table(title: &str, rows: impl IntoIterator<Item = (String, String)>) -> String {
    let rows: String = rows
        .into_iter()
        .map(|(name, value)| {
            format!("<tr><th style=\"text-align:left\">{}</th><td>{}</td></tr>", safe(&name), safe(&value))
        })
        .collect();
    format!("<table><caption>{}</caption><tbody>{rows}</tbody></table>", safe(title))
}

fn safe(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
