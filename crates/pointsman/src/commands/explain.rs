//! `pointsman explain`: one decision as it was, from a running pointsman, from receipts or from a decision log.

use std::path::{Path, PathBuf};

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use pointsman_wire::receipt::Receipt;
use serde::Deserialize as _;
use serde_json::Value;

use crate::console::{complain, say, stdout_has_colour};
use crate::explain::from_log::receipt_of;
use crate::explain::story::story;
use crate::explain::what_if::{WhatIfArgs, told};
use crate::receipts::Found;
use crate::remote::{AdminArgs, in_path};
use crate::serving::runtime;

const EXAMPLES: &str = "\
Examples:
  pointsman explain                                   the latest decision of the running pointsman
  pointsman explain 0b9c6f1e-…                        by x-request-id, or by the id of the answer
  pointsman explain 0b9c6f1e-… --from decisions.log   from a decision log or a file of receipts
  kubectl logs deploy/epp | pointsman explain --from -
  pointsman explain 0b9c6f1e-… --weight queue-scorer=3          and how it would have gone with that weight
  pointsman explain 0b9c6f1e-… --under default                  or under another profile

Exit code: 0 found, 1 not found, 2 wrong usage.";

/// Flags of `pointsman explain`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The request's id (x-request-id) or the id of its answer; the latest decision when left out.
    #[arg(value_name = "ID")]
    id: Option<String>,
    #[command(flatten)]
    admin: AdminArgs,
    /// Receipts or a decision log instead of a running pointsman; - is the standard input.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    #[command(flatten)]
    what_if: WhatIfArgs,
    /// How it is shown; json is the receipt itself, or the answer to what would be.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

/// How it is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// The receipt as JSON.
    Json,
}

/// Finds the decision and shows it.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let id = args.id.as_deref();
    if args.what_if.is_asked() {
        return runtime()?.block_on(what_if(&args, id));
    }
    let receipt = match &args.from {
        Some(path) => from_file(path, id)?,
        None => runtime()?.block_on(from_admin(&args.admin, id))?,
    };
    say(&match args.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&receipt)?),
        Output::Table => story(&receipt, stdout_has_colour()),
    });
    Ok(())
}

/// Shows the decision and how it would have gone otherwise.
async fn what_if(args: &Args, id: Option<&str>) -> anyhow::Result<()> {
    let receipt = from_admin(&args.admin, id).await?;
    let answer = args.what_if.ask(&args.admin, &receipt).await?;
    let colour = stdout_has_colour();
    say(&match args.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&answer)?),
        Output::Table => format!("{}{}", story(&receipt, colour), told(&answer, colour)?),
    });
    Ok(())
}

async fn from_admin(admin: &AdminArgs, id: Option<&str>) -> anyhow::Result<Receipt> {
    let found = match id {
        Some(id) => {
            admin
                .get(&format!("/debug/decisions/{}", in_path(id)))
                .await?
        }
        None => {
            let mut latest = admin.get("/debug/decisions?limit=1").await?;
            match latest["decisions"].get_mut(0).map(Value::take) {
                Some(receipt) => receipt,
                None => bail!("no decision has been made yet; send a request first"),
            }
        }
    };
    Receipt::deserialize(&found).map_err(|e| anyhow!("the answer is no receipt: {e}"))
}

fn from_file(path: &Path, id: Option<&str>) -> anyhow::Result<Receipt> {
    let found = Found::open(path)?;
    let shown = path.display();
    // The latest of equal ids: by time, and of equal times the one further down.
    let receipts = found.receipts.into_iter();
    let receipt = receipts
        .filter(|receipt| id.is_none_or(|id| receipt.is_of(id)))
        .reduce(|best, next| if next.at >= best.at { next } else { best });
    let told = || {
        let lines = receipt_of(&found.log, id);
        if lines.is_some() {
            complain(
                "note: the log holds no receipt of this request, only its scoring lines: no readings, weights or outcome\n",
            );
        }
        lines
    };
    match (receipt.or_else(told), id) {
        (Some(receipt), _) => Ok(receipt),
        (None, Some(id)) => bail!("{shown} tells of no request '{id}'"),
        (None, None) => bail!("{shown} tells of no decision"),
    }
}
