//! `pointsman replay`: recorded decisions made again under another configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::bail;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use pointsman_core::config::presets::NAMES;
use pointsman_wire::receipt::replay::{Again, Replay};
use serde_json::{Value, json};

use crate::console::{complain, say, stdout_has_colour, table};
use crate::planning::{PlanArgs, in_a_line};
use crate::receipts::Found;

const EXAMPLES: &str = "\
Examples:
  curl -s 'localhost:9090/debug/decisions?limit=1000' > receipts.json
  pointsman replay receipts.json --config-file new.yaml
  pointsman replay decisions.log --profile balanced -o json

Readings, seeds and ties are those of the time: the same plan gives the same picks. What a plugin knows beyond
labels and readings (prompts, headers, what was learned) is not in a receipt; such a plugin counts as it did
then, and one that was not there counts nothing. The report names both.

Exit code: 0 done, 1 a file or the configuration is refused, 2 wrong usage.";

/// Version of the JSON report.
const SCHEMA_VERSION: u32 = 1;

/// Changed picks listed in the table; JSON has all.
const LISTED: usize = 20;

/// Flags of `pointsman replay`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Receipts: answers of /debug/decisions, or a decision log of level 2; - is the standard input.
    #[arg(value_name = "RECEIPTS")]
    receipts: PathBuf,
    /// A named profile to decide under, instead of a configuration.
    #[arg(long, value_name = "NAME", conflicts_with = "config_file", required_unless_present = "config_file", value_parser = PossibleValuesParser::new(NAMES))]
    profile: Option<String>,
    #[command(flatten)]
    plan: PlanArgs,
    /// How the report looks.
    #[arg(short = 'o', long, value_enum, default_value = "table")]
    output: Output,
}

/// How the report looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// What came of all receipts.
#[derive(Default)]
struct Report {
    replayed: usize,
    /// By reason.
    skipped: BTreeMap<String, usize>,
    changed: Vec<Change>,
    /// Picks then and now.
    per_endpoint: BTreeMap<String, (usize, usize)>,
    recorded: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

/// A request that would go elsewhere.
struct Change {
    request_id: String,
    was: String,
    now: Option<String>,
    refused: Option<String>,
}

/// Decides again and reports.
pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let found = Found::open(&args.receipts)?;
    if found.receipts.is_empty() {
        bail!(
            "{} holds scoring lines but no receipt, and lines alone cannot be decided again; \
             receipts are in logs of level 2 and on the admin port",
            args.receipts.display()
        );
    }
    if let Some(why) = &found.broken {
        complain(&format!("warning: {why}\n"));
    }
    let chosen = args
        .plan
        .choose(args.profile.as_deref().unwrap_or(NAMES[0]))?;
    let mut replay = Replay::new(chosen.plan);
    let mut report = Report::default();
    for receipt in &found.receipts {
        match replay.again(receipt) {
            Err(why) => *report.skipped.entry(why.to_string()).or_default() += 1,
            Ok(again) => {
                let was = receipt.profiles.first().and_then(|p| p.picked.first());
                report.add(&receipt.request_id, was.map_or("", String::as_str), again);
            }
        }
    }
    let plan = in_a_line(replay.plan());
    say(&match args.output {
        Output::Table => report.table(&plan),
        Output::Json => report.json(&plan),
    });
    Ok(())
}

impl Report {
    fn add(&mut self, id: &str, was: &str, again: Again) {
        self.replayed += 1;
        self.per_endpoint.entry(was.to_owned()).or_default().0 += 1;
        if let Some(now) = &again.pick {
            self.per_endpoint.entry(now.clone()).or_default().1 += 1;
        }
        if again.pick.as_deref() != Some(was) {
            self.changed.push(Change {
                request_id: id.to_owned(),
                was: was.to_owned(),
                now: again.pick,
                refused: again.refused,
            });
        }
        self.recorded.extend(again.recorded);
        self.unknown.extend(again.unknown);
    }

    fn table(&self, plan: &str) -> String {
        let mut out = String::new();
        let colour = stdout_has_colour();
        let _ = writeln!(out, "{plan}");
        let _ = writeln!(
            out,
            "{} decisions made again, {} of them otherwise",
            self.replayed,
            self.changed.len()
        );
        for (why, count) in &self.skipped {
            let _ = writeln!(out, "{count} left out: {why}");
        }
        if !self.per_endpoint.is_empty() {
            let rows: Vec<Vec<String>> = self
                .per_endpoint
                .iter()
                .map(|(name, &(then, now))| {
                    let gain = now as i64 - then as i64;
                    vec![
                        name.clone(),
                        then.to_string(),
                        now.to_string(),
                        format!("{gain:+}"),
                    ]
                })
                .collect();
            let _ = write!(
                out,
                "\n{}",
                table(&["ENDPOINT", "THEN", "NOW", "GAIN"], &rows, colour)
            );
        }
        if !self.changed.is_empty() {
            let rows: Vec<Vec<String>> = self
                .changed
                .iter()
                .take(LISTED)
                .map(|change| {
                    let now = change.now.clone().or_else(|| change.refused.clone());
                    vec![
                        change.request_id.clone(),
                        change.was.clone(),
                        now.unwrap_or_default(),
                    ]
                })
                .collect();
            let _ = write!(
                out,
                "\n{}",
                table(&["REQUEST", "THEN", "NOW"], &rows, colour)
            );
            if self.changed.len() > LISTED {
                let _ = writeln!(
                    out,
                    "  and {} more (-o json lists all)",
                    self.changed.len() - LISTED
                );
            }
        }
        for (names, what) in [
            (
                &self.recorded,
                "as recorded, since a receipt does not hold what they look at",
            ),
            (
                &self.unknown,
                "without effect, since the receipts know nothing of them",
            ),
        ] {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let _ = writeln!(out, "\n{}: {what}", names.join(", "));
            }
        }
        out
    }

    fn json(&self, plan: &str) -> String {
        let endpoints: Vec<Value> = self
            .per_endpoint
            .iter()
            .map(|(name, (then, now))| json!({"endpoint": name, "then": then, "now": now, "gain": *now as i64 - *then as i64}))
            .collect();
        let changed: Vec<Value> = self
            .changed
            .iter()
            .map(|c| json!({"requestId": c.request_id, "then": c.was, "now": c.now, "refused": c.refused}))
            .collect();
        let report = json!({
            "schemaVersion": SCHEMA_VERSION,
            "plan": plan,
            "replayed": self.replayed,
            "skipped": self.skipped,
            "changed": changed,
            "endpoints": endpoints,
            "recorded": self.recorded,
            "unknown": self.unknown,
        });
        format!("{report:#}\n")
    }
}
