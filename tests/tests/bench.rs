//! `pointsman bench`: what it measures is what was served; its report opens by itself in a browser; bad targets, bad
//! files and full disks get a sentence and exit code 1.

#![allow(clippy::unwrap_used)]

use pointsman_tests::backend::{Backend, Received};
use pointsman_tests::bench::{bench, command, document, fails, number, server, streams, text};
use pointsman_tests::browser::Browser;
use pointsman_tests::process::{Process, Stream};
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::{Value, json};

#[test]
fn the_lab_is_measured_and_the_report_says_what_the_document_says() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let scratch = Scratch::new("bench-lab");
    let html = scratch.path().join("report.html").display().to_string();
    let watched = format!("gateway={}", gateway.process.id());
    let output = bench(&[
        "throughput",
        "--target",
        &target,
        "--concurrency",
        "1,4",
        "--duration",
        "4s",
        "--max-tokens",
        "4",
        "--process",
        &watched,
        "--html",
        &html,
        "-o",
        "json",
    ]);
    let found = document(&output);
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for run in runs {
        assert_eq!(run["errors"], json!({}), "{run:#}");
        let served = run["perEndpoint"].as_object().unwrap();
        let answers: u64 = served.values().map(|count| count.as_u64().unwrap()).sum();
        assert!(answers > 0 && run["requests"] == answers, "{run:#}");
        assert!(run["ttftMs"]["p50"].as_f64().unwrap() > 0.0);
        assert!(run["e2eMs"]["p50"].as_f64() >= run["ttftMs"]["p50"].as_f64());
        assert_eq!(run["resources"][0]["name"], "gateway");
        assert!(
            run["resources"][0]["cpuSeconds"].as_f64().unwrap() > 0.0,
            "{run:#}"
        );
        assert!(run["resources"][0]["rssMb"].as_f64().unwrap() > 1.0);
    }
    // With several in flight both pairs serve; their names are those in the ids.
    let served: Vec<&String> = runs[1]["perEndpoint"].as_object().unwrap().keys().collect();
    assert_eq!(served, ["vllm-decode-fs", "vllm-decode-p2p:14579"]);
    assert!(text(&output.stderr).contains("throughput, concurrency 4, run 1 of 1"));

    check_page(&html, &found);
}

/// What somebody who reads the lab's scenarios asks of each: TTFT at 95 of 100, throughput, CPU and memory.
#[test]
fn the_three_scenarios_have_every_figure_of_the_lab() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let watched = format!("gateway={}", gateway.process.id());
    let scratch = Scratch::new("bench-slis");
    let scenarios: [(&[&str], usize); 3] = [
        (&["steady"], 1),
        (&["throughput", "--concurrency", "1,8,32,128"], 4),
        (&["sweep", "--rate", "15"], 1),
    ];
    for (scenario, levels) in scenarios {
        let html = scratch
            .path()
            .join(format!("{}.html", scenario[0]))
            .display()
            .to_string();
        let common = [
            "--target",
            &target,
            "--duration",
            "3s",
            "--max-tokens",
            "4",
            "--process",
            &watched,
            "--html",
            &html,
        ];
        let output = bench(&[scenario, &common[..], &["-o", "json"]].concat());
        let found = document(&output);
        let runs = found["runs"].as_array().unwrap();
        assert_eq!(runs.len(), levels, "{scenario:?}");
        for run in runs {
            assert_eq!(run["errors"], json!({}), "{run:#}");
            for figure in [
                &run["ttftMs"]["p95"],
                &run["rps"],
                &run["resources"][0]["cpuCores"],
                &run["resources"][0]["rssMb"],
            ] {
                assert!(figure.as_f64().unwrap() > 0.0, "{run:#}");
            }
        }
        let mut browser = Browser::start(1280, 900);
        browser.visit(&format!("file://{html}"));
        let inside = browser.eval("JSON.parse(document.getElementById('results').textContent)");
        assert_eq!(floats(&inside), floats(&found), "{scenario:?}");
        let plots = browser.eval("[...document.querySelectorAll('figure')].map(f => [f.id, f.querySelectorAll('svg .ink').length, f.querySelectorAll('tbody tr').length])");
        let plots = plots.as_array().unwrap();
        assert!(plots.len() >= 6, "{plots:?}");
        assert!(
            plots.iter().all(|plot| plot[1] != 0 && plot[2] != 0),
            "{plots:?}"
        );
        let asked = browser.events("Network.requestWillBeSent");
        assert!(
            asked.iter().all(|event| !event["request"]["url"]
                .as_str()
                .unwrap_or_default()
                .starts_with("http")),
            "{asked:?}"
        );
    }
    // The table for people has the same columns.
    let output = bench(&[
        "steady",
        "--target",
        &target,
        "--duration",
        "1s",
        "--process",
        &watched,
    ]);
    let table = text(&output.stdout);
    for heading in [
        "TTFT p50",
        "p95",
        "req/s",
        "cores",
        "RSS MB",
        "steady x1",
        "gateway",
    ] {
        assert!(table.contains(heading), "{heading}: {table}");
    }
}

