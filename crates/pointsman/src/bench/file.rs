//! Scenario files of `pointsman bench run`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};
use pointsman_bench::scenario::Kind;
use serde::Deserialize;

use crate::bench::load::Load;

/// A file of scenarios.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    scenarios: Vec<Scenario>,
}

/// One scenario: every field but name and kind means what the flag of that name means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Scenario {
    name: Option<String>,
    kind: WrittenKind,
    duration: Option<String>,
    warmup: Option<String>,
    concurrency: Option<Vec<u32>>,
    rate: Option<f64>,
    max_in_flight: Option<u32>,
    prompt_bytes: Option<u32>,
    shared_prefix: Option<u32>,
    prefix_groups: Option<u32>,
    turns: Option<u32>,
    prompts: Option<PathBuf>,
    trace: Option<PathBuf>,
    trace_speed: Option<f64>,
    max_tokens: Option<u32>,
    #[serde(default)]
    chat: bool,
    #[serde(default)]
    no_stream: bool,
    timeout: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WrittenKind {
    Steady,
    Throughput,
    Sweep,
}

/// The flags by themselves, so that a file has the same rules and defaults as the command line.
#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    load: Load,
}

/// The scenarios of a file: name, kind and load. Files that it names are looked for beside it.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<(String, Kind, Load)>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let written: Written = serde_saphyr::from_str(&text)
        .map_err(|error| anyhow::anyhow!("{shown} is no file of scenarios: {error}"))?;
    if written.scenarios.is_empty() {
        bail!("{shown} has no scenario; write at least one under scenarios:");
    }
    let folder = path.parent().unwrap_or_else(|| Path::new(""));
    let mut found: Vec<(String, Kind, Load)> = Vec::new();
    for (number, scenario) in (1..).zip(&written.scenarios) {
        let load = load(scenario, folder);
        let load = load.with_context(|| format!("{shown}: scenario {number}"))?;
        let kind = match scenario.kind {
            WrittenKind::Steady => Kind::Steady,
            WrittenKind::Throughput => Kind::Throughput,
            WrittenKind::Sweep => Kind::Sweep,
        };
        load.check(kind)
            .with_context(|| format!("{shown}: scenario {number}"))?;
        // Runs of one name are repetitions of one scenario, so two scenarios need two.
        let named = written.scenarios.iter().filter_map(|s| s.name.as_deref());
        let taken = |name: &str| {
            found.iter().any(|other| other.0 == name) || named.clone().any(|other| other == name)
        };
        let name = match &scenario.name {
            Some(name) if found.iter().any(|other| other.0 == *name) => {
                bail!(
                    "{shown}: scenario {number}: another one is called '{name}' too; give each a name of its own"
                );
            }
            Some(name) => name.clone(),
            None => {
                let numbers = std::iter::successors(Some(1u32), |number| number.checked_add(1));
                let names = numbers.map(|number| match number {
                    1 => kind.name().to_owned(),
                    number => format!("{} {number}", kind.name()),
                });
                let mut free = names.skip_while(|name| taken(name));
                free.next().unwrap_or_default()
            }
        };
        found.push((name, kind, load));
    }
    Ok(found)
}

/// The load that flags make of which none is given.
pub(crate) fn usual() -> anyhow::Result<Load> {
    Ok(Flags::try_parse_from(["scenario"])?.load)
}

fn load(scenario: &Scenario, folder: &Path) -> anyhow::Result<Load> {
    let mut words = vec!["scenario".to_owned()];
    let mut flag = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("--{name}={value}")));
    };
    let number = |value: Option<u32>| value.map(|value| value.to_string());
    let beside = |path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| folder.join(path).display().to_string())
    };
    flag("duration", scenario.duration.clone());
    flag("warmup", scenario.warmup.clone());
    let levels = scenario
        .concurrency
        .as_ref()
        .map(|levels| levels.iter().map(u32::to_string).collect::<Vec<_>>());
    flag("concurrency", levels.map(|levels| levels.join(",")));
    flag("rate", scenario.rate.map(|rate| rate.to_string()));
    flag("max-in-flight", number(scenario.max_in_flight));
    flag("prompt-bytes", number(scenario.prompt_bytes));
    flag("shared-prefix", number(scenario.shared_prefix));
    flag("prefix-groups", number(scenario.prefix_groups));
    flag("turns", number(scenario.turns));
    flag("prompts", beside(&scenario.prompts));
    flag("trace", beside(&scenario.trace));
    flag(
        "trace-speed",
        scenario.trace_speed.map(|speed| speed.to_string()),
    );
    flag("max-tokens", number(scenario.max_tokens));
    flag("timeout", scenario.timeout.clone());
    words.extend(scenario.chat.then(|| "--chat".to_owned()));
    words.extend(scenario.no_stream.then(|| "--no-stream".to_owned()));
    let parsed = Flags::command()
        .try_get_matches_from(&words)
        .and_then(|found| Flags::from_arg_matches(&found));
    let flags = parsed.map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        anyhow::anyhow!("{}", first.trim_start_matches("error: "))
    })?;
    Ok(flags.load)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, Kind, Load)>, String> {
        let place = std::env::temp_dir().join(format!(
            "pointsman-bench-{}-{}.yaml",
            std::process::id(),
            text.len()
        ));
        std::fs::write(&place, text).unwrap();
        let read = read(&place).map_err(|error| format!("{error:#}"));
        std::fs::remove_file(&place).unwrap();
        read
    }

    #[test]
    fn a_file_has_the_rules_and_defaults_of_the_flags() {
        let found = of("scenarios:\n- kind: throughput\n  concurrency: [2, 4]\n  duration: 3s\n- {name: calm, kind: steady, rate: 2.5, trace: t.jsonl}\n").unwrap();
        assert_eq!(
            (found[0].0.as_str(), found[0].1),
            ("throughput", Kind::Throughput)
        );
        assert_eq!(found[0].2.concurrency, [2, 4]);
        assert_eq!(found[0].2.duration.as_secs(), 3);
        assert_eq!(found[0].2.prompt_bytes, 1000);
        assert_eq!((found[1].0.as_str(), found[1].2.rate), ("calm", Some(2.5)));
        assert_eq!(found[1].2.trace, Some(std::env::temp_dir().join("t.jsonl")));
    }

    #[test]
    fn two_scenarios_are_never_taken_for_repetitions_of_one() {
        let found =
            of("scenarios:\n- {kind: sweep}\n- {kind: sweep}\n- {kind: sweep}\n- {kind: steady, name: sweep 2}\n")
                .unwrap();
        let names: Vec<&str> = found.iter().map(|one| one.0.as_str()).collect();
        assert_eq!(names, ["sweep", "sweep 3", "sweep 4", "sweep 2"]);
        let told =
            of("scenarios:\n- {kind: sweep, name: a}\n- {kind: steady, name: a}\n").unwrap_err();
        assert!(
            told.contains("scenario 2: another one is called 'a'"),
            "{told}"
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("scenarios: []\n", "has no scenario"),
            ("scenarios:\n- {kind: fast}\n", "is no file of scenarios"),
            (
                "scenarios:\n- {kind: steady, concurency: 1}\n",
                "concurency",
            ),
            (
                "scenarios:\n- {kind: steady, duration: soon}\n",
                "scenario 1: invalid value 'soon' for '--duration",
            ),
            (
                "scenarios:\n- {kind: steady}\n- {kind: steady, concurrency: [2]}\n",
                "scenario 2: a steady takes no --concurrency",
            ),
        ] {
            let told = of(text).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
    }
}
