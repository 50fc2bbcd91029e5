//! `pointsman fleet`: its numbers follow from the seed and are those of the manual; pairs, faults and sweeps; bad input
//! gets a sentence; the report opens in a browser by itself.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::browser::Browser;
use pointsman_tests::scratch::Scratch;
use serde_json::Value;

fn fleet(flags: &[&str]) -> Output {
    let mut command = Command::new(pointsman());
    command.current_dir(workspace()).arg("fleet").args(flags);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a run that must be good printed.
#[track_caller]
fn printed(flags: &[&str]) -> String {
    let output = fleet(flags);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn document(flags: &[&str]) -> Value {
    let document: Value =
        serde_json::from_str(&printed(&[flags, &["-o", "json"]].concat())).unwrap();
    assert_eq!(document["schemaVersion"], 1);
    document
}

/// The cell of a policy, the first if it has several.
#[track_caller]
fn cell<'a>(document: &'a Value, policy: &str) -> &'a Value {
    let cells = document["cells"].as_array().unwrap();
    cells.iter().find(|cell| cell["policy"] == policy).unwrap()
}

#[track_caller]
fn p95(document: &Value, policy: &str) -> f64 {
    cell(document, policy)["ttftMs"]["p95"].as_f64().unwrap()
}

#[test]
fn the_tables_of_the_manual_follow_from_their_seeds() {
    let manual = std::fs::read_to_string(workspace().join("docs/fleet.md")).unwrap();
    for study in ["docs/fleet/study.yaml", "docs/fleet/chat.yaml"] {
        let table = printed(&[study, "-o", "markdown"]);
        assert!(table.lines().count() > 6, "{table}");
        assert!(
            manual.contains(table.trim()),
            "docs/fleet.md does not hold what pointsman fleet {study} -o markdown prints:\n{table}"
        );
    }
}

/// The same with every number as JavaScript has it.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().unwrap().into(),
        Value::Array(all) => all.iter().map(floats).collect(),
        Value::Object(all) => {
            let pairs = all.iter().map(|(key, value)| (key.clone(), floats(value)));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    }
}

const SMALL: [&str; 4] = ["--requests", "400", "--repeat", "2"];

#[test]
fn one_seed_gives_the_same_bytes_and_another_seed_others() {
    let engines = ["--engine", "2xh100,1xl40s,1xh100:pair=p2p,1xh100:pair=fs"];
    let faults = [
        "--fault",
        "engine-0:down@2s+3s,engine-2:slow3@1s,pair-0/prefill:down@1s+4s",
    ];
    let flags = [
        &SMALL[..],
        &engines,
        &faults,
        &["--rate", "40", "-o", "json"],
    ]
    .concat();
    let with_seed = |seed| printed(&[&flags[..], &["--seed", seed]].concat());
    let first = with_seed("11");
    assert_eq!(first, with_seed("11"));
    assert_ne!(first, with_seed("12"));
}

#[test]
fn the_whole_document_is_there_and_bench_can_compare_two() {
    let scratch = Scratch::new("fleet-compare");
    let flags = [&SMALL[..], &["--load", "50", "--policy", "balanced,random"]].concat();
    let found = document(&flags);
    assert_eq!(found["runs"].as_array().unwrap().len(), 4);
    for run in found["runs"].as_array().unwrap() {
        assert_eq!(run["requests"], 400);
        let served = run["perEndpoint"].as_object().unwrap().values();
        assert_eq!(served.map(|n| n.as_u64().unwrap()).sum::<u64>(), 400);
        assert!(run["ttftMs"]["p50"].as_f64() <= run["ttftMs"]["p95"].as_f64());
        assert!(run["tpotMs"]["mean"].as_f64().unwrap() > 1.0);
    }
    assert!(p95(&found, "balanced") < p95(&found, "random"));
    assert_eq!(
        (
            &cell(&found, "balanced")["rank"],
            &cell(&found, "random")["rank"]
        ),
        (&1.into(), &2.into())
    );
    let path = scratch.path().join("a.json");
    std::fs::write(&path, found.to_string()).unwrap();
    let mut compare = Command::new(pointsman());
    compare.args(["bench", "compare"]).arg(&path).arg(&path);
    let compared = text(&compare.output().unwrap().stdout);
    assert!(
        compared.contains("shared at 50 %, balanced") && compared.contains("same"),
        "{compared}"
    );
}

