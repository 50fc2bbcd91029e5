//! Two pickers of one pool, of which one leads.

use pointsman_tests::cluster::Cluster;
use pointsman_tests::grpc::call;
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use serde_json::json;

use crate::bed::{Bed, is_ready, setup};

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// What health says of a service: 1 serving, 2 not, 3 unknown.
fn health(picker: &Picker, service: &str) -> u8 {
    let mut question = vec![0x0a, service.len() as u8];
    question.extend(service.bytes());
    *call(picker.health, CHECK, &question)
        .unwrap()
        .last()
        .unwrap()
}

#[test]
fn one_of_two_leads_and_the_other_takes_over() {
    let bed = Bed::new(Cluster::shared(&setup()), "election");
    bed.pool("x", &[8000]);
    bed.pod("a", "x", json!({}));
    bed.status("a", "127.0.0.2", true);
    let flags = ["--ha-enable-leader-election", "--drain-timeout=1s"];
    let mut first = bed.picker_of_pool(&flags);
    until("the first to lead", || is_ready(&first).then_some(()));
    let second = bed.picker_of_pool(&flags);
    bed.wait_endpoints(&second, &["a-rank-0 127.0.0.2:8000"]);
    assert!(!is_ready(&second), "one leads");
    assert_eq!(health(&second, "readiness"), 2);
    assert_eq!(health(&second, "liveness"), 1);
    assert_eq!(health(&second, "else"), 3);
    assert_eq!(health(&first, "readiness"), 1);
    let lease = format!("epp-{}-pool.llm-d.ai", bed.namespace);
    let holder = || {
        let path = "jsonpath={.spec.holderIdentity}";
        bed.cluster
            .kubectl(&["get", "lease", "-n", &bed.namespace, &lease, "-o", path])
    };
    let before = holder();
    first.server.process.terminate();
    assert!(first.server.process.wait_end().success());
    let lines = first.server.process.lines();
    assert!(
        !lines.iter().any(|line| line.contains("was not given up")),
        "{lines:?}"
    );
    until("the second to lead", || is_ready(&second).then_some(()));
    assert_ne!(holder(), before);
}
