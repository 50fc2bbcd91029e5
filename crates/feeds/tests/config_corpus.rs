//! The files under `corpus/config`: what is in `good` becomes a plan, what is in `bad` is refused with its place.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use pointsman_core::config::basis::Registry;
use pointsman_core::config::fault::refuses;
use pointsman_feeds::plan::{Terms, from_text};

fn registry() -> Registry {
    let parts = [
        pointsman_plugins::ALL,
        pointsman_wire::parser::SPECS,
        pointsman_feeds::SPECS,
    ];
    Registry::new(&parts.concat())
}

fn each(folder: &str, look: impl Fn(&str, &str)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus/config")
        .join(folder);
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        look(&path.display().to_string(), &text);
        seen += 1;
    }
    assert!(seen > 0, "{} is empty", folder.display());
}

#[test]
fn good_configurations_become_plans() {
    let registry = registry();
    each("good", |name, text| {
        let plan = from_text(text, name, &Terms::new(&registry));
        assert!(plan.is_ok(), "{name}: {:?}", plan.err());
    });
}

#[test]
fn bad_configurations_are_refused_and_every_fault_has_a_place() {
    let registry = registry();
    each("bad", |name, text| {
        let Err(faults) = from_text(text, name, &Terms::new(&registry)) else {
            panic!("{name} is accepted")
        };
        assert!(refuses(&faults), "{name}: {faults:?}");
        assert!(
            faults.iter().all(|fault| fault.place.is_some()),
            "{name}: {faults:?}"
        );
    });
}

/// Whatever is left of a good file when its end is cut off, it is read or refused, and never more.
#[test]
fn every_beginning_of_a_good_configuration_is_read_or_refused() {
    let registry = registry();
    each("good", |name, text| {
        for (end, _) in text.char_indices() {
            if let Err(faults) = from_text(&text[..end], name, &Terms::new(&registry)) {
                assert!(refuses(&faults), "{name} up to {end}: {faults:?}");
            }
        }
    });
}
