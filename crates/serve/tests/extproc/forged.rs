//! What a client says of itself in the words of gateways and pickers: it neither chooses nor goes on.

use pointsman_wire::extproc::names::{DESTINATION, NOT_PASSED_ON, SUBSET};

use crate::rig::{LEAST_BUSY, Rig, destination};
use crate::tongue::{BUFFERED, DUPLEX, STREAMED, asked, get_with, mode, post, under};

const TWO: &[&str] = &["10.0.0.1:8000", "10.0.0.2:8000"];
const BODY: &str = r#"{"model":"m","prompt":"p"}"#;
const FORGED: &str = "169.254.169.254:80";

/// Everything that is told of a request with these headers, however the gateway passes bodies.
fn told(rig: &Rig, fields: &[(&str, &str)]) -> Vec<(String, Vec<String>)> {
    let mut all = vec![(
        "no body".to_owned(),
        rig.talk().say(get_with("/v1/models", fields)),
    )];
    for request in [0, STREAMED, BUFFERED, DUPLEX] {
        let mut talk = rig.talk();
        let head = under(
            post("/v1/completions", "id", fields),
            mode(request, request),
        );
        let mut lines = talk.say(head);
        if [BUFFERED, DUPLEX].contains(&request) {
            lines.extend(talk.say(asked(BODY, true)));
        }
        all.push((format!("mode {request}"), lines));
    }
    all
}

#[test]
fn no_forged_header_goes_on_in_any_mode_however_it_is_written() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let capitals = |name: &str| {
        let words = name
            .split('-')
            .map(|word| word[..1].to_uppercase() + &word[1..]);
        words.collect::<Vec<_>>().join("-")
    };
    for name in NOT_PASSED_ON {
        // An order to use another model, which a client may give, changes the body too; here is only looked at what goes on.
        for written in [name.to_owned(), capitals(name)] {
            for (how, lines) in told(&rig, &[(&written, FORGED)]) {
                let removed = lines.iter().flat_map(|line| line.split(' '));
                let removed = removed.filter_map(|word| word.strip_prefix('-'));
                assert!(
                    removed
                        .into_iter()
                        .any(|word| word.eq_ignore_ascii_case(name)),
                    "{how}: {written} goes on: {lines:?}"
                );
                let set = lines.iter().any(|line| {
                    line.to_ascii_lowercase()
                        .contains(&format!("+{name}={FORGED}"))
                });
                assert!(!set, "{how}: {written} is said again: {lines:?}");
            }
        }
    }
}

#[test]
fn a_destination_that_the_client_names_is_overwritten_and_its_subset_is_none() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let forged = [(DESTINATION, FORGED), (SUBSET, "10.0.0.2:8000")];
    let mut chosen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        for (how, lines) in told(&rig, &forged) {
            let to = destination(&lines).to_string();
            assert!(TWO.contains(&to.as_str()), "{how}: {lines:?}");
            chosen.insert(to);
        }
    }
    assert_eq!(chosen.len(), 2, "a client's subset narrows nothing");
}

#[test]
fn an_id_that_could_be_taken_for_something_else_is_replaced_for_everybody() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let long = "x".repeat(257);
    for (id, kept) in [
        ("abc.1_2:3-X", true),
        ("two words", false),
        ("line\nbreak", false),
        ("\"quoted\"", false),
        ("ü", false),
        (&*long, false),
        (&long[..256], true),
    ] {
        let mut talk = rig.talk();
        talk.say(post("/v1/completions", id, &[]));
        let lines = talk.say(asked(BODY, true));
        let words = lines[0].split(' ');
        let mut given = words.filter_map(|word| word.strip_prefix("+x-request-id="));
        let given = given.next();
        assert_eq!(given.is_none(), kept, "{id:?}: {lines:?}");
        assert!(given.is_none_or(|given| given.len() == 36), "{given:?}");
        assert!(rig.router.find(given.unwrap_or(id)).is_some(), "{id:?}");
    }
}

#[test]
fn fifty_thousand_headers_are_removed_by_name_once() {
    let rig = Rig::new(TWO, LEAST_BUSY);
    let mut fields = vec![("x-prefiller-host-port", FORGED); 25_000];
    fields.extend(vec![("x-other", "y"); 25_000]);
    let mut talk = rig.talk();
    talk.say(post("/v1/completions", "many", &fields));
    let lines = talk.say(asked(BODY, true));
    assert_eq!(lines[0].matches("-x-prefiller-host-port").count(), 1);
    assert!(lines[0].len() < 1000, "{} bytes", lines[0].len());
}
