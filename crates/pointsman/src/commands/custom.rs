//! Custom resources of the operator in files: which documents are some, what is wrong with them, what they stand for.

use pointsman_core::config::fault::{Fault, Place};
use pointsman_operator::crd::API_VERSION;
use pointsman_operator::desired::Observed;
use pointsman_operator::desired::child::{Child, Owner};
use pointsman_operator::render::children;
use serde_json::Value;

/// One document of a file, on the lines where it stands: all before it are empty.
pub(crate) struct Document {
    /// Which one, from 1.
    pub(crate) number: usize,
    /// Its text.
    pub(crate) text: String,
}

/// A custom resource with what was found.
pub(crate) struct Judged {
    /// Its kind.
    pub(crate) kind: &'static str,
    /// What is wrong.
    pub(crate) faults: Vec<Fault>,
    /// What it stands for.
    pub(crate) children: Vec<Child>,
}

/// The documents of a text that hold something.
pub(crate) fn documents(text: &str) -> Vec<Document> {
    let mut found = Vec::new();
    let mut begin = 0;
    let lines: Vec<&str> = text.lines().collect();
    let mut keep = |from: usize, to: usize| {
        let own = &lines[from..to];
        let says = |line: &&str| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#') && line != "---" && line != "..."
        };
        if own.iter().any(says) {
            found.push(Document {
                number: found.len() + 1,
                text: format!("{}{}\n", "\n".repeat(from), own.join("\n")),
            });
        }
    };
    for (at, line) in lines.iter().enumerate() {
        let parts = *line == "---" || line.starts_with("--- ");
        if parts && at > begin {
            keep(begin, at);
            begin = at;
        }
    }
    keep(begin, lines.len());
    found
}

/// What is found in a document of custom resources; nothing where it is none, and several where it is a list of them.
pub(crate) fn judge(text: &str) -> Vec<Judged> {
    let owners = [Owner::Install, Owner::Simulator];
    let named = |object: &Value| {
        let mut owners = owners.iter().copied();
        owners.find(|owner| object["kind"] == owner.kind())
    };
    let object: Value = match serde_saphyr::from_str(text) {
        Ok(object) => object,
        Err(error) => {
            // What cannot be read says what it is in its own words only.
            let said = |owner: &&Owner| {
                let wanted = format!("kind: {}", owner.kind());
                text.lines().any(|line| line.trim() == wanted)
            };
            let fault = || Fault::error("", format!("is no YAML: {error}"));
            let broken = |owner: &Owner| Judged {
                kind: owner.kind(),
                faults: vec![fault()],
                children: Vec::new(),
            };
            return owners.iter().find(said).map(broken).into_iter().collect();
        }
    };
    let items = match object["items"].as_array() {
        Some(items) if object["kind"] == "List" => items.clone(),
        _ => vec![object],
    };
    let of = |object: &Value| named(object).map(|owner| one(owner, object, text));
    items.iter().filter_map(of).collect()
}

fn one(owner: Owner, object: &Value, text: &str) -> Judged {
    let mut faults = Vec::new();
    let mut made = Vec::new();
    if object["apiVersion"] != API_VERSION {
        let found = object["apiVersion"].as_str().unwrap_or_default();
        let message = format!("'{found}' is not known for this kind; {API_VERSION} is");
        faults.push(located(text, "apiVersion", message));
    } else {
        match children(owner, object, &Observed::default()) {
            Ok(children) => made = children,
            Err(invalid) => {
                let (path, rest) = parted(&invalid.message);
                faults.push(located(text, path, rest.to_owned()));
            }
        }
    }
    Judged {
        kind: owner.kind(),
        faults,
        children: made,
    }
}

/// The field that a message begins with, and what it says of it.
fn parted(message: &str) -> (&str, &str) {
    let (first, rest) = message.split_once(' ').unwrap_or((message, ""));
    let path = first.trim_end_matches(':');
    match path.split('.').next() {
        Some("spec" | "metadata") => (path, rest),
        _ => ("", message),
    }
}

/// A fault at the line where its field stands, as far as lines tell.
fn located(text: &str, path: &str, message: String) -> Fault {
    let unknown = message
        .strip_prefix("unknown field `")
        .and_then(|rest| rest.split('`').next());
    let mut steps: Vec<&str> = path.split('.').collect();
    steps.extend(unknown);
    let lines: Vec<&str> = text.lines().collect();
    let (mut from, mut place) = (0, None);
    for step in steps {
        let key = format!("{}:", step.split('[').next().unwrap_or(step));
        let here = |line: &&str| line.trim_start().trim_start_matches("- ").starts_with(&key);
        let Some(at) = lines.iter().skip(from).position(here) else {
            break;
        };
        from += at;
        let column = lines[from].chars().take_while(|c| *c == ' ').count() + 1;
        place = Some(Place {
            line: u32::try_from(from + 1).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(1),
        });
    }
    let fault = Fault::error(path, message);
    match place {
        Some(place) => fault.at(place),
        None => fault,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_keep_their_lines() {
        let found = documents("# a\n---\nx: 1\n---\n# nothing\n---\ny: 2\n");
        let said: Vec<(usize, usize)> = found
            .iter()
            .map(|one| {
                let at = one.text.lines().position(|line| line.contains(": "));
                (one.number, at.unwrap() + 1)
            })
            .collect();
        assert_eq!(said, [(1, 3), (2, 7)]);
    }

    #[test]
    fn faults_stand_where_their_field_does() {
        let text = "apiVersion: sim.llm-d.io/v1alpha1\nkind: SchedulerInstall\nmetadata:\n  name: i\nspec:\n  simulatorNamespace: m\n  proxyService:\n    port: 80\n  epp:\n    enabled: true\n    port: 9090\n";
        let found = judge(text);
        let fault = &found[0].faults[0];
        assert_eq!(fault.path, "spec.epp.port");
        assert_eq!(
            fault.place,
            Some(Place {
                line: 11,
                column: 5
            })
        );
        let found = judge(&text.replace("    port: 9090\n", "    prot: 1\n"));
        let fault = &found[0].faults[0];
        assert!(fault.message.starts_with("unknown field `prot`"), "{fault}");
        assert_eq!(fault.place.unwrap().line, 11);
        let found = judge(&text.replace("v1alpha1", "v2"));
        assert!(found[0].faults[0].message.contains("sim.llm-d.io/v2"));
        let good = judge(&text.replace("9090", "9002"));
        assert!(good[0].faults.is_empty() && !good[0].children.is_empty());
        assert!(judge("kind: EndpointPickerConfig\n").is_empty());
    }
}
