//! Whether policies rank alike in virtual time and on real processes: simulated model servers, a gateway, a load.
//!
//! ```text
//! cargo bench -p pointsman --bench ranking                    # two workloads, three policies, about six minutes
//! cargo bench -p pointsman --bench ranking -- --requests 500
//! ```
//!
//! Both sides play the same traces on as many engines of the same kind: `pointsman fleet` in virtual time, and
//! `pointsman sim` behind `pointsman gateway` under `pointsman bench sweep`, sped up. The servers' tokenizer finds a
//! token in 6.5 bytes where traces count one in 4: their prefill is that much slower a token and their caches have
//! that many fewer blocks. Ends with 1 when the orders differ: by the time to first token that 95 of 100 requests do
//! not exceed, where the fleet tells two policies apart by more than a quarter.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use pointsman_bench::children::{Child, Launch, free_ports};
use pointsman_bench::report::Table;
use pointsman_bench::roles;
use serde_json::Value;

/// Bytes of a trace's token, and of one of the simulated servers.
const BYTES: (f64, f64) = (4.0, 6.5);
/// Engines, slots of each, and milliseconds of prefill per token (preset `reference-8b-h100`).
const ENGINES: u16 = 8;
const SLOTS: u32 = 6;
const PREFILL_MS: f64 = 0.25;
/// Below this ratio two policies count as equal.
const APART: f64 = 1.25;

