//! `pointsman sim`: one simulated model server.

use pointsman_serve::readiness::Readiness;
use pointsman_sim::flags::SimConfig;
use pointsman_sim::server::{SimShared, serve_sim};

use crate::console::{complain, say};
use crate::serving::{Worker, listen, raise_file_limit, run_until_signal, runtime, stages};

const EXAMPLES: &str = "\
Examples:
  pointsman sim --model my-model --port 8000
  pointsman sim --model my-model --role decode --kv-connector p2p-nccl --kv-peer http://127.0.0.1:8001 --port 8002";

/// Flags of `pointsman sim`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: SimConfig,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    let config = args.config;
    let bound = listen(
        config.address(),
        "simulated model server",
        "--listen HOST:PORT",
    )?;
    let (shown, model) = (bound.local_addr(), config.model.clone());
    let (stages, drain, _rest) = stages();
    let worker = Worker::start("sim", async move || {
        if let Err(error) = serve_sim(bound, config, SimShared::default(), drain).await {
            complain(&format!("error: {error}\n"));
            std::process::exit(1);
        }
    })?;
    say(&format!(
        "simulated model server http://{shown}, model {model}\n"
    ));
    runtime()?.block_on(run_until_signal(
        stages,
        Readiness::default(),
        vec![worker],
        Vec::new(),
        |text| say(&format!("{text}\n")),
    ))
}
