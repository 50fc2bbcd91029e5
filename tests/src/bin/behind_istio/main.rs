//! pointsman behind the real Istio: the picker as its chart installs it ([`picker`]), and the whole lab as the operator installs it
//! ([`lab`]). Started by `cargo xtask test --istio` in namespaces of its own (network and mounts); writes `docs/evidence/istio.md`.
//!
//! With names of parts as arguments it does these only, and writes nothing.

mod lab;
mod objects;
mod picker;
mod world;

use std::process::ExitCode;

use pointsman_tests::binary::{envoy, kubernetes, pointsman, workspace};
use pointsman_tests::evidence::{Part, version};

/// A part by its name.
type Named = (&'static str, fn() -> Part);

/// The parts, in their order.
const PARTS: [Named; 2] = [("picker", picker::part), ("lab", lab::part)];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(other) = wanted
        .iter()
        .find(|name| PARTS.iter().all(|(it, _)| it != name))
    {
        eprintln!("there is no part '{other}'; there are picker and lab");
        return ExitCode::from(2);
    }
    let parts = PARTS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name));
    let found: Vec<Part> = parts.map(|(_, part)| part()).collect();
    if wanted.is_empty() {
        let page = workspace().join("docs/evidence/istio.md");
        if let Err(error) = std::fs::write(&page, written(&found)) {
            eprintln!("cannot write {}: {error}", page.display());
            return ExitCode::FAILURE;
        }
    }
    match found.iter().all(Part::is_good) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// The page.
fn written(parts: &[Part]) -> String {
    let api = version(&kubernetes().join("kube-apiserver"));
    let istio = std::env::var("POINTSMAN_ISTIO_VERSION").unwrap_or_default();
    let envoy = version(&envoy());
    let envoy = envoy.split_once('/').map_or("unknown", |(_, rest)| rest);
    let sections: Vec<String> = parts.iter().map(Part::section).collect();
    format!(
        "# Behind Istio\n\n\
         Written by `cargo xtask test --istio`, which fails if a row is a miss. Real are the Kubernetes API server with controllers and \
         scheduler, Istio's control plane, and an Envoy that takes everything from it. Kubelets are stood in for: pods are ready at \
         once; those of pointsman's image are started as their containers say, with their own ServiceAccount, at their own address.\n\n\
         - Versions: pointsman {}; Kubernetes {api}; Istio {istio} (1.31 development line); Envoy {envoy}\n\
         - Command: `cargo xtask test --istio`\n\n{}",
        version(pointsman()),
        sections.join("\n"),
    )
}
