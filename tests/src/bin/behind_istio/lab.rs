//! The whole lab behind Istio: our operator installs picker, gateway and routes from the lab's `SchedulerInstall`; P/D proxies and
//! simulated model servers run at their pods' addresses; 60 requests go through, and go where the picker says.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use pointsman_tests::answer::{MODEL, chat, pair_of};
use pointsman_tests::burst::burst;
use pointsman_tests::evidence::Part;
use pointsman_tests::http::Request;
use pointsman_tests::istio::Mesh;
use pointsman_tests::istio::kubelet::forward;
use pointsman_tests::patience::until;
use serde_json::{Value, json};

use crate::objects::{EPP, FILTER, MODELS, PAIRS, POOL, SCHEDULER, external_name};
use crate::world::{Burst, CONCURRENCY, Lab, operator};

const REQUESTS: usize = 60;
const FEW: usize = 5;
/// How much slower one pair is made; round robin would not notice.
const SLOWER: u32 = 20;
/// The image of a roll-out; any other tag would do.
const NEXT_IMAGE: &str = "pointsman:next";

/// Does the part.
pub(crate) fn part() -> Part {
    let about = format!(
        "Real are also `pointsman operator` with the rights of `deploy/operator`, which installs picker, gateway and routes; \
         `pointsman stack apply --simulated`, which lays the lab's SchedulerInstall (our image, `envoyFilter.mode: Auto`), pool and \
         pairs; the picker, started as the operator's Deployment says; and four `pointsman sim` with vLLM's arguments and two \
         `pointsman proxy` at their pods' addresses. Names of Services stand in the file of hosts. Load: {REQUESTS} chat requests, \
         {CONCURRENCY} at once. Served is who the answer's id names; chosen is whom the picker's log names for the same request id."
    );
    Part::new("The whole lab, by its SchedulerInstall", about).done(run)
}

fn run(part: &mut Part) {
    let mesh = Mesh::start(&[SCHEDULER, MODELS]);
    let _operator = operator(&mesh);
    let mut lab = Lab::new(&mesh);
    lab.install(part);
    lab.direct(part);
    lab.wired(part);
    lab.spread(part);
    lab.slowed(part);
    lab.by_header(part);
    let (status, bad) = lab.verified();
    part.check(
        "`pointsman verify --kube`",
        format!(
            "exit code {}, checks that fail: {}",
            status.unwrap_or(-1),
            if bad.is_empty() {
                "none".to_owned()
            } else {
                bad.join("; ")
            }
        ),
        status == Some(0),
    );
    lab.profiles(part);
    lab.image(part);
    lab.legacy(part);
}

