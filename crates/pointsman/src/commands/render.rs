//! `pointsman render`: the objects that custom resources stand for, without a cluster.

use std::io::Read as _;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use pointsman_cluster::{connect, connect_to};
use pointsman_operator::desired::child::{Child, Owner};
use pointsman_operator::preview::{Change, Preview, preview};
use pointsman_operator::render::{Format, children_of, resources_of, text};
use serde_json::{Value, json};

use crate::commands::crds::Output;
use crate::console::say;
use crate::serving::runtime;

const EXAMPLES: &str = "\
Examples:
  pointsman render install.yaml
  pointsman render -o json install.yaml simulators.yaml
  pointsman render --diff install.yaml                  what would change in the cluster
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
    /// Ask a cluster what would change, without changing it, and show that instead.
    #[arg(long)]
    diff: bool,
    /// The kubeconfig for --diff; KUBECONFIG where not said.
    #[arg(long, value_name = "FILE", requires = "diff")]
    kubeconfig: Option<PathBuf>,
}

/// Prints all objects, or says what cannot be followed and prints none.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let mut all: Vec<Child> = Vec::new();
    let mut resources = Vec::new();
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
        if args.diff {
            let found = resources_of(&read).map_err(|error| anyhow!("{named}: {error}"))?;
            resources.extend(found);
        }
    }
    if args.diff {
        return show_differences(args, &resources);
    }
    // A file does not know the uid without which no server takes an owner reference.
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

/// Version of the JSON document.
const SCHEMA_VERSION: u32 = 1;

/// For each object that would change, what stands there and what would, side by side as a line by line difference.
fn show_differences(args: &Args, resources: &[(Owner, Value)]) -> anyhow::Result<()> {
    let all = runtime()?.block_on(async {
        let client = match &args.kubeconfig {
            Some(path) => connect_to(path).await?,
            None => connect().await?,
        };
        let mut all = Preview::default();
        for (owner, object) in resources {
            let one = preview(client.clone(), *owner, object, args.standalone).await;
            let one = one.map_err(|why| anyhow!(why))?;
            all.changes.extend(one.changes);
            all.objects += one.objects;
        }
        anyhow::Ok(all)
    })?;
    say(&match args.output {
        Output::Json => in_json(&all),
        Output::Yaml => in_words(&all),
    });
    Ok(())
}

/// What would become of an object, before and after.
fn parts(change: &Change) -> (&'static str, Option<&Value>, Option<&Value>) {
    match change {
        Change::Created(after) => ("created", None, Some(after)),
        Change::Changed(before, after) => ("changed", Some(before), Some(after)),
        Change::Deleted(before) => ("deleted", Some(before), None),
    }
}

fn in_words(all: &Preview) -> String {
    let shown = |object: &Value| text([(&tidy(object), None)], Format::Yaml);
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut out = String::new();
    for change in &all.changes {
        let (becomes, before, after) = parts(change);
        let Some(either) = after.or(before) else {
            continue;
        };
        let (old, new) = (before.map(shown), after.map(shown));
        out.push_str(&format!(
            "{} {}/{} would be {becomes}\n{}",
            word(&either["kind"]),
            word(&either["metadata"]["namespace"]),
            word(&either["metadata"]["name"]),
            lines(&old.unwrap_or_default(), &new.unwrap_or_default()),
        ));
    }
    let deleted = all.changes.iter().map(parts);
    let deleted = deleted
        .filter(|(becomes, ..)| *becomes == "deleted")
        .count();
    out.push_str(&format!(
        "{} of {} objects would change",
        all.changes.len() - deleted,
        all.objects
    ));
    if deleted > 0 {
        out.push_str(&format!(", {deleted} more would be deleted"));
    }
    out.push('\n');
    out
}

fn in_json(all: &Preview) -> String {
    let one = |change: &Change| {
        let (becomes, before, after) = parts(change);
        let either = after.or(before).cloned().unwrap_or_default();
        json!({
            "change": becomes,
            "apiVersion": either["apiVersion"],
            "kind": either["kind"],
            "namespace": either["metadata"]["namespace"],
            "name": either["metadata"]["name"],
            "before": before.map(tidy),
            "after": after.map(tidy),
        })
    };
    let changes: Vec<Value> = all.changes.iter().map(one).collect();
    let document =
        json!({"schemaVersion": SCHEMA_VERSION, "objects": all.objects, "changes": changes});
    format!("{document:#}\n")
}

/// Without what the server keeps for itself.
fn tidy(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for key in [
            "managedFields",
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "generation",
        ] {
            meta.remove(key);
        }
    }
    object
}

/// Lines that go and lines that come, with those that both have left out; a longest common subsequence.
fn lines(old: &str, new: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let width = new.len() + 1;
    let mut common = vec![0usize; (old.len() + 1) * width];
    for (i, line) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            common[i * width + j] = match line == other {
                true => common[(i + 1) * width + j + 1] + 1,
                false => common[(i + 1) * width + j].max(common[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        let (both, skip) = (i < old.len() && j < new.len(), i * width + j);
        if both && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[skip + width] >= common[skip + 1]) {
            out.push_str(&format!("- {}\n", old[i]));
            i += 1;
        } else {
            out.push_str(&format!("+ {}\n", new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rendered_configuration_resolves_with_the_real_plugins() {
        let registry = crate::planning::registry();
        for profile in pointsman_core::config::presets::LAB_NAMES {
            let file = format!(
                "apiVersion: sim.llm-d.io/v1alpha1\nkind: SchedulerInstall\nmetadata: {{name: i}}\n\
                 spec: {{simulatorNamespace: m, epp: {{enabled: true, configProfile: {profile}}}}}\n---\n\
                 apiVersion: sim.llm-d.io/v1alpha1\nkind: SimulatorDeployment\nmetadata: {{name: s}}\n\
                 spec: {{epp: {{enabled: true}}}}\n"
            );
            let all = children_of(&file).unwrap_or_default();
            let configs: Vec<&str> = all
                .iter()
                .filter_map(|child| child.value["data"].as_object())
                .flat_map(|data| data.values().filter_map(Value::as_str))
                .collect();
            assert_eq!(configs.len(), 2, "{profile}");
            for text in configs {
                let terms = pointsman_feeds::plan::Terms::new(&registry);
                let resolved = pointsman_feeds::plan::from_text(text, profile, &terms);
                assert!(resolved.is_ok(), "{profile}: {:?}", resolved.err());
            }
        }
    }

    #[test]
    fn lines_that_both_have_are_left_out() {
        assert_eq!(lines("a\nb\nc\n", "a\nx\nc\nd\n"), "- b\n+ x\n+ d\n");
        assert_eq!(lines("", "a\n"), "+ a\n");
        assert_eq!(lines("a\n", "a\n"), "");
    }
}
