//! `pointsman render`: the objects that custom resources stand for, without a cluster.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use pointsman_operator::desired::child::Child;
use pointsman_operator::render::{children_of, text};

use crate::commands::crds::Output;
use crate::console::say;

const EXAMPLES: &str = "\
Examples:
  pointsman render install.yaml
  pointsman render -o json install.yaml simulators.yaml
  pointsman render --standalone install.yaml | kubectl apply -f -

Exit code: 0 good, 1 a custom resource cannot be followed, 2 wrong usage.";

/// Flags of `pointsman render`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Files of SchedulerInstalls and SimulatorDeployments; `-` is the standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How the objects are printed.
    #[arg(short = 'o', long, value_enum, default_value = "yaml")]
    output: Output,
    /// Leave out the owner references, for a cluster in which no operator runs.
    #[arg(long)]
    standalone: bool,
}

/// Prints all objects, or says what cannot be followed and prints none.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut all: Vec<Child> = Vec::new();
    for path in &args.files {
        let named = path.display();
        let read = match path.as_os_str() == "-" {
            true => {
                let mut read = String::new();
                std::io::stdin().read_to_string(&mut read).map(|_| read)
            }
            false => std::fs::read_to_string(path),
        };
        let read = read.with_context(|| format!("{named} cannot be read"))?;
        all.extend(children_of(&read).map_err(|error| anyhow!("{named}: {error}"))?);
    }
    if args.standalone {
        for child in &mut all {
            if let Some(meta) = child.value["metadata"].as_object_mut() {
                meta.remove("ownerReferences");
            }
        }
    }
    say(&text(
        all.iter().map(|child| (&child.value, child.note)),
        args.output.into(),
    ));
    Ok(())
}
