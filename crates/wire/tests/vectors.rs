//! Replays what the reference computed: block hashes, matches and scores of both generations, estimated tokens.
//!
//! Every case goes the whole way of a request: a body is written and read, its prompt hashed where it lies in
//! frames of several sizes, and the hashes looked up in the index. The files are in `tests/parity/kv`; a further
//! folder of the same layout may be named in `POINTSMAN_KV_VECTORS`.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use pointsman_core::index::believed::BelievedIndex;
use pointsman_core::index::believed::limits::{Limits, MatchMode, Recorded};
use pointsman_core::index::block_hash::{PromptHashes, Scheme};
use pointsman_core::model::prompt::{Form, Piece, PromptView};
use pointsman_core::model::slots::Slot;
use pointsman_core::time::Tick;
use pointsman_wire::request::openai::{ApiKind, read};

/// Runs `check` on every case of a file, here and in the folder that is named; every folder must hold some.
fn each_case(file: &str, check: impl Fn(&Value)) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/kv");
    assert!(cases(&own, file, &check) > 0, "{}: no case", own.display());
    if let Some(further) = std::env::var_os("POINTSMAN_KV_VECTORS") {
        let further = PathBuf::from(further);
        cases(&further, file, &check);
        let all: usize = FILES
            .iter()
            .map(|file| cases(&further, file, &|_| ()))
            .sum();
        assert!(
            all > 0,
            "{}: no case in {FILES:?}; name a folder that has them in POINTSMAN_KV_VECTORS, or none",
            further.display()
        );
    }
}

const FILES: [&str; 4] = [
    "approx-v040/traces.json",
    "approx-today/hashes.json",
    "approx-today/traces.json",
    "approx-today/estimate-tokens.json",
];

fn cases(folder: &Path, file: &str, check: &dyn Fn(&Value)) -> usize {
    fs::read_dir(folder).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; name a folder that can be read",
            folder.display()
        )
    });
    let path = folder.join(file);
    if !path.exists() {
        return 0;
    }
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cases: Vec<Value> =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for case in &cases {
        println!("{}: {}", path.display(), case["name"]);
        check(case);
    }
    cases.len()
}

/// Hashes the prompt of a body, the same for every cut of it.
fn hashes(kind: ApiKind, body: &Value, scheme: Scheme) -> PromptHashes {
    let text = body.to_string().into_bytes();
    let mut all = Vec::new();
    for size in [text.len(), 1000, 64, 7] {
        let frames: Vec<&[u8]> = text.chunks(size).collect();
        let facts = read(kind, &frames).unwrap();
        let salt = facts.cache_salt.as_deref().unwrap_or_default();
        let mut hashes = PromptHashes::default();
        hashes.compute(scheme, &facts.model, salt, &facts.prompt_view(&frames));
        all.push(hashes);
    }
    let first = all.remove(0);
    assert!(all.iter().all(|other| *other == first), "frames matter");
    first
}

/// The prompts of a body in a form.
fn walked(kind: ApiKind, body: &Value, form: Form, cut: usize) -> Vec<Vec<u8>> {
    let text = body.to_string().into_bytes();
    let frames: Vec<&[u8]> = text.chunks(cut).collect();
    let facts = read(kind, &frames).unwrap();
    let mut prompts = Vec::new();
    let mut prompt = Vec::new();
    facts.prompt_view(&frames).walk(form, &mut |piece| {
        match piece {
            Piece::Bytes(bytes) => prompt.extend_from_slice(bytes),
            Piece::End => prompts.push(std::mem::take(&mut prompt)),
        }
        ControlFlow::Continue(())
    });
    assert!(prompt.is_empty(), "a prompt that was not ended");
    prompts
}

fn body(model: &Value, salt: &Value, field: &str, prompt: &Value) -> Value {
    let mut body = Map::new();
    body.insert("model".into(), model.clone());
    body.insert(field.into(), prompt.clone());
    if let Some(salt) = salt.as_str() {
        body.insert("cache_salt".into(), salt.into());
    }
    Value::Object(body)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn hex(value: &Value) -> Vec<u64> {
    let digits = list(value).map(|digits| digits.as_str().unwrap());
    digits
        .map(|digits| u64::from_str_radix(digits, 16).unwrap())
        .collect()
}

/// The number at `name`, or its default.
fn number(parameters: &Value, name: &str, default: u64) -> u64 {
    parameters[name].as_u64().unwrap_or(default)
}

/// The pods of a trace as slots, in the order in which they first occur.
#[derive(Default)]
struct Pods(Vec<String>);

impl Pods {
    fn slot(&mut self, name: &str) -> Slot {
        let at = self.0.iter().position(|known| known == name);
        let at = at.unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        });
        Slot(at as u32)
    }

    fn blocks(&self, index: &BelievedIndex) -> BTreeMap<String, u64> {
        let beliefs = index.slots(Tick(0)).into_iter();
        beliefs
            .map(|held| (self.0[held.slot.0 as usize].clone(), u64::from(held.blocks)))
            .collect()
    }
}

