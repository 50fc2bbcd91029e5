//! A receipt put together from the lines of a decision log, as far as they tell.
//!
//! `Scoring breakdown` gives the candidates, what filters removed and raw scores; `Scoring decision` the picker, the
//! pick and the totals. The lab's own instrumented picker writes these two lines as well, with fewer fields.
//! Numbers have three decimals there. Readings, weights, the draw and the outcome are in neither.

use std::collections::BTreeMap;

use pointsman_wire::decision_log::BREAKDOWN_MSG;
use pointsman_wire::receipt::{
    Candidate, DrawFacts, Filtered, PlanFacts, PluginFacts, PoolFacts, ProfileFacts, Receipt,
    SCHEMA_VERSION, ScorerFacts, Times,
};
use serde_json::Value;

/// The receipt of the latest decision about `id` (or of the last one at all) that the lines tell of.
pub(crate) fn receipt_of(lines: &[Value], id: Option<&str>) -> Option<Receipt> {
    let id_of = |line: &Value| line["request_id"].as_str().map(str::to_owned);
    let id = match id {
        Some(id) => id.to_owned(),
        None => lines.iter().rev().find_map(id_of)?,
    };
    let mine: Vec<&Value> = lines
        .iter()
        .filter(|line| line["request_id"].as_str() == Some(id.as_str()))
        .collect();
    let last = mine.last()?;
    let text = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
    let mut profiles: Vec<ProfileFacts> = Vec::new();
    for line in &mine {
        let name = line["profile"].as_str().unwrap_or("default");
        let at = profiles.iter().position(|p| p.name == name);
        let at = at.unwrap_or_else(|| {
            profiles.push(empty(name));
            profiles.len() - 1
        });
        add(&mut profiles[at], line);
    }
    for profile in &mut profiles {
        profile.tie = tie(&profile.candidates);
    }
    let size = profiles
        .iter()
        .map(|p| p.candidates.len() + p.filtered.len())
        .max()
        .unwrap_or(0);
    Some(Receipt {
        schema_version: SCHEMA_VERSION,
        request_id: id,
        response_hash: None,
        at: text("ts"),
        door: String::new(),
        model: text("model"),
        prompt_bytes: last["prompt_len"].as_u64().unwrap_or(0),
        plan: PlanFacts {
            generation: 0,
            compat: String::new(),
            hash: String::new(),
            source: String::new(),
        },
        pool: PoolFacts {
            generation: 0,
            size: size + last["more"].as_u64().unwrap_or(0) as usize,
        },
        profiles,
        pd: None,
        prediction: None,
        attempts: Vec::new(),
        served: None,
        outcome: None,
        usage: None,
        times_ms: Times::default(),
        replayable: false,
        truncated: last["more"].as_u64().is_some_and(|more| more > 0),
    })
}

fn empty(name: &str) -> ProfileFacts {
    ProfileFacts {
        name: name.to_owned(),
        filters: Vec::new(),
        scorers: Vec::new(),
        picker: PluginFacts::default(),
        filtered: Vec::new(),
        candidates: Vec::new(),
        tie: Vec::new(),
        draw: DrawFacts {
            seed: 0,
            value: None,
        },
        picked: Vec::new(),
    }
}

/// Adds what one line tells; a later decision about the same id takes the place of an earlier one.
fn add(profile: &mut ProfileFacts, line: &Value) {
    let texts = |key: &str| {
        let list = line[key].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().filter_map(Value::as_str)
    };
    if line["msg"] == BREAKDOWN_MSG {
        *profile = empty(&profile.name);
        for (name, total) in texts("weighted").filter_map(entry) {
            candidate(profile, name).total = total;
        }
        for (plugin, inner) in texts("scorers").filter_map(bracketed) {
            profile.scorers.push(ScorerFacts {
                name: plugin.name.clone(),
                kind: plugin.kind,
                weight: f64::NAN,
            });
            for (name, score) in inner.split(", ").filter_map(entry) {
                let scores = &mut candidate(profile, name).scores;
                scores.insert(plugin.name.clone(), score);
            }
        }
        for (plugin, inner) in texts("filtered").filter_map(bracketed) {
            for name in inner.split(", ").filter(|name| !name.is_empty()) {
                profile.filtered.push(Filtered {
                    endpoint: name.to_owned(),
                    by: plugin.name.clone(),
                    row: 0,
                    address: String::new(),
                    labels: BTreeMap::new(),
                    readings: BTreeMap::new(),
                });
            }
            profile.filters.push(plugin);
        }
    } else {
        for (name, total) in texts("scores").filter_map(entry) {
            candidate(profile, name).total = total;
        }
        profile.picked = texts("selected").map(str::to_owned).collect();
        if let Some(picker) = line["picker"].as_str() {
            profile.picker = plugin(picker);
        }
    }
}

