//! The entries of an endpoints file: each is read by itself, and what is wrong with one is told with its place.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::IpAddr;

use pointsman_core::config::fault::Fault;
use pointsman_core::config::reader::located;
use pointsman_core::config::shape::shaped;
use pointsman_core::contract::spec::schema_of;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::discovery::address::refused;
use crate::discovery::names::Unresolved;
use crate::plan::yaml::parse_within;

/// Largest file that is read.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Most values, names and lists in it: some ten thousand endpoints.
const MAX_VALUES: usize = 200_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Document {
    endpoints: Option<Vec<Entry>>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Entry {
    name: String,
    namespace: String,
    address: String,
    port: Option<Port>,
    labels: BTreeMap<String, String>,
    kv_events_port: Option<Port>,
    kv_replay_port: Option<Port>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            name: String::new(),
            namespace: "default".to_owned(),
            address: String::new(),
            port: None,
            labels: BTreeMap::new(),
            kv_events_port: None,
            kv_replay_port: None,
        }
    }
}

/// Files write ports as text or as numbers.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Port {
    Number(u64),
    Text(String),
    /// No port, whatever it is.
    Other(serde_json::Value),
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
            Self::Other(other) => other.fmt(f),
        }
    }
}

/// Reads the text of an endpoints file.
///
/// # Errors
/// Every fault of the file, each with its place.
pub fn parse(text: &str) -> Result<Vec<Unresolved>, Vec<Fault>> {
    let (found, faults) = parse_leniently(text)?;
    if faults.is_empty() {
        Ok(found)
    } else {
        Err(faults)
    }
}

/// The same; a bad entry is left out, and its faults are told beside the good ones.
///
/// # Errors
/// The text is no endpoints file at all.
pub fn parse_leniently(text: &str) -> Result<(Vec<Unresolved>, Vec<Fault>), Vec<Fault>> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!("the file is larger than {MAX_FILE_BYTES} bytes");
        return Err(vec![Fault::error("", message)]);
    }
    let tree = parse_within(text, MAX_VALUES)?;
    let (value, unread) = shaped(&tree, schema_of::<Document>().as_value(), "");
    let document = value.and_then(|value| serde_json::from_value::<Document>(value).ok());
    let entries = document.and_then(|document| document.endpoints);
    let at_entry = |fault: &Fault| index_of(&fault.path);
    let Some(entries) = entries.filter(|_| unread.iter().all(|fault| at_entry(fault).is_some()))
    else {
        let message = "is missing; write a list, an empty pool is `endpoints: []`";
        let also = vec![Fault::error("endpoints", message)];
        let also = if unread.is_empty() { also } else { Vec::new() };
        return Err(located(&tree, unread, also));
    };
    let broken: HashSet<usize> = unread.iter().filter_map(at_entry).collect();
    let (found, faults) = checked(entries, &broken);
    Ok((found, located(&tree, unread, faults)))
}

/// The entry that a path leads into.
fn index_of(path: &str) -> Option<usize> {
    let (index, _) = path.strip_prefix("endpoints[")?.split_once(']')?;
    index.parse().ok()
}

/// The entries that are good, and the faults of the others; what is wrong with the form of those that are `broken` has
/// been told.
fn checked(entries: Vec<Entry>, broken: &HashSet<usize>) -> (Vec<Unresolved>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut found: Vec<Unresolved> = Vec::new();
    let mut names = HashSet::new();
    for (at, entry) in entries.into_iter().enumerate() {
        let before = faults.len();
        let mut fault = |field: &str, message: String| {
            faults.push(Fault::error(format!("endpoints[{at}].{field}"), message));
        };
        let mut port = |field: &str, port: &Option<Port>| {
            let read = port.as_ref().map(|port| port_of(port).ok_or(port))?;
            read.map_err(|port| {
                let message = format!("'{port}' is no port; use one from 1 to 65535");
                fault(field, message);
            })
            .ok()
        };
        // What could not be read is not there either; that follows from what has been told.
        let whole = !broken.contains(&at);
        let own = port("port", &entry.port);
        port("kvEventsPort", &entry.kv_events_port);
        port("kvReplayPort", &entry.kv_replay_port);
        if whole && entry.port.is_none() {
            fault("port", "is missing; give one from 1 to 65535".to_owned());
        }
        if whole && entry.name.is_empty() {
            fault("name", "is missing; the endpoint needs one".to_owned());
        }
        let refused = entry.address.parse().ok().and_then(refused);
        if entry.address.is_empty() {
            if whole {
                let message = "is missing; give an IP address or a DNS name";
                fault("address", message.to_owned());
            }
        } else if !is_host(&entry.address) {
            let message = format!("'{}' is no IP address or DNS name", entry.address);
            fault("address", message);
        } else if let Some(why) = refused {
            let message = format!("'{}' {why}; name the endpoint's own address", entry.address);
            fault("address", message);
        }
        let name = format!("{}/{}", entry.namespace, entry.name);
        if names.contains(&name) {
            fault("name", format!("'{name}' is listed twice"));
        }
        let Some(port) = own.filter(|_| whole && faults.len() == before) else {
            continue;
        };
        names.insert(name.clone());
        found.push(Unresolved {
            name,
            host: entry.address,
            port,
            labels: entry.labels,
        });
    }
    (found, faults)
}