#[test]
fn a_sweep_tries_every_weight_and_marks_what_nobody_beats() {
    let sweep = [
        "--policy",
        "default,random",
        "--sweep",
        "weight=prefix-cache-scorer:0,1,4",
    ];
    let found = document(&[&SMALL[..], &["--load", "60"], &sweep].concat());
    let cells = found["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 4);
    let cached = |policy: &str| cell(&found, policy)["cached"].as_f64().unwrap();
    assert!(
        cached("default prefix-cache-scorer=0") + 0.1 < cached("default prefix-cache-scorer=4")
    );
    assert!(cells.iter().any(|cell| cell["onFront"] == true));
    for one in cells.iter().filter(|cell| cell["onFront"] == true) {
        let better = |other: &&Value| {
            other["ttftMs"]["p95"].as_f64() < one["ttftMs"]["p95"].as_f64()
                && other["cached"].as_f64() > one["cached"].as_f64()
        };
        assert_eq!(cells.iter().find(better), None);
    }
}

#[test]
fn pairs_by_the_file_system_wait_longer_for_their_cache_and_a_dead_engine_breaks_answers() {
    let ttft = |pair: &str| {
        let engine = format!("2xh100:pair={pair}");
        let flags = [
            "--engine",
            &engine,
            "--rate",
            "4",
            "--policy",
            "proxy-performance",
        ];
        let found = document(&[&SMALL[..], &flags].concat());
        p95(&found, "proxy-performance")
    };
    assert!(ttft("fs") > ttft("p2p") + 50.0);
    let flags = [
        "--engine",
        "3xh100",
        "--rate",
        "60",
        "--fault",
        "engine-1:down@2s",
        "--policy",
        "proxy-performance",
    ];
    let found = document(&[&SMALL[..], &flags].concat());
    let dead = cell(&found, "proxy-performance");
    let broken = dead["errors"]["broken off"].as_u64().unwrap();
    assert!(broken > 0);
    assert_eq!(dead["served"].as_u64().unwrap() + broken, 800);
    assert_eq!(found["faults"][0], "engine-1:down@2s");
}

#[test]
fn a_saved_trace_is_played_again() {
    let scratch = Scratch::new("fleet-trace");
    let path = scratch.path().join("t.jsonl").display().to_string();
    let made = document(
        &[
            &SMALL[..],
            &["--rate", "30", "--policy", "random", "--save-trace", &path],
        ]
        .concat(),
    );
    let again = document(&["--trace", &path, "--repeat", "1", "--policy", "random"]);
    assert_eq!(cell(&again, "random")["requests"], 400);
    let rate = |found: &Value| cell(found, "random")["rate"].as_f64().unwrap();
    assert!(
        (rate(&again) / rate(&made) - 1.0).abs() < 0.2,
        "{} {}",
        rate(&again),
        rate(&made)
    );
}

#[test]
fn bad_input_gets_a_sentence() {
    let scratch = Scratch::new("fleet-bad");
    let broken = scratch.path().join("broken.yaml").display().to_string();
    std::fs::write(&broken, "polices: [default]\n").unwrap();
    let config = scratch.path().join("config.yaml").display().to_string();
    std::fs::write(&config, "plugins:\n- type: prefix-cache-scorrer\n").unwrap();
    let empty = scratch.path().join("empty.jsonl").display().to_string();
    std::fs::write(&empty, "\n{\"timestamp\": 1}\n").unwrap();
    for (flags, sentence) in [
        (&["--policy", "balancd"][..], "did you mean 'balanced'?"),
        (&["--policy", &config], "prefix-cache-scorrer"),
        (
            &["--fault", "engine-9:down@1s"],
            "nothing is called 'engine-9'",
        ),
        (
            &["--sweep", "weight=no-such-scorer:1"],
            "no policy has a plugin no-such-scorer",
        ),
        (
            &["--trace", "/no/such/file"],
            "/no/such/file cannot be read",
        ),
        (&["--trace", &empty], "there is no request in"),
        (
            &["--html", "/no/such/folder/r.html"],
            "/no/such/folder/r.html cannot be written",
        ),
        (
            &[
                "--policy",
                "proxy-performance-by-backend",
                "--requests",
                "50",
            ],
            "nothing was served",
        ),
        (&[&broken], "is no study"),
    ] {
        let output = fleet(flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        assert!(said.contains(sentence), "{flags:?}: {said}");
    }
    // What makes no sense whatever the files hold is wrong usage.
    for (flags, sentence) in [
        (&["--seed", "x"][..], "invalid value 'x'"),
        (&["--engine", "4xh10"], "did you mean 'h100'?"),
        (&["--engine", "0xh100"], "the count is a number above 0"),
        (&["--scenario", "sharde"], "there are shared, multi-turn"),
        (&["--load=-5"], "--load takes numbers above 0"),
        (&["--load", "0"], "--load takes numbers above 0"),
        (&["--requests", "0"], "--requests takes a number above 0"),
        (&["--trace-speed", "2"], "--trace-speed is for a --trace"),
        (&["--sweep", "bogus"], "write weight=SCORER:0,1,2"),
        (&["--fault", "engine-0:bogus@5s"], "'bogus' is no fault"),
        (
            &["--axes", "ttft.p95,beauty"],
            "--axes beauty: there are ttft.p50",
        ),
    ] {
        let output = fleet(flags);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(sentence), "{flags:?}: {said}");
    }
}

#[test]
fn the_report_opens_by_itself_and_shows_what_the_document_says() {
    let scratch = Scratch::new("fleet-page");
    let html = scratch.path().join("report.html").display().to_string();
    let svg = scratch.path().join("front.svg").display().to_string();
    let found = document(
        &[
            &SMALL[..],
            &["--load", "50,80", "--html", &html, "--svg", &svg],
        ]
        .concat(),
    );
    for number in [1, 2] {
        let picture =
            std::fs::read_to_string(scratch.path().join(format!("front-{number}.svg"))).unwrap();
        assert!(picture.starts_with("<svg xmlns=") && picture.contains("balanced"));
    }
    let mut browser = Browser::start(1280, 900);
    browser.visit(&format!("file://{html}"));
    let asked = browser.events("Network.requestWillBeSent");
    let mut urls = asked
        .iter()
        .filter_map(|event| event["request"]["url"].as_str());
    assert!(urls.all(|url| url.starts_with("file://") || url.starts_with("data:")));
    assert_eq!(browser.events("Log.entryAdded"), Vec::<Value>::new());
    let inside = browser.eval("JSON.parse(document.getElementById('results').textContent)");
    assert_eq!(floats(&inside["cells"]), floats(&found["cells"]));
    for id in ["front", "ttft-cdf", "ttft-over-time", "endpoints"] {
        for number in [1, 2] {
            let id = format!("{id}-{number}");
            let ink = browser.eval(&format!(
                "document.querySelectorAll('#{id} svg .ink').length"
            ));
            assert!(ink.as_u64().unwrap() > 0, "{id} shows nothing");
            let rows = browser.eval(&format!(
                "document.querySelectorAll('[data-plot=\"{id}\"] tbody tr').length"
            ));
            assert!(rows.as_u64().unwrap() > 0, "{id} has no numbers");
        }
    }
    let first =
        browser.eval("document.querySelector('[data-plot=\"front-1\"] tbody tr').textContent");
    assert!(
        first
            .as_str()
            .unwrap()
            .contains(&p95(&found, "balanced").to_string()),
        "{first}"
    );
}