/// The report opens from the disk, asks nobody for anything, draws every plot, and its tables hold the document's numbers.
#[track_caller]
fn check_page(html: &str, found: &Value) {
    let mut browser = Browser::start(1280, 900);
    browser.visit(&format!("file://{html}"));
    let asked = browser.events("Network.requestWillBeSent");
    let urls: Vec<&str> = asked
        .iter()
        .filter_map(|event| event["request"]["url"].as_str())
        .collect();
    assert!(
        urls.iter()
            .all(|url| url.starts_with("file://") || url.starts_with("data:")),
        "{urls:?}"
    );
    assert_eq!(browser.events("Log.entryAdded"), Vec::<Value>::new());
    let inside = browser.eval("JSON.parse(document.getElementById('results').textContent)");
    assert_eq!(floats(&inside), floats(found));
    for id in [
        "ttft-cdf",
        "e2e-cdf",
        "ttft-over-time",
        "endpoints",
        "throughput",
        "cpu",
        "memory",
    ] {
        let ink = browser.eval(&format!(
            "[...document.querySelectorAll('#{id} svg .ink')].map(e => e.getBBox()).filter(b => b.width > 0 || b.height > 0).length"
        ));
        assert!(ink.as_u64().unwrap() > 0, "{id} has no ink");
    }
    let table = |browser: &mut Browser, id: &str| {
        browser.eval(&format!(
            "[...document.querySelectorAll('table[data-plot=\"{id}\"] tbody tr')].map(r => [...r.cells].map(c => c.textContent))"
        ))
    };
    let runs = found["runs"].as_array().unwrap();
    let name = |run: &Value| format!("throughput x{}", run["concurrency"]);
    let pairs = |key: &str| -> Vec<Value> {
        let rows = runs.iter().flat_map(|run| {
            let points = run["plots"][key].as_array().unwrap();
            points.iter().map(|point| {
                json!([
                    name(run),
                    number(&point[0]),
                    number(point.as_array().unwrap().last().unwrap())
                ])
            })
        });
        rows.collect()
    };
    assert_eq!(
        numbers(&table(&mut browser, "ttft-cdf")),
        pairs("ttftCurve")
    );
    assert_eq!(numbers(&table(&mut browser, "e2e-cdf")), pairs("e2eCurve"));
    assert_eq!(
        numbers(&table(&mut browser, "ttft-over-time")),
        pairs("ttftOverTime")
    );
    let levels: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!([
                "throughput",
                number(&run["concurrency"]),
                number(&run["rps"])
            ])
        })
        .collect();
    assert_eq!(numbers(&table(&mut browser, "throughput")), levels);
    for (id, column) in [("cpu", 1), ("memory", 2)] {
        let rows: Vec<Value> = runs
            .iter()
            .flat_map(|run| {
                run["resources"][0]["series"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|point| {
                        json!([
                            format!("{}: gateway", name(run)),
                            number(&point[0]),
                            number(&point[column])
                        ])
                    })
            })
            .collect();
        assert_eq!(numbers(&table(&mut browser, id)), rows, "{id}");
    }
    for row in table(&mut browser, "endpoints").as_array().unwrap() {
        let run = runs
            .iter()
            .find(|run| name(run) == row[0].as_str().unwrap())
            .unwrap();
        let count = run["perEndpoint"][row[1].as_str().unwrap()]
            .as_u64()
            .unwrap_or(0);
        assert_eq!(row[2], count.to_string());
    }
}

/// The same with every number a float: the browser writes 1 for 1.0.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(floats).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), floats(value)))
            .collect(),
        other => other.clone(),
    }
}

/// The second and third cell of each row as numbers.
fn numbers(table: &Value) -> Vec<Value> {
    let rows = table.as_array().unwrap().iter();
    let cell = |row: &Value, at: usize| row[at].as_str().unwrap().parse::<f64>().unwrap();
    rows.map(|row| json!([row[0], cell(row, 1), cell(row, 2)]))
        .collect()
}