fn port_of(port: &Port) -> Option<u16> {
    match port {
        Port::Number(n) => u16::try_from(*n).ok(),
        Port::Text(text) => text.parse().ok(),
        Port::Other(_) => None,
    }
    .filter(|&port| port != 0)
}

fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
        || (!text.is_empty()
            && text.len() <= 253
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_the_format_of_file_discovery_and_more() {
        let text = "endpoints:\n- {name: a, address: 10.0.0.1, port: \"8000\", labels: {x: y}}\n- {name: b, namespace: n, address: '::1', port: 9}\n- {name: c, address: engine.local, port: 1, kvEventsPort: 5557}\n";
        let found = parse(text).unwrap();
        assert_eq!(found[0].name, "default/a");
        assert_eq!(found[0].labels["x"], "y");
        assert_eq!((found[1].name.as_str(), found[1].port), ("n/b", 9));
        assert_eq!(found[2].host, "engine.local");
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let text = "endpoints:\n- {name: a, address: 'x y', port: 0}\n- {name: b, address: h, port: 1}\n- {name: b, address: h, port: 70000}\n";
        let faults: Vec<String> = parse(text)
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].starts_with("endpoints[0].address"), "{faults:?}");
        assert!(
            faults.iter().any(|f| f.starts_with("endpoints[2].port")),
            "{faults:?}"
        );
        let unknown = parse("endpoints:\n- {name: a, adress: h, port: 1}\n").unwrap_err();
        assert!(
            unknown[0].message.contains("adress"),
            "{}",
            unknown[0].message
        );
    }

    #[test]
    fn a_fault_names_its_line_its_field_and_what_was_found() {
        let text = "endpoints:\n- name: y\n  address: h\n  port: 1\n- name: b\n  address: h\n  port: [1]\n- address: h\n  port: \"http\"\n- c\n- {name: no, address: h, port: 012, labels: {on: yes, n: 1.20}}\n- {name: d, address: h, port: -1}\n";
        let (found, faults) = parse_leniently(text).unwrap();
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["default/y", "default/no"]);
        assert_eq!(found[1].port, 12);
        assert_eq!(found[1].labels["on"], "yes");
        assert_eq!(found[1].labels["n"], "1.20");
        let shown: Vec<String> = faults
            .iter()
            .map(|fault| format!("{} {fault}", fault.place.unwrap()))
            .collect();
        let expected = [
            "7:9 endpoints[1].port: '[1]' is no port; use one from 1 to 65535",
            "8:3 endpoints[2].name: is missing; the endpoint needs one",
            "9:9 endpoints[2].port: 'http' is no port; use one from 1 to 65535",
            "10:3 endpoints[3]: needs a map, found 'c'",
            "12:31 endpoints[5].port: '-1' is no port; use one from 1 to 65535",
        ];
        assert_eq!(shown, expected);
        let Err(none) = parse_leniently("endpoint: []\n") else {
            panic!("accepted")
        };
        let words = "unknown field \"endpoint\"; did you mean 'endpoints'?";
        assert!(none[0].message.contains(words), "{none:?}");
    }

    #[test]
    fn a_bad_entry_is_left_out_where_that_is_allowed() {
        let text = "endpoints:\n- {name: a, address: h, port: 1}\n- {name: b, adress: h, port: 1}\n- {name: c, address: 'x y', port: 1}\n- {name: d, address: h, port: \"2\"}\n";
        let (found, faults) = parse_leniently(text).unwrap();
        let names: Vec<&str> = found.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["default/a", "default/d"]);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].to_string().starts_with("endpoints[1]"));
        assert!(parse_leniently("endpoint: []").is_err());
        assert!(parse_leniently("").is_err());
        assert_eq!(parse_leniently("endpoints: []").unwrap().0, []);
    }
}
