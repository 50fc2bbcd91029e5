//! `pointsman sim`: one simulated model server, or one per rank of a data-parallel engine.

use pointsman_serve::readiness::Readiness;
use pointsman_sim::flags::file::Configured;
use pointsman_sim::server::{Sim, SimShared};

use crate::console::{complain, say};
use crate::serving::{Worker, listen, raise_file_limit, run_until_signal, runtime, stages};

const EXAMPLES: &str = "\
Examples:
  pointsman sim --model my-model --port 8000
  pointsman sim --config sim.yaml --port 8001
  pointsman sim --model my-model --role decode --kv-connector p2p-nccl --kv-peer http://127.0.0.1:8001 --port 8002";

/// Flags of `pointsman sim`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    config: Configured,
}

/// Runs until a signal ends it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    raise_file_limit();
    let config = args.config.0;
    let idle = config.without_effect();
    if !idle.is_empty() {
        let idle = idle.join(", ");
        complain(&format!("warning: accepted, but not simulated: {idle}\n"));
    }
    let (stages, drain, _rest) = stages();
    let mut workers = Vec::new();
    for (rank, config) in config
        .ranks()
        .unwrap_or_else(refuse)
        .into_iter()
        .enumerate()
    {
        // The engine's clock starts here, beside the port that it is reached by.
        let sim = Sim::new(&config, SimShared::default());
        let sim = sim.unwrap_or_else(|fault| refuse(fault.to_string()));
        let bound = listen(
            config.address(),
            "simulated model server",
            "--listen HOST:PORT",
        )?;
        let shown = bound.local_addr();
        let drain = drain.clone();
        workers.push(Worker::start(&format!("sim-{rank}"), async move || {
            sim.serve(bound, drain).await;
        })?);
        let model = &config.model;
        say(&format!(
            "simulated model server http://{shown}, model {model}\n"
        ));
    }
    runtime()?.block_on(run_until_signal(
        stages,
        Readiness::default(),
        workers,
        Vec::new(),
        |text| say(&format!("{text}\n")),
    ))
}

/// Ends the process as it ends for flags that cannot be read.
fn refuse<T>(fault: String) -> T {
    complain(&format!("error: {fault}\n"));
    std::process::exit(2)
}
