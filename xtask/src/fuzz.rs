//! `cargo xtask fuzz`: every target for its share of the time, and a page that says what was done.
//!
//! Coverage-guided where a nightly toolchain with cargo-fuzz is there, else by the engine of `fuzz/`, which runs on
//! stable. What the coverage-guided fuzzer finds of new inputs is kept in the cache and used again.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::cache::{Cache, workspace};
use crate::run::{captured, cargo};

/// What is run and for how long.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// How long, all targets together; building comes on top.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Only this target; may be given several times.
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Where the search begins.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The engine for stable Rust even where the coverage-guided fuzzer is there.
    #[arg(long)]
    stable: bool,
}

/// A row of the page: what came of one target.
struct Row {
    name: String,
    runs: u64,
    seconds: String,
    seeds: u64,
    found: u64,
    failures: u64,
}

/// What was run and what came of it.
struct Report {
    engine: &'static str,
    versions: Vec<String>,
    command: String,
    rows: Vec<Row>,
}

/// Runs the targets, writes the page and fails if one of them did.
pub(crate) fn all(asked: &Asked) -> Result<()> {
    let cache = Cache::locate()?;
    let version = if asked.stable { None } else { cargo_fuzz() };
    let report = match version {
        Some(version) => guided(&cache, asked, version)?,
        None => {
            if !asked.stable {
                eprintln!(
                    "xtask: fuzz: no nightly toolchain with cargo-fuzz; using the engine for stable Rust"
                );
            }
            stable(&cache, asked)?
        }
    };
    let failures: u64 = report.rows.iter().map(|row| row.failures).sum();
    let page = workspace().join("docs/evidence/fuzz.md");
    fs::create_dir_all(page.parent().expect("the page lies in a folder"))?;
    fs::write(&page, written(&report)).with_context(|| format!("write {}", page.display()))?;
    println!(
        "xtask: fuzz: {}; written to docs/evidence/fuzz.md",
        report.engine
    );
    ensure!(
        failures == 0,
        "{failures} failing inputs, kept in fuzz/failures; the commands above run them again"
    );
    Ok(())
}

/// A cargo of the nightly toolchain. The variables by which the running cargo names its own toolchain would win over
/// `+nightly`.
fn nightly() -> Command {
    let mut command = Command::new("cargo");
    command
        .arg("+nightly")
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC");
    command.current_dir(workspace()).stdin(Stdio::null());
    command
}

/// The version of cargo-fuzz, if it works.
fn cargo_fuzz() -> Option<String> {
    let text = captured(nightly().args(["fuzz", "--version"])).ok()?;
    Some(text.trim().to_owned())
}

fn toolchain(mut command: Command) -> String {
    let text =
        captured(command.arg("--version")).unwrap_or_else(|_| "unknown toolchain".to_owned());
    text.trim().to_owned()
}

/// The engine of `fuzz/`.
fn stable(cache: &Cache, asked: &Asked) -> Result<Report> {
    let build = cargo(
        cache,
        &["build", "--quiet", "--locked", "-p", "pointsman-fuzz"],
    )
    .status()?;
    ensure!(
        build.success(),
        "the build of pointsman-fuzz ended with {build}"
    );
    let mut command = Command::new(cache.target().join("debug/pointsman-fuzz"));
    let (seconds, seed) = (asked.seconds.to_string(), asked.seed.to_string());
    command
        .args(["--seconds", &seconds, "--seed", &seed])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for name in &asked.target {
        command.args(["--target", name]);
    }
    let output = command.output().context("start pointsman-fuzz")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text
        .lines()
        .map(row)
        .collect::<Option<Vec<_>>>()
        .context("a line of pointsman-fuzz is no row")?;
    let failed = rows.iter().any(|row| row.failures > 0);
    // A process that is killed by what it ran leaves the input behind; the next run keeps and names it.
    ensure!(
        output.status.success() || failed,
        "pointsman-fuzz ended with {}; if an input killed it, the next run names the input",
        output.status
    );
    let names: String = asked
        .target
        .iter()
        .map(|name| format!(" --target {name}"))
        .collect();
    Ok(Report {
        engine: "the engine for stable Rust",
        versions: vec![toolchain(cargo(cache, &[])), "dev profile".to_owned()],
        command: format!("pointsman-fuzz --seconds {seconds} --seed {seed}{names}"),
        rows,
    })
}

