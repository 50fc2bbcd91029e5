//! What recording and the live page cost: the gateway at a fixed rate, without receipts and unwatched, and with
//! receipts while somebody has the page open. The two are measured one right after the other, since the machine
//! drifts by more than what they differ by.
//!
//! ```text
//! cargo bench -p pointsman --bench watching                # 5 interleaved pairs of 30 s at 5,000 requests/s
//! cargo bench -p pointsman --bench watching -- --split     # also with receipts and nobody watching
//! cargo bench -p pointsman --bench watching -- --rounds 1 --seconds 5
//! ```
//!
//! The page is stood in for by a client that asks what the page's script asks, once a second. Load, mock and that
//! client run on one CPU, the gateway alone on another; the figure is the difference in CPU time of the gateway, once as
//! it is and once with the second of a pair scaled to the speed that the machine had during the first: load and mock do
//! the same work in both, so their CPU time tells how much slower its neighbours made it.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use pointsman_bench::children::{Launch, free_ports};
use pointsman_bench::load::{Pacing, Plan, get};
use pointsman_bench::report::{Spread, Table, short};
use pointsman_bench::rounds::{Backend, Peer, Sample, Scenario, race};
use pointsman_bench::{pin, roles};
use serde_json::Value;

/// Without receipts, nobody watching.
const BLIND: &str = "no receipts, no page";
/// With receipts, nobody watching.
const RECORDING: &str = "receipts";
/// With receipts and the page open.
const WATCHED: &str = "receipts, page open";

/// Mock model servers; the endpoints share them.
const MOCKS: u16 = 4;

#[derive(Debug, Parser)]
#[command(
    name = "watching",
    about = "What recording decisions and showing them costs"
)]
struct Args {
    /// Interleaved rounds
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure also with receipts and nobody watching
    #[arg(long)]
    split: bool,
    /// Length of each measurement
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Requests per second
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
    /// Endpoints in the pool
    #[arg(long, default_value_t = 4)]
    endpoints: usize,
    /// CPU of load, mock and page
    #[arg(long, default_value_t = 0)]
    load_cpu: usize,
    /// CPU of the gateway
    #[arg(long, default_value_t = 1)]
    sut_cpu: usize,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<()> {
    if roles::take()? {
        return Ok(());
    }
    let args = Args::parse();
    if !args.bench {
        // `cargo test --all-targets` runs this file too, and a test must not measure.
        println!("nothing measured; run: cargo bench -p pointsman --bench watching");
        return Ok(());
    }
    pin::apart(args.load_cpu, args.sut_cpu)?;
    roles::runtime()?.block_on(compare(&args))
}

async fn compare(args: &Args) -> anyhow::Result<()> {
    let first = free_ports(MOCKS + 4)?;
    let at = |offset: u16| SocketAddr::from(([127, 0, 0, 1], first + offset));
    let folder = std::env::temp_dir().join(format!("pointsman-watching-{}", std::process::id()));
    std::fs::create_dir_all(&folder).context("cannot make a folder for the endpoints")?;
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        anyhow::Ok(path)
    };
    let endpoints: String = (0..args.endpoints)
        .map(|n| {
            let mock = at(n as u16 % MOCKS);
            format!(
                "- {{name: m{n}, address: {}, port: \"{}\"}}\n",
                mock.ip(),
                mock.port()
            )
        })
        .collect();
    let endpoints = write("endpoints.yaml", &format!("endpoints:\n{endpoints}"))?;
    let plan = "plugins: [{type: active-request-scorer}, {type: max-score-picker}, {type: single-profile-handler}]\n\
                schedulingProfiles: [{name: default, plugins: [{pluginRef: active-request-scorer}, {pluginRef: max-score-picker}]}]\n";
    let with = write("with.yaml", plan)?;
    let without = write(
        "without.yaml",
        &format!("{plan}pointsman: {{receipts: {{memory: 0}}}}\n"),
    )?;
    let peer = |name: &str, config: &std::path::Path, admin: SocketAddr| {
        let mut launch = Launch::new(
            name,
            env!("CARGO_BIN_EXE_pointsman"),
            [
                "gateway".to_owned(),
                "--workers=1".to_owned(),
                format!("--listen={}", at(MOCKS)),
                format!("--admin={admin}"),
                format!("--endpoints={}", endpoints.display()),
                format!("--config-file={}", config.display()),
                "--scrape-interval=1000".to_owned(),
            ],
        );
        launch.env.push(("POINTSMAN_QUIET".into(), "true".into()));
        launch.cpu = Some(args.sut_cpu);
        Peer {
            name: name.to_owned(),
            launch: Some(launch),
            target: at(MOCKS),
        }
    };
    // Only the watched one has the admin port that the page asks.
    let mut peers = vec![
        peer(BLIND, &without, at(MOCKS + 1)),
        peer(WATCHED, &with, at(MOCKS + 3)),
    ];
    if args.split {
        peers.push(peer(RECORDING, &with, at(MOCKS + 2)));
    }
    let page = tokio::spawn(page(at(MOCKS + 3)));
    let window = Duration::from_secs_f64(args.seconds);
    let pacing = Pacing::Open {
        rate: args.rate,
        connections: 64,
    };
    let scenario = Scenario {
        name: format!("{} requests/s", args.rate),
        ttft: Duration::ZERO,
        itl: Duration::ZERO,
        plan: Plan::new(at(MOCKS), pacing, window),
    };
    let backend = Backend::start(at(0), MOCKS, Some(args.load_cpu)).await?;
    let samples = race(&backend, &peers, &[scenario], args.rounds, |sample| {
        eprintln!(
            "{} {:<20} {:>8} ms/s  load and mock {:>8} ms/s  {:>6.0} answers/s  failed {}",
            sample.round,
            sample.peer,
            cpu_ms(sample).map_or_else(|| "-".to_owned(), short),
            short(load_ms(sample)),
            sample.outcome.rate,
            sample.outcome.failures()
        );
    })
    .await?;
    page.abort();
    let _ = std::fs::remove_dir_all(&folder);
    report(args, &samples);
    Ok(())
}

