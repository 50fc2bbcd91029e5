//! Whether engines show their load, and in which engine's words.

use pointsman_core::contract::data_layer::MetricSpec;
use pointsman_operator::check::Verdict;
use pointsman_wire::prometheus::dialect::Dialect;

/// The label that names a candidate's engine.
const ENGINE_LABEL: &str = "llm-d.ai/engine-type";

/// A candidate's metrics page.
pub(crate) struct Engine {
    /// Its name.
    pub(crate) name: String,
    /// The engine that its label names.
    pub(crate) label: Option<String>,
    /// Status and text, or why there is none.
    pub(crate) page: Result<(u16, String), String>,
}

/// Judges the pages.
pub(crate) fn judge(engines: &[Engine]) -> Verdict {
    let mut said = Vec::new();
    let mut troubles = Verdict::default();
    for engine in engines {
        let name = &engine.name;
        match &engine.page {
            Err(why) => troubles.add(
                format!("{name} on /metrics: {why}"),
                format!("look at {name}; the picker must reach it, too"),
            ),
            Ok((200, text)) => match spoken(text).as_slice() {
                [] => troubles.add(
                    format!("{name} shows a page in no known engine's words, so its load cannot be read"),
                    "pass the engine's own /metrics through, or describe its words: engineConfigs of core-metrics-extractor",
                ),
                words => {
                    mislabelled(engine, words, &mut troubles);
                    said.push(format!("{name} {}", words.join("/")));
                }
            },
            Ok((404, _)) => troubles.add(
                format!("{name} answers 404 on /metrics: a proxy without pass-through"),
                "let the proxy pass /metrics on to its decode server (pointsman proxy does)",
            ),
            Ok((status, _)) => troubles.add(
                format!("{name} answers {status} on /metrics"),
                format!("look at the log of {name}"),
            ),
        }
    }
    let count = format!("{} of {} are understood", said.len(), engines.len());
    Verdict {
        detail: match said.is_empty() || said.len() > 6 {
            true => count,
            false => format!("{count}: {}", said.join(", ")),
        },
        troubles: troubles.troubles,
    }
}

fn mislabelled(engine: &Engine, words: &[&'static str], verdict: &mut Verdict) {
    let Some(label) = &engine.label else {
        return;
    };
    if Dialect::named(label).is_some() && !words.contains(&label.as_str()) {
        verdict.add(
            format!(
                "{} is labelled {ENGINE_LABEL}={label} and speaks {}",
                engine.name,
                words.join("/")
            ),
            format!(
                "set the label {ENGINE_LABEL}={} on {}",
                words[0], engine.name
            ),
        );
    }
}

/// The engines whose gauges stand on a page.
fn spoken(page: &str) -> Vec<&'static str> {
    let names: Vec<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap_or_default())
        .collect();
    let shown = |spec: &Option<MetricSpec>| {
        spec.as_ref()
            .is_some_and(|spec| names.contains(&spec.name.as_str()))
    };
    Dialect::ALL
        .iter()
        .filter(|(dialect, _)| {
            let spec = dialect.spec();
            shown(&spec.waiting) || shown(&spec.running)
        })
        .map(|(_, word)| *word)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(label: Option<&str>, page: Result<(u16, &str), &str>) -> Engine {
        Engine {
            name: "e".to_owned(),
            label: label.map(str::to_owned),
            page: page
                .map(|(status, text)| (status, text.to_owned()))
                .map_err(str::to_owned),
        }
    }

    #[test]
    fn pages_are_told_apart_by_their_words() {
        let vllm = "# HELP x\nvllm:num_requests_waiting{model_name=\"m\"} 0\n";
        let good = judge(&[engine(None, Ok((200, vllm)))]);
        assert_eq!(good.troubles, []);
        assert_eq!(good.detail, "1 of 1 are understood: e vllm");
        let cause = |engine| judge(&[engine]).troubles[0].cause.clone();
        assert!(cause(engine(None, Ok((404, "")))).contains("without pass-through"));
        assert!(cause(engine(None, Ok((200, "python_gc 1\n")))).contains("no known engine"));
        assert!(cause(engine(None, Err("refused"))).contains("refused"));
        let labelled = cause(engine(Some("sglang"), Ok((200, vllm))));
        assert!(labelled.contains("=sglang and speaks vllm"), "{labelled}");
    }
}
