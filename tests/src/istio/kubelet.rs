//! Plays the kubelet for pods of pointsman's image: gives the pod's address to this host and starts the real binary there with
//! the container's own arguments, environment, mounted ConfigMaps and ServiceAccount.
//!
//! What only a container has is written otherwise: the address to listen at, paths of mounted files. It acts when asked ([`Kubelet::sync`]), so that tests have no thread to stop.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::charts::text;
use crate::cluster::Cluster;
use crate::patience::until;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::server::plain;

/// The kubelet of one cluster.
pub struct Kubelet<'a> {
    cluster: &'a Cluster,
    files: Scratch,
    running: BTreeMap<String, Pod>,
}

/// A pod whose container runs.
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// The container's arguments, as they stand in the pod.
    pub arguments: Vec<String>,
    /// The container's process.
    pub process: Process,
    mounts: Vec<Mount>,
}

/// A ConfigMap in a folder.
struct Mount {
    config_map: String,
    at: String,
    folder: PathBuf,
}

impl<'a> Kubelet<'a> {
    /// One that has started nothing yet.
    pub fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            files: Scratch::new("kubelet"),
            running: BTreeMap::new(),
        }
    }

    /// Starts what has been bound, ends what is gone, and brings mounted files up to date.
    ///
    /// # Panics
    /// When a container ended by itself.
    #[track_caller]
    pub fn sync(&mut self) {
        let list = self.cluster.kubectl(&["get", "pods", "-A", "-o", "json"]);
        let list: Value = serde_json::from_str(&list).expect("kubectl prints JSON");
        let pods = list["items"].as_array().into_iter().flatten();
        let ours = pods.filter(|pod| is_pointsman(pod) && pod["status"]["podIP"].is_string());
        let ours: BTreeMap<&str, &Value> = ours
            .map(|pod| (text(&pod["metadata"]["uid"]), pod))
            .collect();
        let gone: Vec<String> = self.running.keys().cloned().collect();
        for uid in gone.iter().filter(|uid| !ours.contains_key(uid.as_str())) {
            if let Some(mut pod) = self.running.remove(uid) {
                pod.process.terminate();
                pod.process.wait_end();
            }
        }
        for (uid, pod) in ours {
            if !self.running.contains_key(uid) {
                let started = self.start(uid, pod);
                self.running.insert(uid.to_owned(), started);
            }
        }
        for pod in self.running.values_mut() {
            let lines = pod.process.lines();
            let ended = pod.process.ended();
            assert!(
                ended.is_none(),
                "{}/{} ended: {ended:?}\n{}",
                pod.namespace,
                pod.name,
                lines.join("\n")
            );
        }
        for pod in self.running.values() {
            pod.mounts
                .iter()
                .for_each(|mount| self.refresh(&pod.namespace, mount));
        }
    }

    /// The one running pod of a namespace whose name begins so, after as many looks as that takes.
    ///
    /// # Panics
    /// When there is none, or not one alone.
    #[track_caller]
    pub fn pod(&mut self, namespace: &str, stem: &str) -> &Pod {
        until(&format!("one pod {namespace}/{stem}… to run"), || {
            self.sync();
            (self.matching(namespace, stem).count() == 1).then_some(())
        });
        let mut found = self.matching(namespace, stem);
        found.next().expect("there was one just now")
    }

    fn matching(&self, namespace: &str, stem: &str) -> impl Iterator<Item = &Pod> {
        let pods = self.running.values();
        pods.filter(move |pod| pod.namespace == namespace && pod.name.starts_with(stem))
    }

    fn start(&self, uid: &str, pod: &Value) -> Pod {
        let (meta, spec) = (&pod["metadata"], &pod["spec"]);
        let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
        let container = &spec["containers"][0];
        let address: IpAddr = text(&pod["status"]["podIP"]).parse().expect("an address");
        give(address);
        let mounts = self.mounts(uid, spec, container);
        mounts
            .iter()
            .for_each(|mount| self.refresh(namespace, mount));
        let listed = container["args"].as_array().into_iter().flatten();
        let arguments: Vec<String> = listed.map(|it| text(it).to_owned()).collect();
        let here: Vec<String> = arguments
            .iter()
            .map(|it| here(it, address, &mounts))
            .collect();
        let mut command = plain(&here);
        for variable in container["env"].as_array().into_iter().flatten() {
            let value = match text(&variable["valueFrom"]["fieldRef"]["fieldPath"]) {
                "" => text(&variable["value"]),
                "metadata.name" => name,
                "metadata.namespace" => namespace,
                "status.podIP" => text(&pod["status"]["podIP"]),
                other => panic!("{namespace}/{name} wants {other} in its environment"),
            };
            command.env(text(&variable["name"]), value);
        }
        // Containers have every port to themselves; here each has an address.
        command.env("POINTSMAN_BIND", address.to_string());
        if let Some(port) = container["ports"][0]["containerPort"].as_u64() {
            command.env("POINTSMAN_LISTEN", format!("{address}:{port}"));
        }
        let account = text(&spec["serviceAccountName"]);
        command.env("KUBECONFIG", self.cluster.kubeconfig_of(namespace, account));
        Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            address,
            arguments,
            process: Process::start(name, command),
            mounts,
        }
    }

    fn mounts(&self, uid: &str, spec: &Value, container: &Value) -> Vec<Mount> {
        let volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
        let config_map = |volume: &Value| {
            let found = volumes.iter().find(|it| it["name"] == *volume);
            let name = found.and_then(|it| it["configMap"]["name"].as_str());
            name.map(str::to_owned)
        };
        let mounts = container["volumeMounts"].as_array().into_iter().flatten();
        let mounts = mounts.filter_map(|mount| {
            let folder = self.files.path().join(uid).join(text(&mount["name"]));
            fs::create_dir_all(&folder).expect("folders can be made");
            Some(Mount {
                config_map: config_map(&mount["name"])?,
                at: text(&mount["mountPath"]).to_owned(),
                folder,
            })
        });
        mounts.collect()
    }

    /// Writes the files of a ConfigMap that have changed, each at once.
    fn refresh(&self, namespace: &str, mount: &Mount) {
        let get = [
            "get",
            "configmap",
            "-n",
            namespace,
            &mount.config_map,
            "-o",
            "json",
        ];
        let map: Value = serde_json::from_str(&self.cluster.kubectl(&get)).expect("JSON");
        for (name, content) in map["data"].as_object().into_iter().flatten() {
            let (path, new) = (mount.folder.join(name), mount.folder.join(".new"));
            if fs::read_to_string(&path).is_ok_and(|found| found == text(content)) {
                continue;
            }
            let written = fs::write(&new, text(content)).and_then(|()| fs::rename(&new, &path));
            written.expect("files can be written");
        }
    }
}