#[test]
fn repetitions_have_a_spread_and_two_results_are_compared() {
    let backend = server(|_, reply| streams(reply));
    let scratch = Scratch::new("bench-compare");
    let file = scratch.file(
        "scenarios.yaml",
        "scenarios:\n- {name: calm, kind: steady, duration: 2s}\n- {kind: sweep, rate: 30, duration: 2s}\n",
    );
    let url = backend.url();
    let output = bench(&[
        "run", &file, "--target", &url, "--repeat", "2", "-o", "json",
    ]);
    let found = document(&output);
    let told: Vec<_> = found["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            (
                run["scenario"].as_str().unwrap(),
                run["repetition"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("calm", 1), ("calm", 2), ("sweep", 1), ("sweep", 2)]);
    assert_eq!(found["spread"].as_array().unwrap().len(), 2);
    let a = scratch.file("a.json", &text(&output.stdout));
    let mut slower = found.clone();
    for run in slower["runs"].as_array_mut().unwrap() {
        run["ttftMs"]["p95"] = json!(number(&run["ttftMs"]["p95"]) * 1000.0);
    }
    let b = scratch.file("b.json", &slower.to_string());
    let compared = document(&bench(&["compare", &a, &b, "-o", "json"]));
    let rows = compared["rows"].as_array().unwrap();
    let worse: Vec<_> = rows
        .iter()
        .filter(|row| row["verdict"] == "worse")
        .map(|row| &row["figure"])
        .collect();
    assert_eq!(worse, ["ttftMs.p95", "ttftMs.p95"]);
    let table = bench(&["compare", &a, &a]);
    assert!(text(&table.stdout).contains("+0.0 %"));
    fails(&["compare", &a, &file], "is no result of pointsman bench");
}

#[test]
fn a_trace_with_broken_lines_is_played_and_the_lines_are_named() {
    let backend = server(|_, reply| streams(reply));
    let scratch = Scratch::new("bench-trace");
    let line = |at: u32, ids: &str| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 600, \"output_length\": 7, \"hash_ids\": {ids}}}\n"
        )
    };
    let good = [line(0, "[1, 2]"), line(100, "[1, 3]"), line(200, "[9, 9]")].concat();
    let trace = scratch.file("trace.jsonl", &format!("{good}\nnot json\n"));
    let output = bench(&[
        "sweep",
        "--target",
        &backend.url(),
        "--trace",
        &trace,
        "--duration",
        "2s",
        "--warmup",
        "0s",
        "-o",
        "json",
    ]);
    let found = document(&output);
    assert!(
        text(&output.stderr)
            .contains("2 of 5 lines left out (1 empty, 1 broken): line 5 is no JSON")
    );
    assert_eq!(
        (&found["input"]["used"], &found["runs"][0]["requests"]),
        (&json!(3), &json!(3))
    );
    let sent: Vec<Value> = backend
        .received("/v1/completions")
        .iter()
        .map(Received::json)
        .filter(|body| body["stream"] == true)
        .collect();
    let prompts: Vec<&str> = sent
        .iter()
        .map(|body| body["prompt"].as_str().unwrap())
        .collect();
    assert!(prompts.iter().all(|prompt| prompt.len() == 2400));
    assert_eq!(sent[0]["max_tokens"], 7);
    let equal = |a: &str, b: &str| a[..2048] == b[..2048];
    let shared = prompts
        .iter()
        .flat_map(|a| prompts.iter().map(move |b| equal(a, b)))
        .filter(|same| *same)
        .count();
    assert_eq!(
        shared, 5,
        "two of three share their first block, in both orders, beside themselves"
    );
    let empty = scratch.file("empty.jsonl", "\n\n");
    fails(
        &["sweep", "--target", &backend.url(), "--trace", &empty],
        "2 of 2 lines left out (2 empty, 0 broken)",
    );
}

#[test]
fn bad_targets_get_a_sentence() {
    let scratch = Scratch::new("bench-bad");
    fails(
        &["steady", "--target", "http://127.0.0.1:1"],
        "http://127.0.0.1:1 cannot be reached",
    );
    let wrong = Backend::start(|received, reply| match received.method.as_str() {
        "GET" => reply.json(200, &json!({"data": [{"id": "right"}]})),
        _ => reply.json(404, &json!({"error": {"message": "no such model"}})),
    });
    fails(
        &["steady", "--target", &wrong.url(), "--model", "wrong"],
        "does not know the model 'wrong'; it lists: right",
    );
    let foreign = Backend::start(|_, reply| reply.raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"));
    fails(
        &["steady", "--target", &foreign.url()],
        "does not answer in HTTP",
    );
    let garbage = server(|_, reply| {
        reply.begin_events();
        reply.event("\u{1}garbage");
        reply.end();
    });
    let output = fails(
        &[
            "steady",
            "--target",
            &garbage.url(),
            "--duration",
            "2s",
            "-o",
            "json",
        ],
        "no request was answered whole",
    );
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        found["runs"][0]["errors"]["stream without its end"]
            .as_u64()
            .unwrap()
            > 0,
        "{found:#}"
    );
    fails(
        &[
            "steady",
            "--target",
            &garbage.url(),
            "--process",
            "x=4294967295",
        ],
        "there is no process 4294967295",
    );
    fails(
        &["steady", "--html", "/nowhere/r.html"],
        "/nowhere/r.html cannot be written",
    );
    let scenarios = scratch.file("s.yaml", "scenarios:\n- {kind: steady, speed: 3}\n");
    fails(&["run", &scenarios], "speed");
}

