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
use crate::discovery::entries::{MAX_FILE_BYTES, parse, parse_leniently};
use crate::discovery::names::{Names, Unresolved};
use crate::membership::Membership;

/// How long a text must stand still before it counts.
const SETTLE: Duration = Duration::from_millis(20);

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
                            tell(format!("left out: {}", shown(&self.path, fault)));
                        }
                        self.entries = entries;
                        self.text = text;
                        complained.clear();
                    }
                    Err(faults) => {
                        for fault in &faults {
                            let fault = shown(&self.path, fault);
                            tell(format!("the endpoints file is not used: {fault}"));
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

fn shown(path: &Path, fault: &Fault) -> String {
    let place = fault.place.map_or_else(String::new, |at| format!("{at}:"));
    format!("{}:{place} {fault}", path.display())
}

fn read(path: &Path) -> Result<String, Vec<Fault>> {
    text_of(path, MAX_FILE_BYTES).map_err(|fault| vec![fault])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
