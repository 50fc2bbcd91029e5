//! A scenario in GuideLLM's words.

use std::path::Path;
use std::time::Duration;

use pointsman_bench::load::Pacing;
use pointsman_bench::scenario::{Kind, Level};
use serde_json::{Value, json};

/// Requests that GuideLLM lists in its report, chosen evenly: enough for curves, few enough for a small file.
const LISTED: u32 = 5000;
/// What a replay gets beyond its span to end its last answers in.
const GRACE: Duration = Duration::from_secs(60);

/// What GuideLLM is to do.
pub(super) struct Wanted<'a> {
    pub(super) target: &'a str,
    pub(super) model: &'a str,
    pub(super) kind: Kind,
    pub(super) levels: &'a [Level],
    pub(super) data: &'a Path,
    /// Lines of the data.
    pub(super) rows: usize,
    pub(super) report: &'a Path,
}

/// The arguments of `guidellm`.
pub(super) fn of(wanted: &Wanted<'_>) -> Vec<String> {
    let Some(level) = wanted.levels.first() else {
        return Vec::new();
    };
    let plan = &level.plan;
    let format = if plan.chat {
        "/v1/chat/completions"
    } else {
        "/v1/completions"
    };
    let mut arguments = vec!["run".to_owned()];
    let mut option = |name: &str, value: Value| {
        arguments.extend([format!("--{name}"), value.to_string()]);
    };
    option(
        "backend",
        json!({
            "kind": "openai_http",
            "target": wanted.target,
            "model": wanted.model,
            "request_format": format,
            "stream": plan.stream,
            "timeout": plan.timeout.as_secs_f64(),
            // Asked before, with our sentences for what is wrong.
            "validate_backend": false,
        }),
    );
    option("profile", profile(wanted, level));
    let span = plan.warmup + plan.window;
    if wanted.kind == Kind::Sweep {
        // Without a count it would begin the file anew, all at once.
        option(
            "constraint",
            json!({"kind": "max_requests", "count": wanted.rows}),
        );
        option(
            "constraint",
            json!({"kind": "max_duration", "seconds": (span + GRACE).as_secs_f64()}),
        );
    } else {
        option(
            "constraint",
            json!({"kind": "max_duration", "seconds": span.as_secs_f64()}),
        );
    }
    option(
        "data",
        json!({"kind": "json_file", "path": wanted.data.display().to_string()}),
    );
    option(
        "output",
        json!({"kind": "json", "path": wanted.report.display().to_string()}),
    );
    option(
        "metrics",
        json!({"kind": "generative", "sample_size": LISTED}),
    );
    option("seed", json!({"kind": "static", "value": plan.seed}));
    if wanted.levels.len() > 1 {
        let levels: Vec<String> = wanted
            .levels
            .iter()
            .filter_map(|level| level.concurrency)
            .map(|n| n.to_string())
            .collect();
        arguments.extend([
            "--override".to_owned(),
            "profile.streams".to_owned(),
            levels.join(","),
        ]);
    }
    arguments.push("--disable-console-interactive".to_owned());
    arguments
}

fn profile(wanted: &Wanted<'_>, level: &Level) -> Value {
    let mut profile = match (wanted.kind, &level.plan.pacing) {
        (Kind::Sweep, _) => json!({"kind": "replay", "schedule_turn": "timestamp"}),
        (_, Pacing::Open { rate, connections }) => {
            json!({"kind": "constant", "rate": rate, "max_concurrency": connections})
        }
        (Kind::Steady, _) => json!({"kind": "synchronous"}),
        (Kind::Throughput, _) => json!({"kind": "concurrent", "streams": [level.concurrency]}),
    };
    let warmup = level.plan.warmup.as_secs_f64();
    if warmup > 0.0 {
        profile["warmup"] = json!({"mode": "duration", "value": warmup});
    }
    profile
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use pointsman_bench::load::Plan;
    use pointsman_bench::scenario::{Shape, levels};

    fn told(kind: Kind, rate: Option<f64>) -> Vec<String> {
        let pacing = Pacing::Closed { connections: 1 };
        let mut plan = Plan::new(([127, 0, 0, 1], 1).into(), pacing, Duration::from_secs(9));
        plan.warmup = Duration::from_secs(1);
        let shape = Shape {
            concurrency: vec![1, 8],
            rate,
            connections: 64,
            arrivals: None,
        };
        of(&Wanted {
            target: "http://h:1",
            model: "m, \"n\"",
            kind,
            levels: &levels("x", kind, &shape, &plan),
            data: Path::new("d.jsonl"),
            rows: 40,
            report: Path::new("r.json"),
        })
    }

    fn value(arguments: &[String], option: &str) -> Value {
        let at = arguments.iter().position(|word| word == option).unwrap();
        serde_json::from_str(&arguments[at + 1]).unwrap()
    }

    #[test]
    fn each_scenario_has_its_profile() {
        let steady = told(Kind::Steady, None);
        assert_eq!(value(&steady, "--profile")["kind"], "synchronous");
        assert_eq!(value(&steady, "--backend")["model"], "m, \"n\"");
        assert_eq!(
            value(&steady, "--constraint"),
            json!({"kind": "max_duration", "seconds": 10.0})
        );
        let rated = value(&told(Kind::Steady, Some(2.5)), "--profile");
        assert_eq!(
            (&rated["kind"], &rated["rate"]),
            (&json!("constant"), &json!(2.5))
        );
        let throughput = told(Kind::Throughput, None);
        assert_eq!(value(&throughput, "--profile")["warmup"]["value"], 1.0);
        let at = throughput
            .iter()
            .position(|word| word == "--override")
            .unwrap();
        assert_eq!(throughput[at + 1..at + 3], ["profile.streams", "1,8"]);
        let sweep = told(Kind::Sweep, Some(4.0));
        assert_eq!(value(&sweep, "--profile")["kind"], "replay");
        assert_eq!(
            value(&sweep, "--constraint"),
            json!({"kind": "max_requests", "count": 40})
        );
    }
}
