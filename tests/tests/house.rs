//! The rules of the house that the compiler does not check: arrows between crates, no import cycles between
//! files, purity of core and plugins, size and opening of every file.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pointsman_tests::binary::{cargo, workspace};
use pointsman_tests::use_graph::{cycle, uses};

/// Which crates of ours each crate may name under `[dependencies]`.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("plugins", &["core"]),
    ("wire", &["core"]),
    ("http", &[]),
    ("feeds", &["core", "wire", "http", "cluster"]),
    ("serve", &["core", "wire", "http", "feeds"]),
    ("sim", &["core", "plugins", "wire", "http"]),
    ("bench", &[]),
    ("cluster", &[]),
    ("topo", &[]),
    ("pages", &[]),
    ("operator", &["core", "cluster", "http"]),
    (
        "pointsman",
        &[
            "core", "plugins", "wire", "http", "feeds", "serve", "sim", "bench", "cluster", "topo",
            "operator", "pages",
        ],
    ),
];

/// Longest file, in lines, and the length from which a hint is printed.
const MOST_LINES: usize = 700;
const MANY_LINES: usize = 500;

#[test]
fn crates_depend_only_where_the_arrows_point() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut faults = Vec::new();
    for folder in crates() {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let Some(allowed) = allowed.get(name.as_str()) else {
            faults.push(format!(
                "crates/{name} has no line in ARROWS: say what it may depend on"
            ));
            continue;
        };
        for dependency in own_dependencies(&fs::read_to_string(folder.join("Cargo.toml")).unwrap())
        {
            if !allowed.contains(&dependency.as_str()) {
                faults.push(format!(
                    "crates/{name} depends on {dependency}; allowed: {allowed:?}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn core_and_plugins_reach_no_runtime_and_no_network() {
    let output = cargo(&[
        "tree",
        "--offline",
        "-p",
        "pointsman-core",
        "-p",
        "pointsman-plugins",
        "-e",
        "normal",
        "--prefix",
        "none",
    ])
    .output()
    .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        tree.contains("pointsman-plugins"),
        "the tree is not the one asked for:\n{tree}"
    );
    let forbidden: Vec<&str> = tree
        .lines()
        .filter(|line| {
            let package = line.split(' ').next().unwrap_or_default();
            ["tokio", "hyper", "kube", "tonic"]
                .iter()
                .any(|word| package == *word || package.starts_with(&format!("{word}-")))
        })
        .collect();
    assert!(
        forbidden.is_empty(),
        "core or plugins reach {forbidden:?}:\n{tree}"
    );
}

#[test]
fn core_and_plugins_forbid_the_same_things() {
    let lists = ["core", "plugins"].map(|name| {
        fs::read_to_string(workspace().join("crates").join(name).join("clippy.toml")).unwrap()
    });
    assert_eq!(
        lists[0], lists[1],
        "crates/core/clippy.toml and crates/plugins/clippy.toml differ"
    );
    for must in [
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "std::env::var",
        "std::fs::read",
        "std::thread::current",
    ] {
        assert!(
            lists[0].contains(must),
            "clippy.toml of core no longer forbids {must}"
        );
    }
}

#[test]
fn no_import_cycle_between_files() {
    let mut faults = Vec::new();
    for folder in crates() {
        let files = sources(&folder.join("src"));
        let graph = uses(&folder.join("src"), &files);
        if let Some(cycle) = cycle(&graph) {
            faults.push(format!("{}: {}", folder.display(), cycle.join(" -> ")));
        }
    }
    assert!(
        faults.is_empty(),
        "files that use each other in a circle:\n{}",
        faults.join("\n")
    );
}

#[test]
fn files_are_short_and_say_what_they_are() {
    let mut faults = Vec::new();
    let roots = crates().into_iter().chain([
        workspace().join("tests"),
        workspace().join("xtask"),
        workspace().join("fuzz"),
    ]);
    for file in roots.flat_map(|root| sources(&root)) {
        let text = fs::read_to_string(&file).unwrap();
        let shown = file
            .strip_prefix(workspace())
            .unwrap()
            .display()
            .to_string();
        if !text.starts_with("//!") {
            faults.push(format!("{shown}: does not open with //!"));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            faults.push(format!("{shown}: {lines} lines, more than {MOST_LINES}"));
        } else if lines > MANY_LINES {
            println!("hint: {shown} has {lines} lines");
        }
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        if [
            "util", "utils", "common", "helpers", "helper", "types", "misc",
        ]
        .contains(&stem.as_str())
        {
            faults.push(format!("{shown}: name the file after what it holds"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_page_on_reliability_names_tests_that_there_are() {
    let page = fs::read_to_string(workspace().join("docs/reliability.md")).unwrap();
    let roots = crates().into_iter();
    let roots = roots.chain([workspace().join("tests"), workspace().join("fuzz")]);
    let mut functions = Vec::new();
    for file in roots.flat_map(|root| sources(&root)) {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim) {
            let line = line.strip_prefix("async ").unwrap_or(line);
            let name = line
                .strip_prefix("fn ")
                .and_then(|rest| rest.split_once('('));
            functions.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    let words = page.split('`').skip(1).step_by(2);
    // `file::…` stands for several tests of a file.
    let named: Vec<&str> = words
        .filter_map(|word| word.rsplit_once("::"))
        .map(|(_, test)| test)
        .filter(|test| !test.contains('…'))
        .collect();
    assert!(named.len() > 50, "{} tests are named", named.len());
    for test in named {
        let there = functions.iter().any(|name| name == test);
        assert!(there, "docs/reliability.md names {test}, which is no test");
    }
}

/// The folders of our crates.
fn crates() -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace().join("crates")).unwrap();
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "no crates found");
    folders
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The names `X` of the lines `pointsman-X = …` under `[dependencies]`.
fn own_dependencies(manifest: &str) -> Vec<String> {
    let section = manifest
        .split("\n[dependencies]")
        .nth(1)
        .unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section
        .lines()
        .filter_map(|line| line.strip_prefix("pointsman-"));
    names
        .map(|rest| {
            rest.split([' ', '.', '='])
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect()
}
