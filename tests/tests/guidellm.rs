//! `pointsman bench guidellm` with the real GuideLLM against the lab, offline; a GuideLLM that is missing, fails or
//! writes garbage; and the import of what it and aiperf write.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use pointsman_tests::bench::{document, text};
use pointsman_tests::binary::{guidellm, pointsman, workspace};
use pointsman_tests::http::Request;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;

fn bench(flags: &[&str]) -> Command {
    let mut command = Command::new(pointsman());
    command.arg("bench").args(flags);
    // A proxy that is nowhere: whoever asks for anything but the target fails.
    for name in ["http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env(name, "http://127.0.0.1:9");
    }
    command
}

#[track_caller]
fn fails(output: &Output, sentence: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(sentence), "{said}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
}

/// How many requests the gateway has answered.
fn served(gateway: &Gateway) -> f64 {
    let page = Request::get("/metrics").answered(gateway.admin).text();
    let key = "pointsman_requests_total{outcome=\"served\"} ";
    let line = page.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().parse().unwrap()
}

#[test]
fn the_real_guidellm_drives_the_scenarios() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let program = guidellm().display().to_string();
    let scratch = Scratch::new("guidellm");
    let html = scratch.path().join("r.html").display().to_string();
    let keep = scratch.path().join("kept").display().to_string();
    let watched = format!("gateway={}", gateway.process.id());
    let common = [
        "--target",
        &target,
        "--guidellm",
        &program,
        "--max-tokens",
        "4",
        "-o",
        "json",
        "--warmup",
        "0s",
    ];

    let output = bench(&[
        "guidellm",
        "throughput",
        "--concurrency",
        "1,3",
        "--duration",
        "5s",
        "--process",
        &watched,
        "--html",
        &html,
        "--keep",
        &keep,
    ])
    .args(common)
    .output()
    .unwrap();
    let found = document(&output);
    assert_eq!(found["measuredBy"], "GuideLLM 0.8.1");
    assert_eq!(found["target"], target);
    let runs = found["runs"].as_array().unwrap();
    let levels: Vec<_> = runs
        .iter()
        .map(|run| {
            (
                run["scenario"].as_str().unwrap(),
                run["concurrency"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(levels, [("throughput", 1), ("throughput", 3)]);
    for run in runs {
        assert_eq!(run["errors"], serde_json::json!({}), "{run:#}");
        assert!(run["requests"].as_u64().unwrap() > 0, "{run:#}");
        let served: u64 = run["perEndpoint"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum();
        assert_eq!(served, run["requests"], "{run:#}");
        for figure in ["ttftMs", "itlMs", "tpotMs", "e2eMs"] {
            assert!(
                run[figure]["p95"].as_f64().unwrap() > 0.0,
                "{figure} {run:#}"
            );
        }
        assert!(!run["plots"]["ttftCurve"].as_array().unwrap().is_empty());
        assert_eq!(run["resources"][0]["name"], "gateway");
        assert!(
            run["resources"][0]["rssMb"].as_f64().unwrap() > 1.0,
            "{run:#}"
        );
    }
    assert!(
        fs::read_to_string(&html)
            .unwrap()
            .contains("measured by GuideLLM 0.8.1")
    );

    // What it wrote is imported with the same figures.
    let kept = format!("{keep}/guidellm-1.json");
    let imported = document(&bench(&["import", &kept, "-o", "json"]).output().unwrap());
    for (run, again) in runs.iter().zip(imported["runs"].as_array().unwrap()) {
        for figure in ["ttftMs", "e2eMs", "rps", "requests", "perEndpoint"] {
            assert_eq!(run[figure], again[figure], "{figure}");
        }
    }

    // Our arrivals, request by request.
    let before = served(&gateway);
    let output = bench(&[
        "guidellm",
        "sweep",
        "--rate",
        "8",
        "--duration",
        "3s",
        "--chat",
    ])
    .args(common)
    .output()
    .unwrap();
    let sweep = document(&output);
    let run = &sweep["runs"][0];
    assert_eq!(
        (&run["scenario"], &run["requests"]),
        (&"sweep".into(), &24.into())
    );
    // GuideLLM may end before it hears of its last answers; the gateway knows that it gave them.
    let errors = run["errors"].as_object().unwrap();
    assert!(errors.keys().all(|kind| kind == "unreported"), "{run:#}");
    gateway.wait_idle();
    assert!(served(&gateway) - before >= 24.0);
}

/// A program that tells GuideLLM's version, and then does as it is told.
fn pretender(scratch: &Scratch, name: &str, acts: &str) -> String {
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo 'guidellm version: 0.8.1'; exit 0; fi\n{acts}\n"
    );
    let path = scratch.file(name, &script);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_guidellm_that_is_missing_fails_or_writes_garbage_gets_a_sentence() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let scratch = Scratch::new("guidellm-bad");
    let with = |program: &str| {
        let flags = [
            "guidellm",
            "steady",
            "--duration",
            "1s",
            "--target",
            &target,
            "--guidellm",
            program,
        ];
        bench(&flags).output().unwrap()
    };
    fails(
        &with("/nowhere/guidellm"),
        "/nowhere/guidellm does not start; name GuideLLM's program with --guidellm",
    );
    let other = scratch.file("other", "#!/bin/sh\necho hello\n");
    fs::set_permissions(&other, fs::Permissions::from_mode(0o755)).unwrap();
    fails(
        &with(&other),
        "does not tell its version as GuideLLM does; it said 'hello'",
    );
    let old = scratch.file("old", "#!/bin/sh\necho 'guidellm version: 0.5.2'\n");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).unwrap();
    fails(&with(&old), "is GuideLLM 0.5.2, and 0.7 or newer is needed");
    let broken = pretender(
        &scratch,
        "broken",
        "echo Traceback; echo 'ValueError: no such profile' >&2; exit 3",
    );
    fails(&with(&broken), "ValueError: no such profile");
    let silent = pretender(&scratch, "silent", "exit 0");
    fails(&with(&silent), "GuideLLM ended well and left no report");
    // It writes where it was told to, but no report.
    let write = |content: &str| {
        format!(
            "for word in \"$@\"; do case \"$word\" in *'\"kind\":\"json\"'*) echo '{content}' > \"$(echo \"$word\" | sed 's/.*\"path\":\"\\([^\"]*\\)\".*/\\1/')\";; esac; done"
        )
    };
    let garbage = pretender(&scratch, "garbage", &write("not json"));
    fails(
        &with(&garbage),
        "what GuideLLM wrote cannot be used: it is no JSON",
    );
    let empty = pretender(&scratch, "empty", &write("{\"benchmarks\": []}"));
    fails(
        &with(&empty),
        "what GuideLLM wrote cannot be used: it holds no run",
    );
}

#[test]
fn the_scenarios_of_a_file_are_run_one_by_one() {
    let gateway = Gateway::up(&["--speed", "20"]);
    let target = format!("http://{}", gateway.address);
    let scratch = Scratch::new("guidellm-file");
    let file = scratch.file(
        "scenarios.yaml",
        "scenarios:\n- {name: crowd, kind: throughput, concurrency: [1, 4], duration: 2s}\n- {name: hour, kind: sweep, rate: 5, duration: 2s}\n",
    );
    // It writes a report that was recorded, that of a replay where one is asked for.
    let recorded = workspace().join("crates/bench/tests/recorded");
    let acts = format!(
        "case \"$*\" in *'\"kind\":\"replay\"'*) from=replay;; *) from=concurrent;; esac\nfor word in \"$@\"; do case \"$word\" in *'\"kind\":\"json\"'*) cp {}/guidellm-0.8.1-$from.json \"$(echo \"$word\" | sed 's/.*\"path\":\"\\([^\"]*\\)\".*/\\1/')\";; esac; done",
        recorded.display()
    );
    let program = pretender(&scratch, "recorded", &acts);
    let keep = scratch.path().join("kept").display().to_string();
    let common = ["--target", &target, "--guidellm", &program, "-o", "json"];
    let flags = ["guidellm", "run", &file, "--repeat", "2", "--keep", &keep];
    let found = document(&bench(&flags).args(common).output().unwrap());
    let told: Vec<_> = found["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            (
                run["scenario"].as_str().unwrap(),
                run["concurrency"].as_u64(),
                run["repetition"].as_u64().unwrap(),
            )
        })
        .collect();
    let crowd = |repetition| {
        [
            ("crowd", Some(1), repetition),
            ("crowd", Some(4), repetition),
        ]
    };
    let hour = [("hour", None, 1), ("hour", None, 2)];
    assert_eq!(told, [crowd(1), crowd(2), hour].concat());
    for number in 1..=4 {
        assert!(fs::exists(format!("{keep}/guidellm-{number}.json")).unwrap());
    }
    let flags = ["guidellm", "run", "/nowhere.yaml"];
    let output = bench(&flags).args(common).output().unwrap();
    fails(&output, "/nowhere.yaml cannot be read");
    for (words, sentence) in [
        (
            &["run", &file, "--chat"][..],
            "the file says what the load is",
        ),
        (
            &["steady", &file],
            "steady takes no file; for the scenarios of",
        ),
        (&["steady", "--concurrency", "3"], "takes no --concurrency"),
    ] {
        let output = bench(&["guidellm"]).args(words).args(common).output();
        let output = output.unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(sentence), "{said}");
    }
    let output = bench(&["guidellm", "run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}

#[test]
fn without_guidellm_and_without_python_it_says_what_is_needed() {
    let scratch = Scratch::new("guidellm-absent");
    let folder = scratch.path().display().to_string();
    let absent = |path: &str| {
        let flags = ["guidellm", "steady", "--target", "http://127.0.0.1:1"];
        bench(&flags)
            .env("PATH", path)
            .env("POINTSMAN_CACHE", &folder)
            .env_remove("POINTSMAN_GUIDELLM")
            .output()
            .unwrap()
    };
    fails(
        &absent("/nowhere"),
        "GuideLLM is not installed, and python3 to install it with is not on the PATH",
    );
    let bin = scratch.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let python = |acts: &str| {
        let path = bin.join("python3");
        fs::write(&path, format!("#!/bin/sh\n{acts}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let path = format!("{}:/usr/bin:/bin", bin.display());
    python("echo 3.9");
    fails(
        &absent(&path),
        "python3 is 3.9, and GuideLLM's packages need 3.11 or newer",
    );
    python("case \"$1\" in -c) echo 3.12;; *) echo 'no module venv' >&2; exit 1;; esac");
    fails(
        &absent(&path),
        "install its venv module (Debian: apt-get install python3-venv): no module venv",
    );
    // A new environment whose pip reaches nothing.
    python(
        "case \"$1\" in -c) echo 3.12;; *) mkdir -p \"$3/bin\"; printf '#!/bin/sh\\necho no route to host >&2; exit 1\\n' > \"$3/bin/python\"; chmod +x \"$3/bin/python\";; esac",
    );
    fails(
        &absent(&path),
        "pip cannot install GuideLLM; it needs PyPI or a mirror (PIP_INDEX_URL), or name one that is installed with --guidellm: no route to host",
    );
}

#[test]
fn reports_of_other_tools_are_imported() {
    let recorded = workspace().join("crates/bench/tests/recorded");
    let file = |name: &str| recorded.join(name).display().to_string();
    // As aiperf lays them: the single requests beside the export.
    let scratch = Scratch::new("import");
    let export = scratch.file(
        "profile_export_aiperf.json",
        &fs::read_to_string(file("aiperf-0.13.0.json")).unwrap(),
    );
    scratch.file(
        "profile_export.jsonl",
        &fs::read_to_string(file("aiperf-0.13.0.jsonl")).unwrap(),
    );
    let found = document(&bench(&["import", &export, "-o", "json"]).output().unwrap());
    assert_eq!(found["measuredBy"], "aiperf 0.13.0");
    assert_eq!(found["runs"][0]["requests"], 60);
    assert_eq!(
        found["runs"][0]["plots"]["e2eCurve"]
            .as_array()
            .unwrap()
            .len(),
        60
    );

    // Both tools about one target, in one table; equal scenarios count as repetitions.
    let both = [export.as_str(), &file("guidellm-0.8.1-concurrent.json")];
    let output = bench(&["import", both[0], both[1]]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    assert!(
        table.contains("measured by aiperf 0.13.0, GuideLLM 0.8.1"),
        "{table}"
    );
    let joined = document(
        &bench(&["import", both[0], both[1], "-o", "json"])
            .output()
            .unwrap(),
    );
    let told: Vec<_> = joined["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (run["concurrency"].as_u64(), run["repetition"].as_u64()))
        .collect();
    assert_eq!(
        told,
        [(Some(4), Some(1)), (Some(1), Some(1)), (Some(4), Some(2))]
    );
    assert!(
        joined["spread"][0]["figures"]["rps"].is_array(),
        "{joined:#}"
    );

    let wrong = scratch.file("wrong.json", "{\"benchmarks\": 7}");
    fails(
        &bench(&["import", &wrong]).output().unwrap(),
        "wrong.json is neither a report of GuideLLM (benchmarks) nor one of aiperf",
    );
    fails(
        &bench(&["import", "/nowhere.json"]).output().unwrap(),
        "/nowhere.json cannot be read",
    );
    let elsewhere = fs::read_to_string(file("guidellm-0.8.1-replay.json"))
        .unwrap()
        .replace(":18111", ":9");
    let elsewhere = scratch.file("elsewhere.json", &elsewhere);
    fails(
        &bench(&["import", &export, &elsewhere]).output().unwrap(),
        "import them one by one",
    );
}
