//! `py/`: a Python virtual environment with the pinned `openai` client (`xtask/python.txt`).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Cache;
use crate::run::captured;
use crate::setup::Counterpart;

/// What the environment is made from.
const REQUIREMENTS: &str = include_str!("../../python.txt");

/// The environment's place in the list.
pub(crate) const COUNTERPART: Counterpart = Counterpart {
    name: "py",
    variable: "POINTSMAN_PY",
    what: "Python with the openai client",
    prepare,
};

fn prepare(cache: &Cache) -> Result<PathBuf> {
    let version = captured(Command::new("python3").arg("-c").arg("import sys; print(sys.version)"))
        .context("python3 is needed: install Python 3.9 or newer and put `python3` on the PATH (Debian: apt-get install python3 python3-venv)")?;
    let recipe = format!("{version}{REQUIREMENTS}");
    let folder = cache.folder("py");
    let python = folder.join("bin/python");
    if cache.is_made_from("py", &recipe) && python.exists() {
        return Ok(python);
    }
    cache.clear("py")?;
    captured(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("python3 cannot make virtual environments: install its venv module (Debian: apt-get install python3-venv)")?;
    let requirements = folder.join("requirements.txt");
    std::fs::write(&requirements, REQUIREMENTS)
        .with_context(|| format!("write {}", requirements.display()))?;
    captured(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))
        .context("pip cannot install the openai client: it needs to reach PyPI or a mirror (set PIP_INDEX_URL), then run `cargo xtask setup` again")?;
    let client =
        captured(Command::new(&python).args(["-c", "import openai; print(openai.__version__)"]))?;
    if !REQUIREMENTS.contains(&format!("openai=={}\n", client.trim())) {
        bail!(
            "the openai client is {}, not the pinned one; delete {} and run again",
            client.trim(),
            folder.display()
        );
    }
    cache.seal("py", &recipe)?;
    Ok(python)
}