#[test]
fn a_full_disk_is_an_error_and_the_results_are_still_printed() {
    let backend = server(|_, reply| streams(reply));
    let flags = ["steady", "--target", &backend.url(), "--duration", "400ms"];
    let output = fails(
        &[&flags[..], &["--html", "/dev/full"]].concat(),
        "the report /dev/full cannot be written",
    );
    assert!(
        text(&output.stdout).contains("steady x1"),
        "{}",
        text(&output.stdout)
    );
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command(&flags).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot be written to the standard output"));
}

#[test]
fn a_target_that_dies_midway_leaves_partial_results() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let flags = [
        "throughput",
        "--target",
        &target,
        "--concurrency",
        "4",
        "--duration",
        "300s",
        "--warmup",
        "0s",
        "--max-tokens",
        "2",
        "-o",
        "json",
    ];
    let mut process = Process::start("bench", command(&flags));
    // Progress tells that something was answered.
    process.wait_line("answers", |line| {
        let (_, rest) = line.split_once("s, ")?;
        let (count, _) = rest.split_once(" answers")?;
        count.parse::<u64>().ok().filter(|count| *count > 0)
    });
    drop(gateway);
    let status = process.wait_end();
    let said = process.lines_of(Stream::Err).join("\n");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("the target stopped answering"), "{said}");
    let found: Value = serde_json::from_str(&process.lines_of(Stream::Out).join("\n")).unwrap();
    let run = &found["runs"][0];
    assert!(
        run["partial"]
            .as_str()
            .unwrap()
            .contains("stopped answering"),
        "{run:#}"
    );
    assert!(run["ttftMs"]["count"].as_u64().unwrap() > 0, "{run:#}");
}

/// Constructed: what the metrics API of a cluster answers for two pods.
const POD_METRICS: &str = include_str!("../../crates/cluster/tests/pod-metrics.json");

#[test]
fn pods_are_watched_by_the_metrics_api() {
    let api = Backend::start(|received, reply| {
        match received.path.as_str() {
        "/apis/metrics.k8s.io/v1beta1/namespaces/llm-d/pods?&labelSelector=app%3Dpool-epp"
        | "/apis/metrics.k8s.io/v1beta1/namespaces/llm-d/pods?labelSelector=app%3Dpool-epp" => {
            reply.json(200, &serde_json::from_str(POD_METRICS).unwrap());
        }
        path if path.contains("/namespaces/empty/") => reply.json(200, &json!({"kind": "PodMetricsList", "items": []})),
        _ => reply.json(404, &json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "the server could not find the requested resource"})),
    }
    });
    let scratch = Scratch::new("bench-pods");
    let kubeconfig = scratch.file(
        "kubeconfig",
        &format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
             clusters: [{{name: c, cluster: {{server: '{}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n",
            api.url()
        ),
    );
    let backend = server(|_, reply| streams(reply));
    let with = |pods: &str| {
        bench(&[
            "steady",
            "--target",
            &backend.url(),
            "--duration",
            "2s",
            "--pods",
            pods,
            "--kubeconfig",
            &kubeconfig,
            "-o",
            "json",
        ])
    };
    let found = document(&with("picker=llm-d/app=pool-epp"));
    let usage = &found["runs"][0]["resources"][0];
    assert_eq!(
        (&usage["name"], &usage["lost"]),
        (&json!("picker"), &Value::Null),
        "{usage:#}"
    );
    // Both pods together, as often as they were asked: 384 millicores and 117 MiB.
    assert_eq!(
        (&usage["cpuCores"], &usage["rssMb"]),
        (&json!(0.384), &json!(117.082)),
        "{usage:#}"
    );

    for (pods, sentence) in [
        (
            "picker=empty/app=pool-epp",
            "--pods picker: the metrics API knows no pod with app=pool-epp in empty",
        ),
        (
            "picker=other/app=pool-epp",
            "--pods picker: the metrics API does not tell what pods in other use",
        ),
    ] {
        let output = with(pods);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    assert_eq!(with("nonsense").status.code(), Some(2));
}
