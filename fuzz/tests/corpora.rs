//! The corpora on stable Rust: every input that was kept still holds.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs;

use pointsman_fuzz::corpus::{inputs, workspace};
use pointsman_fuzz::targets::ALL;

#[test]
fn corpora_replay() {
    for target in &ALL {
        let inputs = inputs(target).unwrap();
        assert!(
            inputs.len() >= 12,
            "{}: {} inputs; a dozen at least",
            target.name,
            inputs.len()
        );
        for input in inputs {
            // Captured unless it fails: the last line then names the input.
            println!("{}: {}", target.name, input.path.display());
            (target.run)(&input.bytes);
        }
    }
}

#[test]
fn targets_have_names_of_their_own_and_folders_have_targets() {
    let names: HashSet<&str> = ALL.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), ALL.len());
    for entry in fs::read_dir(workspace().join("fuzz/corpus")).unwrap() {
        let folder = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            names.contains(folder.as_str()),
            "corpus/{folder} belongs to no target"
        );
    }
}

#[test]
fn the_coverage_guided_fuzzer_has_every_target() {
    let folder = workspace().join("fuzz/libfuzzer");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for target in &ALL {
        let file = format!("targets/{}.rs", target.name);
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        assert!(
            text.contains(&format!("targets::{}::TARGET", target.name)),
            "{file}"
        );
        assert!(
            manifest.contains(&format!("name = \"{}\"\npath = \"{file}\"", target.name)),
            "{file} is not in Cargo.toml"
        );
    }
}