/// `name, runs, seconds, seeds, new inputs, failures`, parted by tabs.
fn row(line: &str) -> Option<Row> {
    let mut fields = line.split('\t');
    let mut field = || fields.next();
    Some(Row {
        name: field()?.to_owned(),
        runs: field()?.parse().ok()?,
        seconds: field()?.to_owned(),
        seeds: field()?.parse().ok()?,
        found: field()?.parse().ok()?,
        failures: field()?.parse().ok()?,
    })
}

/// libFuzzer over `fuzz/libfuzzer`.
fn guided(cache: &Cache, asked: &Asked, version: String) -> Result<Report> {
    eprintln!("xtask: fuzz: coverage-guided, {version}");
    let names = names(&asked.target)?;
    let share = (asked.seconds / names.len() as u64).max(1);
    let fuzz = |step: &str| {
        let mut command = nightly();
        // Beside the other outputs: sanitized objects are of no use to anybody else.
        command.env("CARGO_TARGET_DIR", cache.folder("fuzz").join("target"));
        command.args(["fuzz", step, "--fuzz-dir", "fuzz/libfuzzer"]);
        command
    };
    let build = fuzz("build").status()?;
    ensure!(
        build.success(),
        "the build of fuzz/libfuzzer ended with {build}"
    );
    let mut rows = Vec::new();
    for name in &names {
        eprintln!("fuzz: {name}, {share} s");
        let kept = cache.folder("fuzz").join("corpus").join(name);
        fs::create_dir_all(&kept)?;
        let failures = workspace().join("fuzz/failures");
        fs::create_dir_all(&failures)?;
        let seeds = workspace().join("fuzz/corpus").join(name);
        let (before, given) = (files(&kept)?, files(&seeds)?);
        let begun = Instant::now();
        let mut command = fuzz("run");
        command.arg(name).args([&kept, &seeds]).arg("--").args([
            format!("-max_total_time={share}"),
            format!("-seed={}", asked.seed),
            "-max_len=8192".to_owned(),
            "-timeout=20".to_owned(),
            "-print_final_stats=1".to_owned(),
            format!("-artifact_prefix={}/{name}-", failures.display()),
        ]);
        let output = command.output().context("start cargo fuzz")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            eprintln!("{}", end_of(&said, 40));
        }
        let stat = |name: &str| -> u64 {
            let line = said.lines().find_map(|line| {
                line.strip_prefix("stat::")?
                    .strip_prefix(name)?
                    .strip_prefix(':')
            });
            line.and_then(|count| count.trim().parse().ok())
                .unwrap_or(0)
        };
        rows.push(Row {
            name: name.clone(),
            runs: stat("number_of_executed_units"),
            seconds: format!("{:.1}", begun.elapsed().as_secs_f64()),
            seeds: given,
            found: files(&kept)?.saturating_sub(before),
            failures: u64::from(!output.status.success()),
        });
    }
    Ok(Report {
        engine: "libFuzzer, coverage-guided",
        versions: vec![toolchain(nightly()), version],
        command: format!(
            "cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer <target> -- -max_total_time={share} -seed={}",
            asked.seed
        ),
        rows,
    })
}

/// The targets that were asked for, all of them if none was.
fn names(asked: &[String]) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(workspace().join("fuzz/libfuzzer/targets"))? {
        let path: PathBuf = entry?.path();
        all.extend(
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned()),
        );
    }
    all.sort();
    if let Some(unknown) = asked.iter().find(|name| !all.contains(name)) {
        bail!(
            "--target {unknown}: no such target; there are {}",
            all.join(", ")
        );
    }
    Ok(if asked.is_empty() {
        all
    } else {
        asked.to_vec()
    })
}

fn files(folder: &Path) -> Result<u64> {
    Ok(fs::read_dir(folder)
        .with_context(|| format!("list {}", folder.display()))?
        .count() as u64)
}

fn end_of(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn written(report: &Report) -> String {
    let mut page = format!(
        "# Fuzzing\n\nWritten by `cargo xtask fuzz`, with {}.\n\n- Versions: {}\n- Command: `{}`\n\n",
        report.engine,
        report.versions.join("; "),
        report.command
    );
    page.push_str("| target | runs | seconds | seeds | new inputs | failures |\n|---|---:|---:|---:|---:|---:|\n");
    for Row {
        name,
        runs,
        seconds,
        seeds,
        found,
        failures,
    } in &report.rows
    {
        let _ = writeln!(
            page,
            "| {name} | {runs} | {seconds} | {seeds} | {found} | {failures} |"
        );
    }
    let runs: u64 = report.rows.iter().map(|row| row.runs).sum();
    let failures: u64 = report.rows.iter().map(|row| row.failures).sum();
    let _ = writeln!(page, "\n{runs} runs, {failures} failures.");
    page
}
