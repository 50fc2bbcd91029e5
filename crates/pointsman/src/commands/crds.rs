//! `pointsman crds`: the operator's custom resource definitions.

use clap::ValueEnum;
use pointsman_operator::crd::definitions;
use pointsman_operator::render::{Format, text};

use crate::console::say;

const EXAMPLES: &str = "\
Examples:
  pointsman crds | kubectl apply --server-side -f -
  pointsman crds -o json > crds.json";

/// Flags of `pointsman crds`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// How they are printed.
    #[arg(short = 'o', long, value_enum, default_value = "yaml")]
    output: Output,
}

/// How objects are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Output {
    /// YAML documents.
    Yaml,
    /// One JSON document of kind List.
    Json,
}

impl From<Output> for Format {
    fn from(output: Output) -> Self {
        match output {
            Output::Yaml => Self::Yaml,
            Output::Json => Self::Json,
        }
    }
}

/// Prints them.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let all = definitions();
    say(&text(all.iter().map(|one| (one, None)), args.output.into()));
    Ok(())
}
