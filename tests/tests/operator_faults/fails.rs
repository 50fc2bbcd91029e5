//! The API server fails in every way it can, or lacks a right for the operator (O2, O8).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pointsman_tests::binary::workspace;
use pointsman_tests::cluster::between::{Between, Fault};
use pointsman_tests::cluster::{Cluster, Setup};
use pointsman_tests::operator_world::{World, install, operator};
use pointsman_tests::patience::until;
use serde_json::json;

use crate::objects::{EPP, patch};

fn profile(cluster: &Cluster, name: &str) {
    let spec = format!(r#"{{"spec":{{"epp":{{"configProfile":"{name}"}}}}}}"#);
    patch(cluster, "a", "schedinst/i", &spec);
}

/// The ConfigMap's text.
fn config(cluster: &Cluster) -> String {
    let name = format!("{EPP}-config");
    cluster.kubectl(&[
        "get",
        "configmap",
        "-n",
        "a",
        &name,
        "-o",
        "jsonpath={.data}",
    ])
}

/// Waits until the profile is the one that a word belongs to, and says how long that took.
fn settled(cluster: &Cluster, since: &str, word: &str, present: bool) {
    let began = Instant::now();
    until(&format!("the profile to be kept after {since}"), || {
        let there = config(cluster);
        let whole = !there.contains("by-hand");
        (whole && there.contains(word) == present).then_some(())
    });
    println!(
        "kept {} ms after the end of: {since}",
        began.elapsed().as_millis()
    );
}

const SAID: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"said so by the test","reason":"REASON","code":CODE}"#;

fn status(code: u16, reason: &str) -> String {
    SAID.replace("CODE", &code.to_string())
        .replace("REASON", reason)
}

#[test]
fn o2_whatever_the_api_server_does_the_operator_waits_and_makes_up_for_it() {
    let world = World::start(&Setup::plain());
    let cluster = &world.cluster;
    let between = Between::start(cluster, &world.kubeconfig);
    let _operator = operator("the operator", &between.kubeconfig(), &[]);
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    cluster.apply(&install("a", &json!({})));
    until("Ready", || {
        (world.condition("a", "i", "Ready") == "True Reconciled").then_some(())
    });

    // Every write of an object fails, in three ways.
    let mut by_load = true;
    for (code, reason, headers) in [
        (500, "InternalError", ""),
        (429, "TooManyRequests", "retry-after: 1\r\n"),
        (409, "Conflict", ""),
    ] {
        let (headers, body) = (headers.to_owned(), status(code, reason));
        between.rule(move |method, path| {
            match method == "PATCH" && path.contains("/configmaps/") {
                true => Fault::Answer(code, headers.clone(), body.clone()),
                false => Fault::Pass,
            }
        });
        let tried = || {
            let asked = between.asked();
            asked
                .iter()
                .filter(|(method, path)| method == "PATCH" && path.contains("/configmaps/"))
                .count()
        };
        let (before, began) = (tried(), Instant::now());
        profile(
            cluster,
            if by_load {
                "proxy-performance"
            } else {
                "default"
            },
        );
        until("some tries", || (tried() >= before + 4).then_some(()));
        let (tries, took) = (tried() - before, began.elapsed());
        // One at once, one for what the status wrote, and then no more than one a second.
        assert!(
            tries as f64 <= took.as_secs_f64() + 3.0,
            "{code}: {tries} tries in {took:?}"
        );
        until("the failure to be told", || {
            (world.condition("a", "i", "Applied") == "False APIError").then_some(())
        });
        between.rule(|_, _| Fault::Pass);
        settled(
            cluster,
            &format!("answers {code}"),
            "active-request-scorer",
            by_load,
        );
        until("Ready again", || {
            (world.condition("a", "i", "Ready") == "True Reconciled").then_some(())
        });
        by_load = !by_load;
    }

    // Watches end because what they have seen is too old.
    let gone = format!(
        "{{\"type\":\"ERROR\",\"object\":{}}}\n",
        status(410, "Expired")
    );
    between.rule(move |_, path| match path.contains("watch=") {
        true => Fault::Answer(200, String::new(), gone.clone()),
        false => Fault::Pass,
    });
    between.cut();
    let by_hand = r#"{"data":{"epp-config.yaml":"by-hand"}}"#;
    let object = format!("configmap/{EPP}-config");
    patch(cluster, "a", &object, by_hand);
    let watches = || {
        let asked = between.asked();
        asked
            .iter()
            .filter(|(_, path)| path.contains("watch="))
            .count()
    };
    let before = watches();
    until("watches that are told 410", || {
        (watches() > before + 20).then_some(())
    });
    between.rule(|_, _| Fault::Pass);
    settled(
        cluster,
        "watches that were too old",
        "active-request-scorer",
        !by_load,
    );

    // Watches break off without a word.
    between.cut();
    patch(cluster, "a", &object, by_hand);
    settled(
        cluster,
        "watches that broke off",
        "active-request-scorer",
        !by_load,
    );

    // The server is away for a minute, as the case says, and the world goes on meanwhile.
    let asked = between.asked().len();
    let began = Instant::now();
    between.rule(|_, _| Fault::Close);
    between.cut();
    patch(cluster, "a", &object, by_hand);
    std::thread::sleep(Duration::from_secs(60));
    between.rule(|_, _| Fault::Pass);
    let away = began.elapsed().as_secs_f64();
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for (method, path) in &between.asked()[asked..] {
        let path = path.split('?').next().unwrap_or_default();
        *times.entry(format!("{method} {path}")).or_default() += 1;
    }
    let most = times.iter().max_by_key(|(_, count)| **count).unwrap();
    println!("asked most while the server was away: {most:?}");
    // Objects are asked for when a watch has brought news, so not at all; a kind's watch comes back at once.
    let of_objects = times
        .iter()
        .filter(|(path, _)| path.contains("/configmaps/") || path.contains("/deployments/"));
    for (path, count) in of_objects {
        assert!(*count as f64 <= away + 1.0, "{path}: {count} in {away} s");
    }
    settled(
        cluster,
        "a minute without a server",
        "active-request-scorer",
        !by_load,
    );
}

