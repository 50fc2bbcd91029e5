//! `pointsman docs`: writes the pages of the manual that come from the code.

use std::path::PathBuf;

use anyhow::{Context, bail};
use pointsman_core::contract::pages::{markdown, summary_of};

/// Flags of `pointsman docs`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the plugin pages.
    #[arg(long, value_name = "DIR", default_value = "docs/plugins", env = "POINTSMAN_OUT")]
    out: PathBuf,
    /// Write nothing; fail if a page differs from what would be written.
    #[arg(long, env = "POINTSMAN_CHECK")]
    check: bool,
}

/// Writes or checks the pages.
pub fn run(args: Args) -> anyhow::Result<()> {
    let mut stale = Vec::new();
    for (name, page) in pages() {
        let path = args.out.join(name);
        if std::fs::read_to_string(&path).ok().as_deref() == Some(page.as_str()) {
            continue;
        }
        stale.push(path.display().to_string());
        if !args.check {
            std::fs::create_dir_all(&args.out).with_context(|| format!("cannot make {}", args.out.display()))?;
            std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if args.check && !stale.is_empty() {
        bail!("these pages are not what the code says; run `pointsman docs`: {}", stale.join(", "));
    }
    Ok(())
}

/// File names and contents: one page per plugin and a list of them.
fn pages() -> Vec<(String, String)> {
    let mut index = String::from("# Plugins\n\n| type | role | what it does |\n|---|---|---|\n");
    let mut pages = Vec::new();
    for spec in pointsman_plugins::ALL {
        let summary = summary_of(spec.source);
        index += &format!("| [{0}]({0}.md) | {1} | {2} |\n", spec.kind, spec.role.word(), summary);
        pages.push((format!("{}.md", spec.kind), markdown(spec)));
    }
    pages.push(("README.md".to_owned(), index));
    pages
}