fn candidate<'a>(profile: &'a mut ProfileFacts, name: &str) -> &'a mut Candidate {
    let list = &mut profile.candidates;
    let at = list.iter().position(|c| c.endpoint == name);
    let at = at.unwrap_or_else(|| {
        list.push(Candidate {
            endpoint: name.to_owned(),
            address: String::new(),
            row: list.len() as u32,
            labels: BTreeMap::new(),
            readings: BTreeMap::new(),
            scores: BTreeMap::new(),
            terms: BTreeMap::new(),
            total: 0.0,
        });
        list.len() - 1
    });
    &mut list[at]
}

/// `ns/pod=1.500`.
fn entry(text: &str) -> Option<(&str, f64)> {
    let (name, value) = text.rsplit_once('=')?;
    Some((name, value.parse().ok()?))
}

/// `type/name[inner]`.
fn bracketed(text: &str) -> Option<(PluginFacts, &str)> {
    let (name, inner) = text.strip_suffix(']')?.split_once('[')?;
    Some((plugin(name), inner))
}

fn plugin(text: &str) -> PluginFacts {
    let (kind, name) = text.split_once('/').unwrap_or((text, text));
    PluginFacts {
        name: name.to_owned(),
        kind: kind.to_owned(),
    }
}

fn tie(candidates: &[Candidate]) -> Vec<String> {
    let best = candidates
        .iter()
        .map(|c| c.total)
        .fold(f64::NEG_INFINITY, f64::max);
    let tied: Vec<String> = candidates
        .iter()
        .filter(|c| c.total == best)
        .map(|c| c.endpoint.clone())
        .collect();
    if tied.len() > 1 { tied } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn the_labs_lines_become_a_table() {
        let lines = [
            json!({"msg": "Scoring breakdown", "request_id": "a", "model": "m", "prompt_len": 5,
                "scorers": ["active-request-scorer/active-request-scorer[ns/p=0.500, ns/f=1.000]"],
                "weighted": ["ns/p=0.500", "ns/f=1.000"]}),
            json!({"msg": "Scoring decision", "request_id": "a", "model": "m", "prompt_len": 5,
                "picker": "max-score-picker/max-score-picker", "selected": ["ns/f"], "scores": ["ns/p=0.500", "ns/f=1.000"]}),
            json!({"msg": "Scoring decision", "request_id": "b", "model": "m", "selected": ["ns/p"], "scores": ["ns/p=1.000", "ns/f=1.000"]}),
        ];
        let first = receipt_of(&lines, Some("a")).unwrap();
        let profile = &first.profiles[0];
        assert_eq!(profile.picked, ["ns/f"]);
        assert_eq!(profile.candidates[0].scores["active-request-scorer"], 0.5);
        assert_eq!((profile.candidates[1].total, profile.tie.len()), (1.0, 0));
        let last = receipt_of(&lines, None).unwrap();
        assert_eq!(
            (last.request_id.as_str(), last.profiles[0].tie.len()),
            ("b", 2)
        );
        assert!(receipt_of(&lines, Some("c")).is_none());
    }

    #[test]
    fn what_filters_removed_is_told() {
        let line = json!({"msg": "Scoring breakdown", "request_id": "a", "profile": "p",
            "filtered": ["by-label-selector/by-kv-backend[ns/f, ns/g]", "decode-filter/decode-filter[]"],
            "scorers": [], "weighted": ["ns/p=0.000"]});
        let found = receipt_of(&[line], None).unwrap();
        let profile = &found.profiles[0];
        let removed: Vec<(&str, &str)> = profile
            .filtered
            .iter()
            .map(|f| (f.endpoint.as_str(), f.by.as_str()))
            .collect();
        assert_eq!(
            removed,
            [("ns/f", "by-kv-backend"), ("ns/g", "by-kv-backend")]
        );
        assert_eq!((profile.name.as_str(), found.pool.size), ("p", 3));
    }
}
