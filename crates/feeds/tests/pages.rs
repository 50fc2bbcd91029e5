//! The manual's page of every plugin there is, the scheduling ones and those that the wire and the feeds bring.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use pointsman_core::contract::pages::{markdown, summary_of};

/// Pages are rewritten when `POINTSMAN_GENERATE` is set, and compared otherwise.
#[test]
fn generated_pages_are_what_the_code_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/plugins");
    let mut index = String::from("# Plugins\n\n| type | role | what it does |\n|---|---|---|\n");
    let mut pages = Vec::new();
    for spec in [
        pointsman_plugins::ALL,
        pointsman_wire::parser::SPECS,
        pointsman_feeds::SPECS,
    ]
    .concat()
    {
        index += &format!(
            "| [{0}]({0}.md) | {1} | {2} |\n",
            spec.kind,
            spec.role.word(),
            summary_of(spec.source)
        );
        pages.push((format!("{}.md", spec.kind), markdown(spec)));
    }
    pages.push(("README.md".to_owned(), index));
    let expected: BTreeSet<String> = pages.iter().map(|(name, _)| name.clone()).collect();
    let write = std::env::var_os("POINTSMAN_GENERATE").is_some();
    if write {
        std::fs::create_dir_all(&folder).unwrap();
    }
    for (name, page) in pages {
        let path = folder.join(&name);
        if write {
            std::fs::write(&path, &page).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            found, page,
            "docs/plugins/{name} is stale; run `cargo xtask generate`"
        );
    }
    let found = std::fs::read_dir(&folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        found.collect::<BTreeSet<_>>(),
        expected,
        "pages without a plugin"
    );
}
