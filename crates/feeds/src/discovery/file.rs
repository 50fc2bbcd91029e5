//! Takes the endpoints from a file: the `endpoints:` list of the reference, plus DNS names and IPv6.
//!
//! # When to use
//! Without a cluster. `--endpoints FILE` does the same without a configuration.
//!
//! # Example
//! ```yaml
//! - name: from-file
//!   type: file-discovery
//!   parameters: {path: pool.yaml, watchFile: true}
//! ```
//! with `dataLayer: {discovery: {pluginRef: from-file}}`, and in the file:
//! ```yaml
//! endpoints:
//! - name: worker-0
//!   namespace: default          # the default
//!   address: 10.0.0.7           # IPv4, IPv6 or a DNS name (one member per address it resolves to)
//!   port: "8000"
//!   labels: {llm-d.ai/role: decode}
//! ```
//! The file is read again when its content or what its names resolve to changes; a file that cannot be
//! used leaves the members as they are.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pointsman_core::config::fault::Fault;
use pointsman_core::contract::data_layer::FileDiscovery;
use pointsman_core::contract::roles::Built;
use pointsman_core::contract::spec::{
    ParamFault, Params, PluginSpec, Role, Stability, needs_nothing, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::bounded::text_of;
use crate::discovery::address::refused;
use crate::discovery::names::{Names, Unresolved};
use crate::membership::Membership;

/// How long a text must stand still before it counts.
const SETTLE: Duration = Duration::from_millis(20);

/// Largest file that is read.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// The plugin as the registry knows it.
pub static SPEC: PluginSpec = PluginSpec {
    kind: "file-discovery",
    aliases: &[],
    role: Role::Discovery,
    stability: Stability::Beta,
    reads: &[],
    requires: needs_nothing,
    source: include_str!("file.rs"),
    schema: schema_of::<Parameters>,
    build,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    /// The endpoints file; required.
    path: String,
    /// Whether the file is read again when it changes.
    watch_file: bool,
}

fn build(params: &Params<'_>) -> Result<Built, Vec<ParamFault>> {
    let Parameters { path, watch_file } = params.read()?;
    if path.is_empty() {
        let message = "file-discovery needs the path of an endpoints file".to_owned();
        return Err(vec![ParamFault {
            path: "path".to_owned(),
            message,
        }]);
    }
    Ok(Built::Discovery(FileDiscovery {
        path,
        watch: watch_file,
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    endpoints: Vec<Entry>,
}

/// The document before its entries are looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LooseDocument {
    endpoints: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default = "default_namespace")]
    namespace: String,
    address: String,
    port: Port,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    kv_events_port: Option<Port>,
    #[serde(default)]
    kv_replay_port: Option<Port>,
}

/// Files write ports as text or as numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Port {
    Number(u64),
    Text(String),
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// Reads the text of an endpoints file.
///
/// # Errors
/// Every fault of the file, each with its place.
pub fn parse(text: &str) -> Result<Vec<Unresolved>, Vec<Fault>> {
    check_size(text)?;
    let document: Document =
        serde_saphyr::from_str(text).map_err(|e| vec![Fault::error("", e.to_string())])?;
    let entries = document.endpoints.into_iter().enumerate();
    let (found, faults) = checked(entries);
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
    check_size(text)?;
    let document: LooseDocument =
        serde_saphyr::from_str(text).map_err(|e| vec![Fault::error("", e.to_string())])?;
    let mut unread = Vec::new();
    let mut entries = Vec::new();
    for (at, entry) in document.endpoints.into_iter().enumerate() {
        match serde_json::from_value::<Entry>(entry) {
            Ok(entry) => entries.push((at, entry)),
            Err(why) => unread.push(Fault::error(format!("endpoints[{at}]"), why.to_string())),
        }
    }
    let (found, faults) = checked(entries);
    unread.extend(faults);
    Ok((found, unread))
}

fn check_size(text: &str) -> Result<(), Vec<Fault>> {
    if text.len() > MAX_FILE_BYTES {
        return Err(vec![Fault::error(
            "",
            format!("the file is larger than {MAX_FILE_BYTES} bytes"),
        )]);
    }
    Ok(())
}

/// The entries that are good, and the faults of the others.
fn checked(entries: impl IntoIterator<Item = (usize, Entry)>) -> (Vec<Unresolved>, Vec<Fault>) {
    let mut faults = Vec::new();
    let mut found: Vec<Unresolved> = Vec::new();
    let mut names = HashSet::new();
    for (at, entry) in entries {
        let before = faults.len();
        let path = format!("endpoints[{at}]");
        let port = port_of(&entry.port);
        for (field, port) in [
            ("kvEventsPort", &entry.kv_events_port),
            ("kvReplayPort", &entry.kv_replay_port),
        ] {
            if port.as_ref().is_some_and(|p| port_of(p).is_none()) {
                faults.push(Fault::error(
                    format!("{path}.{field}"),
                    "use a port from 1 to 65535",
                ));
            }
        }
        if entry.name.is_empty() {
            faults.push(Fault::error(
                format!("{path}.name"),
                "the endpoint needs a name",
            ));
        }
        if !is_host(&entry.address) {
            let message = format!("'{}' is no IP address or DNS name", entry.address);
            faults.push(Fault::error(format!("{path}.address"), message));
        }
        if let Some(why) = entry.address.parse().ok().and_then(refused) {
            let message = format!("'{}' {why}; name the endpoint's own address", entry.address);
            faults.push(Fault::error(format!("{path}.address"), message));
        }
        let name = format!("{}/{}", entry.namespace, entry.name);
        if names.contains(&name) {
            faults.push(Fault::error(
                format!("{path}.name"),
                format!("'{name}' is listed twice"),
            ));
        }
        let Some(port) = port else {
            faults.push(Fault::error(
                format!("{path}.port"),
                "use a port from 1 to 65535",
            ));
            continue;
        };
        if faults.len() == before {
            names.insert(name.clone());
            found.push(Unresolved {
                name,
                host: entry.address,
                port,
                labels: entry.labels,
            });
        }
    }
    (found, faults)
}

fn port_of(port: &Port) -> Option<u16> {
    match port {
        Port::Number(n) => u16::try_from(*n).ok(),
        Port::Text(text) => text.parse().ok(),
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

/// An endpoints file that has been read once and can be watched.
pub struct EndpointsFile {
    path: PathBuf,
    text: String,
    entries: Vec<Unresolved>,
    names: Names,
    lenient: bool,
}

impl EndpointsFile {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file cannot be read, or every fault in it.
    pub fn open(path: &Path) -> Result<Self, Vec<Fault>> {
        let text = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            entries: parse(&text)?,
            text,
            names: Names::default(),
            lenient: false,
        })
    }

    /// The same; bad entries are left out, now and later, and those of now are returned beside.
    ///
    /// # Errors
    /// The file cannot be read, or is none of endpoints.
    pub fn open_leniently(path: &Path) -> Result<(Self, Vec<Fault>), Vec<Fault>> {
        let text = read(path)?;
        let (entries, faults) = parse_leniently(&text)?;
        let file = Self {
            path: path.to_owned(),
            text,
            entries,
            names: Names::default(),
            lenient: true,
        };
        Ok((file, faults))
    }

    /// Puts the members into the pool; returns the names that do not resolve.
    pub async fn apply(&mut self, membership: &Membership) -> Vec<String> {
        let (members, unknown) = self.names.resolve(&self.entries).await;
        membership.replace(&members);
        unknown
    }

    /// Looks at the file and at its names every `every` and applies changes, until dropped.
    /// `tell` gets a line about each change and each problem.
    pub async fn watch(
        mut self,
        membership: Arc<Membership>,
        every: Duration,
        tell: impl Fn(String),
    ) {
        let (mut last, mut lost) = self.names.resolve(&self.entries).await;
        let mut complained = String::new();
        loop {
            tokio::time::sleep(every).await;
            let path = self.path.clone();
            let text = tokio::task::spawn_blocking(move || read(&path)).await;
            let Ok(Ok(text)) = text else { continue };
            if text != self.text && text != complained {
                // Whoever writes may not be done: an empty file is one that is about to be written (an empty pool is
                // `endpoints: []`), and a text counts when it stands still.
                tokio::time::sleep(SETTLE).await;
                let path = self.path.clone();
                let again = tokio::task::spawn_blocking(move || read(&path)).await;
                if text.is_empty() || !matches!(again, Ok(Ok(again)) if again == text) {
                    continue;
                }
                let parsed = if self.lenient {
                    parse_leniently(&text)
                } else {
                    parse(&text).map(|entries| (entries, Vec::new()))
                };
                match parsed {
                    Ok((entries, left_out)) => {
                        for fault in &left_out {
                            tell(format!("{}: left out: {fault}", self.path.display()));
                        }
                        self.entries = entries;
                        self.text = text;
                        complained.clear();
                    }
                    Err(faults) => {
                        for fault in &faults {
                            tell(format!(
                                "endpoints file {} is not used: {fault}",
                                self.path.display()
                            ));
                        }
                        complained = text;
                    }
                }
            }
            let (members, unknown) = self.names.resolve(&self.entries).await;
            if unknown != lost {
                for name in unknown.iter().filter(|name| !lost.contains(name)) {
                    tell(format!(
                        "'{name}' is not found; it keeps the addresses it had"
                    ));
                }
                lost = unknown;
            }
            if members != last {
                let left_out = membership.replace(&members);
                tell(format!(
                    "endpoints: {} in the pool",
                    members.len() - left_out
                ));
                if left_out > 0 {
                    tell(format!("endpoints: no room for {left_out} more"));
                }
                last = members;
            }
        }
    }
}

fn read(path: &Path) -> Result<String, Vec<Fault>> {
    text_of(path, MAX_FILE_BYTES).map_err(|fault| vec![fault])
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

    #[tokio::test]
    async fn a_file_that_is_being_written_keeps_the_old_members() {
        let folder = std::env::temp_dir().join(format!("pointsman-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("endpoints.yaml");
        std::fs::write(&path, "endpoints: [{name: a, address: 10.0.0.1, port: 1}]").unwrap();
        let mut file = EndpointsFile::open(&path).unwrap();
        let membership = Arc::new(Membership::new(4));
        file.apply(&membership).await;
        let watching =
            tokio::spawn(file.watch(Arc::clone(&membership), Duration::from_millis(5), |_| ()));
        std::fs::write(&path, "").unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(
            membership.snapshot().len(),
            1,
            "an empty file is not written yet"
        );
        std::fs::write(&path, "endpoints: []").unwrap();
        while !membership.snapshot().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        watching.abort();
        let _ = std::fs::remove_dir_all(folder);
    }

    #[tokio::test]
    async fn addresses_resolve_without_a_lookup_and_names_with_one() {
        let found = parse("endpoints:\n- {name: a, address: '::1', port: 5}\n- {name: b, address: localhost, port: 6}\n- {name: c, address: no-such-host.invalid, port: 6}\n").unwrap();
        let (members, unknown) = Names::default().resolve(&found).await;
        assert_eq!(members[0].address.to_string(), "[::1]:5");
        assert_eq!(members[1].name, "default/b");
        assert_eq!(unknown, ["no-such-host.invalid"]);
    }

    #[tokio::test]
    async fn nothing_is_sent_to_link_local_addresses_whoever_lists_them() {
        let text = "endpoints:\n- {name: a, address: 169.254.169.254, port: 80}\n- {name: b, address: '::ffff:169.254.169.254', port: 80}\n- {name: c, address: 0.0.0.0, port: 80}\n- {name: d, address: 127.0.0.1, port: 80}\n";
        let faults = parse(text).unwrap_err();
        assert_eq!(faults.len(), 3, "{faults:?}");
        assert!(faults[0].message.contains("link-local"), "{faults:?}");
        let (found, _) = parse_leniently(text).unwrap();
        assert_eq!(found.len(), 1);
        // As the answer of a name server would come in.
        let host = "169.254.169.254".to_owned();
        let entry = Unresolved {
            host,
            ..found[0].clone()
        };
        let (members, unknown) = Names::default().resolve(&[entry]).await;
        assert!(members.is_empty() && unknown.len() == 1, "{members:?}");
    }

    #[test]
    fn of_a_file_that_is_too_large_no_more_is_read_than_it_takes_to_know() {
        let folder = std::env::temp_dir().join(format!("pointsman-large-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("endpoints.yaml");
        // 100 MB that take no room on the disk.
        std::fs::File::create(&path)
            .unwrap()
            .set_len(100_000_000)
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_FILE_BYTES + 1);
        let faults = EndpointsFile::open(&path).err().unwrap();
        assert!(faults[0].message.contains("larger than"), "{faults:?}");
        let _ = std::fs::remove_dir_all(folder);
    }
}