#[track_caller]
fn close(got: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    assert!(
        (got - expected).abs() < 1e-9,
        "{what}: {got} instead of {expected}"
    );
}

fn lookup(index: &BelievedIndex, hashes: &PromptHashes, rows: &[Slot]) -> Vec<u32> {
    let mut out = Vec::new();
    index.lookup(hashes, rows, |_| 0, MatchMode::Hits, Tick(0), &mut out);
    out
}

#[test]
fn vectors_of_the_first_generation() {
    each_case("approx-v040/traces.json", |trace| {
        let config = &trace["effectiveConfig"];
        let auto_tune = config["autoTune"].as_bool().unwrap();
        let engine = |pod: &str, at: usize| {
            let known = trace["podCacheBlockSizeAndNumGPUBlocks"][pod][at].as_u64();
            known.filter(|&n| auto_tune && n > 0)
        };
        let names: Vec<&str> = list(&trace["pods"])
            .map(|pod| pod.as_str().unwrap())
            .collect();
        let max_blocks = number(config, "maxPrefixBlocksToMatch", 256) as u32;
        let block = engine(names[0], 0)
            .map_or_else(|| number(config, "blockSize", 64), |tokens| tokens * 4);
        let scheme = Scheme::Bytes {
            block: block as u32,
            max_blocks,
        };
        let index = BelievedIndex::new(Limits {
            keep_overflow: max_blocks,
            ..Limits::default()
        });
        let mut pods = Pods::default();
        let rows: Vec<Slot> = names.iter().map(|name| pods.slot(name)).collect();
        for step in list(&trace["steps"]) {
            let id = step["requestId"].as_str().unwrap();
            let (kind, field, prompt) = match step["kind"].as_str().unwrap() {
                "completions" => (ApiKind::Completions, "prompt", &step["prompt"]),
                "chat" => (ApiKind::ChatCompletions, "messages", &step["messages"]),
                other => panic!("{id}: unknown kind '{other}'"),
            };
            let body = body(&step["model"], &step["cacheSalt"], field, prompt);
            if let Some(input) = step["hashInput"].as_str() {
                for cut in [usize::MAX, 5] {
                    let walked = walked(kind, &body, Form::Json, cut);
                    assert_eq!(String::from_utf8_lossy(&walked.concat()), input, "{id}");
                }
            }
            let hashes = hashes(kind, &body, scheme);
            assert_eq!(hashes.all(), hex(&step["hashes"]), "{id}");
            let matched = lookup(&index, &hashes, &rows);
            for (name, &matched) in names.iter().zip(&matched) {
                let expected = step["matchedBlocks"][*name].as_u64().unwrap_or(0);
                assert_eq!(u64::from(matched), expected, "{id}: {name}");
                let score = match hashes.len() {
                    0 => 0.0,
                    total => f64::from(matched) / total as f64,
                };
                close(score, &step["scores"][*name], &format!("{id}: {name}"));
            }
            if let Some(picked) = step["picked"].as_str() {
                let capacity = engine(picked, 1)
                    .unwrap_or_else(|| number(config, "lruCapacityPerServer", 31_250));
                let to = Recorded {
                    slot: pods.slot(picked),
                    epoch: 0,
                    capacity: capacity as u32,
                };
                index.insert(&to, &hashes, Tick(0));
            }
            let held: BTreeMap<String, u64> =
                serde_json::from_value(step["blocksPerPodAfter"].clone()).unwrap();
            assert_eq!(pods.blocks(&index), held, "{id}");
        }
    });
}

#[test]
fn vectors_of_the_second_generation_s_hashes() {
    each_case("approx-today/hashes.json", |case| {
        let scheme = Scheme::Tokens {
            block: number(case, "blockSizeTokens", 0) as u32,
            max_blocks: number(case, "maxBlocks", 0) as u32,
        };
        let body = body(
            &case["model"],
            &case["cacheSalt"],
            "prompt",
            &case["prompts"],
        );
        let hashes = hashes(ApiKind::Completions, &body, scheme);
        let expected: Vec<Vec<u64>> = list(&case["hashes"]).map(hex).collect();
        assert_eq!(
            hashes.prompts().map(<[u64]>::to_vec).collect::<Vec<_>>(),
            expected
        );
    });
}

