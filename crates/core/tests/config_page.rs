//! The generated manual page of the configuration.
// The page lies in a file.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::Path;

use pointsman_core::config::page::markdown;

/// The page is rewritten when `POINTSMAN_GENERATE` is set, and compared otherwise.
#[test]
fn generated_config_page_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.md");
    let page = markdown();
    assert!(
        page.lines().all(|line| !line.ends_with("| |")),
        "a field has no text"
    );
    if std::env::var_os("POINTSMAN_GENERATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, page,
        "docs/config.md is stale; run `cargo xtask generate`"
    );
}