#[derive(Debug, Parser)]
#[command(
    name = "ranking",
    about = "Policies in virtual time and on real processes"
)]
struct Args {
    /// Requests of each run
    #[arg(long, default_value_t = 1000)]
    requests: usize,
    /// Seconds after the last arrival for what is under way
    #[arg(long, default_value_t = 15)]
    grace: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// One traffic on one kind of engines.
struct Workload {
    name: &'static str,
    trace: PathBuf,
    /// How fast the trace is played in the time of the engines.
    trace_speed: f64,
    /// Blocks of 16 tokens in each KV cache.
    blocks: u32,
    /// How much faster than modelled the real processes run: as much as they can without being busy themselves.
    speed: f64,
}

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The three policies: what `pointsman fleet` calls them, and the gateway's flags.
fn policies(root: &Path) -> Vec<(String, Vec<String>)> {
    let blind = root.join("docs/fleet/random.yaml").display().to_string();
    let profile = |name: &str| {
        (
            name.to_owned(),
            vec!["--profile".to_owned(), name.to_owned()],
        )
    };
    vec![
        profile("proxy-performance"),
        profile("default"),
        (blind.clone(), vec!["--config-file".to_owned(), blind]),
    ]
}

fn start() -> anyhow::Result<bool> {
    if roles::take()? {
        return Ok(true);
    }
    let args = Args::parse();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let scratch = std::env::temp_dir().join(format!("pointsman-ranking-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let shared = scratch.join("shared.jsonl");
    saved(&args, &shared)?;
    let workloads = [
        // Room for a third of the shared prompts.
        Workload {
            name: "shared",
            trace: shared,
            trace_speed: 0.9,
            blocks: 1253,
            speed: 4.0,
        },
        Workload {
            name: "conversation",
            trace: root.join("docs/fleet/conversation_trace_1000.jsonl"),
            trace_speed: 0.35,
            blocks: 9000,
            speed: 16.0,
        },
    ];
    let policies = policies(&root);
    let mut table = Table::new([
        "traffic",
        "policy",
        "virtual p95 ms",
        "rank",
        "real p95 ms",
        "rank",
        "real errors",
    ]);
    let mut alike = true;
    for workload in &workloads {
        let expected = in_virtual_time(&args, workload, &policies)?;
        let mut found = Vec::new();
        for (policy, flags) in &policies {
            eprintln!("{}: {policy}", workload.name);
            let run = on_processes(&args, &scratch, workload, flags);
            found.push(run.with_context(|| format!("{}, {policy}", workload.name))?);
        }
        let real: Vec<f64> = found.iter().map(|run| run.0).collect();
        for (at, (policy, _)) in policies.iter().enumerate() {
            let short = Path::new(policy).file_stem().unwrap_or_default();
            table.row([
                workload.name.to_owned(),
                short.to_string_lossy().into_owned(),
                format!("{:.0}", expected[at]),
                rank(&expected, at).to_string(),
                format!("{:.0}", real[at]),
                rank(&real, at).to_string(),
                found[at].1.to_string(),
            ]);
        }
        alike &= same_order(&expected, &real);
    }
    std::fs::remove_dir_all(&scratch)?;
    println!("{}", table.markdown());
    println!(
        "times of the real processes are multiplied by their speed; the order is {}",
        if alike { "the same" } else { "NOT the same" }
    );
    Ok(alike)
}

fn rank(all: &[f64], at: usize) -> usize {
    1 + all.iter().filter(|other| **other < all[at]).count()
}

/// Whether what the fleet tells apart stands in the same order in reality.
fn same_order(expected: &[f64], real: &[f64]) -> bool {
    let pairs = (0..expected.len()).flat_map(|a| (0..expected.len()).map(move |b| (a, b)));
    pairs
        .filter(|&(a, b)| expected[a] * APART < expected[b])
        .all(|(a, b)| real[a] < real[b])
}

fn pointsman(words: &[String]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(words)
        .stderr(Stdio::piped())
        .output()?;
    if !output.status.success() {
        bail!(
            "pointsman {}: {}",
            words.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Writes the trace of shared prompts.
fn saved(args: &Args, path: &Path) -> anyhow::Result<()> {
    let text = format!(
        "fleet --scenario shared --load 70 --requests {} --repeat 1 --policy random --save-trace {}",
        args.requests,
        path.display()
    );
    pointsman(&words(&text)).map(drop)
}

/// The time to first token of each policy, 95 of 100 within it, in milliseconds.
fn in_virtual_time(
    args: &Args,
    workload: &Workload,
    policies: &[(String, Vec<String>)],
) -> anyhow::Result<Vec<f64>> {
    let names: Vec<&str> = policies.iter().map(|policy| policy.0.as_str()).collect();
    let text = format!(
        "fleet --trace {} --trace-speed {} --requests {} --repeat 1 --policy {} -o json \
         --engine {ENGINES}xreference-8b-h100:slots={SLOTS}:blocks={}",
        workload.trace.display(),
        workload.trace_speed,
        args.requests,
        names.join(","),
        workload.blocks
    );
    let document: Value = serde_json::from_slice(&pointsman(&words(&text))?)?;
    let cells = document["cells"].as_array().context("no cells")?;
    let p95 = |cell: &Value| cell["ttftMs"]["p95"].as_f64().context("no p95");
    cells.iter().map(p95).collect()
}

/// The same on real processes, and how many requests failed.
fn on_processes(
    args: &Args,
    scratch: &Path,
    workload: &Workload,
    gateway: &[String],
) -> anyhow::Result<(f64, u64)> {
    let (speed, trace_speed) = (workload.speed, workload.trace_speed * workload.speed);
    let first = free_ports(ENGINES + 2)?;
    let ratio = BYTES.1 / BYTES.0;
    let blocks = (f64::from(workload.blocks) / ratio) as u32;
    let mut children = Vec::new();
    let mut pool = String::from("endpoints:\n");
    for number in 0..ENGINES {
        let port = first + number;
        let text = format!(
            "sim --model m --port {port} --preset reference-8b-h100 --max-num-seqs {SLOTS} --kv-cache-size {blocks} \
             --prefill-time-per-token {}ms --max-model-len 200000 --speed {speed} --seed {number}",
            PREFILL_MS * ratio
        );
        children.push(launched(&format!("sim-{number}"), &words(&text))?);
        pool.push_str(&format!(
            "- {{name: engine-{number}, address: 127.0.0.1, port: \"{port}\"}}\n"
        ));
    }
    let endpoints = scratch.join("pool.yaml");
    std::fs::write(&endpoints, pool)?;
    let (listen, admin) = (first + ENGINES, first + ENGINES + 1);
    let text = format!(
        "gateway --endpoints {} --listen 127.0.0.1:{listen} --admin 127.0.0.1:{admin} --quiet",
        endpoints.display()
    );
    let mut door = launched("gateway", &[words(&text), gateway.to_vec()].concat())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let target = ([127, 0, 0, 1], listen).into();
    runtime.block_on(door.ready(target, "m", Duration::from_secs(60)))?;
    let played = scratch.join("played.jsonl");
    let last = beginning(&workload.trace, &played, args.requests)?;
    let seconds = (last / 1e3 / trace_speed) as u64 + args.grace;
    let text = format!(
        "bench sweep --target http://127.0.0.1:{listen} --model m --trace {} --trace-speed {trace_speed} \
         --duration {seconds}s --warmup 0 --timeout {seconds}s --max-in-flight 120 -o json",
        played.display()
    );
    let document: Value = serde_json::from_slice(&pointsman(&words(&text))?)?;
    let run = &document["runs"][0];
    let errors = run["errors"].as_object().context("no errors")?;
    let errors = errors.values().filter_map(Value::as_u64).sum();
    let p95 = run["ttftMs"]["p95"].as_f64().context("no p95")?;
    Ok((p95 * speed, errors))
}

/// Writes the first lines of `trace` to `to`; gives the time of the last one in milliseconds.
fn beginning(trace: &Path, to: &Path, lines: usize) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(trace)?;
    let first: Vec<&str> = text.lines().take(lines).collect();
    std::fs::write(to, first.join("\n"))?;
    let last: Value = serde_json::from_str(first.last().context("an empty trace")?)?;
    last["timestamp"].as_f64().context("no timestamp")
}

fn launched(name: &str, words: &[String]) -> anyhow::Result<Child> {
    Child::start(&Launch::new(name, env!("CARGO_BIN_EXE_pointsman"), words))
}