/// CPU time of load and mock per second, in milliseconds.
fn load_ms(sample: &Sample) -> f64 {
    sample.load_nanos as f64 / 1e6 / sample.outcome.seconds
}

/// CPU time of the gateway per second, in milliseconds.
fn cpu_ms(sample: &Sample) -> Option<f64> {
    sample.spent.map(|spent| spent.cores * 1e3)
}

fn report(args: &Args, samples: &[Sample]) {
    let at = |peer: &str, round: usize| {
        let mut all = samples.iter();
        all.find(|s| s.peer == peer && s.round == round)
    };
    let of = |peer: &str, round: usize| at(peer, round).and_then(cpu_ms);
    println!(
        "{} rounds of {} s at {} requests/s, {} endpoints.\n",
        args.rounds, args.seconds, args.rate, args.endpoints
    );
    let mut table = Table::new([
        "gateway",
        "CPU ms per second",
        "more than without",
        "at one speed",
        "answers/s",
        "failed",
    ]);
    for name in [BLIND, RECORDING, WATCHED] {
        let mine: Vec<&Sample> = samples.iter().filter(|s| s.peer == name).collect();
        if mine.is_empty() {
            continue;
        }
        let more = (0..args.rounds).filter_map(|round| Some(of(name, round)? - of(BLIND, round)?));
        let at_one_speed = (0..args.rounds).filter_map(|round| {
            let (first, second) = (at(BLIND, round)?, at(name, round)?);
            Some(cpu_ms(second)? * load_ms(first) / load_ms(second) - cpu_ms(first)?)
        });
        let figure =
            |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |s| s.to_string());
        table.row([
            name.to_owned(),
            figure(Spread::of(mine.iter().filter_map(|s| cpu_ms(s)))),
            if name == BLIND {
                String::new()
            } else {
                figure(Spread::of(more))
            },
            if name == BLIND {
                String::new()
            } else {
                figure(Spread::of(at_one_speed))
            },
            figure(Spread::of(mine.iter().map(|s| s.outcome.rate))),
            mine.iter()
                .map(|s| s.outcome.failures())
                .sum::<u64>()
                .to_string(),
        ]);
    }
    println!("{}", table.markdown());
}

/// Asks what the live page asks, once a second, of whoever listens there.
async fn page(admin: SocketAddr) {
    let (mut cursor, mut pool, mut pending) = (String::new(), String::new(), String::new());
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    loop {
        seconds.tick().await;
        let path = format!("/debug/live?since={cursor}&pool={pool}&pending={pending}&limit=100");
        // Nobody listens there while the others are measured.
        let Ok((200, body)) = get(admin, &path).await else {
            continue;
        };
        if let Ok(answer) = serde_json::from_slice::<Value>(&body) {
            cursor = answer["cursor"].as_str().unwrap_or_default().to_owned();
            pool = answer["pool"]["generation"].to_string();
            // As if none of those listed had ended, which is the most that the page can ask.
            let listed = answer["decisions"]
                .as_array()
                .map_or(&[][..], Vec::as_slice);
            let keys: Vec<&str> = listed.iter().filter_map(|d| d["key"].as_str()).collect();
            pending = keys.join(",");
        }
    }
}