impl Lab<'_> {
    /// Each pair, past gateway and picker: answers, and serves metrics.
    fn direct(&mut self, part: &mut Part) {
        for (pair, _) in PAIRS {
            let proxy = self.kubelet.pod(MODELS, &format!("vllm-{pair}-proxy"));
            let address = SocketAddr::new(proxy.address, 8080);
            let body = json!({"model": MODEL, "prompt": "Hello", "max_tokens": 5});
            let answer = Request::post("/v1/completions", &body).answered(address);
            let id = answer.json()["id"].as_str().unwrap_or_default().to_owned();
            let metrics = Request::get("/metrics").answered(address).status;
            let good = answer.status == 200 && pair_of(&answer.json()) == pair && metrics == 200;
            let shown = id.rsplit_once('_').map_or(id.as_str(), |(names, _)| names);
            let found = format!("{} `{shown}_…`, /metrics {metrics}", answer.status);
            part.check(format!("{pair} by itself"), found, good);
        }
    }

    /// What operator and Istio say, and what stands in the cluster.
    fn wired(&self, part: &mut Part) {
        let path = "{range .status.conditions[*]}{.type}={.status} {end}";
        let conditions = until("the operator to say that all is available", || {
            let found = self.of_install(path);
            found.contains("Available=True").then_some(found)
        });
        let bad = conditions
            .split_whitespace()
            .any(|it| it.ends_with("=False") && !it.starts_with("DestinationRuleTight"));
        part.check("the operator's conditions", conditions.trim(), !bad);
        let pool = self.mesh.pool_conditions(MODELS, POOL);
        let good = pool.contains("Accepted=True") && pool.contains("ResolvedRefs=True");
        part.check("Istio accepts the pool", pool, good);
        let filters = self.filters();
        part.check("EnvoyFilters", filters.to_string(), filters == 0);
        let path =
            "jsonpath={.spec.rules[*].backendRefs[*].kind}/{.spec.rules[*].backendRefs[*].name}";
        let get = [
            "get",
            "httproute",
            "-n",
            SCHEDULER,
            "llm-d-inference-scheduling",
            "-o",
            path,
        ];
        let backend = self.mesh.cluster.kubectl(&get);
        let good = backend == format!("InferencePool/{POOL}");
        part.check("the route's backend", backend, good);
    }

    /// A burst in which everything has to go as the picker says.
    fn followed(&mut self, part: &mut Part, what: &str) -> Burst {
        let found = self.burst(REQUESTS, None);
        part.equal(format!("{what}: answered with 200"), found.good, REQUESTS);
        part.equal(
            format!("{what}: served by whom the picker chose"),
            found.as_chosen,
            REQUESTS,
        );
        part.equal(
            format!("{what}: decisions of the picker"),
            found.decisions,
            REQUESTS,
        );
        let counted = format!("{} and {}", found.spurious, found.passed_over);
        let none = found.spurious == 0 && found.passed_over == 0;
        part.check(
            format!("{what}: spurious ext_proc messages, and failures passed over"),
            counted,
            none,
        );
        found
    }

    fn spread(&mut self, part: &mut Part) {
        let found = self.followed(part, "proxy-performance");
        let both = found.of("p2p") > 0 && found.of("fs") > 0;
        part.check("proxy-performance: both pairs serve", found.shown(), both);
        let picker = self.kubelet.pod(SCHEDULER, EPP);
        let decision = picker
            .process
            .lines()
            .into_iter()
            .rev()
            .find(|line| line.contains("Scoring decision"));
        let decision: Value = decision
            .and_then(|line| serde_json::from_str(&line).ok())
            .unwrap_or_default();
        let scores = decision["scores"].as_array().map_or(0, Vec::len);
        part.equal(
            "proxy-performance: candidates in a decision's scores",
            scores,
            PAIRS.len(),
        );
    }

    /// What round robin would fail.
    fn slowed(&mut self, part: &mut Part) {
        self.pace("fs", SLOWER);
        let found = self.followed(part, "fs made slow");
        let few = found.of("fs") * 2 < found.of("p2p");
        part.check(
            format!("fs made {SLOWER} times slower: it gets few"),
            found.shown(),
            few,
        );
        self.pace("fs", 1);
    }

    fn pace(&mut self, pair: &str, factor: u32) {
        for role in ["prefill", "decode"] {
            let server = self.kubelet.pod(MODELS, &format!("vllm-{role}-{pair}"));
            let address = SocketAddr::new(server.address, 8000);
            let answer =
                Request::post("/admin/config", &json!({"slow-factor": factor})).answered(address);
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }

    fn by_header(&mut self, part: &mut Part) {
        for (pair, backend) in PAIRS {
            let found = self.burst(FEW, Some(backend));
            let good = found.good == FEW && found.of(pair) == FEW && found.decisions == 0;
            let shown = format!(
                "{}, {} decisions of the picker",
                found.shown(),
                found.decisions
            );
            part.check(
                format!("{FEW} requests with x-kv-backend: {backend}"),
                shown,
                good,
            );
        }
    }

    /// Another profile by the custom resource alone, and back: the same picker follows.
    fn profiles(&mut self, part: &mut Part) {
        for (profile, pairs) in [
            ("proxy-performance-by-backend", &["p2p"][..]),
            ("proxy-performance", &["fs", "p2p"]),
        ] {
            let (before, id) = self.plans();
            self.patch(&json!({"spec": {"epp": {"configProfile": profile}}}));
            until("the picker to take the other profile", || {
                self.kubelet.sync();
                (self.plans().0 > before).then_some(())
            });
            let what = format!("after patching configProfile to {profile}");
            let found = self.followed(part, &what);
            let served: Vec<&str> = found.split.keys().copied().collect();
            let good = served == pairs && self.plans().1 == id;
            part.check(
                format!("{what}: who serves, by the picker that ran before"),
                found.shown(),
                good,
            );
        }
    }

    /// How many configurations the picker has put in force after its first, and its process.
    fn plans(&mut self) -> (usize, u32) {
        let picker = self.kubelet.pod(SCHEDULER, EPP);
        let lines = picker.process.lines();
        let count = lines
            .iter()
            .filter(|line| line.contains("read again:"))
            .count();
        (count, picker.process.id())
    }

    /// Another image by the custom resource alone: another pod, and the addresses beside the pool follow.
    fn image(&mut self, part: &mut Part) {
        let old = self.kubelet.pod(SCHEDULER, EPP).name.clone();
        self.patch(&json!({"spec": {"epp": {"image": NEXT_IMAGE}}}));
        let address = until("another pod of the picker alone", || {
            let pod = self.kubelet.pod(SCHEDULER, EPP);
            (pod.name != old).then_some(pod.address)
        });
        let picker = self.kubelet.pod(SCHEDULER, EPP);
        picker.process.wait_line("two endpoints", |line| {
            line.contains("endpoints: 2 in the pool").then_some(())
        });
        self.wait_slice(address);
        // Envoy hears of the address a moment later.
        let gateway = self.front().address;
        until("the new picker to be asked", || {
            let answer = chat("probe", 1).send(gateway).ok()?;
            (answer.status == 200 && !self.decisions().is_empty()).then_some(())
        });
        self.followed(part, &format!("after patching the image to {NEXT_IMAGE}"));
    }

    fn wait_slice(&self, address: IpAddr) {
        until("the picker's address beside the pool", || {
            let path = "jsonpath={.items[*].endpoints[*].addresses[*]}";
            let which = format!("kubernetes.io/service-name={EPP}");
            let get = [
                "get",
                "endpointslices",
                "-n",
                MODELS,
                "-l",
                &which,
                "-o",
                path,
            ];
            (self.mesh.cluster.kubectl(&get).trim() == address.to_string()).then_some(())
        });
    }

    /// The lab's own CR, whose filter makes the gateway drop every answer of the picker: all that is measured must say so.
    fn legacy(&mut self, part: &mut Part) {
        let cluster = &self.mesh.cluster;
        let path = "jsonpath={.spec.clusterIP}";
        let service: IpAddr = cluster
            .kubectl(&["get", "service", "-n", SCHEDULER, EPP, "-o", path])
            .parse()
            .expect("an address");
        let picker = self.kubelet.pod(SCHEDULER, EPP).address;
        forward(
            SocketAddr::new(service, 9002),
            SocketAddr::new(picker, 9002),
        );
        self.patch(&json!({"spec": {"envoyFilter": {"mode": null}}}));
        until(
            "the operator to write the filter and take back its Service",
            || {
                let get = [
                    "get",
                    "service",
                    "-n",
                    MODELS,
                    EPP,
                    "--ignore-not-found",
                    "-o",
                    "name",
                ];
                (self.filters() == 1 && cluster.kubectl(&get).trim().is_empty()).then_some(())
            },
        );
        cluster.apply(&external_name());
        let gateway = self.front().address;
        until("the filter to be in force", || {
            let before = self.decisions().len();
            let answer = chat("probe", 1).send(gateway).ok()?;
            let id = answer.header("x-request-id").unwrap_or_default().to_owned();
            // The picker decides, but is not told the request's id.
            let decisions = self.decisions();
            let is_told = decisions.iter().any(|it| it.id == id);
            (answer.status == 200 && decisions.len() > before && !is_told).then_some(())
        });
        let before = self.decisions().len();
        let spurious = self.counted("spurious_msgs_received");
        // Without ids a request and its decision are known by their length.
        let served = burst(REQUESTS, CONCURRENCY, |number| {
            let answer = chat(&"x".repeat(1 + number), 8).answered(gateway);
            (answer.status == 200).then(|| pair_of(&answer.json()))
        });
        let mut decisions = self.decisions().split_off(before);
        decisions.sort_by_key(|it| it.length);
        let lengths: BTreeSet<u64> = decisions.iter().map(|it| it.length).collect();
        let pairs = served.iter().zip(&decisions);
        let as_chosen = pairs.filter(|(pair, it)| **pair == Some(it.pair)).count();
        let spurious = self.counted("spurious_msgs_received") - spurious;
        let what = "with the lab's CR unchanged (Legacy)";
        part.equal(
            format!("{what}: answered with 200, as if all were well"),
            served.iter().flatten().count(),
            REQUESTS,
        );
        part.equal(
            format!("{what}: decisions of the picker"),
            lengths.len(),
            REQUESTS,
        );
        part.check(
            format!("{what}: served by whom the picker chose, by chance and not all"),
            format!("{as_chosen} of {REQUESTS}; {spurious} spurious ext_proc messages"),
            as_chosen < REQUESTS,
        );
        let (status, bad) = self.verified();
        let name = format!("{SCHEDULER}/{FILTER}");
        let named = bad
            .iter()
            .find(|it| it.contains("EnvoyFilter") && it.contains(&name));
        part.check(
            format!("{what}: `pointsman verify --kube` fails and names the EnvoyFilter"),
            format!(
                "exit code {}; {}",
                status.unwrap_or(-1),
                named.map_or_else(|| bad.join("; "), Clone::clone)
            ),
            status == Some(1) && named.is_some(),
        );
    }
}