#[test]
fn vectors_of_the_second_generation() {
    each_case("approx-today/traces.json", |trace| {
        let parameters = &trace["producerParameters"];
        let auto_tune = parameters["autoTune"].as_bool().unwrap_or(true);
        let engine = |pod: &str, at: usize| {
            let known = trace["endpointCacheBlockSizeAndNumBlocks"][pod][at].as_u64();
            known.filter(|&n| auto_tune && n > 0)
        };
        let scorer = &trace["scorerParameters"];
        let weight = scorer["matchLengthWeight"].as_f64().unwrap_or(0.0);
        let scale = number(scorer, "matchLengthScaleTokens", 8192) as f64;
        let index = BelievedIndex::new(Limits::default());
        let mut pods = Pods::default();
        for step in list(&trace["steps"]) {
            let id = step["requestId"].as_str().unwrap_or("?");
            assert_eq!(step["op"], "request", "{id}: unknown operation");
            let names: Vec<&str> = list(&step["candidates"])
                .map(|pod| pod.as_str().unwrap())
                .collect();
            let deprecated = number(parameters, "blockSize", 16);
            let written = match number(parameters, "blockSizeTokens", 16) {
                16 => deprecated,
                tokens => tokens,
            };
            let block = engine(names[0], 0).unwrap_or(written).max(64);
            let max_blocks = match (
                number(parameters, "maxPrefixTokensToMatch", 131_072) / block,
                number(parameters, "maxPrefixTokensToMatch", 131_072),
                number(parameters, "maxPrefixBlocksToMatch", 2048),
            ) {
                (_, 0, 0) => u32::MAX,
                (_, 0, blocks) => blocks as u32,
                (blocks, ..) => blocks as u32,
            };
            let scheme = Scheme::Tokens {
                block: block as u32,
                max_blocks,
            };
            let body = body(
                &step["model"],
                &step["cacheSalt"],
                "prompt",
                &step["prompts"],
            );
            let hashes = hashes(ApiKind::Completions, &body, scheme);
            let rows: Vec<Slot> = names.iter().map(|name| pods.slot(name)).collect();
            let matched = lookup(&index, &hashes, &rows);
            let comment = step["comment"].as_str().unwrap_or_default();
            for (name, &matched) in names.iter().zip(&matched) {
                let got = json!([matched, hashes.len(), block]);
                let expected = &step["matchTotalBlocksize"][*name];
                if let Some(documented) = documented(comment, name) {
                    assert_eq!(got, documented, "{id}: {name}");
                    continue;
                }
                if trace["referenceDefect"] == true && got != *expected {
                    // What the reference gets wrong here are hits that are none.
                    assert!(
                        u64::from(matched) < expected[0].as_u64().unwrap(),
                        "{id}: {name}"
                    );
                    continue;
                }
                assert_eq!(got, *expected, "{id}: {name}");
                let score = if hashes.is_empty() {
                    0.0
                } else {
                    let length = (f64::from(matched) * block as f64 / scale).min(1.0);
                    let share = f64::from(matched) / hashes.len() as f64;
                    weight * length * length + (1.0 - weight) * share
                };
                close(score, &step["scores"][*name], &format!("{id}: {name}"));
            }
            for picked in ["picked", "pickedPrefill"] {
                if let Some(name) = step[picked].as_str() {
                    let lru = number(parameters, "lruCapacityPerServer", 31_250);
                    let to = Recorded {
                        slot: pods.slot(name),
                        epoch: 0,
                        capacity: engine(name, 1).unwrap_or(lru) as u32,
                    };
                    index.insert(&to, &hashes, Tick(0));
                }
            }
            let state = list(&step["stateAfter"]["pods"]);
            let held: BTreeMap<String, u64> = state
                .map(|pod| {
                    let name = pod["pod"].as_str().unwrap();
                    let name = name.strip_prefix("ns/").unwrap_or(name);
                    (name.to_owned(), pod["blocks"].as_u64().unwrap())
                })
                .collect();
            assert_eq!(pods.blocks(&index), held, "{id}");
        }
    });
}

/// The answer that a step of a defective trace says is right for a pod.
fn documented(comment: &str, pod: &str) -> Option<Value> {
    let (_, answer) = comment.split_once("ours must report ")?;
    let (answer, of) = answer.split_once(" for ")?;
    (of.trim_end_matches('.') == pod).then(|| serde_json::from_str(answer).unwrap())
}

#[test]
fn vectors_of_estimated_tokens() {
    each_case("approx-today/estimate-tokens.json", |case| {
        let parsed: Value = serde_json::from_str(case["parsedBody"].as_str().unwrap()).unwrap();
        let expected: Vec<Vec<u32>> = list(&case["tokens"])
            .map(|ids| list(ids).map(|id| id.as_u64().unwrap() as u32).collect())
            .filter(|ids: &Vec<u32>| !ids.is_empty())
            .collect();
        let (kind, mut body) = [
            ("completions", ApiKind::Completions),
            ("chat_completions", ApiKind::ChatCompletions),
            ("responses", ApiKind::Responses),
        ]
        .into_iter()
        .find_map(|(name, kind)| Some((kind, parsed.get(name)?.clone())))
        .unwrap_or_else(|| panic!("unknown kind of body: {parsed}"));
        body["model"] = "m".into();
        if body["prompt"] == "" && !expected.is_empty() {
            // The parsed body does not show token ids; they are their own estimate.
            body["prompt"] = json!(expected);
        }
        for cut in [usize::MAX, 100, 3, 1] {
            let prompts = walked(kind, &body, Form::Text, cut).into_iter();
            let ids: Vec<Vec<u32>> = prompts
                .filter(|prompt| !prompt.is_empty())
                .map(|mut prompt| {
                    prompt.resize(prompt.len().next_multiple_of(4), 0);
                    let (words, _) = prompt.as_chunks::<4>();
                    words.iter().map(|word| u32::from_le_bytes(*word)).collect()
                })
                .collect();
            assert_eq!(ids, expected);
        }
    });
}