/// Whether its container runs pointsman's image.
fn is_pointsman(pod: &Value) -> bool {
    let image = text(&pod["spec"]["containers"][0]["image"]);
    let name = image.rsplit('/').next().unwrap_or_default();
    name.split(':').next() == Some("pointsman") && pod["metadata"]["deletionTimestamp"].is_null()
}

/// An argument as it has to be without a container: the folder of a mounted file in place of where it would be, and the pod's own
/// address in place of every address.
fn here(argument: &str, address: IpAddr, mounts: &[Mount]) -> String {
    let (flag, value) = match argument.split_once('=') {
        Some((flag, value)) => (format!("{flag}="), value),
        None => (String::new(), argument),
    };
    if value == "0.0.0.0" {
        return format!("{flag}{address}");
    }
    if let Some(Ok(port)) = value.strip_prefix(':').map(str::parse::<u16>) {
        return format!("{flag}{}", SocketAddr::new(address, port));
    }
    for mount in mounts {
        let inside = value.strip_prefix(mount.at.as_str());
        if let Some(file) = inside.and_then(|rest| rest.strip_prefix('/')) {
            return format!("{flag}{}", mount.folder.join(file).display());
        }
    }
    argument.to_owned()
}

/// Gives an address to this host's loopback device; one that it has stays.
///
/// # Panics
/// When it cannot: then this is no network namespace of our own.
#[track_caller]
pub fn give(address: IpAddr) {
    let net = format!("{address}/32");
    let output = Command::new("ip")
        .args(["address", "replace", &net, "dev", "lo"])
        .output();
    let output = output.expect("ip starts: install iproute2");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "ip address replace {net} dev lo: {said}"
    );
}

/// Plays the node's Service proxy for one address of a Service: what is connected there goes to `to`. As long as this process
/// lives.
///
/// # Panics
/// When the address cannot be taken.
#[track_caller]
pub fn forward(service: SocketAddr, to: SocketAddr) {
    give(service.ip());
    let listener = TcpListener::bind(service);
    let listener = listener.unwrap_or_else(|error| panic!("listen at {service}: {error}"));
    thread::spawn(move || {
        for here in listener.incoming().flatten() {
            thread::spawn(move || {
                // Whoever is cut off notices that by itself.
                if let Ok(there) = TcpStream::connect(to) {
                    let _ = both_ways(&here, &there);
                }
            });
        }
    });
}

fn both_ways(here: &TcpStream, there: &TcpStream) -> io::Result<()> {
    let (mut from, mut into) = (there.try_clone()?, here.try_clone()?);
    let back = thread::spawn(move || copy(&mut from, &mut into));
    let (mut from, mut into) = (here.try_clone()?, there.try_clone()?);
    copy(&mut from, &mut into);
    // The thread ends with its streams and cannot panic before.
    let _ = back.join();
    Ok(())
}

/// Copies until one side ends, and passes the end on.
fn copy(from: &mut TcpStream, into: &mut TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || into.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    // Closed already is as good.
    let _ = into.shutdown(Shutdown::Write);
}
