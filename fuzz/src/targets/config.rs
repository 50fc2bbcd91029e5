//! Configurations: any text is a plan or a list of faults, under the rules of either generation, and the same each time.

use std::sync::LazyLock;

use pointsman_core::config::basis::Registry;
use pointsman_core::config::compat::Compat;
use pointsman_core::config::fault::{Fault, Severity};
use pointsman_feeds::plan::{Terms, from_text};

use crate::shape::Shape;
use crate::target::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "config",
    what: "EndpointPickerConfig, YAML and JSON, both generations",
    run,
    words: &[
        "apiVersion: llm-d.ai/v1alpha1\n",
        "apiVersion: inference.networking.x-k8s.io/v1alpha1\n",
        "kind: EndpointPickerConfig\n",
        "plugins:\n",
        "- type: ",
        "name: ",
        "parameters:\n",
        "schedulingProfiles:\n",
        "- name: default\n",
        "  - pluginRef: ",
        "weight: ",
        "featureGates:\n",
        "saturationDetector:\n",
        "dataLayer:\n",
        "flowControl:\n",
        "requestHandler:\n",
        "parsers:\n",
        "pointsman:\n",
        "prefixCache: ",
        "timeouts: ",
        "limits: ",
        "retries: ",
        "gateway: ",
        "queue-scorer",
        "kv-cache-utilization-scorer",
        "prefix-cache-scorer",
        "max-score-picker",
        "random-picker",
        "weighted-random-picker",
        "decode-filter",
        "prefill-filter",
        "by-label",
        "by-label-selector",
        "pd-profile-handler",
        "single-profile-handler",
        "load-aware-scorer",
        "active-request-scorer",
        "approx-prefix-cache-producer",
        "file-discovery",
        "metrics-data-source",
        "core-metrics-extractor",
        "openai-parser",
        "blockSize: ",
        "threshold: ",
        "requestTimeout: ",
        "hashBlockSize",
        "maxPrefixBlocksToMatch",
        "lruCapacityPerServer",
        ".nan",
        ".inf",
        "-1",
        "1e400",
        "0x1F",
        "null",
        "~",
        "true",
        "yes",
        "*a",
        "&a ",
        "<<: *a",
        "!!str ",
        "? ",
        "|\n",
        ">-\n",
        "---\n",
        "...\n",
        "#",
        "{",
        "}",
        "[",
        "]",
        "\t",
        "\u{feff}",
        "\u{2028}",
        "%YAML 1.2\n",
        "'",
        "\"",
        "\\u0000",
        "2m",
        "1.5s",
        "1Gi",
        "9223372036854775808",
    ],
    also: &["tests/configs", "tests/configs/g1", "tests/configs/g2"],
};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    Registry::new(
        &[
            pointsman_plugins::ALL,
            pointsman_wire::parser::SPECS,
            pointsman_feeds::SPECS,
        ]
        .concat(),
    )
});

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let Ok(text) = std::str::from_utf8(input) else {
        return shape.done();
    };
    for (compat, _) in Compat::ALL {
        for experimental in [false, true] {
            let terms = Terms {
                compat,
                experimental,
                ..Terms::new(&REGISTRY)
            };
            match from_text(text, "fuzzed", &terms) {
                Ok(resolved) => {
                    good(text, &resolved.warnings);
                    let again = Terms {
                        previous: Some(&resolved.plan),
                        ..terms
                    };
                    let warnings =
                        from_text(text, "fuzzed", &again).map(|resolved| resolved.warnings);
                    assert_eq!(
                        warnings,
                        Ok(resolved.warnings.clone()),
                        "read again it is another"
                    );
                    shape.word("plan");
                    tell(&resolved.warnings, &mut shape);
                }
                Err(faults) => {
                    assert!(
                        faults.iter().any(|fault| fault.severity == Severity::Error),
                        "refused without a fault: {faults:?}"
                    );
                    placed(text, &faults);
                    let again = from_text(text, "fuzzed", &terms).map(|resolved| resolved.warnings);
                    assert_eq!(again, Err(faults.clone()), "read again it has other faults");
                    tell(&faults, &mut shape);
                }
            }
        }
    }
    shape.done()
}

fn good(text: &str, warnings: &[Fault]) {
    assert!(
        warnings
            .iter()
            .all(|fault| fault.severity != Severity::Error),
        "taken with a fault: {warnings:?}"
    );
    placed(text, warnings);
}

/// Every finding has a message, and its place lies in the text.
fn placed(text: &str, faults: &[Fault]) {
    // The reader of YAML ends lines also where only CR or a Unicode separator stands.
    let lines = 1 + text
        .chars()
        .filter(|c| matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'))
        .count();
    for fault in faults {
        assert!(!fault.message.is_empty(), "{fault:?}");
        if let Some(place) = fault.place {
            assert!(
                place.line >= 1 && place.column >= 1 && place.line as usize <= lines + 1,
                "{fault:?}"
            );
        }
    }
}

/// The kinds of the first few findings; with all of them every text would be new.
fn tell(faults: &[Fault], shape: &mut Shape) {
    shape.size(faults.len());
    for fault in faults.iter().take(2) {
        shape.message(&fault.message);
    }
}
