//! The picker as the operator's Deployment starts it, with each of its profiles, behind a real Envoy and before the lab's pairs.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use pointsman_tests::answer::{MODEL, chat_body, pair_of, pair_of_candidate};
use pointsman_tests::binary::workspace;
use pointsman_tests::burst::burst;
use pointsman_tests::envoy::{Bodies, Envoy};
use pointsman_tests::http::Request;
use pointsman_tests::picker::Picker;
use pointsman_tests::scratch::Scratch;
use pointsman_tests::server::Gateway;
use serde_json::json;

/// The clients of the lab's check: 60 requests, 12 at a time.
const REQUESTS: usize = 60;
const AT_ONCE: usize = 12;

/// The lab's pairs, the picker before them, and Envoy before it.
struct Bed {
    lab: Gateway,
    picker: Picker,
    envoy: Envoy,
    _files: Scratch,
}

impl Bed {
    fn of(profile: &str) -> Self {
        let lab = Gateway::up(&["--seed", "7"]);
        let rows = lab.endpoints().into_iter().map(|row| {
            let (namespace, name) = row["name"].as_str().unwrap().split_once('/').unwrap();
            let (host, port) = row["address"].as_str().unwrap().rsplit_once(':').unwrap();
            let mut labels = row["labels"].clone();
            labels["llm-d.ai/role"] = json!("decode");
            json!({"name": name, "namespace": namespace, "address": host, "port": port, "labels": labels})
        });
        let files = Scratch::new("epp-lab");
        let endpoints = json!({"endpoints": rows.collect::<Vec<_>>()});
        let endpoints = files.file("endpoints.json", &endpoints.to_string());
        let config = workspace().join(format!("tests/configs/operator/{profile}.yaml"));
        let picker = Picker::deployed(&config.to_string_lossy(), &endpoints);
        let envoy = Envoy::before(picker.server.address, Bodies::FullDuplex);
        Self {
            lab,
            picker,
            envoy,
            _files: files,
        }
    }

    /// How many of the burst each pair served; every request was served by whom the picker chose.
    fn split(&self) -> BTreeMap<&'static str, usize> {
        let served = burst(REQUESTS, AT_ONCE, |number| {
            let mut body = chat_body(&format!("count to {number}"), 24);
            body["ignore_eos"] = json!(true);
            let answer = Request::post("/v1/chat/completions", &body).answered(self.envoy.address);
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["model"], MODEL);
            let id = answer.header("x-request-id").unwrap().to_owned();
            (id, pair_of(&answer.json()))
        });
        let mut split = BTreeMap::new();
        for (id, pair) in &served {
            assert_eq!(pair_of_candidate(&self.picker.picked(id)), *pair, "{id}");
            *split.entry(*pair).or_default() += 1;
        }
        assert_eq!(split.values().sum::<usize>(), REQUESTS);
        self.picker.server.wait_idle();
        split
    }
}

#[test]
fn the_deployment_s_arguments_start_every_profile_and_sixty_requests_go_where_they_were_sent() {
    for profile in ["default", "proxy-performance"] {
        let bed = Bed::of(profile);
        let plan = bed.picker.server.admin_json("/debug/plan");
        assert_eq!(plan["compat"], "g1", "{profile}");
        let split = bed.split();
        assert!(
            profile == "default" || split.len() == 2,
            "both pairs serve: {split:?}"
        );
    }
}

#[test]
fn by_backend_everything_goes_to_p2p() {
    let bed = Bed::of("proxy-performance-by-backend");
    assert_eq!(bed.split(), BTreeMap::from([("p2p", REQUESTS)]));
}

#[test]
fn a_slowed_pair_gets_few() {
    let bed = Bed::of("proxy-performance");
    for name in ["vllm-prefill-fs", "vllm-decode-fs"] {
        let slow = json!({"slow-factor": 10});
        let answer = Request::post("/admin/config", &slow).answered(bed.lab.part(name));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let split = bed.split();
    let fs = split.get("fs").copied().unwrap_or_default();
    assert!(fs <= 12, "fs is ten times slower and still got {fs} of 60");
}
