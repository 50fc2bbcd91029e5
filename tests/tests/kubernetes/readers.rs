//! Who may read the metrics port: the API server is asked whose a token is, and what its owner may read.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::time::Duration;

use pointsman_tests::cluster::Cluster;
use pointsman_tests::http::{Answering, Request, Response, read_answer};
use pointsman_tests::patience::until;
use pointsman_tests::picker::Picker;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::{Value, json};

use crate::bed::{Bed, is_ready, setup};

/// Where proxies of a mesh come from: an address that is not the pod's own.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// Reads a page from elsewhere with this token, or with none.
fn read_from_afar(picker: &Picker, path: &str, token: Option<&str>) -> Response {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrV4::new(ELSEWHERE, 0)).unwrap();
    connect(&socket, &picker.server.admin).unwrap();
    let mut connection = TcpStream::from(socket);
    connection
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    connection.write_all(&asking(path, token).bytes()).unwrap();
    let Answering { mut head, mut body } = read_answer(connection).unwrap();
    head.body = body.rest().unwrap();
    head
}

fn asking(path: &str, token: Option<&str>) -> Request {
    let request = Request::get(path);
    match token {
        Some(token) => request.header("authorization", &format!("Bearer {token}")),
        None => request,
    }
}

/// Reads a page from the pod itself with this token, or with none.
fn read(picker: &Picker, path: &str, token: Option<&str>) -> Response {
    asking(path, token).answered(picker.server.admin)
}

/// Gives a ServiceAccount of the bed's namespace rights in the whole cluster.
fn grant(bed: &Bed, account: &str, rules: &Value) {
    let name = format!("{}-{account}", bed.namespace);
    let kind = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
    let mut role = kind("ClusterRole");
    role["rules"] = rules.clone();
    let mut binding = kind("ClusterRoleBinding");
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name});
    binding["subjects"] =
        json!([{"kind": "ServiceAccount", "name": account, "namespace": bed.namespace}]);
    bed.cluster.apply(&format!("{role}\n---\n{binding}"));
}

/// What discovery needs.
fn discovery() -> [Value; 3] {
    let verbs = json!(["list", "watch"]);
    [
        json!({"apiGroups": ["inference.networking.k8s.io"], "resources": ["inferencepools"], "verbs": verbs}),
        json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs}),
        json!({
            "apiGroups": ["inference.networking.x-k8s.io", "llm-d.ai"],
            "resources": ["inferenceobjectives", "inferencemodelrewrites"],
            "verbs": verbs,
        }),
    ]
}

