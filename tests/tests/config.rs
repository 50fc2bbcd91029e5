//! Configurations as a user meets them: samples of both generations, mistakes, `pointsman validate`.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use pointsman_tests::binary::{pointsman, workspace};
use pointsman_tests::scratch::Scratch;
use serde_json::Value;

fn configs() -> PathBuf {
    workspace().join("tests/configs")
}

/// Exit code, standard output, standard error.
fn validate(flags: &[&str], files: &[&Path]) -> (i32, String, String) {
    let mut command = Command::new(pointsman());
    command.arg("validate").args(flags).args(files);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn report(flags: &[&str], file: &Path) -> (i32, Value) {
    let (code, out, _) = validate(&[&["-o", "json"], flags].concat(), &[file]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(report["schemaVersion"], 1);
    assert_eq!(report["ok"], code == 0);
    (code, report["files"][0].clone())
}

fn findings(file: &Value, severity: &str) -> Vec<String> {
    let found = file["findings"].as_array().unwrap().iter();
    found
        .filter(|finding| finding["severity"] == severity)
        .map(|finding| {
            format!(
                "{}:{} {}: {}",
                finding["line"],
                finding["column"],
                finding["path"].as_str().unwrap(),
                finding["message"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn every_sample_loads_under_its_generation() {
    for generation in ["g1", "g2"] {
        let folder = configs().join(generation);
        let mut seen = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let (code, file) = report(&[], &path);
            assert_eq!(code, 0, "{}: {file:#}", path.display());
            assert_eq!(
                file["plan"]["compat"],
                generation,
                "{}: {file:#}",
                path.display()
            );
            assert!(file["plan"]["profiles"][0]["picker"]["type"].is_string());
            seen += 1;
        }
        assert!(seen >= 5, "{} holds {seen} samples", folder.display());
    }
}

#[test]
fn samples_mean_what_they_say() {
    let (_, lab) = report(&[], &configs().join("g1/lab-default.yaml"));
    let scorers = lab["plan"]["profiles"][0]["scorers"].as_array().unwrap();
    let weighted: Vec<(&str, f64)> = scorers
        .iter()
        .map(|s| (s["type"].as_str().unwrap(), s["weight"].as_f64().unwrap()))
        .collect();
    let expected = [
        ("load-aware-scorer", 1.0),
        ("prefix-cache-scorer", 2.0),
        ("kv-cache-utilization-scorer", 1.0),
    ];
    assert_eq!(weighted, expected);
    let warned = findings(&lab, "warning");
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(
        warned[0].starts_with("8:5 plugins[1].parameters.hashBlockSize"),
        "{warned:?}"
    );
    let formulas = lab["differences"]["formulas"].to_string();
    assert!(formulas.contains("prefix-cache-scorer"), "{formulas}");

    let (_, built_in) = report(&[], &configs().join("g2/built-in.yaml"));
    let added = built_in["plan"]["added"].to_string();
    for name in [
        "approx-prefix-cache-producer",
        "max-score-picker",
        "single-profile-handler",
    ] {
        assert!(added.contains(name), "{added}");
    }
    assert_eq!(
        built_in["plan"]["producers"][0]["type"],
        "approx-prefix-cache-producer"
    );

    let (_, own) = report(&[], &configs().join("g2/own-settings.yaml"));
    assert_eq!(own["plan"]["settings"]["staleness"]["policy"], "exclude");
    assert_eq!(own["plan"]["settings"]["limits"]["maxBody"], 8 << 20);

    let (_, found) = report(&[], &configs().join("g2/file-discovery.yaml"));
    assert_eq!(found["plan"]["discovery"]["path"], "endpoints.yaml");
    let parsers = found["plan"]["parsers"].to_string();
    assert_eq!(
        parsers,
        r#"["openai-parser","anthropic-parser","passthrough-parser"]"#
    );
}

#[test]
fn seven_mistakes_are_seven_findings_in_the_order_of_the_file() {
    let path = configs().join("seven-mistakes.yaml");
    let (code, file) = report(&[], &path);
    assert_eq!(code, 1);
    let found = findings(&file, "error");
    let expected = [
        "3:1 featureGate: unknown field \"featureGate\"; did you mean 'featureGates'?",
        "5:9 plugins[0].type: plugin type 'max-scorer-picker' is not registered; did you mean 'max-score-picker'?",
        "7:35 plugins[2].name: duplicate plugin name 'load'",
        "7:65 plugins[2].parameters.threshold: failed to create plugin 'load' (type: load-aware-scorer): needs a whole number, found 'many'",
        "8:46 plugins[3].parameters.idleTreshold: 'active-request-scorer' has no parameter 'idleTreshold'; did you mean 'idleThreshold'?",
        "12:31 schedulingProfiles[0].plugins[0].weight: needs a number, found .nan, which is no finite number",
        "13:17 schedulingProfiles[0].plugins[1].pluginRef: schedulingProfiles[default] references undefined plugin 'active-requests-scorer'; did you mean 'active-request-scorer'?",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn people_see_the_line_and_a_caret_and_every_command_says_the_same() {
    let path = configs().join("seven-mistakes.yaml");
    let caret = "5 | - type: max-scorer-picker\n      |         ^";
    let (code, out, err) = validate(&[], &[&path]);
    assert_eq!(code, 1);
    assert!(out.contains(caret), "{out}");
    assert!(
        out.contains("seven-mistakes.yaml:5:9: plugins[0].type: "),
        "{out}"
    );
    assert!(err.contains("error: 1 of 1 refused"), "{err}");
    for command in ["up", "gateway"] {
        let output = Command::new(pointsman())
            .arg(command)
            .arg("--config-file")
            .arg(&path)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(
            err.contains("is refused, 7 problems") && err.contains("max-scorer-picker\n"),
            "{err}"
        );
    }
}

#[test]
fn the_report_shows_the_plan_and_what_the_other_generation_says() {
    let (code, out, _) = validate(&[], &[&configs().join("g1/lab-default.yaml")]);
    assert_eq!(code, 0);
    for words in [
        "EndpointPickerConfig, good, 0 errors, 1 warnings",
        "rules      g1 (nothing in it that only the second generation has)",
        "scorer   prefix-cache-scorer × 2",
        "under the rules of g2: is accepted",
        "prefix-cache-scorer: g1 learns by itself",
    ] {
        assert!(out.contains(words), "'{words}' is missing:\n{out}");
    }
}

#[test]
fn strict_refuses_what_is_warned_about_and_compat_is_obeyed() {
    let path = configs().join("g1/lab-default.yaml");
    assert_eq!(validate(&["--strict"], &[&path]).0, 1);
    let clean = configs().join("g1/lab-by-backend.yaml");
    assert_eq!(validate(&["--strict"], &[&clean]).0, 0);
    let (_, file) = report(&["--compat", "g2"], &path);
    assert_eq!(file["plan"]["compat"], "g2");
    assert_eq!(file["plan"]["compatReason"], "asked for by --compat g2");
    assert_eq!(validate(&[], &[]).0, 2);
    assert_eq!(validate(&["--compat", "g3"], &[&path]).0, 2);
    assert_eq!(validate(&[], &[Path::new("/nowhere.yaml")]).0, 1);
}

#[test]
fn routes_are_checked_too() {
    let scratch = Scratch::new("routes");
    let good = scratch.file("good.yaml", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{backendRefs: [{kind: InferencePool, name: p}]}]}\n");
    let bad = scratch.file("bad.yaml", "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{matches: [{path: {type: Sideways, value: /}}], backendRefs: [{kind: InferencePool, name: p}]}]}\n");
    let (code, file) = report(&[], Path::new(&good));
    assert_eq!(
        (code, &file["kind"]),
        (0, &Value::from("HTTPRoute")),
        "{file:#}"
    );
    assert_eq!(report(&[], Path::new(&bad)).0, 1);
    let (code, out, err) = validate(&[], &[Path::new(&good), Path::new(&bad)]);
    assert_eq!(code, 1);
    assert!(
        out.contains("HTTPRoute, good") && out.contains("HTTPRoute, refused"),
        "{out}"
    );
    assert!(err.contains("1 of 2 refused"), "{err}");
}

#[test]
fn traps_of_yaml_are_refused_or_harmless() {
    let scratch = Scratch::new("traps");
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", "));
    }
    let plugins = "plugins: [{type: random-picker}]\n";
    for (name, text, words) in [
        ("bomb", bomb.as_str(), "more than 20000 values"),
        (
            "deep",
            "[".repeat(20_000).as_str(),
            "nested more than 128 levels",
        ),
        (
            "large",
            "x".repeat(2 << 20).as_str(),
            "larger than 1048576 bytes",
        ),
        ("twice", "plugins: []\nplugins: []\n", "duplicate key"),
        ("tabs", "plugins:\n\t- type: random-picker\n", ":2:"),
        (
            "several",
            &format!("{plugins}---\n{plugins}"),
            "second document",
        ),
        ("empty", "", "the file is empty"),
        (
            "list",
            "- type: random-picker\n",
            "needs a map, found a list",
        ),
        ("cut", "plugins: [{type: random-pic", "unclosed bracket"),
    ] {
        let path = scratch.file(name, text);
        let (code, out, _) = validate(&[], &[Path::new(&path)]);
        assert_eq!(code, 1, "{name}: {out}");
        assert!(out.contains(words), "{name}: {out}");
    }
    // 100 MB that take no room on the disk.
    let huge = scratch.path().join("huge");
    let file = std::fs::File::create(&huge).unwrap();
    file.set_len(100_000_000).unwrap();
    let (code, out, _) = validate(&[], &[&huge]);
    assert!(
        code == 1 && out.contains("larger than 1048576 bytes"),
        "{out}"
    );
    let crlf = format!("\u{feff}{}", plugins.replace('\n', "\r\n"));
    let path = scratch.file("crlf", &crlf);
    assert_eq!(validate(&[], &[Path::new(&path)]).0, 0);
    let bytes = scratch.path().join("latin1");
    std::fs::write(&bytes, b"plugins: [] # caf\xe9\n").unwrap();
    let (code, out, _) = validate(&[], &[&bytes]);
    assert!(code == 1 && out.contains("not UTF-8"), "{out}");
}

#[test]
fn words_and_numbers_that_yaml_reads_in_several_ways_are_refused_or_mean_one_thing() {
    let scratch = Scratch::new("readings");
    let weigh = |weight: &str| {
        let text = format!(
            "plugins:\n- {{type: queue-scorer, name: no}}\nschedulingProfiles:\n- name: default\n  plugins: [{{pluginRef: no, weight: {weight}}}]\n"
        );
        let (code, file) = report(&[], Path::new(&scratch.file("one.yaml", &text)));
        let scorer = &file["plan"]["profiles"][0]["scorers"][0];
        (code, scorer["weight"].as_f64())
    };
    // A name that some read as `false` is a name.
    assert_eq!(weigh("2"), (0, Some(2.0)));
    assert_eq!(weigh("0o10"), (0, Some(8.0)));
    // Nothing is as if the field were not there.
    assert_eq!(weigh("~"), weigh("1"));
    for odd in [
        "010", "no", "yes", "1_000", "12:30", "'2'", ".inf", "-.inf", ".nan", "1e400", "[2]",
    ] {
        assert_eq!(weigh(odd).0, 1, "{odd}");
    }
}

#[test]
fn the_lab_profiles_start_without_a_warning() {
    for profile in [
        "default",
        "proxy-performance",
        "proxy-performance-by-backend",
    ] {
        let lab = pointsman_tests::server::Gateway::up(&["--profile", profile]);
        let plan = lab.admin_json("/debug/plan");
        assert_eq!(plan["compat"], "g1");
        assert_eq!(plan["settings"]["staleness"]["policy"], "penalise");
        let lines = lab.process.lines().join("\n");
        assert!(!lines.contains("warning"), "{lines}");
    }
}

#[test]
fn custom_resources_are_judged_document_by_document() {
    let files = Scratch::new("custom");
    let install = |name: &str, port: u16| {
        format!(
            "apiVersion: sim.llm-d.io/v1alpha1\nkind: SchedulerInstall\nmetadata:\n  name: {name}\nspec:\n  simulatorNamespace: m\n  epp:\n    enabled: true\n    port: {port}\n"
        )
    };
    let simulator = "apiVersion: sim.llm-d.io/v1alpha1\nkind: SimulatorDeployment\nmetadata: {name: s}\nspec: {replicas: 0}\n";
    let good = files.file("good.yaml", &install("i", 9002));
    let (code, out, err) = validate(&[], &[Path::new(&good)]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("SchedulerInstall, good"), "{out}");
    assert!(
        out.contains("makes      Deployment default/gaie-inference-scheduling-epp"),
        "{out}"
    );
    let text = format!(
        "{}---\n{}---\n{simulator}",
        install("a", 9002),
        install("b", 9090)
    );
    let bad = files.file("bad.yaml", &text);
    let (code, out, _) = validate(&[], &[Path::new(&bad)]);
    assert_eq!(code, 1, "{out}");
    for words in [
        "bad.yaml document 1: SchedulerInstall, good",
        "bad.yaml document 2: SchedulerInstall, refused",
        "bad.yaml:19:5: spec.epp.port:",
        "bad.yaml document 3: SimulatorDeployment, refused",
        "spec.replicas: is 0",
    ] {
        assert!(out.contains(words), "{words} in {out}");
    }
    let (_, out, _) = validate(&["-o", "json"], &[Path::new(&bad)]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    assert_eq!(files[0]["children"][0]["kind"], "ServiceAccount");
    assert_eq!(files[1]["document"], 2);
    assert_eq!(files[1]["findings"][0]["path"], "spec.epp.port");
}