#[test]
fn o8_a_right_that_is_missing_is_named_and_the_rest_goes_on() {
    let setup = Setup {
        audit: true,
        ..Setup::plain()
    };
    let world = World::start(&setup);
    let cluster = &world.cluster;
    let role = std::fs::read_to_string(workspace().join("deploy/operator/role.yaml")).unwrap();
    let trimmed = role.replace(
        "resources: [gateways, httproutes, referencegrants]\n  verbs: [get, list, watch, create, patch, delete]",
        "resources: [gateways, httproutes, referencegrants]\n  verbs: [get, list, watch]",
    );
    assert_ne!(role, trimmed);
    cluster.apply(&trimmed);
    let _operator = world.operator("the operator");
    for namespace in ["a", "a-m"] {
        world.namespace(namespace);
    }
    cluster.apply(&install("a", &json!({})));
    until("what is forbidden to be named", || {
        (world.condition("a", "i", "Applied") == "False Forbidden").then_some(())
    });
    let path = r#"jsonpath={.status.conditions[?(@.type=="Applied")].message}"#;
    let message = cluster.kubectl(&["get", "schedinst", "-n", "a", "i", "-o", path]);
    for expected in [
        "\"gateways\"",
        "\"httproutes\"",
        "\"referencegrants\"",
        "cannot patch",
    ] {
        assert!(message.contains(expected), "{expected}: {message}");
    }
    let states = r#"jsonpath={range .status.children[*]}{.kind}={.state} {end}"#;
    let states = cluster.kubectl(&["get", "schedinst", "-n", "a", "i", "-o", states]);
    for expected in [
        "Deployment=Applied",
        "DestinationRule=Applied",
        "EnvoyFilter=Applied",
        "Gateway=Failed",
    ] {
        assert!(states.contains(expected), "{expected}: {states}");
    }
    // It is not asked for again and again.
    let tries = || {
        let audit = cluster.audit();
        audit
            .iter()
            .filter(|one| one["verb"] == "patch" && one["objectRef"]["resource"] == "gateways")
            .count()
    };
    let (before, began) = (tries(), Instant::now());
    until("another try", || (tries() >= before + 2).then_some(()));
    let took = began.elapsed().as_secs_f64();
    assert!((tries() - before) as f64 <= took + 2.0, "in {took} s");
    cluster.apply(&role);
    until("Ready", || {
        (world.condition("a", "i", "Ready") == "True Reconciled").then_some(())
    });
}