/// What the picker needs to ask about readers.
fn reviews() -> [Value; 2] {
    [
        json!({"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]}),
        json!({"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]}),
    ]
}

/// Nothing is said of who may read.
fn as_it_comes(bed: &Bed, kubeconfig: &Path) -> Picker {
    bed.picker_as_it_comes(kubeconfig, &["--pool-name=pool"])
}

#[test]
fn a_picker_that_may_not_ask_lets_everybody_read_and_says_so_unless_told_otherwise() {
    let bed = Bed::new(Cluster::shared(&setup()), "readers-unasked");
    bed.pool("x", &[8000]);
    let kubeconfig = bed.cluster.kubeconfig_of(&bed.namespace, "epp");
    grant(&bed, "epp", &json!(discovery()));
    let picker = as_it_comes(&bed, &kubeconfig);
    until("readiness", || is_ready(&picker).then_some(()));
    assert_eq!(read(&picker, "/metrics", None).status, 200);
    until("it to be said that everybody may read", || {
        let lines = picker.server.process.lines();
        let said = |line: &&String| line.contains("may not create tokenreviews");
        lines.iter().find(said).map(|_| ())
    });
}

#[test]
fn only_who_may_read_the_metrics_reads_them() {
    let bed = Bed::new(Cluster::shared(&setup()), "readers");
    bed.pool("x", &[8000]);
    let kubeconfig = bed.cluster.kubeconfig_of(&bed.namespace, "epp");
    grant(&bed, "epp", &json!(discovery()));
    let flags = ["--pool-name=pool", "--metrics-endpoint-auth"];
    let picker = bed.picker_as_it_comes(&kubeconfig, &flags);
    let metrics = json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]);
    grant(&bed, "reader", &metrics);
    let [reader, stranger] =
        ["reader", "stranger"].map(|who| bed.cluster.token(&bed.namespace, who));
    // Probes and the page's own files are for everybody.
    until("readiness", || is_ready(&picker).then_some(()));
    for open in ["/livez", "/healthz", "/", "/page.js"] {
        assert_eq!(read(&picker, open, None).status, 200, "{open}");
    }
    // While the picker itself may not ask, nobody is let in, and it says what it lacks.
    let refused = read(&picker, "/metrics", Some(&reader));
    assert_eq!(
        (refused.status, &*refused.text()),
        (500, "Authentication failed\n")
    );
    until("the missing right to be said", || {
        let lines = picker.server.process.lines();
        let said = |line: &&String| line.contains("create on tokenreviews");
        lines.iter().find(said).map(|_| ())
    });
    grant(
        &bed,
        "epp",
        &json!([&discovery()[..], &reviews()[..]].concat()),
    );
    let page = until("the reader to be let in", || {
        let page = read(&picker, "/metrics", Some(&reader));
        (page.status == 200).then_some(page)
    });
    assert!(page.text().contains("llm_d_epp_info"), "{}", page.text());

    let nobody = read(&picker, "/metrics", None);
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.header("www-authenticate"), Some("Bearer"));
    assert_eq!(read(&picker, "/metrics", Some("made-up")).status, 401);
    let account = format!("system:serviceaccount:{}", bed.namespace);
    let denied = read(&picker, "/metrics", Some(&stranger));
    let text = format!("Authorization denied for user {account}:stranger\n");
    assert_eq!((denied.status, denied.text()), (403, text));
    // A right is one to a page.
    for path in ["/debug/decisions", "/debug/plan", "/nothing"] {
        let afar = read_from_afar(&picker, path, Some(&reader));
        assert_eq!(afar.status, 403, "{path}");
    }
    assert_eq!(read_from_afar(&picker, "/debug/plan", None).status, 401);
    // Who is in the pod, as by a forwarded port, has been asked.
    for path in ["/debug/plan", "/debug/metrics"] {
        assert_eq!(read(&picker, path, None).status, 200, "{path}");
    }
    grant(
        &bed,
        "stranger",
        &json!([{"nonResourceURLs": ["/debug/*"], "verbs": ["get"]}]),
    );
    until("the stranger to be let in", || {
        let page = read_from_afar(&picker, "/debug/decisions", Some(&stranger));
        (page.status == 200).then_some(())
    });
    assert_eq!(read(&picker, "/metrics", Some(&stranger)).status, 403);
}

#[test]
fn without_the_api_server_strangers_are_refused_and_known_readers_are_not() {
    let cluster = Cluster::start(&setup());
    let bed = Bed::new(&cluster, "readers-outage");
    bed.pool("x", &[8000]);
    let picker = as_it_comes(&bed, &cluster.kubeconfig());
    grant(
        &bed,
        "reader",
        &json!([{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]),
    );
    let [reader, late] = ["reader", "late"].map(|who| cluster.token(&bed.namespace, who));
    until("the reader to be let in", || {
        (read(&picker, "/metrics", Some(&reader)).status == 200).then_some(())
    });
    cluster.stop_api();
    let refused = read(&picker, "/metrics", Some(&late));
    assert_eq!(refused.status, 500, "{}", refused.text());
    assert_eq!(read(&picker, "/metrics", None).status, 401);
    cluster.start_api(&setup());
    until("the late one to be known", || {
        (read(&picker, "/metrics", Some(&late)).status == 403).then_some(())
    });
    until("it to be said that readers are known again", || {
        let lines = picker.server.process.lines();
        let again = |line: &&String| line.contains("the API server says again who readers are");
        lines.iter().find(again).map(|_| ())
    });
}
