//! `cargo xtask test`: the stages of the landing check, in order, stopping at the first failure.
//!
//! Everything but clippy shares one set of build outputs: `build` selects the workspace with its tests, so
//! the features are those of the tests, and the binary that the end-to-end tests start is built with them.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, workspace};
use crate::generate;
use crate::run::{cargo, pass_through};
use crate::setup;

/// One stage: its name, what it shows, and the cargo commands behind it.
struct Stage {
    name: &'static str,
    what: &'static str,
    commands: &'static [&'static [&'static str]],
}

const STAGES: &[Stage] = &[
    Stage {
        name: "format",
        what: "formatting",
        commands: &[&["fmt", "--all", "--check"]],
    },
    Stage {
        name: "clippy",
        what: "lints of all targets",
        commands: &[&[
            "clippy",
            "--quiet",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]],
    },
    Stage {
        name: "build",
        what: "the binary and the tests",
        commands: &[BUILD],
    },
    Stage {
        name: "tests",
        what: "unit, property, golden and end-to-end tests",
        commands: &[&[
            "test",
            "--quiet",
            "--locked",
            "--workspace",
            "--no-fail-fast",
        ]],
    },
    Stage {
        name: "generated",
        what: "generated documents are up to date",
        commands: generate::CHECK,
    },
];

/// Builds what the end-to-end tests start.
pub(crate) const BUILD: &[&str] = &[
    "build",
    "--quiet",
    "--locked",
    "--workspace",
    "--bins",
    "--tests",
];

/// Runs all stages, or the one called `only`: a stage, or a file of `tests/tests`.
pub(crate) fn all(only: Option<&str>) -> Result<()> {
    let begun = Instant::now();
    let cache = Cache::locate()?;
    let end_to_end = end_to_end_names()?;
    if let Some(name) = only
        && !STAGES.iter().any(|stage| stage.name == name)
        && !end_to_end.iter().any(|known| known == name)
    {
        let stages: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        bail!(
            "--only {name}: no such stage; allowed: {}, {}",
            stages.join(", "),
            end_to_end.join(", ")
        );
    }
    let mut variables = setup::variables(&cache)?;
    variables.push((
        "POINTSMAN_BIN",
        cache.target().join("debug").join("pointsman"),
    ));

    let mut done = Vec::new();
    let mut stage = |name: &str, what: &str, commands: &[&[&str]]| -> Result<()> {
        println!("xtask: {name}: {what}");
        let started = Instant::now();
        for arguments in commands {
            let mut command = cargo(&cache, arguments);
            command.envs(variables.iter().map(|(key, value)| (key, value)));
            pass_through(&mut command).with_context(|| format!("stage {name} failed"))?;
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("xtask: {name}: good, {seconds:.1} s");
        done.push(format!("  {name:<12} {seconds:>7.1} s"));
        Ok(())
    };
    match only {
        Some(name) if end_to_end.iter().any(|known| known == name) => {
            stage("build", "the binary and the tests", &[BUILD])?;
            stage(
                name,
                "end-to-end",
                &[&["test", "--locked", "--workspace", "--test", name]],
            )?;
        }
        _ => {
            for one in STAGES
                .iter()
                .filter(|one| only.is_none_or(|name| name == one.name || needs_build(name, one)))
            {
                stage(one.name, one.what, one.commands)?;
            }
        }
    }
    println!(
        "xtask: all good in {:.0} s\n{}",
        begun.elapsed().as_secs_f64(),
        done.join("\n")
    );
    Ok(())
}

/// The tests start the built binary, so the stage before them belongs to them.
fn needs_build(only: &str, stage: &Stage) -> bool {
    only == "tests" && stage.name == "build"
}

/// The names of the files in `tests/tests`.
fn end_to_end_names() -> Result<Vec<String>> {
    let folder = workspace().join("tests/tests");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        if is_file || path.join("main.rs").is_file() {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}
