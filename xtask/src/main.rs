//! `cargo xtask`: prepares what the tests need and runs them all.
//!
//! `setup` fills the cache once ([`cache`], [`setup`]); `test` is setup and then one stage after the other
//! ([`check`]); `bench` and `generate` are short names for the cargo commands behind them; `fuzz` runs the
//! fuzz targets and writes down what came of it. Everything is built with one profile (dev) into the cache's
//! `target/`, never into the clone.

mod bench;
mod cache;
mod check;
mod fuzz;
mod generate;
mod istio;
mod run;
mod setup;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Prepares what tests need and runs them all.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prepares, once, everything that tests need.
    Setup,
    /// Setup, then format, clippy and all tests.
    Test {
        /// Only this stage, or this file of end-to-end tests.
        #[arg(long, value_name = "NAME")]
        only: Option<String>,
        /// The picker behind the real Istio instead, written down in docs/evidence/istio.md.
        #[arg(long, conflicts_with = "only")]
        istio: bool,
    },
    /// Runs the benches; further arguments go to `cargo bench`.
    Bench {
        /// For example `-p pointsman-core`, or a filter after `--`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzzes every parser of foreign bytes; not part of `test`, which replays the corpora.
    Fuzz(fuzz::Asked),
    /// Rewrites the generated documents.
    Generate,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup => cache::Cache::locate().and_then(|cache| setup::all(&cache)),
        Command::Test { istio: true, .. } => istio::run(),
        Command::Test { only, .. } => check::all(only.as_deref()),
        Command::Bench { arguments } => bench::all(&arguments),
        Command::Fuzz(asked) => fuzz::all(&asked),
        Command::Generate => generate::rewrite(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
