//! Endpoints files: any text is a list of endpoints that can be used, or of faults.

use pointsman_feeds::discovery::address::refused;
use pointsman_feeds::discovery::entries::parse;

use crate::shape::Shape;
use crate::target::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "endpoints",
    what: "endpoints files",
    run,
    words: &[
        "endpoints:\n",
        "- name: ",
        "  address: ",
        "  port: ",
        "\"8000\"",
        "  namespace: ",
        "  labels:\n",
        "    a: b\n",
        "  kvEventsPort: ",
        "  kvReplayPort: ",
        "- {name: a, address: 10.0.0.1, port: 1}\n",
        "'::1'",
        "169.254.169.254",
        "'::ffff:0.0.0.0'",
        "65536",
        "-1",
        "0",
        "[",
        "]",
        "{",
        "}",
        "&a ",
        "*a",
        "<<: ",
        "null",
        "---\n",
        "\t",
        "!!int ",
    ],
    also: &[],
};

fn run(input: &[u8]) -> u64 {
    let mut shape = Shape::default();
    let Ok(text) = std::str::from_utf8(input) else {
        return shape.done();
    };
    let read = parse(text);
    assert_eq!(read, parse(text), "read again it is another");
    match read {
        Ok(found) => {
            let mut names: Vec<&str> = found
                .iter()
                .map(|endpoint| endpoint.name.as_str())
                .collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), found.len(), "a name twice");
            for endpoint in &found {
                assert!(
                    endpoint.port > 0 && !endpoint.host.is_empty() && endpoint.name.contains('/'),
                    "{endpoint:?}"
                );
                let ip = endpoint.host.parse().ok();
                assert_eq!(ip.and_then(refused), None, "{endpoint:?}");
            }
            shape.size(found.len());
            shape.size(found.iter().map(|endpoint| endpoint.labels.len()).sum());
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "refused without a fault");
            for fault in faults.iter().take(3) {
                assert!(!fault.message.is_empty());
                // What is wrong with an entry is told by its field. The reader of YAML quotes the text in its messages:
                // only how they begin is coarse enough.
                shape.word(fault.path.rsplit('.').next().unwrap_or_default());
                if fault.path.is_empty() {
                    let letters = fault.message.chars().filter(|c| c.is_alphabetic());
                    shape.word(&letters.take(12).collect::<String>());
                }
            }
        }
    }
    shape.done()
}
