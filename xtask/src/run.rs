//! Running one child process to its end, with an error that says what was tried.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{Cache, workspace};

/// A cargo command in the workspace that builds into the cache.
pub(crate) fn cargo(cache: &Cache, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(arguments)
        .current_dir(workspace())
        .env("CARGO_TARGET_DIR", cache.target())
        .stdin(Stdio::null());
    forget_package(&mut command);
    command
}

/// Takes away what cargo says of the package that it runs: build scripts that look at it (ring's) would run again, and
/// with them everything above be built again, whenever builds from within and from without take turns.
fn forget_package(command: &mut Command) {
    let told = std::env::vars_os().map(|(name, _)| name);
    for name in told.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    }) {
        command.env_remove(name);
    }
}

/// Runs with the terminal's output; an exit status other than zero is an error.
pub(crate) fn pass_through(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs quietly and returns what was printed to stdout; on failure the error holds stderr's end.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("start {}", shown(command)))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(12)..].join("\n");
        bail!("{} ended with {}\n{end}", shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or_else(|| command.get_program())
        .to_string_lossy()
        .into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
