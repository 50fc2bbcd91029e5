//! The manual page of a plugin, taken from the `//!` lines of its own source file.

use serde_json::Value;

use crate::contract::spec::PluginSpec;

/// The `//!` page of a source text as Markdown.
pub fn page_of(source: &str) -> String {
    let mut page = String::new();
    for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
        page.push_str(line.strip_prefix(' ').unwrap_or(line));
        page.push('\n');
    }
    page
}

/// The first paragraph's first sentence: what a listing shows.
pub fn summary_of(source: &str) -> String {
    let page = page_of(source);
    let line = page.lines().next().unwrap_or_default();
    line.split_once(". ")
        .map_or(line, |(first, _)| first)
        .trim_end_matches('.')
        .to_owned()
}

/// The whole Markdown page of a plugin: its `//!` page and a table of its parameters.
pub fn markdown(spec: &PluginSpec) -> String {
    let mut out = format!("# {}\n\n", spec.kind);
    if !spec.aliases.is_empty() {
        out += &format!("Also accepted as: {}.\n\n", spec.aliases.join(", "));
    }
    out += &format!(
        "Role: {}. Stability: {:?}.\n\n",
        spec.role.word(),
        spec.stability
    );
    out += &page_of(spec.source);
    let schema = (spec.schema)();
    let rows = schema.get("properties").and_then(Value::as_object);
    if let Some(rows) = rows.filter(|rows| !rows.is_empty()) {
        out += "\n## Parameters\n\n| name | type | default | meaning |\n|---|---|---|---|\n";
        for (name, property) in rows {
            let text = |key: &str| {
                property
                    .get(key)
                    .and_then(Value::as_str)
                    .unwrap_or("")
                    .replace('\n', " ")
            };
            let default = property
                .get("default")
                .map_or_else(|| "none".to_owned(), Value::to_string);
            out += &format!(
                "| `{name}` | {} | {default} | {} |\n",
                type_of(property),
                text("description")
            );
        }
    } else {
        out += "\n## Parameters\n\nNone.\n";
    }
    out
}

fn type_of(property: &Value) -> String {
    match property.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .filter(|n| *n != "null")
            .collect::<Vec<_>>()
            .join(" or "),
        _ => "value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_the_leading_doc_comment() {
        let source = "//! Rates by load. More.\n//!\n//! # Formula\nuse x;\n//! not this\n";
        assert_eq!(page_of(source), "Rates by load. More.\n\n# Formula\n");
        assert_eq!(summary_of(source), "Rates by load");
    }
}
