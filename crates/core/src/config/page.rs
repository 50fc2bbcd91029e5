//! The manual page of the configuration, written from the schema of the document.

use std::fmt::Write as _;

use serde_json::Value;

use crate::config::catalogue::{CATALOGUE, HERE, NEEDLESS};
use crate::config::written::Written;
use crate::contract::spec::schema_of;

const INTRO: &str = "\
# Configuration

<!-- Written by `cargo xtask generate` from the code; change it there. -->

`--config-file` of `pointsman up` and `pointsman gateway` takes an EndpointPickerConfig, YAML or JSON, of either
generation of the reference picker. `pointsman validate FILE` says what it means and everything that is wrong with it.
The file is read again when it changes: in place, by rename, or as a mounted ConfigMap. A file that is refused or gone
leaves the plan in force; `/debug/plan` and `pointsman_plan_reloads_total` tell.

## Which rules apply

`--compat auto|g1|g2`; `auto` takes the first that applies:

1. a flag that only the first generation has: `g1`;
2. apiVersion `llm-d.ai/v1alpha1`, or any key, plugin type or parameter that only the second generation has: `g2`;
3. else `g1`.

| found | g1 | g2 |
|---|---|---|
| unknown field around the plugins, unknown plugin type, dangling or duplicate name, duplicate key, weight that is no finite number | refused | refused |
| unknown parameter of a plugin | warning | refused; a warning where the first generation knew the name |
| weight of zero or below | warning | warning |
| plugin that the reference calls Alpha, gate `dataLayer` | warning | warning |
| a section that is not in effect yet | warning | warning |

`validate --strict` makes errors of warnings. A text holds at most 1 MiB, 128 levels and 20,000 values with its aliases
unfolded. Where text is wanted `no`, `012` and `1.20` stay text; where a number is wanted `012` is refused, because some
readers take it for ten.

";

/// The whole page.
pub fn markdown() -> String {
    let schema = schema_of::<Written>();
    let root = schema.as_value();
    let mut page = INTRO.to_owned();
    page += "## The document\n\n";
    let mut rows = Vec::new();
    let (own, rest): (Vec<_>, Vec<_>) = {
        fields(root, root, "", &mut rows);
        rows.into_iter()
            .partition(|row: &Row| row.path.starts_with("pointsman."))
    };
    table(&rest, &mut page);
    page += "\n## Our own settings\n\nThe key `pointsman:` is the one part that the reference does not load.\n\n";
    table(&own, &mut page);
    page += "\n## Types of the reference\n\n";
    page += "Types that are here have [pages](plugins/README.md). A file that names another is refused and told what to use;\nwhat works without its type is taken with a warning.\n\n";
    page += "| type | found in a file | what to do |\n|---|---|---|\n";
    for listed in CATALOGUE.iter().filter(|one| one.instead != HERE) {
        let found = match NEEDLESS.contains(&listed.kind) {
            true => "warning",
            false => "refused",
        };
        let _ = writeln!(page, "| `{}` | {found} | {} |", listed.kind, listed.instead);
    }
    page
}

struct Row {
    path: String,
    kind: String,
    text: String,
}

fn table(rows: &[Row], page: &mut String) {
    *page += "| field | type | meaning |\n|---|---|---|\n";
    for row in rows {
        let _ = writeln!(page, "| `{}` | {} | {} |", row.path, row.kind, row.text);
    }
}

fn fields(schema: &Value, root: &Value, path: &str, rows: &mut Vec<Row>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        let dot = if path.is_empty() { "" } else { "." };
        let mut path = format!("{path}{dot}{name}");
        let mut of = followed(property, root);
        let mut kind = kind_of(of);
        if let Some(items) = of.get("items") {
            path += "[]";
            of = followed(items, root);
            kind = format!("list of {}", kind_of(of));
        }
        let text = property.get("description").and_then(Value::as_str);
        rows.push(Row {
            path: path.clone(),
            kind,
            text: text.unwrap_or_default().replace('\n', " "),
        });
        fields(of, root, &path, rows);
    }
}

fn followed<'s>(schema: &'s Value, root: &'s Value) -> &'s Value {
    let one_of_two = schema
        .get("anyOf")
        .and_then(Value::as_array)
        .and_then(|choices| choices.first());
    let schema = one_of_two.unwrap_or(schema);
    let name = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|name| name.strip_prefix("#/$defs/"));
    name.and_then(|name| root.get("$defs")?.get(name))
        .unwrap_or(schema)
}

fn kind_of(schema: &Value) -> String {
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("any"),
        _ => "any",
    };
    match kind {
        "string" => "text".to_owned(),
        "object" => "map".to_owned(),
        "array" => "list".to_owned(),
        "boolean" => "true or false".to_owned(),
        other => other.to_owned(),
    }
}
